import { TIMELINE_MARKS_MAX } from '../core/limits.js'
import type { TimelineMark } from './record.js'

/** Of the bound, what is kept from the beginning: it explains the start, as the rest explains the end. */
const FIRST_SHARE = 0.25

/**
 * The marks of one call, in a bounded ring. The first quarter stays for good; of what comes then the newest stay, and
 * those between are counted in `dropped`.
 */
export class Timeline {
  dropped = 0
  readonly #zeroMs: number
  readonly #firstMax: number
  readonly #ringMax: number
  readonly #first: TimelineMark[] = []
  /** The newest, from `#oldest` on around its end. */
  readonly #ring: TimelineMark[] = []
  #oldest = 0

  /**
   * @param zeroMs  the webhook, on the clock of `add`
   * @param before  marks of an earlier life of the call
   */
  constructor(zeroMs: number, before: readonly TimelineMark[], marksMax = TIMELINE_MARKS_MAX) {
    this.#zeroMs = zeroMs
    this.#firstMax = Math.floor(marksMax * FIRST_SHARE)
    this.#ringMax = marksMax - this.#firstMax
    for (const mark of before) this.put(mark)
  }

  get length(): number {
    return this.#first.length + this.#ring.length
  }

  /** All that are kept, in the order in which they came. A copy. */
  get marks(): TimelineMark[] {
    return [...this.#first, ...this.#ring.slice(this.#oldest), ...this.#ring.slice(0, this.#oldest)]
  }

  /** The newest `count` of them. */
  newest(count: number): TimelineMark[] {
    if (this.#ring.length < count) return this.marks.slice(-count)
    return Array.from({ length: count }, (_, i) => (
      this.#ring[(this.#oldest + this.#ring.length - count + i) % this.#ring.length] as TimelineMark)) // within the ring
  }

  add(name: string, nowMs: number, detail?: string): void {
    const atMs = nowMs - this.#zeroMs
    this.put(detail === undefined ? { name, atMs } : { name, atMs, detail })
  }

  /** Takes a mark whose time runs from the webhook already. */
  put(mark: TimelineMark): void {
    if (this.#first.length < this.#firstMax) this.#first.push(mark)
    else if (this.#ring.length < this.#ringMax) this.#ring.push(mark)
    else {
      this.#ring[this.#oldest] = mark
      this.#oldest = (this.#oldest + 1) % this.#ringMax
      this.dropped++
    }
  }
}
