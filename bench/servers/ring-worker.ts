import { parentPort } from 'node:worker_threads'
import { CARRIER_FRAME_BYTES_MAX, TICK_MS } from '../../src/core/limits.js'
import { Views } from '../../src/core/views.js'
import { processClock, Ticker } from '../../src/workers/shared/ticker.js'
import { SharedCall } from '../../src/workers/shared/shared-call.js'
import { Word } from '../../src/workers/shared/shared-call-layout.js'
import { answerProbe } from './isolate-probe.js'
import type { ToRingWorker } from './ring-echo.js'

/**
 * Duration in ms of silence after a stall. Audio that a stall delayed would delay an echo for ever. So the echo is
 * silent until playout has no more audio.
 */
const SILENT_MS = 500
const clock = processClock()
answerProbe(() => {
  for (const call of calls.values()) {
    call.begun = false
    call.silentUntilMs = clock() + SILENT_MS
    Atomics.store(call.shared.words, Word.more, 0)
  }
})

/**
 * Number of silent samples (two frames) before the first audio. Without this buffer, the smallest delay would cause an
 * underrun.
 */
const LEAD_SAMPLES = 640
const aligned = new Uint8Array(CARRIER_FRAME_BYTES_MAX)
const samples = new Views(new Int16Array(aligned.buffer))
const silence = new Int16Array(LEAD_SAMPLES)
const calls = new Map<string, { readonly shared: SharedCall; begun: boolean; silentUntilMs: number }>()

const ticker = new Ticker({ periodMs: TICK_MS }, clock, (nowMs) => {
  for (const call of calls.values()) {
    const { inbound, outbound } = call.shared
    if (!inbound.waits) continue
    for (let packet = inbound.next(); packet !== null; packet = inbound.next()) {
      const bytes = packet.length
      aligned.set(packet)
      inbound.release()
      if (nowMs < call.silentUntilMs) continue
      if (!call.begun) {
        call.begun = true
        Atomics.store(call.shared.words, Word.more, 1)
        outbound.write(silence)
      }
      const count = Math.min(bytes >> 1, outbound.free)
      if (count > 0) outbound.write(samples.at(0, count))
    }
  }
})

parentPort?.on('message', (message: ToRingWorker) => {
  if (message.type === 'add')
    calls.set(message.callSid, {
      shared: new SharedCall(message.shared.buffer, message.shared.at),
      begun: false,
      silentUntilMs: 0,
    })
  else calls.delete(message.callSid)
  if (calls.size > 0) ticker.start()
  else ticker.stop()
})
