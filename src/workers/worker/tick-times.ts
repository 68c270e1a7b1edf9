/** Number of ticks whose times are remembered: more than a call may rest. A power of two. */
const TICKS_KEPT = 64

/**
 * Times of the last ticks of a media worker, by the tick's number. A frame that waited is processed with the time of
 * the tick at which it came.
 */
export class TickTimes {
  /** Number of the next tick. */
  next = 0
  readonly #atMs = new Float64Array(TICKS_KEPT)
  readonly #readMs = new Float64Array(TICKS_KEPT)

  /**
   * @param readMs  time up to which the main thread had read the sockets
   * @returns the tick's number
   */
  add(nowMs: number, readMs: number): number {
    this.#atMs[this.next % TICKS_KEPT] = nowMs
    this.#readMs[this.next % TICKS_KEPT] = readMs
    return this.next++
  }

  /** Number of the oldest remembered tick. */
  get oldest(): number {
    return Math.max(0, this.next - TICKS_KEPT)
  }

  atMs(tick: number): number {
    return this.#atMs[tick % TICKS_KEPT] as number
  }

  readMs(tick: number): number {
    return this.#readMs[tick % TICKS_KEPT] as number
  }
}
