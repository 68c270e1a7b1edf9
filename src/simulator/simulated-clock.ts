import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { FRAME_MS } from '../core/units.js'
import type { CallClock } from '../carrier/caller-leg.js'

/**
 * Step of the clock in ms: half a frame. Calls need no finer clock, and each step costs two turns of the event loop.
 */
const STEP_MS = FRAME_MS / 2
/** Start of the clock in ms: any time that is not 0. */
export const START_MS = 100_000
/**
 * Maximum time in ms by which a paced clock catches up with real time. If the machine pauses for longer, or if the
 * clock was stopped, the calls wait too: otherwise deadlines of the calls would pass while their work could not run.
 */
const CATCH_UP_MS = 50

interface Timer {
  readonly atMs: number
  readonly wake: () => void
}

/**
 * Clock of calls on one thread, as fast as the machine allows. Only `step` advances it. Work outside the calls needs
 * real time: `hold` and `pace` wait for it.
 */
export class SimulatedClock implements CallClock {
  #nowMs = START_MS
  readonly #waiting = new Set<Timer>()
  #stepping: Promise<void> | null = null
  /**
   * Number of running tasks that stop the clock (`held`), and of running tasks that limit the clock to real time
   * (`paced`).
   */
  readonly #real = { held: 0, paced: 0 }
  /** Start of the oldest running `paced` task, in real time and in the call's time. */
  #pacedSince = { realMs: 0, callMs: 0 }

  readonly nowMs = (): number => this.#nowMs

  /** Time in ms since the clock was created. */
  get elapsedMs(): number {
    return this.#nowMs - START_MS
  }

  /** Calls `work` once after `ms` of this clock. @returns a function that cancels it */
  readonly after = (ms: number, work: () => void): (() => void) => {
    const entry = { atMs: this.#nowMs + ms, wake: work }
    this.#waiting.add(entry)
    return () => this.#waiting.delete(entry)
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve)
    })
  }

  subscribe(listener: (nowMs: number) => void): () => void {
    let cancel = (): void => undefined
    const run = (): void => {
      cancel = this.after(FRAME_MS, run)
      listener(this.#nowMs)
    }
    cancel = this.after(FRAME_MS, run)
    return () => cancel()
  }

  /** Stops the clock until `work` is settled, as if `work` took no time. `work` must not wait for this clock. */
  hold<T>(work: Promise<T>): Promise<T> {
    return this.#while('held', work)
  }

  /** Limits the clock to real time until `work` is settled, so that slow work is slow in the calls too. */
  pace<T>(work: Promise<T>): Promise<T> {
    if (this.#real.paced === 0) this.#pacedSince = { realMs: performance.now(), callMs: this.#nowMs }
    return this.#while('paced', work)
  }

  async #while<T>(how: 'held' | 'paced', work: Promise<T>): Promise<T> {
    this.#real[how]++
    try {
      return await work
    } finally {
      this.#real[how]--
    }
  }

  /** Runs all due work, then moves the clock by 10 ms. Steps that are requested together are one step. */
  step(): Promise<void> {
    this.#stepping ??= this.#step().finally(() => {
      this.#stepping = null
    })
    return this.#stepping
  }

  async #step(): Promise<void> {
    // A message to a port is delivered in the next turn of the event loop, and its answer in the following turn.
    await turn()
    await turn()
    while (this.#real.held > 0) await sleep(1)
    if (this.#real.paced > 0) {
      const { realMs, callMs } = this.#pacedSince
      const aheadMs = this.#nowMs - callMs - (performance.now() - realMs)
      if (aheadMs > 0) await sleep(aheadMs)
      else if (aheadMs < -CATCH_UP_MS) this.#pacedSince.realMs -= aheadMs + CATCH_UP_MS
    }
    this.#advance(STEP_MS)
  }

  /** Advances the clock and calls all due work, earliest first. */
  #advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    for (let due = this.#earliest(); due !== null && due.atMs <= untilMs; due = this.#earliest()) {
      this.#waiting.delete(due)
      this.#nowMs = Math.max(this.#nowMs, due.atMs)
      due.wake()
    }
    this.#nowMs = untilMs
  }

  /** @returns the earliest timer; of several timers with the same time, the timer that was set first */
  #earliest(): Timer | null {
    let earliest: Timer | null = null
    for (const timer of this.#waiting) if (earliest === null || timer.atMs < earliest.atMs) earliest = timer
    return earliest
  }
}
