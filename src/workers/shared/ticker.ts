import { unrefTimer } from '../../core/clock.js'
import type { Clock } from '../../core/clock.js'

/**
 * The common clock of all threads of this process. `performance.now()` counts from each thread's own start, so
 * its distance to CLOCK_MONOTONIC (the same for all threads) is taken once per thread and added.
 */
export function processClock(): Clock {
  const offsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now()
  return () => performance.now() + offsetMs
}

/**
 * Calls back every `periodMs` without drift: each tick is due at a multiple of the period on the given clock, plus the
 * phase, and a late tick does not move the later ones. So tickers of several threads that share a clock keep the
 * distance of their phases, whenever each was started. A tick that is more than a period late is counted and not
 * repeated, so the callback must use the clock, not count its calls.
 */
export class Ticker {
  /** Ticks that began more than one period late. */
  missed = 0
  #cancel: (() => void) | null = null
  #dueMs = 0
  #periodMs: number
  readonly #phaseMs: number
  readonly #clock: Clock
  readonly #onTick: (nowMs: number, latenessMs: number) => void
  readonly #setTimer: typeof unrefTimer

  /** @param every  milliseconds of the clock; the default phase is 0 */
  constructor(
    every: { readonly periodMs: number; readonly phaseMs?: number },
    clock: Clock,
    onTick: (nowMs: number, latenessMs: number) => void,
    setTimer = unrefTimer,
  ) {
    this.#periodMs = every.periodMs
    this.#phaseMs = every.phaseMs ?? 0
    this.#clock = clock
    this.#onTick = onTick
    this.#setTimer = setTimer
  }

  /** Ticks come at multiples of this period from now on, the next one also if it was due later. */
  set periodMs(periodMs: number) {
    const isSooner = periodMs < this.#periodMs && this.running
    this.#periodMs = periodMs
    if (!isSooner) return
    this.stop()
    this.start()
  }

  get running(): boolean {
    return this.#cancel !== null
  }

  start(): void {
    if (this.#cancel !== null) return
    const nowMs = this.#clock()
    this.#dueMs = (Math.floor((nowMs - this.#phaseMs) / this.#periodMs) + 1) * this.#periodMs + this.#phaseMs
    this.#cancel = this.#setTimer(this.#dueMs - nowMs, this.#run)
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
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
    // Set before the callback, so that an exception in it does not stop the tick of all calls.
    this.#cancel = this.#setTimer(Math.max(0, this.#dueMs - this.#clock()), this.#run)
    this.#onTick(nowMs, latenessMs)
  }
}
