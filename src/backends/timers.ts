import { unrefTimer } from '../core/clock.js'
import type { Clock } from '../core/clock.js'

/** Time for the wrappers of backends; injected, so that a test controls it. */
export interface BackendTimers {
  readonly nowMs: Clock
  /** Calls `work` once after `ms`. @returns a function that cancels it; it may be called at any time */
  after(ms: number, work: () => void): () => void
}

/** @param after  timers of that clock; real ones, which keep no process alive, when not given */
export function clockTimers(nowMs: Clock, after: BackendTimers['after'] = unrefTimer): BackendTimers {
  return { nowMs, after }
}

/** A timer that can be set again; `set` cancels the earlier one. */
export class Alarm {
  readonly #timers: Pick<BackendTimers, 'after'>
  #cancel: (() => void) | null = null

  /** @param timers  real ones, which keep no process alive, when not given */
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
