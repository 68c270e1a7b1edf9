/**
 * Maximum number of steps in one check of a tool's arguments. A step is a visit of a schema, a list entry that is
 * examined, or ten instructions of a pattern. A step takes about half a microsecond. Checks of real tools need some
 * thousand steps. Without this limit a schema of 1 KB could need any number of steps (`anyOf` of two references to an
 * `anyOf` of two references …).
 */
const CHECK_STEPS_MAX = 100_000

export class TooManySteps extends Error {}

// All checks of a thread can share one counter, because a check is never interrupted.
let left = Infinity

/**
 * Runs work that counts steps. Nested work counts the steps of the outer work.
 * @throws TooManySteps above CHECK_STEPS_MAX steps, or if the recursion is too deep for the stack
 */
export function withinSteps<T>(work: () => T): T {
  if (left !== Infinity) return work()
  left = CHECK_STEPS_MAX
  try {
    return work()
  } catch (thrown) {
    throw thrown instanceof RangeError ? new TooManySteps() : thrown
  } finally {
    left = Infinity
  }
}

/** @throws TooManySteps */
export function spendSteps(steps: number): void {
  left -= steps
  if (left < 0) throw new TooManySteps()
}
