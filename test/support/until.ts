import type { ChildProcess } from 'node:child_process'
import { messageOf } from '../../src/core/errors.js'

/** Maximum pause in ms between two checks. The first pauses are shorter, because most conditions become true soon. */
const PAUSE_MS_MAX = 10
/**
 * Minimum limit in ms: it ends a hopeless wait and measures nothing, because on a busy machine a process may pause for
 * seconds.
 */
const LIMIT_MS_MIN = 60_000
/** How much slower this machine is than the one for which limits are written (scripts/tests/slowness.mjs). */
const SLOWNESS = Number(process.env['TEST_SLOWNESS'] ?? 1)

/**
 * Waits until `condition` holds. Fast tests wait by the clock only with this function.
 * @param limitMs  limit in ms on the reference machine; smaller values count as LIMIT_MS_MIN
 * @throws Error with `what`, if it does not hold within the limit; any error of `condition`
 */
export async function until(condition: () => boolean | Promise<boolean>, limitMs: number, what: string): Promise<void> {
  const waitMs = Math.round(Math.max(limitMs, LIMIT_MS_MIN) * SLOWNESS)
  const deadlineMs = performance.now() + waitMs
  for (let pauseMs = 1; !(await condition()); pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    if (performance.now() > deadlineMs) throw new Error(`waited ${waitMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}

/** Maximum number of characters of a program's output in a failure's message. */
const SAID_CHARS = 2000

/**
 * Waits like `until` for a program: fails at once if the program ends before it is ready.
 * @param said  output of the program
 * @throws Error with `what`, the program's exit, and the end of its output
 */
export async function comesUp(
  child: ChildProcess,
  isUp: () => boolean | Promise<boolean>,
  limitMs: number,
  what: string,
  said: () => string = () => '',
): Promise<void> {
  let ended = child.exitCode !== null || child.signalCode !== null
  const looks = async (): Promise<boolean> => {
    if (await isUp()) return true
    const { exitCode, signalCode } = child
    // The last output of the program comes after its end.
    if (ended) throw new Error(`${what}: it ended with ${exitCode ?? signalCode ?? 'nothing'}`)
    ended = exitCode !== null || signalCode !== null
    return false
  }
  try {
    await until(looks, limitMs, what)
  } catch (thrown) {
    throw new Error(`${messageOf(thrown)}: ${said().slice(-SAID_CHARS)}`, { cause: thrown })
  }
}

/** True if `work` succeeds, such as a request to a service that may be down. */
export function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  )
}
