import { workerData } from 'node:worker_threads'
import { SharedCall } from '../../src/workers/shared/shared-call.js'

/** Writes 2,000,000 samples, each the low 16 bits of its own count, in pieces of changing length. */
const { outbound } = new SharedCall(workerData as SharedArrayBuffer)
const piece = new Int16Array(1009)
const TOTAL = 2_000_000
let at = 0
while (at < TOTAL) {
  const count = Math.min(1 + (at % 1009), TOTAL - at, outbound.free)
  if (count === 0) continue
  for (let i = 0; i < count; i++) piece[i] = ((at + i) << 16) >> 16
  outbound.write(piece.subarray(0, count))
  at += count
}
