import { Worker } from 'node:worker_threads'

/** Maximum time in ms for which the event loop may be blocked. */
const STALL_MS_MAX = 5000
/** Number of checks that the guard's thread makes in this time. */
export const LOOKS_MAX = 5

/**
 * Ends this process by SIGKILL if its event loop is blocked. The process's sockets then end, so Asterisk sends the
 * callers to the fallback at once. Without the guard, Asterisk would need minutes to notice that a socket is not read.
 * @param stallMsMax  maximum time without a turn of the event loop, in ms; default 5000
 * @returns a function that ends the guard
 */
export function guardAgainstStalls(stallMsMax = STALL_MS_MAX): () => void {
  const beats = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  const lookMs = stallMsMax / LOOKS_MAX
  const thread = new Worker(new URL('./stall-thread.js', import.meta.url), {
    workerData: { beats, lookMs },
    execArgv: [],
  })
  thread.unref()
  const timer = setInterval(() => Atomics.add(beats, 0, 1), lookMs / 2)
  timer.unref()
  return () => {
    clearInterval(timer)
    void thread.terminate()
  }
}
