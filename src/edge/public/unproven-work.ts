import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import type { Clock } from '../../core/clock.js'

/**
 * Limit of unproven requests and connections on the main thread: a fifth of its time, and this much at once, which the
 * frames that were sent ahead outlast.
 */
const SHARE = 1 / 5
const AT_ONCE_MS = 10
/**
 * Unproven work begins only where this much is left: a tick's share. No request takes more than that; what lasts longer was
 * interrupted, or ran for the first time.
 */
const REQUEST_MS_MAX = 1
/** A connection costs the kernel and uWebSockets.js about this much beside what is measured here. */
const CONNECTION_MS = 0.03
/** The copy of an unproven body, a kilobyte: it is made while the body arrives, before the work that is measured. */
const BODY_MS_PER_KB = 0.001
/** All that uWebSockets.js parses in one go takes less. */
const JUST_NOW_MS = 20
/** A carrier's address counts as known for this long after its last proven request. */
const KNOWN_MS = 3_600_000
/** Known addresses; the one whose proof is oldest is forgotten. */
const KNOWN_MAX = 10_000

/**
 * The one budget for all unproven work of the public port: heads, bodies, signatures, new connections. Where it is spent,
 * what is unproven is closed unread. It is measured, not counted, so that it holds on a slow machine, too.
 */
export class UnprovenWork {
  /** Milliseconds in all. */
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

  /** Does the work of one request, which counts unless `proved` is called meanwhile. */
  count(work: () => void): void {
    const fromMs = this.#clock()
    this.#proven = false
    work()
    if (!this.#proven) this.#took(Math.min(REQUEST_MS_MAX, this.#clock() - fromMs))
  }

  /** A connection was accepted. */
  connection(): void {
    this.#took(CONNECTION_MS)
  }

  /** An unproven body has come. */
  body(bytes: number): void {
    this.#took((bytes / 1024) * BODY_MS_PER_KB)
  }

  /** The request that is being worked on is proven, and its address known. */
  proved(address: string): void {
    this.#proven = true
    this.#known.set(address, this.#clock())
  }

  /** True if a request of this address was proven just now, so that its answer may not have left yet. */
  wasProvenJustNow(address: string): boolean {
    return this.#clock() - (this.#known.get(address) ?? -Infinity) < JUST_NOW_MS
  }

  /** True if a request of this address was proven lately. */
  isKnown(address: string): boolean {
    const provenAtMs = this.#known.get(address)
    return provenAtMs !== undefined && this.#clock() - provenAtMs < KNOWN_MS
  }

  /** True if nothing unproven may be done any more in this tick. */
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
