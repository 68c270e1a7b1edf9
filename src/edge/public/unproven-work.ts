import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import type { Clock } from '../../core/clock.js'

/**
 * Limit of unproven requests and connections on the main thread: a fifth of its time. The second constant is the
 * maximum time in ms without a pause, less than playout's lead.
 */
const SHARE = 1 / 5
const AT_ONCE_MS = 10
/**
 * Minimum time in ms that must be left in the budget when unproven work begins. Only an interrupted or a first request
 * takes longer.
 */
const REQUEST_MS_MAX = 1
/** Approximate cost in ms of a connection in the kernel and uWebSockets.js, beside the measured time. */
const CONNECTION_MS = 0.03
/** Cost in ms of copying each kilobyte of an unproven body: it is copied while it arrives, before the measured work. */
const BODY_MS_PER_KB = 0.001
/** Maximum time in ms that uWebSockets.js parses without a pause. */
const JUST_NOW_MS = 20
/** Time in ms that a carrier's address counts as known after its last proven request. */
const KNOWN_MS = 3_600_000
/** Maximum number of known addresses; the address with the oldest proof is forgotten. */
const KNOWN_MAX = 10_000

/**
 * Budget for all unproven work of the public port: heads, bodies, signatures, new connections. When it is used up,
 * unproven requests are closed unread. The work is measured in time, not counted, so the limit also holds on a slow
 * machine.
 */
export class UnprovenWork {
  /** Total time in ms. */
  totalMs = 0
  readonly #clock: Clock
  readonly #known: LRUCache<string, number>
  #leftMs = AT_ONCE_MS
  #atMs: number
  #proven = false

  constructor(clock: Clock) {
    this.#clock = clock
    this.#atMs = clock()
    this.#known = new LRUCache(atMost(KNOWN_MAX))
  }

  /** Does the work of one request. The work counts unless `proved` is called during the work. */
  count(work: () => void): void {
    const fromMs = this.#clock()
    this.#proven = false
    work()
    if (!this.#proven) this.#took(Math.min(REQUEST_MS_MAX, this.#clock() - fromMs))
  }

  /** Counts a connection that was accepted. */
  connection(): void {
    this.#took(CONNECTION_MS)
  }

  /** Counts an unproven body that has arrived. */
  body(bytes: number): void {
    this.#took((bytes / 1024) * BODY_MS_PER_KB)
  }

  /** Marks the current request as proven, and its address as known. */
  proved(address: string): void {
    this.#proven = true
    this.#known.set(address, this.#clock())
  }

  /** True if a request of this address was proven just now, so that its answer may not have left yet. */
  wasProvenJustNow(address: string): boolean {
    return this.#clock() - (this.#known.get(address) ?? -Infinity) < JUST_NOW_MS
  }

  /** True if a request of this address was proven recently. */
  isKnown(address: string): boolean {
    const provenAtMs = this.#known.get(address)
    return provenAtMs !== undefined && this.#clock() - provenAtMs < KNOWN_MS
  }

  /** True if no unproven work may be done any more in this tick. */
  get spent(): boolean {
    return this.#left() < REQUEST_MS_MAX
  }

  #took(ms: number): void {
    this.totalMs += ms
    this.#leftMs = Math.max(0, this.#left() - ms)
  }

  #left(): number {
    const nowMs = this.#clock()
    this.#leftMs = Math.min(AT_ONCE_MS, this.#leftMs + (nowMs - this.#atMs) * SHARE)
    this.#atMs = nowMs
    return this.#leftMs
  }
}
