import type { Clock } from '../core/clock.js'

/**
 * Calls back every `periodMs` without drift: each tick is due at a multiple of the period on the given clock, plus the
 * phase, and a late one does not move those after it. So tickers of several threads that share a clock keep the distance
 * of their phases, whenever each was started. Ticks missed by more than a period are counted and not made up: who is
 * called looks at the clock, not at the number of calls.
 */
export class Ticker {
  /** Ticks that began more than one period late. */
  missed = 0
  #timer: NodeJS.Timeout | null = null
  #dueMs = 0
  readonly #periodMs: number
  readonly #phaseMs: number
  readonly #clock: Clock
  readonly #onTick: (nowMs: number, latenessMs: number) => void

  /** @param every  milliseconds of the clock; a phase is 0 when left out */
  constructor(
    every: { readonly periodMs: number; readonly phaseMs?: number }, clock: Clock, onTick: (nowMs: number, latenessMs: number) => void,
  ) {
    this.#periodMs = every.periodMs
    this.#phaseMs = every.phaseMs ?? 0
    this.#clock = clock
    this.#onTick = onTick
  }

  get running(): boolean {
    return this.#timer !== null
  }

  start(): void {
    if (this.#timer !== null) return
    const nowMs = this.#clock()
    this.#dueMs = (Math.floor((nowMs - this.#phaseMs) / this.#periodMs) + 1) * this.#periodMs + this.#phaseMs
    this.#timer = setTimeout(this.#run, this.#dueMs - nowMs)
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
