import { parentPort, workerData } from 'node:worker_threads'
import { SharedCall } from '../../src/workers/shared/shared-call.js'
import { Time, Word } from '../../src/workers/shared/shared-call-layout.js'

export interface DatedReaderData {
  readonly call: SharedArrayBuffer
  /** One Int32: how often something new was seen so far. */
  readonly looks: SharedArrayBuffer
}

/**
 * Reads, as a media worker does, how many samples were sent and when the last one was, until the `hangup` word is set
 * and what was sent before it is seen. Whoever writes sends a frame of 320 samples at each 20 ms of a clock of its own.
 */
const data = workerData as DatedReaderData
const { words, times, outbound } = new SharedCall(data.call)
const looks = new Int32Array(data.looks)
let seen = 0
let stale = 0
parentPort?.postMessage('reading')
for (let over = false; !over;) {
  over = Atomics.load(words, Word.hangup) !== 0
  const sent = outbound.behind(Atomics.load(words, Word.dated))
  const lastSentAtMs = times[Time.lastSentAtMs] as number
  const playoutEndMs = times[Time.playoutEndMs] as number
  if (sent === seen) continue
  seen = sent
  Atomics.add(looks, 0, 1)
  const sentAtMs = sent / 16
  if (lastSentAtMs < sentAtMs || playoutEndMs < sentAtMs) stale++
}
parentPort?.postMessage({ stale, seen })
