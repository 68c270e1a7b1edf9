import type { Clock } from '../core/clock.js'

/**
 * Calls back every `periodMs` without drift: each tick is due at a multiple of the period after the start, and a
 * late one does not move those after it. Ticks missed by more than a period are counted and not made up: who is
 * called looks at the clock, not at the number of calls.
 */
export class Ticker {
  /** Ticks that began more than one period late. */
  missed = 0
  #timer: NodeJS.Timeout | null = null
  #dueMs = 0
  readonly #periodMs: number
  readonly #clock: Clock
  readonly #onTick: (nowMs: number, latenessMs: number) => void

  constructor(periodMs: number, clock: Clock, onTick: (nowMs: number, latenessMs: number) => void) {
    this.#periodMs = periodMs
    this.#clock = clock
    this.#onTick = onTick
  }

  get running(): boolean {
    return this.#timer !== null
  }

  start(): void {
    if (this.#timer !== null) return
    this.#dueMs = this.#clock() + this.#periodMs
    this.#timer = setTimeout(this.#run, this.#periodMs)
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  readonly #run = (): void => {
    const nowMs = this.#clock()
    const latenessMs = Math.max(0, nowMs - this.#dueMs)
    if (latenessMs > this.#periodMs) {
      const skipped = Math.floor(latenessMs / this.#periodMs)
      this.missed += skipped
      this.#dueMs += skipped * this.#periodMs
    }
    this.#dueMs += this.#periodMs
    // Before the callback: one that throws must not stop the clock of all other calls.
    this.#timer = setTimeout(this.#run, Math.max(0, this.#dueMs - this.#clock()))
    this.#onTick(nowMs, latenessMs)
  }
}
