import { once } from 'node:events'
import { mock } from 'node:test'
import { WebSocket } from 'ws'
import * as serialization from '@elevenlabs/elevenlabs-js/serialization/index.js'
import t from 'tap'
import type { Test } from 'tap'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import type { CascadeOptions } from '../../src/backends/cascade/cascade-backend.js'
import { azureTextToSpeech } from '../../src/vendors/azure/services.js'
import { cartesiaTextToSpeech } from '../../src/vendors/cartesia/services.js'
import { deepgramTextToSpeech } from '../../src/vendors/deepgram/services.js'
import { elevenLabsTextToSpeech } from '../../src/vendors/elevenlabs/services.js'
import { googleTextToSpeech } from '../../src/vendors/google/text-to-speech.js'
import { sonioxTextToSpeech } from '../../src/vendors/soniox/services.js'
import { serviceContext } from '../../src/backends/cascade/service-context.js'
import type { ServiceFactory, TextToSpeech } from '../../src/backends/cascade/service.js'
import { conformanceSession, Recorder } from '../../src/backends/conformance.js'
import { AzureSpeechDouble } from '../../src/vendors/azure/double.js'
import { CartesiaVoiceDouble } from '../../src/vendors/cartesia/double.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { DeepgramVoiceDouble } from '../../src/vendors/deepgram/double.js'
import { ElevenLabsVoiceDouble } from '../../src/vendors/elevenlabs/double.js'
import { GoogleVoiceDouble } from '../../src/vendors/google/voice-double.js'
import { SonioxDouble } from '../../src/vendors/soniox/double.js'
import type { ServiceFaults } from '../../src/simulator/vendors/service-double.js'
import type { Script } from '../../src/simulator/vendors/double.js'
import { serviceAccount } from '../support/service-account.js'
import { CASCADE_TEST_KEY, cascadeOptions } from './cascade-harness.js'

interface AnyDouble {
  readonly script: Script
  readonly baseUrl: string
  readonly faults: ServiceFaults
  readonly spoken: readonly string[]
  cancelled: number
  connections: number
  arrived(): Promise<void>
  close(): Promise<void>
}

interface Options {
  readonly key: string
  readonly script: Script
}

interface Service {
  readonly baseUrl: string
  readonly apiKey: string
  readonly timeoutMs?: number
  readonly dictionary?: { readonly id: string; readonly version?: string }
}

interface Voice {
  readonly start: (options: Options) => Promise<AnyDouble>
  readonly make: (service: Service) => ServiceFactory<TextToSpeech>
  /** Opening it speaks an utterance without text, which is cancelled. */
  readonly probes?: true
}

const VOICES: Readonly<Record<string, Voice>> = {
  soniox: { start: (options) => SonioxDouble.start(options), make: sonioxTextToSpeech, probes: true },
  deepgram: { start: (options) => DeepgramVoiceDouble.start(options), make: deepgramTextToSpeech },
  azure: { start: (options) => AzureSpeechDouble.start(options), make: azureTextToSpeech },
  cartesia: { start: (options) => CartesiaVoiceDouble.start(options), make: cartesiaTextToSpeech },
  elevenlabs: { start: (options) => ElevenLabsVoiceDouble.start(options), make: elevenLabsTextToSpeech },
  'elevenlabs, eleven_v3_conversational': {
    start: (options) => ElevenLabsVoiceDouble.start(options),
    make: (service) => elevenLabsTextToSpeech({ ...service, model: 'eleven_v3_conversational' }),
  },
}

interface Line {
  readonly double: CascadeDouble
  readonly voice: AnyDouble
  readonly backend: CascadeBackend
  readonly recorder: Recorder
}

async function line(
  t: Test,
  { start, make }: Voice,
  changed: (options: CascadeOptions) => Partial<CascadeOptions> = () => ({}),
  timeoutMs?: number,
): Promise<Line> {
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const voice = await start({ key: CASCADE_TEST_KEY, script: double.script })
  const options = cascadeOptions(double)
  const recorder = new Recorder()
  const service = {
    baseUrl: voice.baseUrl,
    apiKey: CASCADE_TEST_KEY,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  }
  const all = { ...options, tts: [make(service)] }
  const backend = new CascadeBackend(recorder, { ...all, ...changed(all) })
  t.teardown(async () => {
    await backend.close('the test is over')
    await voice.close()
    await double.close()
  })
  await backend.connect(conformanceSession(), new AbortController().signal)
  return { double, voice, backend, recorder }
}

const ask = (backend: CascadeBackend): void => backend.sendText('Hello', { role: 'caller', respond: true })
const answered = (double: CascadeDouble): readonly unknown[] =>
  (double.chats.at(-1)?.messages ?? []).filter(({ role }) => role === 'assistant').map(({ content }) => content)

for (const [name, voice] of Object.entries(VOICES)) {
  t.test(`${name}: late sound of an interrupted answer is dropped`, async (t) => {
    const { voice: service, double, backend, recorder } = await line(t, voice)
    service.faults.lateSound = true
    double.script.reply({ say: 'One two three four five six seven eight nine ten.', audioMs: 4900, paceMs: 5 })
    ask(backend)
    await recorder.until('sound', () => recorder.audioPieces.length >= 20)
    const itemId = recorder.audioPieces[0]?.itemId ?? null
    backend.interrupt({ itemId, playedMs: 1000 })
    const pieces = recorder.audioPieces.length
    await recorder.until('the cancel', () => service.cancelled === (voice.probes === true ? 2 : 1))
    await service.arrived()
    double.script.reply({ say: 'Yes, of course.', audioMs: 700 })
    ask(backend)
    await recorder.next('turn-done', 2)
    t.same(answered(double), ['One two… [the caller interrupted]'])
    const later = recorder.audioPieces.slice(pieces)
    t.notOk(
      later.some((piece) => piece.itemId === itemId),
      'no late sound',
    )
    t.ok(later.length > 0)
    t.equal(service.connections, 1, 'on the same connection')
  })

  t.test(`${name}: twenty interruptions keep the connection`, async (t) => {
    const { voice: service, double, backend, recorder } = await line(t, voice)
    for (let i = 1; i <= 20; i++) {
      double.script.reply({ say: 'This is rather a long answer to a short question.', paceMs: 1 })
      ask(backend)
      await recorder.until('sound', () => recorder.audioPieces.some(({ generation }) => generation === i))
      backend.interrupt({ itemId: `cascade-${i}`, playedMs: 50 })
    }
    double.script.reply({ say: 'The last one.' })
    ask(backend)
    await recorder.next('audio-done')
    t.equal(service.connections, 1)
    t.same(recorder.all('error'), [])
  })

  t.test(`${name}: an unspoken text is spoken by the next voice`, async (t) => {
    for (const fault of ['unspoken', 'mute'] as const) {
      const others = (options: CascadeOptions): Partial<CascadeOptions> => ({
        tts: [...options.tts, ...cascadeOptions(double).tts],
      })
      const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
      t.teardown(() => double.close())
      const { voice: service, double: model, backend, recorder } = await line(t, voice, others, 100)
      service.faults[fault] = true
      model.script.reply({ say: 'Your order is on its way.' })
      ask(backend)
      t.equal((await recorder.next('turn-done')).status, 'completed', fault)
      t.same(double.spoken, ['Your order is on its way.'])
      t.equal(backend.counters()['ttsFailovers'], 1)
    }
  })

  t.test(`${name}: the next voice completes a broken-off sentence`, async (t) => {
    const spare = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
    t.teardown(() => spare.close())
    const {
      voice: service,
      double,
      backend,
      recorder,
    } = await line(t, voice, (options) => ({
      tts: [...options.tts, ...cascadeOptions(spare).tts],
    }))
    const words = 'Your order left the shop this morning and it will be with you before noon tomorrow.'
    double.script.reply({ say: words, audioMs: 4000 })
    service.faults.breaksAfterSoundMs = 1500
    ask(backend)
    t.equal((await recorder.next('turn-done')).status, 'completed')
    const rest = spare.spoken.join(' ')
    t.ok(rest !== '' && rest !== words && words.endsWith(rest), rest)
    t.equal(recorder.all('transcript').at(-1)?.text, words, 'each word once')
  })
}

t.test('an unacknowledged cancellation leads to a new connection', async (t) => {
  for (const name of ['soniox', 'deepgram', 'elevenlabs'] as const) {
    const voice = VOICES[name] as Voice
    const { voice: service, double, backend, recorder } = await line(t, voice, () => ({}), 200)
    double.script.reply({ say: 'A long answer to a short question.', audioMs: 3000, paceMs: 5 })
    ask(backend)
    await recorder.until('sound', () => recorder.audioPieces.length > 2)
    service.faults.noAcknowledgement = true
    backend.interrupt({ itemId: 'cascade-1', playedMs: 100 })
    await recorder.until('the end of it', () => recorder.all('error').length === 1)
    t.match(recorder.all('error'), [{ code: 'timeout', fatal: false }], name)
    service.faults.noAcknowledgement = false
    double.script.reply({ say: 'And this is heard.' })
    ask(backend)
    t.equal((await recorder.next('turn-done', 2)).status, 'completed')
    t.equal(service.connections, 2)
  }
})

t.test('Deepgram reports the heard words of a completely spoken answer', async (t) => {
  const { voice, double, backend, recorder } = await line(t, VOICES['deepgram'] as Voice)
  double.script.reply({ say: 'One two three four five six seven eight nine ten.', audioMs: 4900 })
  ask(backend)
  await recorder.next('turn-done')
  backend.interrupt({ itemId: 'cascade-1', playedMs: 2450 })
  const interrupts = (): readonly unknown[] =>
    (voice as DeepgramVoiceDouble).session.messages.filter(({ type }) => type === 'Interrupt')
  await recorder.until('the question', () => interrupts().length === 1)
  t.match(interrupts(), [{ playback_offset: { type: 'time_ms', value: 2450 } }])
  double.script.reply({ say: 'Yes.' })
  ask(backend)
  await recorder.next('turn-done', 2)
  t.match(answered(double), [/^One two three four five… \[the caller interrupted\]$/])
})

t.test('a Deepgram answer cut before its text holds no slot', async (t) => {
  const voice = {
    ...(VOICES['deepgram'] as Voice),
    make: (service: Service) => deepgramTextToSpeech({ ...service, speed: 0.8 }),
  }
  const { voice: service, double, backend, recorder } = await line(t, voice)
  const messages = (): readonly unknown[] => (service as DeepgramVoiceDouble).session.messages.map(({ type }) => type)
  // Its speed is set, and the model has not written yet.
  double.delayMs.llm = 10_000
  ask(backend)
  await recorder.until('the speed', () => messages().length === 1)
  backend.interrupt({ itemId: null, playedMs: 0 })
  double.delayMs.llm = 0
  const nowMs = performance.now()
  ask(backend)
  await recorder.next('turn-done', 2)
  t.ok(performance.now() - nowMs < 9000, 'the next one does not wait for it')
  t.same(messages(), ['Configure', 'Speak', 'Flush'])
})

t.test("an answer cut before its sound counts in Deepgram's offset", async (t) => {
  const start = (options: Options): Promise<AnyDouble> => DeepgramVoiceDouble.start({ ...options, firstSoundMs: 50 })
  const { voice: service, double, backend, recorder } = await line(t, { ...(VOICES['deepgram'] as Voice), start })
  double.script.reply({ say: 'Nobody hears this one.', audioMs: 2000 })
  ask(backend)
  const { session } = service as DeepgramVoiceDouble
  await recorder.until('the text', () => session.messages.some(({ type }) => type === 'Speak'))
  backend.interrupt({ itemId: null, playedMs: 0 })
  double.script.reply({ say: 'One two three four five six seven eight nine ten.', audioMs: 4900, paceMs: 5 })
  ask(backend)
  await recorder.until('sound', () => recorder.audioPieces.length >= 20)
  backend.interrupt({ itemId: 'cascade-2', playedMs: 1000 })
  await recorder.until('the cancel', () => service.cancelled === 1)
  await service.arrived()
  double.script.reply({ say: 'Yes.' })
  ask(backend)
  await recorder.next('turn-done', 3)
  t.same(answered(double), ['One two… [the caller interrupted]'])
})

t.test('ElevenLabs never gets a sixth context after interruptions', async (t) => {
  const { voice, double, backend, recorder } = await line(t, VOICES['elevenlabs'] as Voice)
  for (let i = 1; i <= 12; i++) {
    double.script.reply({ say: 'One more answer that is cut off.', paceMs: 20, audioMs: 2000 })
    ask(backend)
    await recorder.until('the answer', () => double.chats.length === i)
    backend.interrupt({ itemId: null, playedMs: 0 })
  }
  double.script.reply({ say: 'The last one.' })
  ask(backend)
  await recorder.next('audio-done')
  t.equal((voice as ElevenLabsVoiceDouble).refusedContexts, 0)
})

t.test('after an account limit the next voice takes over', async (t) => {
  for (const [name, closed, code] of [
    ['elevenlabs', { code: 1008, reason: 'max_active_conversations' }, 'rate_limit'],
    ['elevenlabs', { code: 1008, reason: 'quota_exceeded' }, 'quota'],
    ['deepgram', { code: 1011, reason: 'NET-0001' }, 'session_expired'],
  ] as const) {
    const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
    t.teardown(() => double.close())
    const voice = VOICES[name] as Voice
    const service = await voice.start({ key: CASCADE_TEST_KEY, script: double.script })
    t.teardown(() => service.close())
    const factory = voice.make({ baseUrl: service.baseUrl, apiKey: CASCADE_TEST_KEY })
    const recorder = new Recorder()
    const options = cascadeOptions(double)
    const backend = new CascadeBackend(recorder, { ...options, tts: [factory, ...options.tts] })
    t.teardown(() => backend.close('the test is over'))
    await backend.connect(conformanceSession(), new AbortController().signal)
    ;(
      service as unknown as { session: { client: { close(code: number, reason: string): void } } }
    ).session.client.close(closed.code, closed.reason)
    await recorder.until('the fault', () => recorder.all('error').length === 1)
    // That a service is busy is no reason to leave the cascade.
    t.match(recorder.all('error'), [{ code: code === 'rate_limit' ? 'internal' : code, fatal: false }])
    double.script.reply({ say: 'Somebody else says it.' })
    ask(backend)
    t.equal((await recorder.next('turn-done')).status, 'completed', closed.reason)
    t.notMatch(JSON.stringify(recorder.events), CASCADE_TEST_KEY)
  }
})

t.test('the next voice repeats a broken-off number completely', async (t) => {
  const spare = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => spare.close())
  const {
    voice: service,
    double,
    backend,
    recorder,
  } = await line(t, VOICES['soniox'] as Voice, (options) => ({ tts: [...options.tts, ...cascadeOptions(spare).tts] }))
  double.script.reply({ say: 'Your order 4127 is out for delivery.', audioMs: 4000 })
  service.faults.breaksAfterSoundMs = 1500
  ask(backend)
  t.equal((await recorder.next('turn-done')).status, 'completed')
  t.same(spare.spoken, ['four one two seven is out for delivery.'])
})

t.test("the account's dictionary id is sent with each utterance", async (t) => {
  const sent = async (name: 'cartesia' | 'elevenlabs', dictionary: { id: string; version?: string }) => {
    const { make, ...rest } = VOICES[name] as Voice
    const with_ = { ...rest, make: (service: Service) => make({ ...service, dictionary }) }
    const { voice, double, backend, recorder } = await line(t, with_)
    double.script.reply({ say: 'On Muindi Mbingu Street.' })
    ask(backend)
    await recorder.next('turn-done')
    return (voice as CartesiaVoiceDouble | ElevenLabsVoiceDouble).session.messages
  }
  const [begin] = await sent('elevenlabs', { id: 'dict1', version: 'v7' })
  const read = serialization.InitializeConnectionMulti.parseOrThrow(begin)
  t.match(read, { pronunciationDictionaryLocators: [{ pronunciationDictionaryId: 'dict1', versionId: 'v7' }] })
  const pieces = await sent('cartesia', { id: 'dict2' })
  t.ok(pieces.length > 0)
  for (const piece of pieces) t.match(piece, { pronunciation_dict_id: 'dict2' })
})

t.test('ElevenLabs closes no context before it has spoken', async (t) => {
  const { voice, double, backend, recorder } = await line(t, VOICES['elevenlabs'] as Voice)
  const { session } = voice as ElevenLabsVoiceDouble
  double.script.reply({ say: 'It is on its way.' })
  ask(backend)
  t.match(await recorder.next('turn-done'), { status: 'completed' })
  const kinds = session.messages.map((message) =>
    'close_context' in message ? 'close' : 'flush' in message ? 'flush' : 'text',
  )
  t.same(kinds.slice(-2), ['flush', 'close'])
  const other = await line(t, VOICES['elevenlabs, eleven_v3_conversational'] as Voice)
  other.double.script.reply({ say: 'Mzigo wako uko njiani.' })
  ask(other.backend)
  t.match(await other.recorder.next('turn-done'), { status: 'completed' })
  const dialogue = (other.voice as ElevenLabsVoiceDouble).session.messages
  const [begin] = dialogue
  t.match(serialization.TextToDialogueWebsocketClientMessageMulti.parseOrThrow(begin), { voices: [String] })
  t.notOk(
    dialogue.some((message) => 'text' in message || 'voice_settings' in message),
    'no message of the other socket',
  )
  const refused = new WebSocket(
    `${voice.baseUrl}/v1/text-to-speech/x/multi-stream-input?model_id=eleven_v3_conversational`,
    { headers: { 'xi-api-key': CASCADE_TEST_KEY } },
  )
  const [error] = (await once(refused, 'error')) as [Error]
  t.match(error.message, /403/)
})

t.test('Azure speaks markup characters as text', async (t) => {
  const double = await AzureSpeechDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => double.close())
  const context = { languages: ['sw', 'en'], legRateHz: 8000 } as const
  const spoken = async (text: string, language: string, voice?: string): Promise<string> => {
    const service = azureTextToSpeech({ baseUrl: double.baseUrl, apiKey: CASCADE_TEST_KEY }).make(
      serviceContext('cascade', () => performance.now(), new AbortController().signal, context),
    )
    t.teardown(() => service.close())
    await service.open(new AbortController().signal, true)
    await new Promise<void>((done, failed) => {
      const utterance = service.begin(
        { language, speed: 0.85, ...(voice === undefined ? {} : { voice }) },
        {
          audio: () => undefined,
          clause: () => undefined,
          marks: () => undefined,
          done,
          failed: ({ message }) => failed(new Error(message)),
        },
      )
      utterance.text(text)
      utterance.end()
    })
    return double.voices.at(-1)?.documents.at(-1) ?? ''
  }
  const text = 'Bei < 500 & "zaidi" ]]> </voice><voice name="x">\u0007'
  t.match(await spoken(text, 'sw'), /<voice name="sw-KE-ZuriNeural"><prosody rate="-15%">Bei &lt; 500 &amp; /)
  t.equal(double.spoken.at(-1), text.slice(0, -1), 'whole, but for what XML cannot hold')
  t.match(await spoken('Hello there.', 'en'), /xml:lang="en-KE"><voice name="en-KE-AsiliaNeural">/)
  t.match(await spoken('Habari.', 'sw', 'sw-TZ-DaudiNeural'), /xml:lang="sw-TZ"><voice name="sw-TZ-DaudiNeural">/)
  t.match(await spoken('Bonjour.', 'fr'), /<voice name="en-US-AvaMultilingualNeural"><lang xml:lang="fr-FR">/)
  await t.rejects(spoken('Habari.', 'sw', 'sw-KE-NobodyNeural'), /1007: Unsupported voice sw-KE-NobodyNeural/)
})

t.test("Azure's silence within a sentence is a failure", async (t) => {
  const double = await AzureSpeechDouble.start({ key: CASCADE_TEST_KEY, paceMs: 60_000 })
  const service = azureTextToSpeech({ baseUrl: double.baseUrl, apiKey: CASCADE_TEST_KEY, timeoutMs: 300 }).make(
    serviceContext('cascade', () => performance.now(), new AbortController().signal, {
      languages: ['sw'],
      legRateHz: 8000,
    }),
  )
  t.teardown(async () => {
    service.close()
    await double.close()
  })
  await service.open(new AbortController().signal, true)
  let pieces = 0
  const ended = await new Promise<string>((resolve) => {
    const utterance = service.begin(
      { language: 'sw', speed: 1 },
      {
        audio: () => pieces++,
        clause: () => undefined,
        marks: () => undefined,
        done: () => resolve('done'),
        failed: ({ message }) => resolve(message),
      },
    )
    utterance.text('Mzigo wako uko njiani, utafika kesho mchana.')
  })
  t.match(ended, /sends no sound for 300 ms/)
  t.equal(pieces, 1, 'after its first sound')
})

t.test("Google speaks each sentence in its language's voice", async (t) => {
  const double = await GoogleVoiceDouble.start({ key: CASCADE_TEST_KEY })
  const cascade = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => Promise.all([double.close(), cascade.close()]))
  const connected = async (apiKey: string, changed = {}): Promise<{ recorder: Recorder; backend: CascadeBackend }> => {
    const recorder = new Recorder()
    const tts = [googleTextToSpeech({ baseUrl: double.baseUrl, apiKey })]
    const backend = new CascadeBackend(recorder, {
      ...cascadeOptions(cascade),
      languages: ['sw', 'en'],
      tts,
      ...changed,
    })
    t.teardown(() => backend.close('the test is over'))
    await backend.connect(conformanceSession(), new AbortController().signal)
    return { recorder, backend }
  }
  const { recorder, backend } = await connected(CASCADE_TEST_KEY)
  cascade.script.reply({ say: 'Mzigo wako uko njiani leo. It arrives tomorrow at noon.' })
  ask(backend)
  t.match(await recorder.next('turn-done'), { status: 'completed' })
  t.match(
    double.asked.map(({ voice: { name } }) => name),
    [/-Chirp3-HD-Aoede$/],
  )
  t.equal(double.spoken.join(' '), 'Mzigo wako uko njiani leo. It arrives tomorrow at noon.')
  double.asked.splice(0)
  const other = await connected(CASCADE_TEST_KEY, {
    tts: [googleTextToSpeech({ baseUrl: double.baseUrl, apiKey: CASCADE_TEST_KEY, voice: 'Nobody' })],
  })
  cascade.script.reply({ say: 'Hello.' })
  ask(other.backend)
  await other.recorder.until('the refusal', () => other.recorder.all('error').length > 0)
  t.match(other.recorder.all('error')[0]?.message, /tts.*HTTP 400: Voice '[\w-]*-Nobody' does not exist/)
  await t.rejects(connected('AIza-another-key-of-a-test'), /tts: HTTP 400: API key not valid/)
})

t.test('Google speaks with a service account instead of a key', async (t) => {
  const [known, unknown] = [serviceAccount('key-of-the-project'), serviceAccount('key-of-nobody')]
  const double = await GoogleVoiceDouble.start({ account: known })
  const cascade = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => Promise.all([double.close(), cascade.close()]))
  const connected = async (account: typeof known) => {
    const recorder = new Recorder()
    const tts = [googleTextToSpeech({ baseUrl: double.baseUrl, apiKey: null, account })]
    const backend = new CascadeBackend(recorder, { ...cascadeOptions(cascade), tts })
    t.teardown(() => backend.close('the test is over'))
    await backend.connect(conformanceSession(), new AbortController().signal)
    return { recorder, backend }
  }
  const { recorder, backend } = await connected(known)
  cascade.script.reply({ say: 'It arrives tomorrow at noon.' })
  ask(backend)
  t.match(await recorder.next('turn-done'), { status: 'completed' })
  t.same(double.spoken, ['It arrives tomorrow at noon.'])
  await t.rejects(connected(unknown), {
    code: 'BACKEND_AUTH',
    message: /^cascade: tts: HTTP 401: Request had invalid authentication credentials/,
  })
})

t.test('a refused speed does not lose the greeting', async (t) => {
  const double = await GoogleVoiceDouble.start({ key: CASCADE_TEST_KEY })
  const cascade = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => Promise.all([double.close(), cascade.close()]))
  const recorder = new Recorder()
  const tts = [googleTextToSpeech({ baseUrl: double.baseUrl, apiKey: CASCADE_TEST_KEY })]
  const backend = new CascadeBackend(recorder, { ...cascadeOptions(cascade), tts })
  t.teardown(() => backend.close('the test is over'))
  await backend.connect(conformanceSession({ greeting: 'Karibu Zawadi.' }), new AbortController().signal)
  backend.updateSession({ speed: 0.85 })
  cascade.script.reply({ say: 'It arrives tomorrow at noon.' })
  ask(backend)
  backend.sendText('', { role: 'system', respond: true })
  await recorder.until('both', () => recorder.all('turn-done').length >= 2)
  t.equal(backend.stats.wishesRefused, 1)
  t.same(double.spoken.slice(0, 2), ['It arrives tomorrow at noon.', 'Karibu Zawadi.'])
})

t.test('ElevenLabs contexts are kept alive at the required interval', async (t) => {
  const double = await ElevenLabsVoiceDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => double.close())
  const { signal } = new AbortController()
  for (const [refused, everyMs] of [
    [false, 60_000],
    [true, 10_000],
  ] as const) {
    const context = serviceContext('test', () => performance.now(), signal)
    if (refused) context.wishes.never('inactivity_timeout')
    const service = { baseUrl: double.baseUrl, apiKey: CASCADE_TEST_KEY }
    const voice = elevenLabsTextToSpeech(service).make(context)
    const timers = mock.method(globalThis, 'setInterval')
    await voice.open(signal, false)
    timers.mock.restore()
    voice.close()
    t.ok(
      timers.mock.calls.some(({ arguments: [, ms] }) => ms === everyMs),
      `every ${everyMs} ms`,
    )
  }
})

t.test('a voice without speed control keeps its own speed', async (t) => {
  const double = await GoogleVoiceDouble.start({ key: CASCADE_TEST_KEY })
  const cascade = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => Promise.all([double.close(), cascade.close()]))
  const recorder = new Recorder()
  const tts = [googleTextToSpeech({ baseUrl: double.baseUrl, apiKey: CASCADE_TEST_KEY })]
  const backend = new CascadeBackend(recorder, { ...cascadeOptions(cascade), tts })
  t.teardown(() => backend.close('the test is over'))
  await backend.connect(conformanceSession(), new AbortController().signal)
  const rates = (): (number | undefined)[] =>
    double.asked.splice(0).map(({ audioConfig: { speakingRate } }) => speakingRate)
  const answer = async (say: string): Promise<void> => {
    const before = recorder.all('turn-done').length
    cascade.script.reply({ say })
    ask(backend)
    await recorder.until('the answer', () => recorder.all('turn-done').length > before)
    t.equal(recorder.all('turn-done').at(-1)?.status, 'completed')
  }
  t.equal(backend.capabilities.changesSpeed, true)
  backend.updateSession({ speed: 0.85 })
  await answer('It arrives tomorrow at noon.')
  t.same(rates(), [0.85, undefined], 'once with the wish, then without')
  await recorder.until('the model to know', () => cascade.chats.length === 2)
  t.match(JSON.stringify(cascade.chats.at(-1)?.messages.at(-1)), /voice has refused to change its speed/)
  await recorder.until('the agent to say so', () => recorder.all('turn-done').length === 2)
  t.same(rates(), [undefined], 'the sentence about it')
  t.equal(double.spoken[0], 'It arrives tomorrow at noon.')
  t.equal(backend.capabilities.changesSpeed, false, 'the tool says that it cannot')
  await answer('It is at the depot.')
  t.same(rates(), [undefined], 'no more wishes on this call')
  t.same(recorder.all('error'), [])
})
