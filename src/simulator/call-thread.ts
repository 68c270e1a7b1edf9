/** The thread that runs all calls of one simulation on one 20 ms clock; speech has a thread of its own. */
import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { assert } from '../core/assert.js'
import { startCall, type LiveSimulatedCall } from '../carrier/carrier-call.js'
import { simulatedPerson } from './caller.js'
import { sentencesOf } from './caller-script.js'
import type { CallThreadMessage, SimulateOptions } from './simulate.js'
import { callee, ringCallees } from './rest/callees.js'
import { RestServer } from './rest/rest-server.js'
import { Workspace } from '../carrier/workspace.js'
import { CallerSpeech } from './caller-speech.js'

async function main(port: MessagePort, options: SimulateOptions): Promise<void> {
  const report = (message: CallThreadMessage, transfer: ArrayBuffer[] = []): void => {
    port.postMessage(message, transfer)
  }
  const speech = await CallerSpeech.start(options.vocabulary)
  // All sentences are synthesised before the first call is placed, so that no caller waits for another's voice.
  for (const { script, voice, pace, line } of options.calls) {
    await Promise.all(sentencesOf(script).map((text) => speech.speak(text, voice, line.sampleRateHz, pace)))
  }
  const rest = options.rest === undefined ? null : await startRest(options.rest, options, speech)

  const calls: LiveSimulatedCall[] = []
  let hungUp = false
  port.on('message', () => {
    hungUp = true
    for (const call of calls) call.hangUp()
  })
  for (const { callSid, from, to, ...person } of options.calls) {
    if (hungUp) break
    if (calls.length > 0) await sleep(options.staggerMs)
    calls.push(
      startCall({
        ...options.carrier,
        ...{ callSid, from, to },
        caller: simulatedPerson({
          ...person,
          speech,
          vocabulary: options.vocabulary,
          files: options.files,
          record: options.record,
          timeoutMs: options.timeoutMs,
        }),
        onEvent: (event) => {
          report({ type: 'event', event })
        },
        ...(rest === null ? {} : { workspace: rest.workspace }),
      }),
    )
  }
  const results = await Promise.all(calls.map((call) => call.done))
  await rest?.close()
  await speech.close()
  const audio = results.flatMap(({ audio: kept }) =>
    kept === null ? [] : [kept.caller.buffer as ArrayBuffer, kept.heard.buffer as ArrayBuffer],
  )
  report({ type: 'results', results }, audio)
}

/** The carrier's REST API, on this thread because it acts on its calls. */
async function startRest(
  rest: { readonly port: number; readonly key: string },
  options: SimulateOptions,
  speech: CallerSpeech,
): Promise<RestServer> {
  const { carrier, timeoutMs, record, vocabulary } = options
  const numbers = [...new Set(options.calls.map((plan) => plan.to))]
  const workspace = new Workspace({
    owned: numbers.map((e164, index) => ({
      id: `num_${index + 1}`,
      e164,
      status: 'active',
      voiceUrl: carrier.voiceUrl,
      eventsUrl: carrier.eventsUrl,
    })),
  })
  return RestServer.start({
    workspace,
    keys: { [rest.key]: 'all' },
    port: rest.port,
    place: ringCallees({
      workspace,
      callee: () => callee('person'),
      carrier,
      person: { voice: 'awb', line: { sampleRateHz: 8000 }, speech, vocabulary, record, timeoutMs },
    }),
  })
}

assert(parentPort !== null, 'the call thread is started as a worker')
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
await main(parentPort, workerData as SimulateOptions)
