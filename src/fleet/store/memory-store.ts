import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import type { WallClock } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import {
  CALL_TTL_MS,
  CLAIM_TTL_MS,
  NODES_MAX,
  NODE_FORGET_MS,
  OVER_TTL_MS,
  STORED_STREAMS_MAX,
  TALLY_PARTS_MAX,
} from '../../core/limits.js'
import { isOwner } from './call-store.js'
import type {
  CallStore,
  FleetView,
  NodeRecord,
  OwnedKey,
  Owner,
  OwnerToken,
  StoredCall,
  StoredChange,
  StoredNode,
  StoredWrite,
} from './call-store.js'

/**
 * Limits of a store in a process's memory: number of calls, including ended calls, and number of values of `once`. The
 * oldest entries are dropped first.
 */
const MEMORY_CALLS_MAX = 100_000
const MEMORY_ONCE_MAX = 100_000
const MEMORY_TALLIES_MAX = 20_000

interface Entry {
  owner: OwnerToken
  phase: StoredCall['phase']
  overAtMs?: number
  state: Uint8Array | null
  log: Uint8Array[]
  /** Nonces that have opened a stream. */
  readonly streams: Set<string>
}

/** Limits of a `MemoryStore`, for tests. */
interface MemoryBounds {
  readonly calls: number
  readonly once: number
}

/** Store in the memory of one process. Entries expire at their next read; there are no timers. */
export class MemoryStore implements CallStore {
  /** Counts of entries that the store could not hold; plain fields, copied at each scrape. */
  readonly counters = {
    /**
     * Entries that were dropped because newer entries needed space. Ended calls are dropped before live calls, the
     * least recently used first.
     */
    callsDropped: 0,
    onceDropped: 0,
    /** Heartbeats that were refused because the fleet has NODES_MAX nodes. */
    nodesRefused: 0,
  }
  readonly #clock: WallClock
  readonly #calls: LRUCache<string, Entry>
  readonly #once: LRUCache<string, string>
  readonly #tallies: LRUCache<string, Map<string, number>>
  readonly #nodes = new Map<string, StoredNode>()

  constructor(clock: WallClock, bounds: MemoryBounds = { calls: MEMORY_CALLS_MAX, once: MEMORY_ONCE_MAX }) {
    this.#clock = clock
    // Time to live of the cache's entries. Without `ttlResolution: 0`, the cache would use a timer to remember the time
    // for a millisecond.
    const expiry = { perf: { now: clock }, ttlResolution: 0 }
    this.#calls = new LRUCache({
      ...expiry,
      ...atMost(bounds.calls),
      dispose: (_entry, _key, reason) => {
        if (reason === 'evict') this.counters.callsDropped++
      },
    })
    this.#once = new LRUCache({
      ...expiry,
      ...atMost(bounds.once),
      dispose: (_value, _key, reason) => {
        if (reason === 'evict') this.counters.onceDropped++
      },
    })
    this.#tallies = new LRUCache({ ...expiry, ...atMost(MEMORY_TALLIES_MAX) })
  }

  claim(key: string, owner: Owner, expectedEpoch: number): Promise<StoredCall> {
    const entry = this.#calls.get(key)
    if (entry !== undefined && (entry.phase === 'over' || entry.owner.epoch !== expectedEpoch))
      return Promise.resolve(copyOf(entry))
    const claimed = entry ?? { owner: ownerToken(owner, 0), phase: 'claimed', state: null, log: [], streams: new Set() }
    claimed.owner = ownerToken(owner, expectedEpoch + 1)
    claimed.phase = 'claimed'
    const leftMs = entry === undefined ? 0 : this.#calls.getRemainingTTL(key)
    this.#calls.set(key, claimed, { ttl: Math.max(CLAIM_TTL_MS, leftMs) })
    return Promise.resolve(copyOf(claimed))
  }

  save(key: string, token: OwnerToken, change: StoredChange): Promise<'ok' | 'lost'> {
    const entry = this.#owned(key, token)
    if (entry === null || entry.phase === 'over') return Promise.resolve('lost')
    entry.phase = 'owned'
    if (change.state !== undefined) entry.state = change.state
    if (change.replace === true) entry.log = []
    if (change.append !== undefined) entry.log.push(...change.append)
    this.#calls.set(key, entry, { ttl: CALL_TTL_MS })
    return Promise.resolve('ok')
  }

  saveAll(writes: readonly StoredWrite[]): Promise<readonly ('ok' | 'lost')[]> {
    return Promise.all(writes.map(({ key, token, change }) => this.save(key, token, change)))
  }

  read(key: string): Promise<StoredCall | null> {
    const entry = this.#calls.get(key)
    return Promise.resolve(entry === undefined ? null : copyOf(entry))
  }

  attach(key: string, token: OwnerToken, nonce: string): Promise<'ok' | 'used' | 'lost'> {
    const entry = this.#owned(key, token)
    if (entry === null || entry.phase === 'over') return Promise.resolve('lost')
    if (entry.streams.has(nonce) || entry.streams.size >= STORED_STREAMS_MAX) return Promise.resolve('used')
    entry.streams.add(nonce)
    return Promise.resolve('ok')
  }

  over(key: string, token: OwnerToken): Promise<'ok' | 'lost'> {
    const entry = this.#owned(key, token)
    if (entry === null) return Promise.resolve('lost')
    if (entry.phase !== 'over') {
      entry.phase = 'over'
      entry.overAtMs = this.#clock()
      entry.state = null
      entry.log = []
      entry.streams.clear()
      this.#calls.set(key, entry, { ttl: OVER_TTL_MS })
    }
    return Promise.resolve('ok')
  }

  callsOf(node: string): Promise<readonly OwnedKey[]> {
    const keys: OwnedKey[] = []
    for (const [key, { owner, phase }] of this.#calls.entries())
      if (owner.node === node && phase !== 'over') keys.push({ key, incarnation: owner.incarnation })
    return Promise.resolve(keys)
  }

  once(key: string, value: string, ttlMs: number): Promise<string | null> {
    const standing = this.#once.get(key)
    if (standing === undefined) this.#once.set(key, value, { ttl: ttlMs })
    return Promise.resolve(standing ?? null)
  }

  standing(key: string): Promise<string | null> {
    return Promise.resolve(this.#once.get(key) ?? null)
  }

  settle(key: string, value: string, ttlMs: number): Promise<void> {
    if (this.#once.get(key) !== undefined) this.#once.set(key, value, { ttl: ttlMs })
    return Promise.resolve()
  }

  swap(key: string, expected: string | null, value: string, ttlMs: number): Promise<string | null> {
    const standing = this.#once.get(key) ?? null
    if (standing === expected) this.#once.set(key, value, { ttl: ttlMs })
    return Promise.resolve(standing)
  }

  tally(key: string, part: string, amount: number, ttlMs: number): Promise<number> {
    const parts = this.#tallies.get(key) ?? new Map<string, number>()
    const had = parts.get(part)
    if (amount > (had ?? 0) && (had !== undefined || parts.size < TALLY_PARTS_MAX)) {
      parts.set(part, amount)
      this.#tallies.set(key, parts, { ttl: ttlMs })
    }
    let others = 0
    for (const [name, each] of parts) if (name !== part) others += each
    return Promise.resolve(others)
  }

  beat(node: NodeRecord): Promise<FleetView> {
    const nowMs = this.#clock()
    for (const { name, writtenAtMs } of this.#nodes.values())
      if (nowMs - writtenAtMs > NODE_FORGET_MS) this.#nodes.delete(name)
    const before = this.#nodes.get(node.name)
    if (before === undefined && this.#nodes.size >= NODES_MAX) {
      this.counters.nodesRefused++
      return Promise.reject(
        new GatewayError('STORE_REFUSED', `the fleet has ${NODES_MAX} nodes already; allowed: at most ${NODES_MAX}`),
      )
    }
    const view = { nodes: [...this.#nodes.values()], storeTimeMs: nowMs }
    if (before?.incarnation !== node.incarnation || before.beat < node.beat)
      this.#nodes.set(node.name, { ...node, writtenAtMs: nowMs })
    return Promise.resolve(view)
  }

  leave(node: string, incarnation: string): Promise<void> {
    if (this.#nodes.get(node)?.incarnation === incarnation) this.#nodes.delete(node)
    return Promise.resolve()
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  #owned(key: string, token: OwnerToken): Entry | null {
    const entry = this.#calls.get(key)
    return entry !== undefined && isOwner(token, entry.owner) ? entry : null
  }
}

/** Owner with exactly these fields, because owners are compared and sent with all their fields. */
function ownerToken({ node, incarnation, nonce }: Owner, epoch: number): OwnerToken {
  return { node, incarnation, nonce, epoch }
}

function copyOf({ owner, phase, overAtMs, state, log }: Entry): StoredCall {
  return { owner, phase, ...(overAtMs === undefined ? {} : { overAtMs }), state, log: [...log] }
}
