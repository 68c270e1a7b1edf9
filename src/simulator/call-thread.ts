/** The thread that runs all calls of one simulation on one 20 ms clock; speech has a separate thread. */
import { EventEmitter } from 'node:events'
import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { assert } from '../core/assert.js'
import { startCall, type LiveSimulatedCall } from '../carrier/carrier-call.js'
import type { SimulatedCallResult, SimulatorEvent } from '../carrier/call-options.js'
import { type CallerOptions, simulatedPerson } from './caller.js'
import type { AskCaller } from './asked-caller.js'
import { type CallerMove } from './caller-model.js'
import { sentencesOf } from './caller-script.js'
import type { CallPlan, CallThreadMessage, CallThreadRequest, SimulateOptions } from './simulate.js'
import { callee, ringCallees } from './rest/callees.js'
import { RestServer } from '../carrier/rest-server.js'
import { Workspace } from '../carrier/workspace.js'
import { CallerSpeech } from './caller-speech.js'

async function main(port: MessagePort, options: SimulateOptions): Promise<void> {
  const report = (message: CallThreadMessage, transfer: ArrayBuffer[] = []): void => {
    port.postMessage(message, transfer)
  }
  const speech = await CallerSpeech.start(options.vocabulary)
  // All sentences are synthesised before the first call is placed, so that no caller waits for another caller's voice.
  for (const { script, voice, pace, line } of options.calls) {
    await Promise.all(sentencesOf(script).map((text) => speech.speak(text, voice, line.sampleRateHz, pace)))
  }
  const onEvent = (event: SimulatorEvent): void => {
    report({ type: 'event', event })
  }
  const over = new EventEmitter<Record<string, [SimulatedCallResult]>>()
  const placed = options.rest?.placed === true ? options.calls : []
  const rung = placed.map(({ to }) => new Promise<SimulatedCallResult>((resolve) => over.once(to, resolve)))
  /** Function that continues each caller after its question, by call. A caller asks again only after an answer. */
  const asking = new Map<string, (moves: readonly CallerMove[]) => void>()
  const asked = ({ callSid, asks = false }: CallPlan): { readonly ask?: AskCaller } => {
    const ask: AskCaller = (heard) =>
      new Promise((resolve) => {
        asking.set(callSid, resolve)
        report({ type: 'ask', callSid, heard })
      })
    return asks ? { ask } : {}
  }
  const onOver = (result: SimulatedCallResult): boolean => over.emit(result.to, result)
  const rest =
    options.rest === undefined ? null : await startRest(options.rest, options, speech, { onEvent, onOver, asked })
  if (rest !== null) report({ type: 'rest', origin: rest.origin })

  const calls: LiveSimulatedCall[] = []
  let hungUp = false
  port.on('message', (request: CallThreadRequest) => {
    if (request.type === 'moves') return void asking.get(request.callSid)?.(request.moves)
    hungUp = true
    for (const call of calls) call.hangUp()
    for (const { leg } of rest?.workspace.calls() ?? []) leg.hangUp()
  })
  for (const plan of placed.length > 0 ? [] : options.calls) {
    const { callSid, from, to, ...person } = plan
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
          ...asked(plan),
        }),
        onEvent,
        ...(rest === null ? {} : { workspace: rest.workspace }),
      }),
    )
  }
  const results = await Promise.all([...calls.map((call) => call.done), ...rung])
  await rest?.close()
  await speech.close()
  const audio = results.flatMap(({ audio: kept }) =>
    kept === null ? [] : [kept.caller.buffer as ArrayBuffer, kept.heard.buffer as ArrayBuffer],
  )
  report({ type: 'results', results }, audio)
}

/** The carrier's REST API. It runs on this thread, because it acts on the calls of this thread. */
async function startRest(
  rest: NonNullable<SimulateOptions['rest']>,
  options: SimulateOptions,
  speech: CallerSpeech,
  events: {
    readonly onEvent: (event: SimulatorEvent) => void
    readonly onOver: (result: SimulatedCallResult) => unknown
    readonly asked: (plan: CallPlan) => Pick<CallerOptions, 'ask'>
  },
): Promise<RestServer> {
  const { carrier, timeoutMs, record, vocabulary, files } = options
  const placed = new Map(
    rest.placed === true ? options.calls.map((plan) => [plan.to, { ...plan, ...events.asked(plan) }]) : [],
  )
  const numbers = [...new Set(options.calls.map(({ from, to }) => (placed.has(to) ? from : to)))]
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
      callee: (number) => ({ ...callee('person'), ...placed.get(number) }),
      carrier: placed.size === 0 ? carrier : { ...carrier, onEvent: events.onEvent },
      onOver: events.onOver,
      person: { voice: 'awb', line: { sampleRateHz: 8000 }, speech, vocabulary, files, record, timeoutMs },
    }),
  })
}

assert(parentPort !== null, 'the call thread is started as a worker')
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
await main(parentPort, workerData as SimulateOptions)
