import t from 'tap'
import type { Test } from 'tap'
import type { Backend, BackendSink } from '../../src/backends/backend.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import { GeminiLiveBackend } from '../../src/vendors/gemini/live/backend.js'
import { AgentVoice } from '../../src/vendors/openai/live/agent-voice.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { hasSound } from '../../src/media/pcm.js'
import { toneSpeaker } from '../../src/simulator/vendors/tone-speaker.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { GEMINI_TEST_KEY } from '../backends/gemini-harness.js'
import { TEST_KEY } from '../backends/openai-harness.js'

const RATE_HZ = 24_000
const noise = (peak: number) => (i: number) => ((i * 7919) % (2 * peak + 1)) - peak

/** Sounds of a second, by their names. */
const SILENT: Readonly<Record<string, (i: number) => number>> = {
  zeros: () => 0,
  'the last bit': (i) => i % 2,
  'a constant offset': () => -17,
  'noise of a converter': noise(9),
  'a tone at -60 dBFS': (i) => Math.round(32 * Math.sin(i / 9)),
  'one click of 32 in zeros': (i) => (i === 5000 ? -32 : 0),
}
const HEARD: Readonly<Record<string, (i: number) => number>> = {
  'a whisper': noise(40),
  'a tone just above it': (i) => Math.round(34 * Math.sin(i / 9)),
  'one word after silence': (i) => (i > 20_000 ? noise(900)(i) : 0),
  'negative only': () => -33,
  'full scale': () => -32_768,
}

const soundOf = (sample: (i: number) => number): Int16Array => Int16Array.from({ length: RATE_HZ }, (_, i) => sample(i))

/** Speaks names of sounds as these, and all else as a tone. */
const speaker = (text: string) => {
  const sample = SILENT[text] ?? HEARD[text]
  return sample === undefined ? toneSpeaker(RATE_HZ)(text) : { pcm: soundOf(sample), sampleRateHz: RATE_HZ }
}

interface Service {
  readonly double: GeminiDouble | OpenAiDouble
  readonly backend: (sink: BackendSink) => Backend & { readonly stats: object }
  /** Name of its counter of empty answers. */
  readonly counter: string
}

async function gemini(t: Test): Promise<Service> {
  const double = await GeminiDouble.start({ key: GEMINI_TEST_KEY, speaker })
  t.teardown(() => double.close())
  const options = { apiKey: GEMINI_TEST_KEY, model: 'gemini-3.8-live', baseUrl: double.baseUrl }
  return { double, backend: (sink) => new GeminiLiveBackend(sink, options), counter: 'emptyTurns' }
}

async function openAi(t: Test): Promise<Service> {
  const double = await OpenAiDouble.start({ key: TEST_KEY, speaker })
  t.teardown(() => double.close())
  const options = { apiKey: TEST_KEY, model: 'gpt-realtime-2.1', baseUrl: double.baseUrl }
  return { double, backend: (sink) => new OpenAiRealtimeBackend(sink, options), counter: 'emptyResponses' }
}

async function line(
  t: Test,
  { backend }: Service,
): Promise<{ readonly backend: Backend & { readonly stats: object }; readonly recorder: Recorder }> {
  const recorder = new Recorder()
  const made = backend(recorder)
  t.teardown(() => made.close('the test is over'))
  await made.connect(conformanceSession(), new AbortController().signal)
  return { backend: made, recorder }
}

const greet = (backend: Backend): void => backend.sendText('', { role: 'system', respond: true })
const turnsOf = (recorder: Recorder): string[] =>
  recorder.all('turn-done').map(({ status, reason }) => (reason === undefined ? status : `${status}, ${reason}`))

t.test('audio above -60 dBFS counts as sound', (t) => {
  for (const [name, sample] of Object.entries(SILENT)) t.notOk(hasSound(soundOf(sample)), name)
  for (const [name, sample] of Object.entries(HEARD)) t.ok(hasSound(soundOf(sample)), name)
  t.notOk(hasSound(new Int16Array(0)))
  t.end()
})

t.test('an inaudible answer is requested again', async (t) => {
  for (const make of [gemini, openAi]) {
    for (const name of Object.keys(SILENT)) {
      const service = await make(t)
      service.double.script.reply({ say: name }, { say: 'Welcome.', audioMs: 300 })
      const { backend, recorder } = await line(t, service)
      greet(backend)
      await recorder.next('turn-done', 2)
      t.same(turnsOf(recorder), ['cancelled, empty', 'completed'], `${make.name}: ${name}`)
      t.match(backend.stats, { [service.counter]: 1 })
    }
    for (const name of Object.keys(HEARD)) {
      const service = await make(t)
      service.double.script.reply({ say: name })
      const { backend, recorder } = await line(t, service)
      greet(backend)
      t.equal((await recorder.next('turn-done')).status, 'completed', `${make.name}: ${name}`)
      t.match(backend.stats, { [service.counter]: 0 })
    }
  }
})

t.test('the second silent answer in a row fails', async (t) => {
  for (const make of [gemini, openAi]) {
    const service = await make(t)
    service.double.script.reply(
      { say: 'zeros' },
      { say: 'a constant offset' },
      { say: 'the last bit' },
      { say: 'Yes.' },
    )
    const { backend, recorder } = await line(t, service)
    greet(backend)
    await recorder.until('a failed answer', () => recorder.all('turn-done').some(({ status }) => status === 'failed'))
    t.match(recorder.all('turn-done').at(-1), { status: 'failed', reason: 'empty' }, make.name)
    t.equal(service.double.script.answers, 2, 'asked once more, not for ever')
    backend.sendText('Hello?', { role: 'caller', respond: true })
    await recorder.until('an answer', () => recorder.all('turn-done').at(-1)?.status === 'completed')
    t.equal(service.double.script.answers, 4)
  }
})

t.test('silence before a tool call is not an empty answer', async (t) => {
  for (const make of [gemini, openAi]) {
    const service = await make(t)
    service.double.script.reply({ say: 'zeros', calls: [{ callId: 'c1', name: 'lookup_order', args: {} }] })
    const { backend, recorder } = await line(t, service)
    greet(backend)
    await recorder.next('tool-call')
    await recorder.next('turn-done')
    t.same(turnsOf(recorder), ['completed'], make.name)
    t.match(backend.stats, { [service.counter]: 0 })
  }
})

t.test('the call hears only the first audible answer', async (t) => {
  for (const make of [gemini, openAi]) {
    const service = await make(t)
    service.double.script.reply({ say: 'noise of a converter' }, { say: 'Welcome.', audioMs: 300 })
    const recorder = new Recorder()
    const call = new CallBackend(recorder, {
      candidates: [{ create: (sink) => service.backend(sink) }],
      timers: clockTimers(() => performance.now()),
    })
    t.teardown(() => call.close('the test is over'))
    await call.connect(conformanceSession(), new AbortController().signal)
    greet(call)
    await recorder.until('a whole answer', () => recorder.all('turn-done').some(({ status }) => status === 'completed'))
    t.equal(recorder.audioMs(1), 0, `${make.name}: it was not greeted with silence`)
    t.equal(recorder.audioMs(2), 300)
  }
})

t.test('a full-duplex model begins to speak with its first sound', (t) => {
  const listener = {
    begun: 0,
    began: () => void listener.begun++,
    speech: () => undefined,
    ended: () => undefined,
    ignored: () => undefined,
  }
  const voice = new AgentVoice(RATE_HZ, () => 0, listener)
  t.teardown(() => voice.close())
  for (const sample of Object.values(SILENT)) voice.hear(soundOf(sample))
  t.equal(listener.begun, 0)
  voice.hear(soundOf(noise(900)))
  t.equal(listener.begun, 1)
  t.end()
})
