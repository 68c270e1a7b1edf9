/**
 * Steps of one check of a tool's arguments: a visit of a schema, a look at one of its lists' entries, ten instructions of a
 * pattern. A step is about half a microsecond, and the checks of real tools take some thousand; a schema of 1 KB can ask for
 * any number (`anyOf` of two references to an `anyOf` of two references …).
 */
const CHECK_STEPS_MAX = 100_000

export class TooManySteps extends Error {}

// A check is one piece of work without a pause, so that checks of one thread can share a counter.
let left = Infinity

/**
 * Does work that spends steps; within other such work, those of that.
 * @throws TooManySteps once it has spent more than CHECK_STEPS_MAX, or calls itself deeper than the stack allows
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
