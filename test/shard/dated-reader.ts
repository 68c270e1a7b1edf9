import { parentPort, workerData } from 'node:worker_threads'
import { SharedCall, Time, Word } from '../../src/shard/shared-call.js'

/**
 * Reads, as a media worker does, how many samples were sent and when the last one was, until the `hangup` word is set. Whoever
 * writes sends a frame of 320 samples at each 20 ms of a clock of its own.
 */
const { words, times, outbound } = new SharedCall(workerData as SharedArrayBuffer)
let seen = 0
let looks = 0
let stale = 0
parentPort?.postMessage('reading')
while (Atomics.load(words, Word.hangup) === 0) {
  const sent = outbound.dated
  const lastSentAtMs = times[Time.lastSentAtMs] as number
  const playoutEndMs = times[Time.playoutEndMs] as number
  if (sent === seen) continue
  seen = sent
  looks++
  const sentAtMs = sent / 16
  if (lastSentAtMs < sentAtMs || playoutEndMs < sentAtMs) stale++
}
parentPort?.postMessage({ looks, stale, seen })
