import { LRUCache } from 'lru-cache'
import { atMost } from './at-most.js'

interface Bucket {
  tokens: number
  atMs: number
}

interface RateLimitOptions {
  /** Number of tokens that are added each second. */
  readonly perSecond: number
  /** Number of tokens in a full bucket. */
  readonly burst: number
  /**
   * Maximum number of keys. Above this number, the least recently used key is dropped. If it comes again, it has a full
   * bucket.
   */
  readonly keysMax: number
}

/** Token buckets by key. A key without a stored bucket has a full bucket. */
export class RateLimit {
  readonly #buckets: LRUCache<string, Bucket>
  readonly #perSecond: number
  readonly #burst: number

  constructor(options: RateLimitOptions) {
    this.#buckets = new LRUCache(atMost(options.keysMax))
    this.#perSecond = options.perSecond
    this.#burst = options.burst
  }

  /**
   * Takes one token.
   * @returns 0 if a token was taken; otherwise whole seconds until the next token
   */
  take(key: string, nowMs: number): number {
    const bucket = this.#bucket(key, nowMs)
    if (bucket.tokens < 1) return this.#waitS(bucket)
    bucket.tokens -= 1
    return 0
  }

  /**
   * Returns the seconds until `key` has a token again; 0 if `key` has a token now. This method does not take a token.
   */
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

/** Returns a limit of `count` per minute for each key. All of a minute's tokens may be used at once. */
export function perMinute(count: number, keysMax = 1): RateLimit {
  return new RateLimit({ perSecond: count / 60, burst: count, keysMax })
}
