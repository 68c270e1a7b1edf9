import { VoiceLiveClient } from '@azure/ai-voicelive'
import type { ServerEventUnion, VoiceLiveSession } from '@azure/ai-voicelive'
import t from 'tap'
import type { Test } from 'tap'
import { backendOptionsSchema } from '../../src/agents/file/backend-options.js'
import type { BackendSession } from '../../src/backends/backend.js'
import { azureBackend } from '../../src/vendors/azure-voice-live/backends.js'
import { AzureVoiceLiveDouble } from '../../src/vendors/azure-voice-live/double.js'
import { Recorder } from '../../src/backends/conformance/recorder.js'
import { conformanceSession } from '../../src/backends/conformance/harness.js'
import { until } from '../support/until.js'

const KEY = 'azure-test-key-0123456789'
type Call = Parameters<typeof azureBackend>[1]

async function started(t: Test): Promise<AzureVoiceLiveDouble> {
  const double = await AzureVoiceLiveDouble.start({ key: KEY })
  t.teardown(() => double.close())
  return double
}

/** Our backend on the double. */
async function connected(
  t: Test,
  double: AzureVoiceLiveDouble,
  own: Partial<Call> = {},
  session: Partial<BackendSession> = {},
): Promise<Recorder> {
  const sink = new Recorder()
  const backend = azureBackend(sink, {
    ...{ apiKey: KEY, model: 'gpt-4.1', baseUrl: double.baseUrl, legRateHz: 8000 as const },
    ...own,
  })
  t.teardown(() => backend.close('test'))
  await backend.connect({ ...conformanceSession(), ...session }, new AbortController().signal)
  return sink
}

/** The vendor's own client on the double, and the events that it reads. */
async function vendorClient(
  t: Test,
  double: AzureVoiceLiveDouble,
  key = KEY,
): Promise<{ readonly client: VoiceLiveSession; readonly events: ServerEventUnion[] }> {
  const vendor = new VoiceLiveClient(double.baseUrl.replace('ws:', 'http:'), { key })
  const client = vendor.createSession('gpt-4.1')
  const events: ServerEventUnion[] = []
  client.subscribe({
    onServerEvent: (event) => {
      events.push(event)
      return Promise.resolve()
    },
  })
  t.teardown(() => client.dispose())
  await client.connect()
  return { client, events }
}

const sent = (double: AzureVoiceLiveDouble): object => double.session.given

const types = (events: readonly ServerEventUnion[]): string[] => events.map(({ type }) => type)

t.test("the vendor's client configures and receives sound and words", async (t) => {
  const double = await started(t)
  double.script.reply({ say: 'Karibu dukani.', audioMs: 500 })
  const { client, events } = await vendorClient(t, double)
  await client.updateSession({
    modalities: ['text', 'audio'],
    instructions: 'You answer the phone.',
    voice: { type: 'azure-standard', name: 'sw-KE-ZuriNeural', locale: 'sw-KE' },
    inputAudioFormat: 'pcm16',
    inputAudioSamplingRate: 8000,
    outputAudioFormat: 'pcm16_8000hz',
    turnDetection: { type: 'azure_semantic_vad_multilingual', languages: ['sw', 'en'] },
  })
  await client.addConversationItem({
    type: 'message',
    role: 'user',
    content: [{ type: 'input_text', text: 'Habari' }],
  } as never)
  await client.sendEvent({ type: 'response.create' })
  await until(() => types(events).includes('response.done'), 5000, 'the event of the service')
  let bytes = 0
  let words = ''
  for (const event of events) {
    if (event.type === 'response.audio.delta') bytes += (event as { delta: Uint8Array }).delta.byteLength
    if (event.type === 'response.audio_transcript.delta') words += (event as { delta: string }).delta
  }
  t.equal(bytes, 500 * 16, '8 kHz')
  t.equal(words, 'Karibu dukani.')
  t.notOk(types(events).includes('error'))
  t.equal(double.session.errors.length, 0)
})

t.test("the vendor's client receives and answers a tool call", async (t) => {
  const double = await started(t)
  double.script.reply({ calls: [{ callId: 'c1', name: 'lookup', args: { order: '4711' } }] }, { say: 'On its way.' })
  const { client, events } = await vendorClient(t, double)
  await client.sendEvent({ type: 'response.create' })
  await until(() => types(events).includes('response.done'), 5000, 'the event of the service')
  t.match(
    events.find(({ type }) => type === 'response.function_call_arguments.done'),
    { name: 'lookup', callId: 'c1', arguments: '{"order":"4711"}' },
  )
  await client.addConversationItem({ type: 'function_call_output', callId: 'c1', output: '{}' } as never)
  await client.sendEvent({ type: 'response.create' })
  await until(
    () => types(events).filter((type) => type === 'response.done').length === 2,
    5000,
    'a second response.done',
  )
  t.equal(double.session.errors.length, 0)
})

t.test("the vendor's client is refused with a wrong key", async (t) => {
  const double = await started(t)
  await t.rejects(vendorClient(t, double, 'another-key-0123456789'))
  t.equal(double.sessions.length, 0)
})

t.test("our session equals the vendor client's session", async (t) => {
  const double = await started(t)
  await connected(
    t,
    double,
    {
      turns: {
        by: 'azure_semantic_vad_multilingual',
        threshold: 0.4,
        prefixPaddingMs: 200,
        silenceMs: 400,
        speechMs: 80,
        endOfUtterance: { level: 'high', timeoutMs: 900 },
        interruptResponse: false,
      },
      phrases: ['M-Pesa'],
      noiseReduction: 'azure_deep_noise_suppression',
      echoCancellation: true,
      speed: 0.9,
      style: 'chat',
      temperature: 0.6,
      maxOutputTokens: 500,
      reasoningEffort: 'low',
    },
    { voice: null, language: 'sw', languages: ['sw', 'en'], vocabulary: ['Amina'] },
  )
  const ours = sent(double)
  const { instructions, tools } = conformanceSession()
  const { client, events } = await vendorClient(t, double)
  await client.updateSession({
    modalities: ['text', 'audio'],
    instructions,
    voice: { type: 'azure-standard', name: 'sw-KE-ZuriNeural', locale: 'sw-KE', style: 'chat', rate: '0.9' },
    inputAudioSamplingRate: 8000,
    inputAudioFormat: 'pcm16',
    outputAudioFormat: 'pcm16_8000hz',
    turnDetection: {
      type: 'azure_semantic_vad_multilingual',
      threshold: 0.4,
      prefixPaddingInMs: 200,
      silenceDurationInMs: 400,
      createResponse: true,
      interruptResponse: false,
      speechDurationInMs: 80,
      removeFillerWords: false,
      languages: ['sw', 'en'],
      endOfUtteranceDetection: {
        model: 'semantic_detection_v1_multilingual',
        thresholdLevel: 'high',
        timeoutInMs: 900,
      },
    },
    inputAudioNoiseReduction: { type: 'azure_deep_noise_suppression' },
    inputAudioEchoCancellation: { type: 'server_echo_cancellation' },
    inputAudioTranscription: { model: 'azure-speech', language: 'sw-KE,en-KE', phraseList: ['M-Pesa', 'Amina'] },
    tools: tools.map(({ name, description, parameters }) => ({ type: 'function', name, description, parameters })),
    toolChoice: 'auto',
    temperature: 0.6,
    maxResponseOutputTokens: 500,
    reasoningEffort: 'low',
  })
  await until(() => types(events).includes('session.updated'), 5000, 'the event of the service')
  const theirs = JSON.parse(JSON.stringify(sent(double))) as { tools: unknown }
  t.same({ ...ours, tools: 0 }, { ...theirs, tools: 0 })
  t.same(
    (ours as { tools: { name: string }[] }).tools.map(({ name }) => name),
    (theirs.tools as { name: string }[]).map(({ name }) => name),
  )
})

t.test("audio uses the leg's rate in both directions", async (t) => {
  const double = await started(t)
  for (const [own, input, rate, output] of [
    [{}, 'pcm16', 8000, 'pcm16_8000hz'],
    [{ legRateHz: 16_000 as const }, 'pcm16', 16_000, 'pcm16_16000hz'],
    [{ audio: 'pcma' as const }, 'g711_alaw', 8000, 'g711_alaw'],
    [{ audio: 'pcmu' as const, legRateHz: 16_000 as const }, 'g711_ulaw', 8000, 'g711_ulaw'],
  ] as const) {
    await connected(t, double, own)
    t.match(sent(double), {
      input_audio_format: input,
      input_audio_sampling_rate: rate,
      output_audio_format: output,
    })
  }
})

t.test("the voice follows the language and its name's form", async (t) => {
  const double = await started(t)
  for (const [own, session, voice] of [
    [{}, { voice: null, language: 'en' }, { type: 'azure-standard', name: 'en-KE-AsiliaNeural', locale: 'en-KE' }],
    [{}, { voice: 'sw-TZ-RehemaNeural' }, { type: 'azure-standard', name: 'sw-TZ-RehemaNeural', locale: 'sw-TZ' }],
    [{}, { voice: 'marin' }, { type: 'openai', name: 'marin' }],
    [{ model: 'azure-realtime' }, { voice: 'ava' }, { type: 'azure-realtime-native', name: 'ava' }],
    [{}, { voice: null, language: 'fr' }, undefined],
  ] as const) {
    await connected(t, double, own, session)
    t.same((sent(double) as { voice?: object }).voice, voice)
  }
})

/** Keeps how it was asked for a session. */
class AskedDouble extends AzureVoiceLiveDouble {
  url = ''
  headers: Readonly<Record<string, unknown>> = {}

  constructor() {
    super({ key: KEY })
    this.server.prependListener('upgrade', ({ url = '', headers }) => {
      this.url = url
      this.headers = headers
    })
  }
}

t.test('the key is sent only in a header', async (t) => {
  const double = await AskedDouble.start()
  t.teardown(() => double.close())
  await connected(t, double)
  t.equal(double.url, '/voice-live/realtime?api-version=2026-07-15&model=gpt-4.1')
  t.match(double.headers, { 'api-key': KEY })
  t.notOk('authorization' in double.headers || 'openai-beta' in double.headers)
})

t.test('a version in the address is kept', async (t) => {
  const double = await AskedDouble.start()
  t.teardown(() => double.close())
  await connected(t, double, { baseUrl: `${double.baseUrl}/?api-version=2026-04-10` })
  t.equal(double.url, '/voice-live/realtime?api-version=2026-04-10&model=gpt-4.1')
})

t.test("earlier agent turns are sent in the beta's form", async (t) => {
  const double = await started(t)
  await connected(t, double, {}, { history: [{ role: 'agent', text: 'Karibu.' }] })
  await until(() => double.session.items.length > 0, 5000, 'the event of the service')
  t.match(double.session.received.at(-1), { item: { role: 'assistant', content: [{ type: 'text' }] } })
  t.equal(double.session.errors.length, 0)
})

t.test('a speech-to-speech model gets no phrase list', async (t) => {
  const double = await started(t)
  await connected(t, double, { model: 'gpt-realtime', phrases: ['M-Pesa'] })
  t.notMatch(sent(double), { input_audio_transcription: { phrase_list: Array } })
})

t.test('the double refuses messages that the service refuses', async (t) => {
  const double = await started(t)
  for (const [session, param] of [
    [{ voice: { type: 'azure-standard', name: 'sw-KE-NobodyNeural' } }, 'session.voice'],
    [{ turnDetection: { type: 'azure_semantic_vad_en', threshold: 2 } }, 'session.turn_detection.threshold'],
    [{ inputAudioFormat: 'g711_alaw', inputAudioSamplingRate: 16_000 }, 'session.input_audio_sampling_rate'],
    [{ outputAudioFormat: 'pcm16_44100hz' }, 'session.output_audio_format'],
    [{ inputAudioTranscription: { model: 'nova-3' } }, 'session.input_audio_transcription.model'],
    [{ inputAudioNoiseReduction: { type: 'loud' } }, 'session.input_audio_noise_reduction.type'],
  ] as const) {
    const { client, events } = await vendorClient(t, double)
    await client.updateSession(session)
    await until(() => types(events).includes('error'), 5000, 'the event of the service')
    t.match(
      events.find(({ type }) => type === 'error'),
      { error: { code: 'invalid_value', param } },
      param,
    )
  }
})

t.test('a warning of the service is only counted', async (t) => {
  const double = await started(t)
  const sink = new Recorder()
  const backend = azureBackend(sink, { apiKey: KEY, model: 'm', baseUrl: double.baseUrl, legRateHz: 8000 })
  t.teardown(() => backend.close('test'))
  await backend.connect(conformanceSession(), new AbortController().signal)
  double.session.sendRaw(JSON.stringify({ type: 'warning', warning: { code: 'x', message: 'left out' } }))
  await until(() => backend.counters()['serviceWarnings'] === 1, 5000, 'the event of the service')
  t.equal(backend.counters()['unknownEvents'], 0)
})

t.test('an option out of range is reported', async (t) => {
  for (const [options, path] of [
    [{ speed: 2 }, 'speed'],
    [{ turns: { by: 'semantic_vad' } }, 'turns'],
    [{ locales: ['sw'] }, 'locales'],
    [{ nothing: 1 }, 'azure-voice-live'],
  ] as const) {
    const { success, error } = backendOptionsSchema.safeParse({ 'azure-voice-live': options })
    t.equal(success, false)
    t.ok(
      error?.issues.some((issue) => issue.path.includes(path)),
      path,
    )
  }
})
