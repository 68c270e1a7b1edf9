import { z } from 'zod'
import type { DocumentOf } from '../../call/documents/document.js'

/**
 * Shared state of a fleet's nodes: the owner of each call, the state from which another node can continue it, effects
 * that must happen once, and the nodes themselves. Audio never goes here, and no caller waits for it: every operation
 * has a deadline of STORE_DEADLINE_MS, or of STORE_PATIENCE_MS where no new caller waits, and rejects with STORE_DOWN
 * instead of waiting.
 *
 * It has three implementations: the memory of one process, the memory of the supervisor of `--processes`, and Redis.
 *
 * An operation that rejected with STORE_DOWN may have taken effect, or may still do so. A caller that needs to know
 * asks again: a claimant reads the entry and finds its own nonce or another's; the writer of a log saves all of it,
 * with `replace`; `over`, `settle`, `beat` and `leave` do no harm twice; a value given to `once` says who wrote it.
 * Only `attach` cannot be asked again. A `save` or `beat` that takes effect after a later one of its owner changes
 * nothing.
 *
 * STORE_REFUSED: this one entry cannot be read or written (another program wrote it, or there are too many); the rest
 * of the store can. Bytes that are given or returned are not changed afterwards by either side.
 */
export interface CallStore {
  /**
   * Takes a call, in one atomic step: if the entry under `key` has epoch `expectedEpoch` (0: there is none), `owner`
   * becomes its owner in the phase `claimed`, with `expectedEpoch + 1`, for CLAIM_TTL_MS, or for as long as the entry
   * of an owner before had left: a taker that dies too does not take the state with it. State and log stay. An entry
   * that is `over` is never taken. Where the store has lost the entry, any `expectedEpoch` takes it, so that epochs go
   * on where they were.
   * @param key  a call SID, or `orderKey` of a call that a node places
   * @returns the entry as it stands now; the claim was won when its owner is `owner` with that epoch and nonce
   */
  claim(key: string, owner: Owner, expectedEpoch: number): Promise<StoredCall>

  /**
   * Writes to a call, if `token` is its owner: then it is in the phase `owned`, for three quarters of CALL_TTL_MS from now
   * at least.
   * @returns `lost` when the call has another owner, is over, or is not known
   */
  save(key: string, token: OwnerToken, change: StoredChange): Promise<'ok' | 'lost'>

  /** `save` of many calls in one step; each by itself. @returns of each what `save` says; `refused`: STORE_REFUSED */
  saveAll(writes: readonly StoredWrite[]): Promise<readonly ('ok' | 'lost' | 'refused')[]>

  /** The entry of a call; null when there is none. */
  read(key: string): Promise<StoredCall | null>

  /**
   * A stream opened with this token: the single use of its nonce.
   * @returns `used` when the nonce has opened a stream before, or STORED_STREAMS_MAX others have; `lost` as for `save`
   */
  attach(key: string, token: OwnerToken, nonce: string): Promise<'ok' | 'used' | 'lost'>

  /**
   * The call has ended, if `token` is its owner: state and log are deleted, the entry is `over` for OVER_TTL_MS.
   * Again with the same token: `ok`, without a change.
   */
  over(key: string, token: OwnerToken): Promise<'ok' | 'lost'>

  /** The entries that a node owns, in any of its incarnations, `over` ones excluded. */
  callsOf(node: string): Promise<readonly OwnedKey[]>

  /**
   * Writes a value that can be written once, for `ttlMs`, a whole number from 1.
   * @returns null when it was written now; otherwise the value that stands there
   */
  once(key: string, value: string, ttlMs: number): Promise<string | null>

  /** Value that `once` wrote, or `settle` after it; null when there is none. */
  standing(key: string): Promise<string | null>

  /** Replaces what `once` wrote; does nothing when that is gone. */
  settle(key: string, value: string, ttlMs: number): Promise<void>

  /**
   * Replaces a value, in one atomic step, where it is as expected, for `ttlMs`, a whole number from 1. It is one of those that
   * `once` writes.
   * @param expected  null: there is none
   * @param value  not empty
   * @returns the value that stood there: the new one stands there now if that is `expected`
   */
  swap(key: string, expected: string | null, value: string, ttlMs: number): Promise<string | null>

  /**
   * Writes one part of a sum, where it is higher than what stands there, for `ttlMs`, a whole number from 1. A lower one,
   * and one beyond TALLY_PARTS_MAX, is only a read.
   * @param part  who counts: each writes its own part alone, and so does no harm twice
   * @param amount  from 0
   * @returns the sum of all other parts
   */
  tally(key: string, part: string, amount: number, ttlMs: number): Promise<number>

  /**
   * Writes a node's heartbeat. One that is not higher than the stored one of the same incarnation came late, and is only a
   * read. An entry whose `beat` has not changed for NODE_FORGET_MS of the store's time is deleted. STORE_REFUSED: there
   * are NODES_MAX others.
   * @returns all nodes as they were just before: a node sees who else had its name
   */
  beat(node: NodeRecord): Promise<FleetView>

  /** A node leaves in order: its entry is deleted, if it still has this incarnation. */
  leave(node: string, incarnation: string): Promise<void>

  /** Frees the connection. Operations that still wait reject. Idempotent. */
  close(): Promise<void>
}

/** The shortest time that `once` and `settle` take: what is settled for it is gone. */
export const GONE_MS = 1

/** The key of a call that a node has ordered and the carrier has not named yet. No call SID has a colon. */
export function orderKey(clientRequestId: string): string {
  return `order:${clientRequestId}`
}

/** One run of one node. */
export interface Owner {
  /** The node's name: 1 to 63 of `A-Z a-z 0-9 . _ -`. */
  readonly node: string
  /** Random, new at each start of the node; without spaces. */
  readonly incarnation: string
  /** Random, new for each claim. */
  readonly nonce: string
}

/** Proof of ownership; every takeover has a higher epoch, from 1. */
export interface OwnerToken extends Owner {
  readonly epoch: number
}

/** An entry, and the run of the node that owns it. */
export interface OwnedKey {
  readonly key: string
  readonly incarnation: string
}

export interface StoredCall {
  readonly owner: OwnerToken
  /** `claimed`: chosen, and not confirmed by `save` yet. */
  readonly phase: 'claimed' | 'owned' | 'over'
  /** Time at which the call was over, by the store's clock. Absent where an older node has ended it. */
  readonly overAtMs?: number
  /** The newest state; null before the first. Opaque and encrypted. */
  readonly state: Uint8Array | null
  /** Chunks of the call log, oldest first. Opaque and encrypted. */
  readonly log: readonly Uint8Array[]
}

export interface StoredChange {
  /** The new state; absent: the one before stays. At most STORED_CALL_BYTES_MAX with the log; the writer keeps that. */
  readonly state?: Uint8Array
  /** Appended to the log. */
  readonly append?: readonly Uint8Array[]
  /** True: `append` replaces the log. */
  readonly replace?: boolean
}

export interface StoredWrite {
  readonly key: string
  readonly token: OwnerToken
  readonly change: StoredChange
}

const count = z.int().min(0)

/** A node's heartbeat: what the others must know of it. Plain JSON. */
export const nodeRecordSchema = z.object({
  name: z.string().regex(/^[\w.-]{1,63}$/),
  incarnation: z.string().regex(/^\S{1,100}$/),
  /** Grows by 1 each time. */
  beat: count,
  /** Calendar time. */
  startedAtMs: z.number(),
  /** Origin of its internal listener; null for a gateway without other nodes. */
  internalUrl: z
    .string()
    .max(300)
    .regex(/^https?:\/\/[^\s/]+$/)
    .nullable(),
  /** Its ops port's origin for people; null where it is not known. */
  opsUrl: z.string().max(300).nullable(),
  version: z.string().max(100),
  capacity: count,
  /** How many more calls it takes now; 0 while it drains or is cordoned. */
  free: count,
  state: z.enum(['open', 'cordoned', 'draining']),
  callsByAgent: z.record(z.string(), count),
  /** How far its calendar clock is ahead of the store's; null before its first heartbeat that was answered. */
  clockAheadMs: z.number().nullable(),
  /** Live calls of callers who have several here, by a keyed hash of the caller; absent from an older node. */
  busyCallers: z.record(z.string().max(32), count).optional(),
  /** Cost of its live calls until now, by our number with a budget, in CURRENCY; absent from an older node. */
  liveCosts: z.record(z.string().max(32), z.number().min(0)).optional(),
  /** A hash of the versions of all agents that its new calls get; absent from an older node. */
  agents: z.string().max(32).optional(),
  /** Its disk takes no records of calls; absent from an older node. */
  diskFull: z.boolean().optional(),
  /** The carrier's after-stream behaviour as this node last observed it; null before. Calendar time. */
  afterStream: z.object({ seen: z.enum(['continues', 'holds']), atMs: z.number() }).nullable(),
})
export type NodeRecord = DocumentOf<typeof nodeRecordSchema>

export interface StoredNode extends NodeRecord {
  /** Time of the store when this heartbeat was written, or shortly before, as far as that is proven; 0: it is not. */
  readonly writtenAtMs: number
}

export interface FleetView {
  readonly nodes: readonly StoredNode[]
  /** Calendar time of the store. */
  readonly storeTimeMs: number
}

/** True if `token` proves what `owner` says: the same node, incarnation, epoch and claim. */
export function isOwner(token: OwnerToken, owner: OwnerToken): boolean {
  return (
    token.nonce === owner.nonce &&
    token.epoch === owner.epoch &&
    token.node === owner.node &&
    token.incarnation === owner.incarnation
  )
}
