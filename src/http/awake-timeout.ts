/**
 * Delay of a timer, in milliseconds, above which the thread counts as blocked. The awaited data may then be in the
 * sockets, not read yet.
 */
const STALLED_MS = 50

/**
 * Runs `expire` after `ms` milliseconds, unless the thread is blocked at the end of this time (by a paused process or a
 * long garbage collection). In this case the timer starts again. An ordinary timer would fire before waiting answers
 * are read.
 * @returns a function that cancels the timer
 */
export function awakeTimeout(ms: number, expire: () => void): () => void {
  let dueMs = performance.now() + ms
  const fire = (): void => {
    const nowMs = performance.now()
    if (nowMs - dueMs < STALLED_MS) {
      expire()
      return
    }
    dueMs = nowMs + ms
    timer = setTimeout(fire, ms)
  }
  let timer = setTimeout(fire, ms)
  return () => {
    clearTimeout(timer)
  }
}
