import t, { type Test } from 'tap'
import type { BackendSession, ToolSpec } from '../../src/backends/backend.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { conformanceSession, Recorder, speakTo } from '../../src/backends/conformance.js'
import { GeminiLiveBackend } from '../../src/vendors/gemini/live/backend.js'
import { type GeminiLiveOptions, liveTarget, setupOf, traitsOf } from '../../src/vendors/gemini/live/setup.js'
import { UnconsumedMessages } from '../../src/vendors/gemini/live/unconsumed.js'
import { clockTimers } from '../../src/backends/timers.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { lineSample } from '../../bench/kit/line-samples.js'
import { GEMINI_TEST_KEY } from './gemini-harness.js'

interface Line {
  readonly double: GeminiDouble
  readonly backend: GeminiLiveBackend
  readonly recorder: Recorder
}

async function line(
  t: Test,
  options: Partial<GeminiLiveOptions> = {},
  session: Partial<BackendSession> = {},
  given?: GeminiDouble,
): Promise<Line> {
  const double = given ?? (await GeminiDouble.start({ key: GEMINI_TEST_KEY }))
  const recorder = new Recorder()
  const backend = new GeminiLiveBackend(recorder, {
    apiKey: GEMINI_TEST_KEY,
    model: 'gemini-live',
    baseUrl: double.baseUrl,
    ...options,
  })
  t.teardown(async () => {
    await backend.close('the test is over')
    if (given === undefined) await double.close()
  })
  await backend.connect(conformanceSession(session), new AbortController().signal)
  return { double, backend, recorder }
}

t.test('a turn-detecting service gets the end of the audio', async (t) => {
  const { double, backend, recorder } = await line(t, { turns: { by: 'server', silenceMs: 500 } })
  double.script.callerSays('first', 'second')
  double.script.reply({ say: 'First.' }, { say: 'Second.' })
  const says = (frames: number, voiced: boolean): void => {
    for (let i = 0; i < frames; i++) backend.pushAudio(new Int16Array(320).fill(voiced ? 6000 : 0), voiced)
  }
  const ends = (): number =>
    double.session.received.filter(({ realtimeInput }) => realtimeInput?.audioStreamEnd === true).length
  says(40, true)
  says(400, false)
  await recorder.next('turn-done', 1)
  await recorder.until('the end of the audio', () => ends() === 1)
  t.equal(double.session.callerAudioMs, 1600)
  says(40, true)
  says(60, false)
  await recorder.next('turn-done', 2)
  await recorder.until('the end of the audio', () => ends() === 2)
  const second = double.session.callerAudioMs - 1600
  t.ok(second >= 400 + 800 + 740, `${second} ms: the speech, what was before it, and the silence after it`)
})

const sound = (ms: number, rateHz: number, mimeType = `audio/pcm;rate=${rateHz}`): object => ({
  serverContent: {
    modelTurn: {
      parts: [{ inlineData: { mimeType, data: Buffer.alloc((ms * rateHz * 2) / 1000).toString('base64') } }],
    },
  },
})

t.test('a rate change within a stream is followed', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.session.sendRaw(JSON.stringify(sound(200, 24_000)))
  double.session.sendRaw(JSON.stringify(sound(200, 16_000)))
  await recorder.until('both pieces', () => recorder.audioPieces.length >= 2)
  t.equal(recorder.audioMs(1), 400)
  t.equal(backend.stats.rateChanges, 1)
})

t.test('several audio parts of one message are played in order', async (t) => {
  const { double, recorder } = await line(t)
  const part = (ms: number): object => ({
    inlineData: { mimeType: 'audio/pcm;rate=24000', data: Buffer.alloc(ms * 48).toString('base64') },
  })
  double.session.sendRaw(
    JSON.stringify({
      serverContent: { modelTurn: { parts: [part(100), { text: 'thinking', thought: true }, part(60)] } },
    }),
  )
  await recorder.until('both', () => recorder.audioMs(1) === 160)
  t.same(
    recorder.audioPieces.map((piece) => piece.ms),
    [100, 60],
  )
  t.equal(recorder.all('transcript').length, 0, 'thoughts are not part of the transcript')
  double.session.send({
    toolCall: { functionCalls: [{ id: 'c1', name: 'lookup_order', args: { data: 'A'.repeat(800) } }] },
  })
  const call = await recorder.next('tool-call')
  t.equal((call.args['data'] as string).length, 800)
})

t.test('a session resumes by its handle or from the history', async (t) => {
  const first = await line(t)
  first.backend.sendText('Hello', { role: 'caller', respond: true })
  await first.recorder.next('turn-done')
  await first.recorder.until('a handle', () => first.backend.snapshot().handle !== null)
  const resume: unknown = JSON.parse(JSON.stringify(first.backend.snapshot()))
  const history = [{ role: 'caller' as const, text: 'Where is my order?' }]
  const second = await line(t, {}, { resume, history }, first.double)
  t.equal(first.double.session.setup?.sessionResumption?.handle, 'handle-1')
  t.same(first.double.session.texts, [], 'the service already has the history')
  second.backend.sendText('Hello again', { role: 'caller', respond: true })
  t.equal((await second.recorder.next('turn-start')).generation, 2, 'numbers go on')
  await second.recorder.until('its own handle', () => second.backend.snapshot().handle === 'handle-2')
  first.double.handles.clear()
  const third = await line(t, {}, { resume, history }, first.double)
  await third.recorder.until('the history', () => first.double.session.texts.length > 0)
  t.same(first.double.session.texts, ['Where is my order?'])
  t.equal(third.backend.stats.resumesRefused, 1)
  t.equal(third.recorder.all('error').length, 0)
})

t.test("activity is announced before the caller's audio", async (t) => {
  const { double, backend, recorder } = await line(t)
  for (let i = 0; i < 100; i++) backend.pushAudio(new Int16Array(320))
  t.equal(double.session.callerAudioMs, 0, 'silence is not sent')
  await speakTo(backend, 600)
  await recorder.next('turn-done')
  t.equal(double.session.unannouncedAudio, 0)
  t.ok(
    double.session.callerAudioMs >= 900 && double.session.callerAudioMs <= 1100,
    `600 ms and the pre-roll, got ${double.session.callerAudioMs}`,
  )
})

t.test('a note does not interrupt the model', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ say: 'A long answer.', audioMs: 1500, paceMs: 5 })
  backend.sendText('Talk', { role: 'caller', respond: true })
  await recorder.until('audio', () => recorder.audioPieces.length > 0)
  backend.sendText('Be brief.', { role: 'system', respond: false })
  t.equal((await recorder.next('turn-done')).status, 'completed')
  await recorder.until('the note', () => double.session.texts.includes('[Be brief.]'))
})

t.test('texts are live input for a model that requires it', async (t) => {
  const { double, backend, recorder } = await line(t, { texts: 'realtime' })
  double.script.callerSays('unused')
  backend.sendText('Be brief.', { role: 'system', respond: false })
  backend.sendText('Hello', { role: 'caller', respond: true })
  await recorder.next('turn-done')
  t.same(double.session.texts, ['[Be brief.]\nHello'])
  t.match(
    double.session.received.slice(-3).map((message) => Object.keys(message.realtimeInput ?? {})[0]),
    ['activityStart', 'text', 'activityEnd'],
  )
})

t.test('no error repeats the key', async (t) => {
  const double = await GeminiDouble.start({ key: 'another' })
  t.teardown(() => double.close())
  const recorder = new Recorder()
  const backend = new GeminiLiveBackend(recorder, { apiKey: GEMINI_TEST_KEY, model: 'm', baseUrl: double.baseUrl })
  await t.rejects(backend.connect(conformanceSession(), new AbortController().signal), {
    code: 'BACKEND_AUTH',
    retryable: false,
  })
  t.notMatch(JSON.stringify(recorder.events), GEMINI_TEST_KEY)
  t.equal(double.connections, 1)
  const second = new Recorder()
  const unreachable = new GeminiLiveBackend(second, {
    apiKey: GEMINI_TEST_KEY,
    model: 'm',
    baseUrl: 'http://127.0.0.1:9',
  })
  await t.rejects(unreachable.connect(conformanceSession(), new AbortController().signal), {
    code: 'BACKEND_NETWORK',
    retryable: true,
  })
  t.notMatch(JSON.stringify(second.events), GEMINI_TEST_KEY)
})

t.test('an interruption within a long message drops its rest', async (t) => {
  const { double, backend, recorder } = await line(t)
  recorder.onAudio = () => backend.interrupt({ itemId: null, playedMs: 0 })
  double.session.sendRaw(JSON.stringify(sound(2000, 24_000)))
  double.session.sendRaw(JSON.stringify(sound(100, 24_000)))
  await recorder.until('the late message', () => backend.stats.latePieces === 1)
  t.equal(recorder.audioPieces.length, 1)
})

t.test("address and key follow the vendor's rules", async (t) => {
  t.same(liveTarget({ apiKey: 'k&1', model: 'm' }), {
    url: 'wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k%261',
    headers: {},
  })
  t.same(liveTarget({ apiKey: 'k&1', model: 'm', baseUrl: 'https://us-central1-aiplatform.googleapis.com' }), {
    url: 'wss://us-central1-aiplatform.googleapis.com/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent',
    headers: { 'x-goog-api-key': 'k&1' },
  })
})

t.test('a tool result that crosses its cancellation is cancelled once', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ calls: [{ callId: 'c1', name: 'lookup_order', args: {} }] })
  backend.sendText('Hello', { role: 'caller', respond: true })
  await recorder.next('tool-call')
  backend.toolResult('c1', { ok: true, value: 1 })
  for (let i = 0; i < 2; i++) double.session.send({ toolCallCancellation: { ids: ['c1', 'unknown'] } })
  await recorder.next('tool-cancel')
  await recorder.until('the answer', () => recorder.audioPieces.length > 0)
  t.same(recorder.all('tool-cancel'), [{ type: 'tool-cancel', callIds: ['c1'] }])
  t.equal(backend.stats.toolCallsCancelled, 1)
})

const LIVE = 'gemini-3.8-live'
const THINKING = 'gemini-3.8-live-extended-thinking'
const OLDER = 'gemini-live-2.5-flash-preview'

const tool = (name: string, changes: Partial<ToolSpec> = {}): ToolSpec => ({
  name,
  description: 'A tool.',
  parameters: { type: 'object', properties: {} },
  ...changes,
})
const TOOLS = [
  tool('lookup_order'),
  tool('cancel_order', { once: true }),
  tool('note', { blocking: false, scheduling: 'silent' }),
]

const line38: typeof line = (t, options, session, given) =>
  line(t, { model: LIVE, ...options }, { tools: TOOLS, ...session }, given)

const ask = (backend: GeminiLiveBackend | CallBackend): void =>
  backend.sendText('Hello', { role: 'caller', respond: true })

const behaviorsOf = (model: string, baseUrl = 'https://generativelanguage.googleapis.com'): (string | undefined)[] =>
  (
    setupOf(
      { apiKey: null, model, baseUrl },
      conformanceSession({ tools: [...TOOLS, tool('waits', { blocking: true, once: true })] }),
      null,
      false,
    ).tools?.[0]?.functionDeclarations ?? []
  ).map(({ behavior }) => behavior)

t.test("a model's abilities follow from its name", async (t) => {
  for (const model of [LIVE, THINKING, 'models/gemini-3.8-live', 'gemini-3.10-live', 'gemini-4.0-live'])
    t.match(traitsOf({ model }), { asynchronous: true, transparent: true }, model)
  for (const model of [OLDER, 'gemini-3.1-flash-live-preview', 'gemini-live', 'gemini-2.5-flash-native-audio-latest'])
    t.match(traitsOf({ model }), { asynchronous: false, transparent: false }, model)
})

t.test("each tool's blocking follows from its model", async (t) => {
  // A look-up; a tool with an effect; one that the agent's file sets not to block, and one that it sets to block.
  t.same(behaviorsOf(LIVE), ['BLOCKING', 'NON_BLOCKING', 'NON_BLOCKING', 'BLOCKING'])
  t.same(behaviorsOf(THINKING), ['NON_BLOCKING', 'NON_BLOCKING', 'NON_BLOCKING', 'NON_BLOCKING'])
  t.same(behaviorsOf(OLDER), ['BLOCKING', 'BLOCKING', 'NON_BLOCKING', 'BLOCKING'])
  t.same(behaviorsOf('gemini-3.1-flash-live-preview'), ['BLOCKING', 'BLOCKING', 'BLOCKING', 'BLOCKING'])
  const vertex = 'https://us-central1-aiplatform.googleapis.com'
  t.same(behaviorsOf(LIVE, vertex), [undefined, undefined, undefined, undefined], 'Vertex AI has no such field')
})

t.test('the setup has only fields that the model accepts', async (t) => {
  const session = conformanceSession()
  const setup = (model: string, options: Partial<GeminiLiveOptions> = {}) =>
    setupOf({ apiKey: null, model, ...options }, session, null, false)
  t.notMatch(JSON.stringify(setup(LIVE, { thinkingLevel: 'high' })), /proactiv|affective|thinking/i)
  t.match(setup(THINKING), { generationConfig: { thinkingConfig: { thinkingLevel: 'LOW' } } })
  t.same(setup(LIVE).inputAudioTranscription, { languageCodes: ['en-KE'] })
  t.same(setup(OLDER).inputAudioTranscription, {})
  const transcription = { languages: ['en-KE', 'sw-KE'], vocabulary: ['M-Pesa'] }
  t.same(setup(LIVE, { transcription }).inputAudioTranscription, {
    languageCodes: ['en-KE', 'sw-KE'],
    customVocabulary: ['M-Pesa'],
  })
  t.same(setup(LIVE).sessionResumption, { transparent: true })
  t.same(setup(OLDER).sessionResumption, {})
  // The double refuses, as the service does, what these models do not take.
  for (const model of [LIVE, THINKING, OLDER]) await line38(t, { model, thinkingLevel: 'high', transcription })
})

t.test('a transcription that repeats its vocabulary is ignored', async (t) => {
  const { double, recorder } = await line38(t, { transcription: { vocabulary: ['M-Pesa', 'Nakuru', 'Kisumu'] } })
  const heard = (text: string): void =>
    double.session.send({ serverContent: { inputTranscription: { text, finished: true } } })
  heard('M-Pesa, Nakuru, Kisumu.')
  await recorder.next('transcript')
  t.equal(recorder.all('transcript')[0]?.text, '')
})

t.test('a non-blocking call does not end the turn', async (t) => {
  const { double, backend, recorder } = await line38(t)
  double.script.reply(
    {
      say: 'I am cancelling both.',
      audioMs: 400,
      calls: [
        { callId: 'c1', name: 'cancel_order', args: { id: 1 } },
        { callId: 'c2', name: 'cancel_order', args: { id: 2 } },
      ],
    },
    { say: 'The first is cancelled.', audioMs: 300 },
    { say: 'The second too.', audioMs: 300 },
  )
  ask(backend)
  await recorder.next('tool-call', 2)
  t.equal((await recorder.next('turn-done')).generation, 1, 'the turn ends by itself, not with the call')
  const types = recorder.events.map(({ type }) => type)
  t.ok(types.lastIndexOf('tool-call') < types.indexOf('turn-done'))
  backend.toolResult('c2', { ok: true, value: 'done' })
  await recorder.next('turn-done', 2)
  t.match(double.session.responses, [{ id: 'c2', name: 'cancel_order', scheduling: 'WHEN_IDLE', willContinue: false }])
  backend.toolResult('c1', { ok: true, value: 'done' })
  await recorder.next('turn-done', 3)
  t.equal(recorder.audioMs(3), 300)
  t.equal(backend.stats.emptyTurns, 0)
})

t.test('blocking calls of one message are answered together', async (t) => {
  const { double, backend, recorder } = await line38(t)
  double.script.reply({
    calls: [
      { callId: 'c1', name: 'lookup_order', args: { id: 1 } },
      { callId: 'c2', name: 'lookup_order', args: { id: 2 } },
    ],
  })
  ask(backend)
  await recorder.next('tool-call', 2)
  t.equal((await recorder.next('turn-done')).status, 'completed', 'the turn ends with the calls')
  backend.toolResult('c1', { ok: true, value: 1 })
  backend.toolResult('c2', { ok: true, value: 2 })
  await recorder.next('turn-done', 2)
  t.same(
    double.session.responses.map(({ id, scheduling, willContinue }) => [id, scheduling, willContinue]),
    [
      ['c1', undefined, undefined],
      ['c2', undefined, undefined],
    ],
  )
})

t.test("a quiet tool's result starts no answer unless it failed", async (t) => {
  const { double, backend, recorder } = await line38(t)
  double.script.reply(
    { say: 'Noted.', calls: [{ callId: 'c1', name: 'note', args: {} }] },
    { say: 'That failed.', calls: [] },
  )
  ask(backend)
  t.equal((await recorder.next('tool-call')).quiet, true)
  await recorder.next('turn-done')
  backend.toolResult('c1', { ok: false, value: { error: 'no' } })
  await recorder.next('turn-done', 2)
  t.match(double.session.responses, [{ scheduling: 'WHEN_IDLE' }])
  double.script.reply({ say: 'Noted again.', calls: [{ callId: 'c2', name: 'note', args: {} }] })
  ask(backend)
  await recorder.next('turn-done', 3)
  backend.toolResult('c2', { ok: true, value: {} })
  await recorder.until('the result', () => double.session.responses.length === 2)
  t.match(double.session.responses[1], { scheduling: 'SILENT' })
})

t.test('new input cancels a blocking call at once', async (t) => {
  const { double, backend, recorder } = await line38(t)
  double.script.reply(
    {
      calls: [
        { callId: 'c1', name: 'lookup_order', args: {} },
        { callId: 'c2', name: 'cancel_order', args: {} },
      ],
    },
    { say: 'What else?' },
  )
  ask(backend)
  await recorder.next('tool-call', 2)
  backend.speechStart(0)
  t.same(recorder.all('tool-cancel'), [{ type: 'tool-cancel', callIds: ['c1'] }], 'not the one that does not block')
  backend.toolResult('c1', { ok: true, value: 'too late' })
  t.equal(backend.stats.lateToolResults, 1)
  backend.toolResult('c2', { ok: true, value: 'done' })
  for (let i = 0; i < 20; i++) backend.pushAudio(new Int16Array(320).fill(900))
  backend.speechEnd(0)
  await recorder.until('an answer', () => recorder.audioPieces.length > 0)
  t.same(
    double.session.toolAnswers.map(({ callId }) => callId),
    ['c2'],
  )
  t.equal(recorder.all('tool-cancel').length, 1, 'the service says it too, and it is told once')
})

t.test("a note is sent with the caller's next words", async (t) => {
  const { double, backend, recorder } = await line38(t)
  backend.sendText('Be brief.', { role: 'system', respond: false })
  await speakTo(backend, 400)
  await recorder.next('turn-done')
  t.same(double.session.texts, ['[Be brief.]'])
  const kinds = double.session.received.map((one) => Object.keys(one.realtimeInput ?? one)[0])
  t.same(kinds.slice(1), ['clientContent', 'activityStart', 'activityEnd'], 'just before the caller speaks')
})

t.test('a model that waits for input has not failed', async (t) => {
  const { double, backend, recorder } = await line38(t)
  const { session } = double
  double.faults.deaf = true
  ask(backend)
  await recorder.next('turn-done')
  await speakTo(backend, 400)
  const say = (serverContent: object): void => session.sendRaw(JSON.stringify({ serverContent }))
  say({ inputTranscription: { text: 'well' } })
  say({ interimInputTranscription: { text: 'well I' } })
  say({ turnComplete: true, interactionStatus: 'IN_PROGRESS' })
  say({ waitingForInput: true })
  say({ turnComplete: true, interactionStatus: 'IDLE' })
  await recorder.until('it to be named', () => backend.stats.waitsForInput === 1)
  say({ generationComplete: true })
  await recorder.until('the preview to be named', () => backend.stats.interimTranscripts === 1)
  t.equal(backend.stats.emptyTurns, 0)
})

t.test('a rotation resends exactly the unconsumed messages', async (t) => {
  const double = await GeminiDouble.start({ key: GEMINI_TEST_KEY })
  double.faults.messagesBehind = 7
  const recorder = new Recorder()
  const backend = new CallBackend(recorder, {
    candidates: [
      {
        create: (sink) =>
          new GeminiLiveBackend(sink, {
            apiKey: GEMINI_TEST_KEY,
            model: LIVE,
            baseUrl: double.baseUrl,
            turns: { by: 'server' },
            messageMs: 20,
          }),
      },
    ],
    timers: clockTimers(() => performance.now()),
  })
  t.teardown(async () => {
    await backend.close('done')
    await double.close()
  })
  await backend.connect(conformanceSession(), new AbortController().signal)
  ask(backend)
  await recorder.next('turn-done')
  // A line on which no sample is like its neighbours.
  const said: number[] = []
  const frames = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const frame = Int16Array.from({ length: 320 }, (_, at) => lineSample(said.length + at))
      said.push(...frame)
      backend.pushAudio(frame, false)
    }
  }
  frames(75)
  const first = double.session
  await recorder.until('all of it', () => first.heard.length === said.length)
  await recorder.until('a moment of quiet', () => {
    first.send({ goAway: { timeLeft: '30s' } })
    return double.sessions.length > 1
  })
  frames(20)
  await recorder.next('failover')
  frames(30)
  const second = double.session
  await recorder.until('the rest', () => second.heard.length >= said.length)
  t.not(second, first)
  t.match(backend.stats, { rotations: 1, replayedSamples: 0 })
  t.equal(second.heard.length, said.length, 'nothing twice')
  t.equal(
    second.heard.findIndex((sample, i) => sample !== said[i]),
    -1,
    'nothing lost',
  )
  const { resentMessages = 0 } = backend.report().irregular['gemini'] ?? {}
  t.ok(resentMessages >= 7, `${resentMessages} messages`)
})

t.test('the messages kept for a resumed session are limited', async (t) => {
  const kept = new UnconsumedMessages(16_000)
  const message = Buffer.alloc(640)
  kept.begin()
  for (let i = 0; i < 700; i++) kept.sentAudio(message, message.length)
  t.equal(kept.after(50), null, 'the oldest are forgotten')
  t.equal([...(kept.after(650) ?? [])].length, 50)
  kept.sentText('{}')
  t.same([...(kept.after(700) ?? [])], [{ json: '{}' }])
  kept.consumed(690)
  t.equal([...(kept.after(660) ?? [])].length, 41, 'a session may be connected with the state before the last report')
  kept.consumed(695)
  t.equal(kept.after(660), null)
})

t.test('transparent resumption is not requested again after a refusal', async (t) => {
  const double = await GeminiDouble.start({ key: GEMINI_TEST_KEY })
  t.teardown(() => double.close())
  double.faults.refusesTransparent = true
  const first = await line38(t, {}, {}, double)
  t.equal(double.connections, 2)
  t.equal(first.backend.stats.transparentRefused, 1)
  t.same(double.session.setup?.sessionResumption, {})
  ask(first.backend)
  await first.recorder.next('turn-done')
  await first.recorder.until('a handle', () => (first.backend.snapshot() as { handle: unknown }).handle !== null)
  t.equal(first.recorder.all('error').length, 0)
  const second = await line38(t, {}, { resume: first.backend.snapshot() }, double)
  t.equal(double.connections, 3, 'this worker knows')
  t.match(double.session.setup?.sessionResumption, { handle: 'handle-1', transparent: undefined })
  t.match(second.backend.stats, { transparentRefused: 0, resumesRefused: 0 })
  t.equal(second.backend.continueFrom(first.backend), false, 'so the input without an answer is replayed')
})

t.test('the model repeats a call with an empty answer', async (t) => {
  const { double, backend, recorder } = await line38(t)
  double.script.reply({ calls: [{ callId: 'c1', name: 'lookup_order', args: { orderNumber: '9999' } }] })
  ask(backend)
  await recorder.next('tool-call')
  backend.toolResult('c1', { ok: true, value: { orders: [] } })
  const again = await recorder.next('tool-call', 2)
  t.match(again, { callId: 'c1_again', name: 'lookup_order', args: { orderNumber: '9999' } })
  backend.toolResult('c1_again', { ok: true, value: { status: 'no_results', retryable: false, orders: [] } })
  await recorder.until('the answer', () => recorder.audioPieces.length > 0)
  t.equal(double.session.repeatedCalls, 1)
  t.equal(recorder.all('tool-call').length, 2)
})

t.test('a refused setup is not repeated without end', async (t) => {
  const double = await GeminiDouble.start({ key: 'another' })
  t.teardown(() => double.close())
  await t.rejects(line38(t, {}, {}, double), { code: 'BACKEND_AUTH' })
  t.equal(double.connections, 1, 'a wrong key is wrong')
  const picky = await GeminiDouble.start({ key: GEMINI_TEST_KEY })
  t.teardown(() => picky.close())
  picky.closeAtOnce = { code: 1007, reason: 'Request contains an invalid argument.' }
  await t.rejects(line38(t, {}, {}, picky), { code: 'BACKEND_BAD_REQUEST' })
  t.equal(picky.connections, 3, 'once without transparent resumption, and once without optional fields')
})

t.test('Vertex AI gets no `behavior` and resumes transparently', async (t) => {
  const double = await GeminiDouble.start({ key: GEMINI_TEST_KEY })
  t.teardown(() => double.close())
  for (const model of [LIVE, OLDER]) {
    const { backend, recorder } = await line38(
      t,
      { model: `projects/p/locations/us-central1/publishers/google/models/${model}` },
      {},
      double,
    )
    t.same(double.session.setup?.sessionResumption, { transparent: true })
    t.notMatch(JSON.stringify(double.session.setup?.tools), /behavior/)
    double.script.reply({ calls: [{ callId: `c-${model}`, name: 'cancel_order', args: {} }] })
    ask(backend)
    t.equal((await recorder.next('turn-done')).status, 'completed', 'every call blocks there')
    backend.toolResult(`c-${model}`, { ok: true, value: 1 })
    await recorder.until('the result', () => double.session.responses.length === 1)
    t.match(double.session.responses, [{ scheduling: undefined, willContinue: undefined }])
  }
})
