import { z } from 'zod'
import type { DocumentOf } from '../../call/documents/document.js'

/**
 * Shared state of a fleet's nodes: the nodes, the owner of each call, the state with which another node can continue a
 * call, and the effects that must happen only once. The store never contains audio. Each operation has a deadline:
 * STORE_DEADLINE_MS, or STORE_PATIENCE_MS if no new caller waits for it. After the deadline the operation rejects with
 * STORE_DOWN.
 *
 * There are three implementations: the memory of one process, the memory of the supervisor of `--processes`, and Redis.
 *
 * An operation that rejected with STORE_DOWN may have taken effect, or may still take effect. Code that needs certainty
 * asks again:
 * - After a failed `claim`, the node reads the entry: the entry has the nonce of its claim if the claim succeeded.
 * - After a failed `save` of a log, the writer saves the whole log with `replace`.
 * - `over`, `settle`, `beat` and `leave` may be repeated.
 * - A value given to `once` names its writer.
 * - `attach` is the exception: its outcome cannot be found out.
 * - If a `save` or `beat` takes effect after a later write of the same owner, it changes nothing.
 *
 * STORE_REFUSED: this entry cannot be read or written, because another program wrote it or there are too many entries.
 * Other entries are not affected. Bytes that were given to the store, or that it returned, are not changed afterwards.
 */
export interface CallStore {
  /**
   * Takes a call in one atomic step, if the entry under `key` has epoch `expectedEpoch` (0: no entry). Then `owner`
   * owns the call in the phase `claimed`, with epoch `expectedEpoch + 1`. State and log are unchanged. The entry lives
   * for CLAIM_TTL_MS, or for the previous entry's remaining time if that is longer. So the state survives even if the
   * new owner dies too. An `over` entry is never taken. If the store has lost the entry, a claim with any
   * `expectedEpoch` takes the call, so that epochs continue.
   * @param key a call SID, or `orderKey` of a call that a node places
   * @returns the current entry. The claim succeeded if the entry's owner is `owner` with the new epoch and the given
   * nonce
   */
  claim(key: string, owner: Owner, expectedEpoch: number): Promise<StoredCall>

  /**
   * Writes to a call that `token` owns. The call is then `owned` for at least three quarters of CALL_TTL_MS.
   * @returns `lost` if the call has another owner, is over or unknown
   */
  save(key: string, token: OwnerToken, change: StoredChange): Promise<'ok' | 'lost'>

  /**
   * Runs `save` for several calls in one request. Each `save` succeeds or fails separately.
   * @returns the answers of `save`; `refused`: STORE_REFUSED
   */
  saveAll(writes: readonly StoredWrite[]): Promise<readonly ('ok' | 'lost' | 'refused')[]>

  /** Reads the entry of a call; null if it does not exist. */
  read(key: string): Promise<StoredCall | null>

  /**
   * Stores that a stream opened with this token, and marks its nonce as used.
   * @returns `used` if a stream was opened with this nonce before, or with STORED_STREAMS_MAX other nonces; `lost` as
   * for `save`
   */
  attach(key: string, token: OwnerToken, nonce: string): Promise<'ok' | 'used' | 'lost'>

  /**
   * Ends a call that `token` owns: deletes its state and log. The entry remains as `over` for OVER_TTL_MS. A repetition
   * answers `ok` and changes nothing.
   */
  over(key: string, token: OwnerToken): Promise<'ok' | 'lost'>

  /** Entries that any run of a node owns, except `over` entries. */
  callsOf(node: string): Promise<readonly OwnedKey[]>

  /**
   * Writes a value for `ttlMs` (a whole number from 1), if there is no value.
   * @returns null if the value was written now; otherwise the existing value
   */
  once(key: string, value: string, ttlMs: number): Promise<string | null>

  /** Reads the value that `once` or a later `settle` wrote; null if there is no value. */
  standing(key: string): Promise<string | null>

  /** Replaces the value that `once` wrote, for `ttlMs`. Does nothing if the value has expired. */
  settle(key: string, value: string, ttlMs: number): Promise<void>

  /**
   * Replaces a value of `once` in one atomic step for `ttlMs` (a whole number from 1), if the value equals `expected`.
   * @param expected  null: there must be no value
   * @param value  not empty
   * @returns the previous value. The new value was written if the previous value equals `expected`
   */
  swap(key: string, expected: string | null, value: string, ttlMs: number): Promise<string | null>

  /**
   * Writes one part of a sum for `ttlMs` (a whole number from 1). A part can only grow: a lower or equal amount is not
   * written. A new part is not written if the sum has TALLY_PARTS_MAX parts.
   * @param part name of the counting node's part; each node writes only its own part
   * @param amount from 0
   * @returns the sum of all other parts
   */
  tally(key: string, part: string, amount: number, ttlMs: number): Promise<number>

  /**
   * Writes a node's heartbeat, unless the stored beat of this incarnation is equal or higher. Deletes entries whose
   * `beat` has not changed for NODE_FORGET_MS of the store's time. STORE_REFUSED: there are already NODES_MAX other
   * nodes.
   * @returns all nodes as they were just before the write. So a node sees another node that has the same name
   */
  beat(node: NodeRecord): Promise<FleetView>

  /** Deletes the entry of a node that leaves, if the entry still has this incarnation. */
  leave(node: string, incarnation: string): Promise<void>

  /** Closes the connection. Waiting operations reject. Idempotent. */
  close(): Promise<void>
}

/** Minimum time to live in ms for `once` and `settle`. With this time a value expires practically at once. */
export const GONE_MS = 1

/** Key of a call that a node has ordered and whose SID is not known yet. A call SID never contains a colon. */
export function orderKey(clientRequestId: string): string {
  return `order:${clientRequestId}`
}

/** One run of one node. */
export interface Owner {
  /** The node's name: 1 to 63 of `A-Z a-z 0-9 . _ -`. */
  readonly node: string
  /** Random id that is new at each start of the node. It does not contain spaces. */
  readonly incarnation: string
  /** Random, new for each claim. */
  readonly nonce: string
}

/** Proof of ownership. Epochs begin at 1, and each takeover has a higher epoch. */
export interface OwnerToken extends Owner {
  readonly epoch: number
}

/** Key of an entry, and the node's run that owns the entry. */
export interface OwnedKey {
  readonly key: string
  readonly incarnation: string
}

export interface StoredCall {
  readonly owner: OwnerToken
  /** `claimed`: the owner is chosen, but no `save` has confirmed it yet. */
  readonly phase: 'claimed' | 'owned' | 'over'
  /** Time, by the store's clock, at which the call ended. Absent if an older node ended the call. */
  readonly overAtMs?: number
  /** The newest state; null before the first state. The store cannot read it, because it is encrypted. */
  readonly state: Uint8Array | null
  /** Chunks of the call log, oldest first. The store cannot read them, because they are encrypted. */
  readonly log: readonly Uint8Array[]
}

export interface StoredChange {
  /**
   * The new state; if absent, the state is unchanged. State and log together have at most STORED_CALL_BYTES_MAX. The
   * writer checks this limit.
   */
  readonly state?: Uint8Array
  /** Chunks appended to the log. */
  readonly append?: readonly Uint8Array[]
  /** True: `append` replaces the whole log. */
  readonly replace?: boolean
}

export interface StoredWrite {
  readonly key: string
  readonly token: OwnerToken
  readonly change: StoredChange
}

const count = z.int().min(0)

/** Heartbeat of a node, in the form that other nodes read. Plain JSON. */
export const nodeRecordSchema = z.object({
  name: z.string().regex(/^[\w.-]{1,63}$/),
  incarnation: z.string().regex(/^\S{1,100}$/),
  /** Number of the heartbeat; grows by 1 each time. */
  beat: count,
  /** Calendar time of the node's start. */
  startedAtMs: z.number(),
  /** Origin of the node's internal listener; null if the gateway has no network to other nodes. */
  internalUrl: z
    .string()
    .max(300)
    .regex(/^https?:\/\/[^\s/]+$/)
    .nullable(),
  /** Origin of the node's ops port for people; null if unknown. */
  opsUrl: z.string().max(300).nullable(),
  version: z.string().max(100),
  capacity: count,
  /** Remaining capacity in calls; 0 while the node drains or is cordoned. */
  free: count,
  state: z.enum(['open', 'cordoned', 'draining']),
  callsByAgent: z.record(z.string(), count),
  /**
   * Time in ms by which the node's calendar clock is ahead of the store's clock; null before the node's first answered
   * heartbeat.
   */
  clockAheadMs: z.number().nullable(),
  /**
   * Number of live calls, for each caller with several calls at this node. The key is a keyed hash of the caller.
   * Absent from older nodes.
   */
  busyCallers: z.record(z.string().max(32), count).optional(),
  /** Cost of the node's live calls so far in CURRENCY, by our number with a budget. Absent from older nodes. */
  liveCosts: z.record(z.string().max(32), z.number().min(0)).optional(),
  /** Hash of the versions of all agents that new calls at the node get. Absent from older nodes. */
  agents: z.string().max(32).optional(),
  /** True if the node's disk does not accept records of calls. Absent from older nodes. */
  diskFull: z.boolean().optional(),
  /**
   * The carrier's after-stream behaviour that this node last observed, with the calendar time; null before the first
   * observation.
   */
  afterStream: z.object({ seen: z.enum(['continues', 'holds']), atMs: z.number() }).nullable(),
})
export type NodeRecord = DocumentOf<typeof nodeRecordSchema>

export interface StoredNode extends NodeRecord {
  /** Proven time of the store at or shortly before the write of this heartbeat; 0 if no time is proven. */
  readonly writtenAtMs: number
}

export interface FleetView {
  readonly nodes: readonly StoredNode[]
  /** Calendar time of the store. */
  readonly storeTimeMs: number
}

/** True if `token` proves that this is the owner: node, incarnation, epoch and nonce are equal. */
export function isOwner(token: OwnerToken, owner: OwnerToken): boolean {
  return (
    token.nonce === owner.nonce &&
    token.epoch === owner.epoch &&
    token.node === owner.node &&
    token.incarnation === owner.incarnation
  )
}
