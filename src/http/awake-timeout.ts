/** A timer that fires this late says that the thread stood still, and that what it waits for may be here unread. */
const STALLED_MS = 50

/**
 * Runs `expire` when `ms` have passed in which this thread was awake. Where the thread stood still beyond the end (a
 * paused process, a long collection), an ordinary timer would fire before the answers that wait in the sockets are read;
 * this one starts anew then.
 * @returns a function that cancels it
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
