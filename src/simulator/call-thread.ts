/** Thread that runs all calls of one simulation on one 20 ms clock; speech is on yet another thread. */
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { assert } from '../core/assert.js'
import { startCall, type LiveSimulatedCall } from './carrier.js'
import { sentencesOf } from './caller-script.js'
import type { CallThreadMessage, SimulateOptions } from './simulate.js'
import { SpeechService } from './speech-service.js'
import { sharedTicker } from './ticker.js'

async function main(port: MessagePort, options: SimulateOptions): Promise<void> {
  const report = (message: CallThreadMessage, transfer: ArrayBuffer[] = []): void => { port.postMessage(message, transfer) }
  const speech = await SpeechService.start(options.vocabulary)
  // Everything is spoken before the first call is placed, so that no caller waits for another's voice.
  for (const { script, voice, line } of options.calls) {
    await Promise.all(sentencesOf(script).map((text) => speech.speak(text, voice, line.sampleRateHz)))
  }
  report({ type: 'ready', voicesMs: speech.voicesMs, earMs: speech.earMs })

  const calls: LiveSimulatedCall[] = []
  let hungUp = false
  port.on('message', () => {
    hungUp = true
    for (const call of calls) call.hangUp()
  })
  for (const plan of options.calls) {
    if (hungUp) break
    if (calls.length > 0) await sleep(options.staggerMs)
    calls.push(startCall({
      ...options.carrier, callSid: plan.callSid, from: plan.from, to: plan.to,
      caller: {
        script: plan.script, voice: plan.voice, line: plan.line, speech, vocabulary: options.vocabulary, files: options.files,
        record: options.record, timeoutMs: options.timeoutMs,
      },
      onEvent: (event) => { report({ type: 'event', event }) },
    }))
  }
  const results = await Promise.all(calls.map((call) => call.done))
  await speech.close()
  const { ticksLate, ticksSkipped, latenessMsMax } = sharedTicker
  const audio = results.flatMap(({ audio: kept }) => (kept === null ? [] : [kept.caller.buffer as ArrayBuffer, kept.heard.buffer as ArrayBuffer]))
  report({ type: 'results', results, ticker: { ticksLate, ticksSkipped, latenessMsMax } }, audio)
}

assert(parentPort !== null, 'the call thread is started as a worker')
await main(parentPort, workerData as SimulateOptions)
