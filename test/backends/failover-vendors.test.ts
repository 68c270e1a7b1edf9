import t, { type Test } from 'tap'
import type { BackendFactory } from '../../src/backends/backend.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { conformanceSession, Recorder } from '../../src/backends/conformance.js'
import { CostMeter } from '../../src/backends/cost-meter.js'
import { EmbeddedBackend } from '../../src/backends/embedded/embedded-backend.js'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { GeminiLiveBackend } from '../../src/vendors/gemini/live/backend.js'
import { OpenAiLiveBackend } from '../../src/vendors/openai/live/backend.js'
import type { OpenAiLiveOptions } from '../../src/vendors/openai/live/session-start.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import type { OpenAiRealtimeOptions } from '../../src/vendors/self-hosted/realtime/session-config.js'
import { priceList } from '../../src/backends/prices.js'
import { clockTimers } from '../../src/backends/timers.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { textIn } from '../../src/call/spoken/localized-text.js'
import type { CallOutput } from '../../src/call/events.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { OpenAiLiveDouble } from '../../src/vendors/openai/live-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { loadFlite } from '../../src/speech/flite.js'
import { SpeechClient } from '../../src/speech/speech-client.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { Rig } from '../call/rig.js'
import { cascadeHarness } from './cascade-harness.js'
import { lookUp, session } from './embedded/order-line.js'
import { framesOf, overThePhone } from './embedded/phone-line.js'
import { FakeTimers, ScriptedService } from './failover/scripted.js'
import { line, resamplers, utterance, UTTERANCE_MS } from './failover/vendors-line.js'
import { geminiHarness } from './gemini-harness.js'
import { openAiHarness } from './openai-harness.js'
import { liveHarness } from './openai-live-harness.js'

// Real sockets, clients and resamplers; only the services are doubles.

const KEY = 'sk-test-0123456789abcdef0123456789abcdef'

async function openAi(t: Test): Promise<OpenAiDouble> {
  const double = await OpenAiDouble.start({ key: KEY })
  t.teardown(() => double.close())
  return double
}

async function gemini(t: Test): Promise<GeminiDouble> {
  const double = await GeminiDouble.start()
  t.teardown(() => double.close())
  return double
}

const toOpenAi =
  (double: OpenAiDouble, name: string, options: Partial<OpenAiRealtimeOptions> = {}): BackendFactory =>
  (sink) =>
    new OpenAiRealtimeBackend(sink, {
      apiKey: KEY,
      model: 'gpt-realtime-2.1',
      baseUrl: double.baseUrl,
      name,
      turns: { by: 'gateway' },
      ...options,
    })
const toGemini =
  (double: GeminiDouble): BackendFactory =>
  (sink) =>
    new GeminiLiveBackend(sink, { apiKey: 'AIzaTest', model: 'gemini-live', baseUrl: double.baseUrl })

t.test('another vendor gets the whole question after a connection breaks', async (t) => {
  const [a, b] = [await openAi(t), await gemini(t)]
  a.script.callerSays('Where is my order?')
  a.script.reply({ say: 'Your order is on its way to Nakuru and will be there tomorrow.', audioMs: 4000, paceMs: 20 })
  b.script.callerSays('where is my order')
  b.script.reply({ say: 'It is on its way.', audioMs: 800 })
  const { recorder, backend } = await line(t, [toOpenAi(a, 'openai'), toGemini(b)])
  utterance(backend)
  await recorder.until(
    '600 ms of the first answer',
    () => recorder.audioPieces.reduce((ms, piece) => ms + piece.ms, 0) >= 600,
  )
  const [first] = recorder.audioPieces
  a.breakOff()
  await recorder.next('failover')
  const failover = recorder.all('failover')[0]
  t.match(failover, { from: 'openai', to: 'gemini', reason: 'network' })
  t.ok((failover?.gapMs ?? NaN) < 3000, `a gap of ${Math.round(failover?.gapMs ?? NaN)} ms on a loopback connection`)
  t.comment(`gap ${failover?.gapMs.toFixed(1)} ms`)
  await recorder.until('the second answer', () => recorder.all('turn-done').some((done) => done.status === 'completed'))
  t.ok(b.session.callerAudioMs >= UTTERANCE_MS, `${b.session.callerAudioMs} ms arrived`)
  t.equal(backend.stats.lostSamples, 0)
  t.ok(recorder.audioPieces.some((piece) => piece.generation > (first?.generation ?? Infinity)))
  t.equal(recorder.all('ready').length, 1)
  t.notOk(recorder.all('error').some((error) => error.fatal))
  t.comment(`first sound ${backend.stats.soundMsLast?.toFixed(1)} ms after the fault`)
})

t.test('a turn-detecting service takes over from one without turn detection', async (t) => {
  const [a, b] = [await openAi(t), await openAi(t)]
  a.script.reply({ say: 'One moment.', audioMs: 3000, paceMs: 20 })
  b.script.callerSays('are you open on Sunday?')
  b.script.reply({ say: 'From nine to four.', audioMs: 700 })
  const { recorder, backend } = await line(t, [
    toOpenAi(a, 'first'),
    toOpenAi(b, 'second', { turns: { by: 'server_vad' } }),
  ])
  t.equal(backend.capabilities.serverVad, false)
  utterance(backend)
  await recorder.until('audio', () => recorder.audioPieces.length > 0)
  a.breakOff()
  await recorder.next('failover')
  await recorder.until('the second answer', () => recorder.all('turn-done').some((done) => done.status === 'completed'))
  t.ok(recorder.all('transcript').some((event) => event.role === 'caller' && event.text === 'are you open on Sunday?'))
  t.equal(recorder.all('speech-started').length, 0, 'the gateway marks the turns, whichever candidate serves')
  t.equal(b.session.errors.length, 0)
})

t.test('only the first call tries a wrong key', async (t) => {
  const [a, b] = [await openAi(t), await openAi(t)]
  const circuits = new Circuits()
  const list = [toOpenAi(a, 'first', { apiKey: 'sk-wrong' }), toOpenAi(b, 'second')]
  for (let i = 0; i < 3; i++) {
    const { recorder, backend } = await line(t, list, { circuits })
    t.equal(backend.capabilities.name, 'second')
    t.equal(recorder.all('error').filter((error) => error.code === 'auth').length, i === 0 ? 1 : 0)
  }
  t.equal(a.connections, 1)
})

t.test('the next service gets the tool result without another run', async (t) => {
  const [a, b] = [await openAi(t), await openAi(t)]
  const call = { callId: 'call_a', name: 'lookup_order', args: { orderNumber: '4711' } }
  a.script.reply({ calls: [call] }, { say: 'It is on its way to you.', audioMs: 4000, paceMs: 20 })
  b.script.reply({ calls: [{ ...call, callId: 'call_b' }] }, { say: 'It is out for delivery.', audioMs: 500 })
  const { recorder, backend } = await line(t, [toOpenAi(a, 'first'), toOpenAi(b, 'second')])
  utterance(backend)
  const asked = await recorder.next('tool-call')
  backend.toolResult(asked.callId, { ok: true, value: { status: 'out for delivery' } })
  await recorder.until('audio', () => recorder.audioPieces.length > 0)
  a.breakOff()
  await recorder.until('the second answer', () =>
    recorder.all('turn-done').some((done) => done.status === 'completed' && recorder.audioMs(done.generation) === 500),
  )
  t.equal(recorder.all('tool-call').length, 1)
  const answers = b.session.items.filter((item) => item.type === 'function_call_output')
  t.equal(answers.length, 2, 'once as history, once as the answer to its own call')
  t.ok(answers.every((item) => item.type === 'function_call_output' && item.output.includes('out for delivery')))
})

t.test("the next service gets a waiting tool's outcome once [2]", async (t) => {
  const [a, b] = [await openAi(t), await openAi(t)]
  a.script.reply({ calls: [{ callId: 'call_a', name: 'charge', args: {} }] })
  b.script.reply({ say: 'It is paid.', audioMs: 500 })
  const { recorder, backend } = await line(t, [toOpenAi(a, 'first'), toOpenAi(b, 'second')])
  utterance(backend)
  const { callId } = await recorder.next('tool-call')
  backend.toolResult(callId, { ok: true, value: { pending: true }, pending: true })
  a.breakOff()
  await recorder.next('failover')
  const outcome = { ok: true, value: { receipt: 'QX1' } }
  if (!backend.toolOutcome(callId, outcome))
    backend.sendText('The outcome of charge has come: QX1.', { role: 'system', respond: true })
  await recorder.until('what it says', () => recorder.all('turn-done').some(({ status }) => status === 'completed'))
  await recorder.until('the outcome', () => JSON.stringify(b.session.items).includes('QX1'))
  t.equal(JSON.stringify(b.session.items).split('QX1').length - 1, 1)
  t.equal(recorder.all('tool-call').length, 1)
})

const COLLECT = { name: 'collect_digits', args: { name: 'order' } }
const REALTIME = openAiHarness('OpenAI', { turns: { by: 'gateway' } })
const OTHERS = [
  geminiHarness('Gemini'),
  liveHarness('GPT-Live', 'responses'),
  liveHarness('GPT-Live with a delegate of ours', 'client'),
]
for (const [first, second] of [
  [REALTIME, REALTIME],
  // It has no connection that could break while nobody speaks.
  [REALTIME, cascadeHarness()],
  ...OTHERS.flatMap((other) => [[REALTIME, other] as const, [other, REALTIME] as const]),
] as const)
  t.test(`${first.name} fails during digit entry: ${second.name} gets the digits`, async (t) => {
    const [a, b] = await Promise.all([first.setup(), second.setup()])
    t.teardown(() => Promise.all([a.close(), b.close()]))
    for (const { vendor } of [a, b]) vendor.callerSays('Where is my order?', 'Where is my order?')
    a.vendor.reply({ calls: [{ ...COLLECT, callId: 'call_a' }] })
    b.vendor.reply({ calls: [{ ...COLLECT, callId: 'call_b' }] }, { say: 'Thank you.', audioMs: 500 })
    const { recorder, backend } = await line(t, [a.backend, b.backend])
    utterance(backend)
    const { callId } = await recorder.next('tool-call')
    backend.sendText('Please key in your order number.', { role: 'agent', respond: false })
    a.vendor.failConnect('internal')
    a.vendor.breakOff()
    await recorder.next('failover')
    await recorder.until('its own question', () => backend.stats.toolsSpared === 1)
    backend.toolResult(callId, { ok: true, value: { digits: '4127', by: 'keypad' } })
    await recorder.until('its answer', () => soundMs(recorder) >= 500)
    t.equal(b.vendor.toolAnswers.filter(({ text }) => text.includes('4127')).length, 1, 'the digits arrived once')
    t.equal(recorder.all('tool-call').length, 1, 'and the caller is not asked again')
  })

t.test('a half-open connection is replaced after stallMs', async (t) => {
  const [a, b] = [await openAi(t), await openAi(t)]
  b.script.reply({ say: 'I am here.', audioMs: 300 })
  const { recorder, backend } = await line(t, [toOpenAi(a, 'first'), toOpenAi(b, 'second')], { stallMs: 1500 })
  a.session.freeze()
  utterance(backend)
  const failover = await recorder.next('failover')
  t.match(failover, { to: 'second', reason: 'stall' })
  await recorder.until('an answer', () => recorder.audioPieces.length > 0)
})

t.test('a service with a silent greeting is replaced [1]', async (t) => {
  const zeros = await OpenAiDouble.start({
    key: KEY,
    speaker: () => ({ pcm: new Int16Array(24_000 * 3), sampleRateHz: 24_000 }),
  })
  t.teardown(() => zeros.close())
  zeros.script.reply({ say: 'Welcome to the shop.' })
  const second = await openAi(t)
  second.script.reply({ say: 'Welcome to the shop.', audioMs: 600 })
  const { recorder, backend } = await line(t, [toOpenAi(zeros, 'zeros'), toOpenAi(second, 'second')], { stallMs: 800 })
  backend.sendText('', { role: 'system', respond: true })
  t.match(await recorder.next('failover'), { to: 'second', reason: 'stall' })
  await recorder.until('its greeting', () => recorder.audioPieces.length > 0)
  t.ok(
    recorder.audioPieces.every(({ generation }) => generation > 1),
    'nothing of the zeros was played',
  )
})

t.test('a warm standby of another vendor takes over at once', async (t) => {
  const [a, b] = [await openAi(t), await gemini(t)]
  a.script.reply({ say: 'Welcome.', audioMs: 300 }, { say: 'Your order is on its way.', audioMs: 4000, paceMs: 20 })
  b.script.reply({ say: 'It is on its way.', audioMs: 500 })
  const { recorder, backend } = await line(t, [toOpenAi(a, 'openai'), toGemini(b)], { standby: true })
  backend.sendText('', { role: 'system', respond: true })
  await recorder.next('turn-done')
  await recorder.until('the standby', () => b.sessions.length === 1)
  utterance(backend)
  await recorder.until('the answer', () => recorder.audioPieces.some((piece) => piece.generation === 2))
  let sameTurn = false
  recorder.onEvent = (event) => {
    if (event.type === 'error') {
      sameTurn = true
      setImmediate(() => {
        sameTurn = false
      })
    } else if (event.type === 'failover') {
      t.ok(sameTurn, 'without any wait')
      t.comment(`gap ${event.gapMs.toFixed(2)} ms`)
    }
  }
  a.breakOff()
  await recorder.next('failover')
  await recorder.until('its answer', () =>
    recorder.all('turn-done').some((done) => done.generation > 2 && done.status === 'completed'),
  )
  t.equal(b.connections, 1)
  t.ok(b.session.callerAudioMs >= UTTERANCE_MS)
  t.ok(b.session.texts.some((text) => text.includes('You take over this call now')))
})

t.test('a caller recognised during connection is greeted by name', async (t) => {
  const [a, b] = [await openAi(t), await gemini(t)]
  const models = [
    { double: a, candidate: toOpenAi(a, 'openai'), told: () => JSON.stringify([a.session.items, a.session.received]) },
    { double: b, candidate: toGemini(b), told: () => b.session.texts.join() },
  ]
  for (const { double, candidate, told } of models) {
    double.script.reply({ say: 'Hello Amina.', audioMs: 300 })
    const { recorder, backend } = await line(t, [candidate])
    backend.updateSession({ greeting: 'Hello Amina.', caller: { name: 'Amina' } })
    backend.sendText('', { role: 'system', respond: true })
    await recorder.next('turn-done')
    t.match(told(), /exactly these words, and nothing else: Hello Amina\./)
  }
})

t.test("after Gemini's goAway the next connection resumes the session", async (t) => {
  const a = await gemini(t)
  const { recorder, backend } = await line(t, [toGemini(a)])
  backend.sendText('', { role: 'system', respond: true })
  await recorder.next('turn-done')
  const old = a.session
  old.send({ sessionResumptionUpdate: { newHandle: 'handle-1', resumable: true } })
  a.handles.set('handle-1', [])
  old.send({ goAway: { timeLeft: '50s' } })
  const failover = await recorder.next('failover')
  t.match(failover, { from: 'gemini', to: 'gemini', reason: 'rotation' })
  t.ok(failover.gapMs < 3000, `${failover.gapMs.toFixed(2)} ms`)
  t.not(a.session, old)
  utterance(backend)
  await recorder.until('an answer', () => recorder.all('turn-done').length >= 2)
  t.equal(recorder.all('error').length, 0)
})

t.test('all resamplers are released', async (t) => {
  t.equal(resamplers.openStreams, 0)
})

t.test('a service that drops the first connection gets another try', async (t) => {
  const vendor = await openAi(t)
  vendor.closeAtOnce = { code: 1001, reason: '' }
  const connected = line(t, [toOpenAi(vendor, 'openai')])
  while (vendor.connections === 0) await new Promise((resolve) => setImmediate(resolve))
  vendor.closeAtOnce = null
  const { recorder } = await connected
  t.equal(vendor.connections, 2)
  t.notOk(recorder.all('error').some((error) => error.fatal))
})

const LOOK_UP = { callId: 'call_a', name: 'lookup_order', args: { orderNumber: '4711' } }

async function doubles(t: Test): Promise<{ readonly turns: OpenAiDouble; readonly live: OpenAiLiveDouble }> {
  const [turns, live] = await Promise.all([OpenAiDouble.start({ key: KEY }), OpenAiLiveDouble.start({ key: KEY })])
  t.teardown(() => Promise.all([turns.close(), live.close()]))
  return { turns, live }
}

const toTurns =
  (double: OpenAiDouble): BackendFactory =>
  (sink) =>
    new OpenAiRealtimeBackend(sink, {
      apiKey: KEY,
      model: 'gpt-realtime-2.1',
      baseUrl: double.baseUrl,
      name: 'openai',
      turns: { by: 'gateway' },
    })
const toLive =
  (double: OpenAiLiveDouble, options: Partial<OpenAiLiveOptions> = {}): BackendFactory =>
  (sink) =>
    new OpenAiLiveBackend(sink, {
      apiKey: KEY,
      model: 'gpt-live-1.1',
      baseUrl: double.baseUrl,
      delegate: { by: 'responses', model: 'gpt-5.4-mini' },
      ...options,
    })

const soundMs = (recorder: Recorder): number => recorder.audioPieces.reduce((sum, piece) => sum + piece.ms, 0)

/** Up to the middle of the answer that a tool's result led to. */
async function untilMidSentence(recorder: Recorder, backend: CallBackend): Promise<void> {
  utterance(backend)
  const call = await recorder.next('tool-call')
  backend.toolResult(call.callId, { ok: true, value: { status: 'out for delivery' } })
  await recorder.until('a second of the answer', () => soundMs(recorder) >= 1000)
}

const SENTENCE = 'Your order is on its way to Nakuru and it will be with you tomorrow before noon.'

t.test('a full-duplex model takes over from a turn-based one', async (t) => {
  const { turns, live } = await doubles(t)
  turns.script.callerSays('Where is my order?')
  turns.script.reply({ calls: [LOOK_UP] }, { say: SENTENCE, audioMs: 5000, paceMs: 20 })
  live.script.callerSays('Where is my order?')
  live.script.reply({ calls: [{ ...LOOK_UP, callId: 'call_b' }] }, { say: 'It arrives tomorrow.', audioMs: 700 })
  const { recorder, backend } = await line(t, [toTurns(turns), toLive(live)])
  t.equal(backend.capabilities.serverVad, false)
  await untilMidSentence(recorder, backend)
  turns.breakOff()
  const failover = await recorder.next('failover')
  t.match(failover, { from: 'openai', to: 'openai-live', reason: 'network' })
  t.ok(failover.gapMs < 3000, `a gap of ${Math.round(failover.gapMs)} ms on a loopback connection`)
  await recorder.until('the second answer', () =>
    recorder.all('transcript').some((entry) => entry.role === 'agent' && entry.text === 'It arrives tomorrow.'),
  )
  t.ok(live.session.callerAudioMs >= UTTERANCE_MS, 'the question was heard again, without a loss')
  t.equal(backend.stats.lostSamples, 0)
  t.match(live.session.items[0], { type: 'function_call', name: 'lookup_order' }, 'what was done is known')
  t.match(live.session.items[1], { type: 'function_call_output', output: /out for delivery/ })
  const said = live.session.config?.input?.flatMap((item) => item.content.map((part) => part.text)).join(' ') ?? ''
  t.ok(said.startsWith('Your order') && !said.includes('noon'), `what was heard is known, and no more: ${said}`)
  t.equal(recorder.all('tool-call').length, 1, 'the tool was not run again')
  t.equal(backend.stats.toolsSpared, 1)
  t.equal(live.session.errors.length, 0)
})

t.test('a turn-based model takes over from a full-duplex one', async (t) => {
  const { turns, live } = await doubles(t)
  live.script.callerSays('Where is my order?')
  live.script.reply({ calls: [LOOK_UP] }, { say: SENTENCE, audioMs: 5000, paceMs: 20 })
  turns.script.callerSays('where is my order')
  turns.script.reply({ say: 'It is out for delivery.', audioMs: 700 })
  const { recorder, backend } = await line(t, [toLive(live), toTurns(turns)])
  await untilMidSentence(recorder, backend)
  const first = recorder.audioPieces.at(-1)?.generation ?? 0
  live.breakOff()
  t.match(await recorder.next('failover'), { from: 'openai-live', to: 'openai', reason: 'network' })
  await recorder.until('the second answer', () =>
    recorder.all('turn-done').some((done) => done.generation > first && done.status === 'completed'),
  )
  t.ok(turns.session.callerAudioMs >= UTTERANCE_MS)
  t.match(
    turns.session.items.find((item) => item.type === 'function_call_output'),
    { output: /out for delivery/ },
  )
  const said = turns.session.items
    .flatMap((item) => (item.type === 'message' && item.role === 'assistant' ? item.content : []))
    .map((part) => part.text ?? '')
    .join(' ')
  t.ok(said.startsWith('Your order') && !said.includes('noon'), `what was heard is known, and no more: ${said}`)
  t.equal(recorder.all('tool-call').length, 1)
  t.equal(turns.session.errors.length, 0)
})

t.test('an expiring live session is replaced with its history', async (t) => {
  const { live } = await doubles(t)
  live.script.reply({ say: 'Welcome to the shop.', audioMs: 200 }, { say: 'Still here.', audioMs: 200 })
  // The first session ends soon, the second one does not.
  live.expiresAt = Math.ceil(Date.now() / 1000) + 5
  const { recorder, backend } = await line(t, [toLive(live, { expiringLeadMs: 4500 })])
  live.expiresAt = null
  backend.sendText('', { role: 'system', respond: true })
  await recorder.next('turn-done')
  t.match(await recorder.next('failover'), { from: 'openai-live', to: 'openai-live', reason: 'rotation' })
  t.equal(live.sessions.length, 2)
  t.match(live.session.config?.input, [{ role: 'assistant', content: [{ text: 'Welcome to the shop.' }] }])
  utterance(backend)
  await recorder.next('turn-done', 2)
  t.equal(recorder.all('error').length, 0)
})

t.test('the next backend takes the call after a refused session', async (t) => {
  const { turns, live } = await doubles(t)
  live.refuseSession = { type: 'insufficient_quota', code: 'insufficient_quota', message: 'You exceeded your quota.' }
  const { recorder, backend } = await line(t, [toLive(live), toTurns(turns)])
  t.equal(backend.capabilities.name, 'openai')
  t.match(recorder.all('error'), [{ code: 'quota', fatal: false }])
})

const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
await pool.ready()
const flite = await loadFlite()

t.test('the offline dialogue answers after the cloud service fails', async (t) => {
  const cloud = new ScriptedService('cloud', ['ready', 'network'], { inputRateHz: 8000 })
  const speech = new SpeechClient({ port: pool.openSession(), reopen: async () => pool.openSession() })
  const clock = (): number => performance.now()
  const recorder = new Recorder()
  const backend = new CallBackend(recorder, {
    candidates: [
      { create: cloud.create },
      { create: (sink) => new EmbeddedBackend(sink, { speech, nowMs: clock }), scripted: true, voice: 'slt' },
    ],
    timers: clockTimers(clock),
  })
  t.teardown(async () => {
    await backend.close('the test is over')
    speech.close()
  })
  recorder.onEvent = (event) => {
    if (event.type !== 'tool-call') return
    setImmediate(() => backend.toolResult(event.callId, { ok: true, value: lookUp(event.args) }))
  }
  await backend.connect(session({ voice: 'marin' }), new AbortController().signal)
  t.equal(backend.capabilities.inputRateHz, 8000)
  backend.sendText('', { role: 'system', respond: true })
  cloud.now.answer(1, 'Hello, this is the order line.', 900)
  for (const [i, frame] of framesOf(overThePhone(flite, 'where is my order', 'rms')).entries()) {
    // 200 ms late, as a VAD is.
    if (i === 20) backend.speechStart(clock() - 200)
    backend.pushAudio(frame)
    if (i === 40) cloud.now.die()
  }
  backend.speechEnd(clock())
  const said = (): readonly string[] =>
    recorder.all('transcript').flatMap((event) => (event.role === 'agent' ? [event.text] : []))
  await recorder.until('the answer', () => said().some((text) => /Order 4127 is out for delivery/.test(text)), 20_000)
  t.match(recorder.all('failover'), [{ from: 'cloud', to: 'embedded' }])
  t.ok(
    said().some((text) => text.startsWith('Sorry, the line had a problem.')),
    'it begins with the words for a takeover',
  )
  t.ok(
    recorder.all('transcript').some((event) => event.role === 'caller' && /where('s| is) my order/.test(event.text)),
    'it got the speech from before the takeover',
  )
  t.equal(recorder.all('error').filter((error) => error.fatal).length, 0)
})

const announced = (rig: Rig): string[] =>
  rig.log.flatMap(({ output }) => (output.type === 'announce' ? [output.text] : []))
const ended = (rig: Rig): CallOutput | undefined => rig.log.find(({ output }) => output.type === 'end-stream')?.output

t.test('a caller who waits for a takeover hears a filler', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'holding' })
  t.same(announced(rig), [textIn(DEFAULT_CALL_OPTIONS.filler.texts[0] ?? '', 'en')])
  rig.backend({ type: 'holding' })
  t.equal(announced(rig).length, 1, 'not while one is playing')
  const speaking = Rig.talking()
  speaking.speak(400)
  speaking.backend({ type: 'holding' })
  t.same(announced(speaking), [])
})

t.test('a failover renews the deadline for an answer', async (t) => {
  const rig = Rig.talking({ silence: { afterMs: 60_000, prompts: [] } })
  rig.speak(600)
  rig.run(700)
  rig.backend({ type: 'transcript', role: 'caller', text: 'Where is it?', final: true, itemId: 'c1', generation: 2 })
  rig.run(11_000)
  rig.backend({ type: 'error', code: 'network', message: 'gone', fatal: false, retryable: true })
  rig.backend({ type: 'failover', from: 'a', to: 'b', gapMs: 250.4, reason: 'network' })
  rig.run(11_000)
  t.same(announced(rig), ['One moment, please.'], 'a filler for who waits, neither an apology nor an end')
  t.match(
    rig.all('mark').find((mark) => mark.name === 'backend-failover'),
    { detail: 'a to b in 250 ms: network' },
  )
  t.equal(rig.session.state, 'live')
})

t.test("a call over its budget ends with the agent's goodbye", async (t) => {
  const rig = new Rig()
  const timers = new FakeTimers()
  const service = new ScriptedService('a')
  const backend = new CallBackend(
    {
      event: (event) => rig.backend(event),
      audio: () => undefined,
    },
    {
      candidates: [{ create: service.create }],
      timers,
      budget: { limits: { maxMs: 60_000 }, meter: new CostMeter(priceList([]), () => null), goodbyeMs: 5000 },
    },
  )
  t.teardown(() => backend.close('the test is over'))
  rig.open()
  await backend.connect(conformanceSession(), new AbortController().signal)
  rig.answer(1, 'greeting', 1000, 'Hello.')
  rig.run(1500)
  await timers.pass(65_000)
  rig.run(12_000)
  t.match(ended(rig), { reason: 'agent-goodbye', detail: 'the budget of this call is used up (maxMs)' })
})
