import t from 'tap'
import type { Test } from 'tap'
import type { BackendSink } from '../../src/backends/backend.js'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import type { ScriptedReply } from '../../src/backends/conformance.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { GeminiLiveBackend } from '../../src/vendors/gemini/live/backend.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import type { Script } from '../../src/simulator/vendors/double.js'

// Malformed and unexpected input of a service, one kind at a time. It is counted by its kind for the call record and
// the metrics, the session goes on, and the same service answers the next question.

const KEY = 'key-of-a-test'
const MIB = 1024 * 1024
const OVERSIZE_BYTES = 33 * MIB

interface Row {
  readonly what: string
  /** Raw messages. */
  readonly sends: readonly string[]
  /** Or a reply of the double to a first question. */
  readonly reply?: ScriptedReply
  /** Counters that this raises, with their values. */
  readonly counted: Readonly<Record<string, number>>
}

const json = (value: unknown): string => JSON.stringify(value)
const audio = (bytes: number, more: object = {}): string =>
  json({
    type: 'response.output_audio.delta',
    response_id: 'r',
    item_id: 'i',
    delta: Buffer.alloc(bytes).toString('base64'),
    ...more,
  })
const ended = json({ type: 'response.done', response: { id: 'r', status: 'completed' } })

const OPENAI: readonly Row[] = [
  { what: 'JSON that is cut off', sends: ['{"type":"response.created"'], counted: { malformedMessages: 1 } },
  { what: 'text that is not JSON', sends: ['\u0000\u0001 hello'], counted: { malformedMessages: 1 } },
  {
    what: 'a known event of the wrong shape',
    sends: ['{"type":"response.output_audio.delta","item_id":7}'],
    counted: { malformedEvents: 1 },
  },
  { what: 'an unknown event', sends: ['{"type":"response.hologram.delta"}'], counted: { unknownEvents: 1 } },
  {
    what: 'audio for a response that is over',
    sends: [audio(4800), json({ type: 'response.done', response: { id: 'r', status: 'cancelled' } }), audio(4800)],
    counted: { lateEvents: 1 },
  },
  {
    what: 'audio that is not base64',
    sends: [audio(0, { delta: '%'.repeat(600) }), ended],
    counted: { malformedAudio: 1 },
  },
  {
    what: 'tool arguments that are not JSON',
    sends: [
      json({
        type: 'response.output_item.done',
        response_id: 'r',
        item: { id: 'i', type: 'function_call', call_id: 'c1', name: 'lookup_order', arguments: '{"x"' },
      }),
      ended,
    ],
    counted: { invalidToolArguments: 1 },
  },
  {
    what: 'tool arguments that are not an object',
    sends: [],
    reply: { calls: [{ callId: 'c1', name: 'lookup_order', args: '[1]' }] },
    counted: { invalidToolArguments: 1 },
  },
  { what: 'a message of 20 MiB', sends: [audio(15 * MIB)], counted: { oversizeMessages: 1 } },
  {
    what: 'another sample rate during an answer',
    sends: [
      json({
        type: 'session.updated',
        session: { type: 'realtime', audio: { output: { format: { type: 'audio/pcm', rate: 16_000 } } } },
      }),
      audio(3200),
      ended,
    ],
    counted: { rateChanges: 1 },
  },
]

const part = (data: string, mimeType = 'audio/pcm;rate=24000'): string =>
  json({ serverContent: { modelTurn: { parts: [{ inlineData: { mimeType, data } }] } } })
const sound = (ms: number, rateHz: number): string =>
  part(Buffer.alloc((ms * rateHz * 2) / 1000).toString('base64'), `audio/pcm;rate=${rateHz}`)
const complete = json({ serverContent: { turnComplete: true } })

const GEMINI: readonly Row[] = [
  { what: 'JSON that is cut off', sends: ['{"serverContent":'], counted: { malformedMessages: 1 } },
  {
    what: 'known messages of the wrong shape',
    sends: [
      '"text"',
      '{"serverContent":7}',
      '{"serverContent":{"modelTurn":{"parts":"none"}}}',
      '{"toolCall":{"functionCalls":[null,{"name":"x"},7]}}',
    ],
    counted: { malformedMessages: 5 },
  },
  { what: 'an unknown message', sends: ['{"hologram":{}}'], counted: { unknownMessages: 1 } },
  { what: 'audio that is not base64', sends: [part('%'.repeat(900)), complete], counted: { malformedAudio: 1 } },
  {
    what: 'tool arguments that are not an object',
    sends: [],
    reply: { calls: [{ callId: 'c1', name: 'lookup_order', args: '[1]' }] },
    counted: { invalidToolArguments: 1 },
  },
  { what: 'a message of 20 MiB', sends: [sound(310_000, 24_000)], counted: { oversizeMessages: 1 } },
  {
    what: 'another sample rate during an answer',
    sends: [sound(100, 24_000), sound(100, 16_000), complete],
    counted: { rateChanges: 1 },
  },
  { what: 'sound that cannot be played', sends: [sound(100, 22_050), complete], counted: { unplayableAudio: 1 } },
]

interface Service {
  readonly script: Script
  readonly sendRaw: (text: string) => void
  readonly connections: () => number
}

async function check(
  t: Test,
  name: string,
  create: (sink: BackendSink) => OpenAiRealtimeBackend | GeminiLiveBackend,
  service: Service,
  row: Row,
): Promise<void> {
  const recorder = new Recorder()
  const backend = new CallBackend(recorder, {
    candidates: [{ create }],
    timers: clockTimers(() => performance.now()),
  })
  await backend.connect(conformanceSession(), new AbortController().signal)
  const connections = service.connections()
  for (const text of row.sends) service.sendRaw(text)
  if (row.reply !== undefined) {
    service.script.reply(row.reply)
    backend.sendText('Where is my order?', { role: 'caller', respond: true })
  }
  const counted = (): Readonly<Record<string, number>> => backend.report().irregular[name] ?? {}
  await recorder.until('it to be counted', () =>
    Object.entries(row.counted).every(([kind, count]) => counted()[kind] === count),
  )
  for (const call of recorder.all('tool-call')) {
    t.type(call.invalid, 'string', 'the call gets the reason')
    backend.toolResult(call.callId, { ok: false, value: { error: call.invalid } })
  }
  const answered = recorder.all('turn-done').length
  backend.sendText('Hello?', { role: 'caller', respond: true })
  await recorder.until('an answer', () =>
    recorder
      .all('turn-done')
      .slice(answered)
      .some((done) => recorder.audioMs(done.generation) > 0),
  )
  t.same(recorder.all('error'), [], 'no error')
  t.equal(recorder.all('closed').length, 0)
  t.equal(service.connections(), connections, 'on the same session')
  await backend.close('done')
}

for (const row of OPENAI) {
  t.test(`OpenAI sends ${row.what}`, async (t) => {
    const double = await OpenAiDouble.start({ key: KEY })
    t.teardown(() => double.close())
    await check(
      t,
      'openai',
      (sink) => new OpenAiRealtimeBackend(sink, { apiKey: KEY, model: 'm', baseUrl: double.baseUrl }),
      {
        sendRaw: (text) => double.session.sendRaw(text),
        connections: () => double.connections,
        script: double.script,
      },
      row,
    )
  })
}

for (const row of GEMINI) {
  t.test(`Gemini sends ${row.what}`, async (t) => {
    const double = await GeminiDouble.start({ key: KEY })
    t.teardown(() => double.close())
    await check(
      t,
      'gemini',
      (sink) => new GeminiLiveBackend(sink, { apiKey: KEY, model: 'm', baseUrl: double.baseUrl }),
      {
        sendRaw: (text) => double.session.sendRaw(text),
        connections: () => double.connections,
        script: double.script,
      },
      row,
    )
  })
}

t.test('a message beyond 32 MiB ends only the backend session', async (t) => {
  const [first, second] = await Promise.all([OpenAiDouble.start({ key: KEY }), OpenAiDouble.start({ key: KEY })])
  t.teardown(() => Promise.all([first.close(), second.close()]))
  const candidate = (double: OpenAiDouble, name: string) => ({
    create: (sink: BackendSink) =>
      new OpenAiRealtimeBackend(sink, { apiKey: KEY, model: 'm', baseUrl: double.baseUrl, name }),
  })
  const recorder = new Recorder()
  const backend = new CallBackend(recorder, {
    candidates: [candidate(first, 'first'), candidate(second, 'second')],
    timers: clockTimers(() => performance.now()),
  })
  t.teardown(() => backend.close('done'))
  await backend.connect(conformanceSession(), new AbortController().signal)
  first.session.sendRaw(`"${'A'.repeat(OVERSIZE_BYTES)}"`)
  t.match(await recorder.next('failover'), { from: 'first', to: 'second' })
  backend.sendText('Hello?', { role: 'caller', respond: true })
  await recorder.until('an answer', () =>
    recorder.all('turn-done').some((done) => recorder.audioMs(done.generation) > 0),
  )
})
