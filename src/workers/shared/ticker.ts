import { unrefTimer } from '../../core/clock.js'
import type { Clock } from '../../core/clock.js'

/**
 * Common clock of all threads of this process. `performance.now()` counts from each thread's own start. Therefore this
 * clock adds the thread's difference to CLOCK_MONOTONIC, which all threads share.
 */
export function processClock(): Clock {
  const offsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now()
  return () => performance.now() + offsetMs
}

/**
 * Calls back every `periodMs` without drift. Each tick is due at a multiple of the period plus the phase. A late tick
 * does not move later ticks, so tickers of several threads on one clock keep the distance of their phases. If a tick is
 * more than a period late, the missed ticks are counted but not repeated. So the callback must use the clock, and not
 * count its calls.
 */
export class Ticker {
  /** Number of ticks that began more than one period late. */
  missed = 0
  #cancel: (() => void) | null = null
  #dueMs = 0
  #periodMs: number
  readonly #phaseMs: number
  readonly #clock: Clock
  readonly #onTick: (nowMs: number, latenessMs: number) => void
  readonly #setTimer: typeof unrefTimer

  /** @param every  period and phase in ms of the clock; the default phase is 0 */
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

  /**
   * Sets the period in ms. Later ticks come at multiples of the new period. If this period is shorter, the next tick
   * comes sooner.
   */
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
    // The timer is set before the callback, because an exception in the callback must not stop the tick of all calls.
    this.#cancel = this.#setTimer(Math.max(0, this.#dueMs - this.#clock()), this.#run)
    this.#onTick(nowMs, latenessMs)
  }
}
