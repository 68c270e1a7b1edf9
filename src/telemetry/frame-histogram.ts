import { smallArray } from '../core/small-arrays.js'

/**
 * A histogram for what happens thousands of times a second. Log-linear: 16 buckets an octave, so a value is known
 * within 6.25 %; all state is 32-bit words that one thread adds to and any thread may read. A worker keeps one in
 * shared memory and the main thread adds the difference since its last read to the Prometheus buckets.
 *
 * Nothing is ever reset: a reader keeps the counts of its last read and takes differences, which are correct
 * when a word wraps. Observing costs a few nanoseconds and allocates nothing.
 */

const SUB_BITS = 4
const SUB_BUCKETS = 1 << SUB_BITS
/** Everything from 2^24 µs (16.8 s) on is counted as that. */
const OCTAVES_MAX = 24
const VALUE_US_MAX = 2 ** OCTAVES_MAX - 1
const BUCKETS = (OCTAVES_MAX - SUB_BITS + 1) * SUB_BUCKETS
/** Words after the buckets: the sum of all values in µs, modulo 2^32. */
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
   * @param memory `FRAME_HISTOGRAM_BYTES` zeroed bytes; shared when another thread reads, its own when absent.
   */
  constructor(memory?: ArrayBufferLike) {
    this.#words = memory === undefined ? smallArray(Uint32Array, WORDS) : new Uint32Array(memory, 0, WORDS)
  }

  /** Adds one value in milliseconds; below zero (two clocks that differ) counts as zero. Only from one thread. */
  observeMs(ms: number): void {
    let us = (ms * 1000 + 0.5) | 0
    // Also what `| 0` made of more than 2^31 µs, of NaN and of Infinity: never an index out of range.
    if (us < 0) us = ms > 0 ? VALUE_US_MAX : 0
    else if (us > VALUE_US_MAX || ms > 1e6) us = VALUE_US_MAX
    const words = this.#words
    const bucket = bucketOf(us)
    words[bucket] = (words[bucket] as number) + 1 // inside of the array: us is in range
    words[SUM] = (words[SUM] as number) + us
  }

  /**
   * The value that `q` of all values do not exceed, in milliseconds, rounded up to its bucket's end; NaN while empty.
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

  /** A reader that reports what was added since its last read. */
  reader(): FrameHistogramReader {
    return new FrameHistogramReader(this.#words)
  }
}

/** Takes differences of a histogram that another thread may be filling. */
export class FrameHistogramReader {
  readonly #words: Uint32Array
  readonly #seen = new Uint32Array(WORDS)

  constructor(words: Uint32Array) {
    this.#words = words
  }

  /**
   * Calls `add` for each bucket with news: its largest value in µs and how many values it got since the last read.
   * @returns the sum of the new values in µs; correct as long as it stays under 2^32 (71 minutes) between two reads.
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
