import t from 'tap'
import type { Test } from 'tap'
import type { BackendSession } from '../../src/backends/backend.js'
import { Recorder, conformanceSession, speakTo } from '../../src/backends/conformance.js'
import { GeminiLiveBackend } from '../../src/backends/gemini-live/gemini-backend.js'
import { liveUrl } from '../../src/backends/gemini-live/setup.js'
import type { GeminiLiveOptions } from '../../src/backends/gemini-live/setup.js'
import { GeminiDouble } from '../../src/simulator/vendors/gemini-live-double.js'
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

t.test(
  'a service that detects turns is told when the audio stops, and gets the beginning of what follows',
  async (t) => {
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
  },
)

const sound = (ms: number, rateHz: number, mimeType = `audio/pcm;rate=${rateHz}`): object => ({
  serverContent: {
    modelTurn: {
      parts: [{ inlineData: { mimeType, data: Buffer.alloc((ms * rateHz * 2) / 1000).toString('base64') } }],
    },
  },
})

t.test('malformed messages are counted, and the call goes on', async (t) => {
  const { double, backend, recorder } = await line(t)
  const { session } = double
  session.sendRaw('{"serverContent":')
  session.sendRaw('"text"')
  session.sendRaw('{"serverContent":7}')
  session.sendRaw('{"newFeature":{}}')
  session.sendRaw('{"serverContent":{"modelTurn":{"parts":"none"}}}')
  session.sendRaw('{"toolCall":{"functionCalls":[null,{"name":"x"},7]}}')
  session.sendRaw(
    JSON.stringify({
      serverContent: {
        modelTurn: { parts: [{ inlineData: { mimeType: 'audio/pcm;rate=24000', data: '%'.repeat(900) } }] },
      },
    }),
  )
  session.sendRaw(JSON.stringify(sound(100, 22_050)))
  session.sendRaw(JSON.stringify({ serverContent: { turnComplete: true } }))
  await recorder.next('turn-done')
  t.match(backend.stats, { malformedMessages: 6, unknownMessages: 1, malformedAudio: 1, unplayableAudio: 1 })
  t.equal(recorder.all('error').length, 0)
  backend.sendText('Hello', { role: 'caller', respond: true })
  await recorder.next('turn-done', 2)
})

t.test('a message of 20 MiB is dropped and does not end the call', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.session.sendRaw(JSON.stringify(sound(310_000, 24_000)))
  backend.sendText('Hello', { role: 'caller', respond: true })
  await recorder.next('turn-done')
  t.equal(backend.stats.oversizeMessages, 1)
})

t.test('a rate that changes in mid-stream is followed', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.session.sendRaw(JSON.stringify(sound(200, 24_000)))
  double.session.sendRaw(JSON.stringify(sound(200, 16_000)))
  await recorder.until('both pieces', () => recorder.audioPieces.length >= 2)
  t.equal(recorder.audioMs(1), 400)
  t.equal(backend.stats.rateChanges, 1)
})

t.test(
  'several parts of one message are played in order, and a long text under data is not decoded as audio',
  async (t) => {
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
  },
)

t.test('a session is resumed by its handle, and from the history where that is refused', async (t) => {
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

t.test("activity is announced before the caller's audio, with a pre-roll", async (t) => {
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

t.test('a model that takes texts only as live input gets them as live input', async (t) => {
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

t.test('no error repeats the key, which travels in the address', async (t) => {
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

t.test('an interruption in the middle of a long message drops the rest of it', async (t) => {
  const { double, backend, recorder } = await line(t)
  recorder.onAudio = () => backend.interrupt({ itemId: null, playedMs: 0 })
  double.session.sendRaw(JSON.stringify(sound(2000, 24_000)))
  double.session.sendRaw(JSON.stringify(sound(100, 24_000)))
  await recorder.until('the late message', () => backend.stats.latePieces === 1)
  t.equal(recorder.audioPieces.length, 1)
})

t.test("the address is the vendor's", async (t) => {
  t.equal(
    liveUrl({ apiKey: 'k&1', model: 'm' }),
    'wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k%261',
  )
  t.match(
    liveUrl({ apiKey: 'auth_tokens/x', model: 'm', apiVersion: 'v1alpha' }),
    /v1alpha\.GenerativeService\.BidiGenerateContentConstrained\?access_token=auth_tokens%2Fx$/,
  )
})

t.test('a result that crosses the cancellation of its call is told as cancelled, once', async (t) => {
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
