/**
 * Clock in monotonic milliseconds with a fraction. All threads of a process have one time base (CLOCK_MONOTONIC). Pure
 * layers never read a clock: they receive the time as `nowMs`.
 */
export type Clock = () => number

/**
 * Clock in calendar milliseconds (`Date.now()`), only for times that leave the process, for example in records, tokens
 * and log lines.
 */
export type WallClock = () => number

/**
 * Calls `run` once after `ms` milliseconds. The timer does not keep the process alive.
 * @returns a function that cancels the timer at any time
 */
export function unrefTimer(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms).unref()
  return () => clearTimeout(timer)
}

/** Time and reason of a state machine's next call; the reason is for operators. */
export interface Wake {
  readonly atMs: number
  readonly reason: string
}
