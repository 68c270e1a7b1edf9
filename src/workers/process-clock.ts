import type { Clock } from '../core/clock.js'

/**
 * The common clock of all threads of this process. `performance.now()` counts from each thread's own start, so
 * its distance to CLOCK_MONOTONIC (the same for all threads) is taken once per thread and added.
 */
export function processClock(): Clock {
  const offsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now()
  return () => performance.now() + offsetMs
}
