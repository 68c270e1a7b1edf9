import type { ChildProcess } from 'node:child_process'
import { messageOf } from '../../src/core/errors.js'

/** The longest pause between two looks. The first ones are shorter: what a test waits for is mostly nearly there. */
const PAUSE_MS_MAX = 10
/** A limit ends a wait that is in vain, and measures nothing: on a busy machine a process may stand still for seconds. */
const LIMIT_MS_MIN = 20_000

/**
 * Waits until `condition` holds. It is the only way in which a fast test waits by the clock.
 * @param limitMs  at least LIMIT_MS_MIN counts
 * @throws Error with `what`, when it does not hold within the limit; whatever `condition` throws
 */
export async function until(condition: () => boolean | Promise<boolean>, limitMs: number, what: string): Promise<void> {
  const waitMs = Math.max(limitMs, LIMIT_MS_MIN)
  const deadlineMs = performance.now() + waitMs
  for (let pauseMs = 1; !(await condition()); pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    if (performance.now() > deadlineMs) throw new Error(`waited ${waitMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}

/** How much of what a program said its failure names. */
const SAID_CHARS = 2000

/**
 * As `until`, for a program: fails at once when it ends before it is up.
 * @param said  what the program printed
 * @throws Error with `what`, how the program ended, and the last that it said
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
    // Its last output comes after its end.
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

/** Whether `work` succeeds, such as a look at a service that may be away. */
export function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  )
}
