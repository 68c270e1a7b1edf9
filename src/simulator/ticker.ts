import { FRAME_MS } from '../core/units.js'

/** Frames made good at most after this thread was held up; the rest is skipped and counted. */
const CATCH_UP_TICKS_MAX = 50

export type TickListener = (nowMs: number) => void

/**
 * One 20 ms clock for every call of a thread. Due times are multiples of 20 ms from the first tick, so that a late
 * timer does not slow the calls down: after a hold-up the missed ticks run at once, as a carrier's other machine would
 * have sent them in the meantime. It runs only while someone listens.
 */
export class SharedTicker {
  /** Ticks that ran more than one frame late. */
  ticksLate = 0
  /** Ticks that were given up after a hold-up of more than a second. */
  ticksSkipped = 0
  /** The worst lateness seen. */
  latenessMsMax = 0
  readonly #listeners = new Set<TickListener>()
  #timer: NodeJS.Timeout | null = null
  #dueMs = 0

  /** Calls `listener` every 20 ms until the returned function is called. */
  subscribe(listener: TickListener): () => void {
    this.#listeners.add(listener)
    if (this.#timer === null) {
      this.#dueMs = performance.now() + FRAME_MS
      this.#arm()
    }
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size > 0 || this.#timer === null) return
      clearTimeout(this.#timer)
      this.#timer = null
    }
  }

  #arm(): void {
    this.#timer = setTimeout(() => { this.#run() }, Math.max(0, this.#dueMs - performance.now()))
  }

  #run(): void {
    const nowMs = performance.now()
    const lateMs = nowMs - this.#dueMs
    this.latenessMsMax = Math.max(this.latenessMsMax, lateMs)
    if (lateMs > FRAME_MS) this.ticksLate++
    if (lateMs > CATCH_UP_TICKS_MAX * FRAME_MS) {
      const skipped = Math.floor(lateMs / FRAME_MS) - CATCH_UP_TICKS_MAX
      this.ticksSkipped += skipped
      this.#dueMs += skipped * FRAME_MS
    }
    while (this.#dueMs <= nowMs && this.#listeners.size > 0) {
      for (const listener of this.#listeners) listener(this.#dueMs)
      this.#dueMs += FRAME_MS
    }
    if (this.#listeners.size > 0) this.#arm()
    else this.#timer = null
  }
}

/** The clock that all calls of this thread share. */
export const sharedTicker = new SharedTicker()
