/** The thread of `guardAgainstStalls`. */
import { write } from 'node:fs'
import { workerData } from 'node:worker_threads'
import { LOOKS_MAX } from './stall-guard.js'

const { beats, lookMs } = workerData as { readonly beats: Int32Array; readonly lookMs: number }
/** Time in ms for writing the log line before the end. */
const LAST_WORDS_MS = 100
let seen = -1
/**
 * Number of consecutive checks without a heartbeat. Time is not compared, because a machine that slept was not blocked.
 */
let missed = 0

setInterval(() => {
  const now = Atomics.load(beats, 0)
  missed = now === seen ? missed + 1 : 0
  seen = now
  if (missed < LOOKS_MAX) return
  // A thread's standard error goes through the blocked main thread. A reader of standard error that does not read may
  // be the cause, so this thread does not wait.
  write(
    2,
    `the exchange stood still for ${LOOKS_MAX * lookMs} ms and ends: its callers get to the fallback\n`,
    () => undefined,
  )
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), LAST_WORDS_MS)
}, lookMs)
