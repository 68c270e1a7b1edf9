/**
 * Monotonic milliseconds with a fraction, on one time base for all threads of a process (CLOCK_MONOTONIC).
 * Pure layers take `nowMs` from this clock as an argument and never read it themselves.
 */
export type Clock = () => number

/** Calendar milliseconds (`Date.now()`); only for what people read: records, tokens, log lines. */
export type WallClock = () => number

/** Calls `run` once after `ms`, and keeps no process alive. @returns a function that cancels it; it may be called at any time */
export function unrefTimer(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms).unref()
  return () => clearTimeout(timer)
}

/** When a state machine wants to be called again, and why; the reason is for operators. */
export interface Wake {
  readonly atMs: number
  readonly reason: string
}
