import { unrefTimer } from '../core/clock.js'
import type { Clock } from '../core/clock.js'

/** Clock and timers for the code around backends. They are passed as arguments, so that a test can control time. */
export interface BackendTimers {
  readonly nowMs: Clock
  /** Calls `work` once after `ms`. @returns a function that cancels the timer and may be called at any time */
  after(ms: number, work: () => void): () => void
}

/** @param after timers of the clock; if absent, real timers are used, which do not keep the process alive */
export function clockTimers(nowMs: Clock, after: BackendTimers['after'] = unrefTimer): BackendTimers {
  return { nowMs, after }
}

/** A timer that can be set again. `set` cancels an earlier wait. */
export class Alarm {
  readonly #timers: Pick<BackendTimers, 'after'>
  #cancel: (() => void) | null = null

  /** @param timers if absent, real timers are used, which do not keep the process alive */
  constructor(timers: Pick<BackendTimers, 'after'> = { after: unrefTimer }) {
    this.#timers = timers
  }

  get isSet(): boolean {
    return this.#cancel !== null
  }

  set(ms: number, work: () => void): void {
    this.#cancel?.()
    this.#cancel = this.#timers.after(ms, () => {
      this.#cancel = null
      work()
    })
  }

  clear(): void {
    this.#cancel?.()
    this.#cancel = null
  }
}
