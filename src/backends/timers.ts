import type { Clock } from '../core/clock.js'

/** Time as the wrappers of backends use it; injected, so that a test controls it. */
export interface BackendTimers {
  readonly nowMs: Clock
  /** Calls `work` once after `ms`. @returns cancels it; may be called at any time */
  after(ms: number, work: () => void): () => void
}

/** Real timers; they keep no process alive. */
export function clockTimers(nowMs: Clock): BackendTimers {
  return {
    nowMs,
    after: (ms, work) => {
      const timer = setTimeout(work, ms)
      timer.unref()
      return () => clearTimeout(timer)
    },
  }
}

/** A timer that can be set again; that cancels the time before. */
export class Alarm {
  readonly #timers: BackendTimers
  #cancel: (() => void) | null = null

  constructor(timers: BackendTimers) {
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
