import type { Clock } from '../../core/clock.js'

/** Time as the wrappers use it, in one piece so that a test can hold it still. */
export interface BackendTimers {
  readonly nowMs: Clock
  /** Calls `work` once after `ms`. @returns what takes that back; may be called at any time */
  after(ms: number, work: () => void): () => void
}

/** The real thing. Its timers keep no process alive. */
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
