import { smallArray } from '../core/small-arrays.js'

/**
 * Histogram for events that happen thousands of times a second. It is log-linear with 16 buckets per octave, so each
 * value is accurate to 6.25 %. All state is in 32-bit words. Only one thread adds values, but any thread may read them.
 * Each worker has a histogram in shared memory, and the main thread adds the new values to the Prometheus buckets.
 *
 * The words are never reset. A reader uses the difference from its last read, which is correct even if a word
 * overflows. Adding a value takes a few nanoseconds and does not allocate memory.
 */

const SUB_BITS = 4
const SUB_BUCKETS = 1 << SUB_BITS
/** Values of 2^24 µs (16.8 s) and more count as the largest value. */
const OCTAVES_MAX = 24
const VALUE_US_MAX = 2 ** OCTAVES_MAX - 1
const BUCKETS = (OCTAVES_MAX - SUB_BITS + 1) * SUB_BUCKETS
/** Index of the word after the buckets: the sum of all values in µs, modulo 2^32. */
const SUM = BUCKETS
const WORDS = BUCKETS + 1

/** Bytes of one histogram: 1,348. */
export const FRAME_HISTOGRAM_BYTES = WORDS * Uint32Array.BYTES_PER_ELEMENT

/** Bucket of a whole number of microseconds, 0 to 2^24 - 1. */
function bucketOf(us: number): number {
  if (us < SUB_BUCKETS) return us
  const octave = 31 - Math.clz32(us)
  const shift = octave - SUB_BITS
  return (shift + 1) * SUB_BUCKETS + ((us >>> shift) & (SUB_BUCKETS - 1))
}

/** The largest value that a bucket holds, in microseconds. */
function bucketTopUs(bucket: number): number {
  if (bucket < SUB_BUCKETS) return bucket
  const shift = Math.floor(bucket / SUB_BUCKETS) - 1
  const low = ((bucket % SUB_BUCKETS) + SUB_BUCKETS) * 2 ** shift
  return low + 2 ** shift - 1
}

export class FrameHistogram {
  readonly #words: Uint32Array

  /**
   * @param memory  `FRAME_HISTOGRAM_BYTES` zeroed bytes; they are shared if another thread reads. If absent, the
   * histogram allocates its own memory
   */
  constructor(memory?: ArrayBufferLike) {
    this.#words = memory === undefined ? smallArray(Uint32Array, WORDS) : new Uint32Array(memory, 0, WORDS)
  }

  /**
   * Adds one value in milliseconds. A value below zero counts as zero; it occurs if two clocks differ. Call this method
   * only from one thread.
   */
  observeMs(ms: number): void {
    let us = (ms * 1000 + 0.5) | 0
    // `| 0` gives a wrong number for NaN, Infinity and more than 2^31 µs. After this correction the index is always in
    // range.
    if (us < 0) us = ms > 0 ? VALUE_US_MAX : 0
    else if (us > VALUE_US_MAX || ms > 1e6) us = VALUE_US_MAX
    const words = this.#words
    const bucket = bucketOf(us)
    words[bucket] = (words[bucket] as number) + 1 // always in the array, because `us` is in range
    words[SUM] = (words[SUM] as number) + us
  }

  /**
   * Quantile `q` of all values in ms, rounded up to the end of its bucket; NaN while the histogram is empty.
   * @param q 0 to 1
   */
  quantileMs(q: number): number {
    let total = 0
    for (let i = 0; i < BUCKETS; i++) total += this.#words[i] as number
    if (total === 0) return NaN
    let rest = Math.max(1, Math.ceil(q * total))
    for (let i = 0; i < BUCKETS; i++) {
      rest -= this.#words[i] as number
      if (rest <= 0) return bucketTopUs(i) / 1000
    }
    return VALUE_US_MAX / 1000
  }

  /** Reader of the values that were added since its last read. */
  reader(): FrameHistogramReader {
    return new FrameHistogramReader(this.#words)
  }
}

/** Calculates differences of a histogram to which another thread may be adding values. */
export class FrameHistogramReader {
  readonly #words: Uint32Array
  readonly #seen = new Uint32Array(WORDS)

  constructor(words: Uint32Array) {
    this.#words = words
  }

  /**
   * Calls `add` for each bucket that has new values, with the bucket's largest value in µs and the number of new
   * values.
   * @returns the sum of the new values in µs. It is correct if less than 2^32 µs (71 minutes) were added since the last
   * read
   */
  take(add: (topUs: number, count: number) => void): number {
    for (let i = 0; i < BUCKETS; i++) {
      const now = Atomics.load(this.#words, i)
      const added = (now - (this.#seen[i] as number)) >>> 0
      if (added === 0) continue
      this.#seen[i] = now
      add(bucketTopUs(i), added)
    }
    const sum = Atomics.load(this.#words, SUM)
    const addedUs = (sum - (this.#seen[SUM] as number)) >>> 0
    this.#seen[SUM] = sum
    return addedUs
  }
}
