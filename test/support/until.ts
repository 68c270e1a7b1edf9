/** The longest pause between two looks. The first ones are shorter: what a test waits for is mostly nearly there. */
const PAUSE_MS_MAX = 10

/**
 * Waits until `condition` holds. It is the only way in which a fast test waits by the clock.
 * @throws Error with `what`, when it does not hold within `limitMs`; whatever `condition` throws
 */
export async function until(condition: () => boolean | Promise<boolean>, limitMs: number, what: string): Promise<void> {
  const deadlineMs = performance.now() + limitMs
  for (let pauseMs = 1; !(await condition()); pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    if (performance.now() > deadlineMs) throw new Error(`waited ${limitMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}

/** Whether `work` succeeds, such as a look at a service that may be away. */
export function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  )
}
