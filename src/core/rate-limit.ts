import { LRUCache } from 'lru-cache'
import { atMost } from './at-most.js'

interface Bucket {
  tokens: number
  atMs: number
}

interface RateLimitOptions {
  /** Tokens that come back each second. */
  readonly perSecond: number
  /** Tokens of a full bucket. */
  readonly burst: number
  /** Keys that are remembered; the one not seen for longest is forgotten, and starts full again. */
  readonly keysMax: number
}

/** Token buckets by key. A key that is not remembered has a full bucket. */
export class RateLimit {
  readonly #buckets: LRUCache<string, Bucket>
  readonly #perSecond: number
  readonly #burst: number

  constructor(options: RateLimitOptions) {
    this.#buckets = new LRUCache(atMost(options.keysMax))
    this.#perSecond = options.perSecond
    this.#burst = options.burst
  }

  /** Takes one token. @returns 0, or the whole seconds after which there will be one. */
  take(key: string, nowMs: number): number {
    const bucket = this.#bucket(key, nowMs)
    if (bucket.tokens < 1) return this.#waitS(bucket)
    bucket.tokens -= 1
    return 0
  }

  /** Seconds until `key` has a token again; 0 when it has one. Takes nothing. */
  waitS(key: string, nowMs: number): number {
    const bucket = this.#buckets.peek(key)
    if (bucket === undefined) return this.#burst < 1 ? Infinity : 0
    this.#refill(bucket, nowMs)
    return bucket.tokens < 1 ? this.#waitS(bucket) : 0
  }

  #bucket(key: string, nowMs: number): Bucket {
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      bucket = { tokens: this.#burst, atMs: nowMs }
      this.#buckets.set(key, bucket)
    } else {
      this.#refill(bucket, nowMs)
    }
    return bucket
  }

  #refill(bucket: Bucket, nowMs: number): void {
    bucket.tokens = Math.min(this.#burst, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) * this.#perSecond) / 1000)
    bucket.atMs = nowMs
  }

  #waitS(bucket: Bucket): number {
    return Math.max(1, Math.ceil((1 - bucket.tokens) / this.#perSecond))
  }
}

/** A number a minute of each key, and a minute's worth at once. */
export function perMinute(count: number, keysMax = 1): RateLimit {
  return new RateLimit({ perSecond: count / 60, burst: count, keysMax })
}
