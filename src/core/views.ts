/** An array with the method `subarray`, which creates views. */
interface Viewable<T> {
  readonly length: number
  subarray(from: number, to: number): T
}

const PLACES = 8

/**
 * Cache of views of one array, because `subarray` allocates a new view each time. With a cached view, `set` and `fill`
 * do not allocate, and copy seven times as fast as a loop over the samples. The hot path uses few positions and lengths
 * of a ring or a scratch area, so most views are in the cache. A missing view costs as much as `subarray`.
 */
export class Views<T extends Viewable<T>> {
  // Values of the last request. On a steady line the next request has equal values.
  #lastFrom = -1
  #lastLength = -1
  #last: T
  readonly #whole: T
  readonly #views: T[]
  readonly #from = new Int32Array(PLACES).fill(-1)

  constructor(whole: T) {
    this.#whole = whole
    this.#last = whole
    this.#views = Array.from({ length: PLACES }, () => whole)
  }

  /** Returns a view of the elements `from` to `from + length`. Use the view at once and do not keep it. */
  at(from: number, length: number): T {
    if (from === this.#lastFrom && length === this.#lastLength) return this.#last
    // The place comes from the middle bits of `from`, because frames of 20 ms begin at multiples of 160 or 320 samples.
    const place = ((from >> 5) ^ (from >> 8) ^ (length >> 5)) & (PLACES - 1)
    let view = this.#views[place] as T
    if (this.#from[place] !== from || view.length !== length) {
      view = this.#whole.subarray(from, from + length)
      this.#views[place] = view
      this.#from[place] = from
    }
    this.#last = view
    this.#lastFrom = from
    this.#lastLength = length
    return view
  }
}
