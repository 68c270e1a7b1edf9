import t from 'tap'
import type { Test } from 'tap'
import type { BackendFactory } from '../../src/backends/backend.js'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { GeminiLiveBackend } from '../../src/backends/gemini-live/gemini-backend.js'
import { OpenAiRealtimeBackend } from '../../src/backends/openai-realtime/openai-backend.js'
import type { OpenAiRealtimeOptions } from '../../src/backends/openai-realtime/session-config.js'
import { GeminiDouble } from '../../src/simulator/vendors/gemini-live-double.js'
import { OpenAiDouble } from '../../src/simulator/vendors/openai-realtime-double.js'
import { UTTERANCE_MS, line, resamplers, utterance } from './failover/vendors-line.js'

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

t.test(
  'when a connection breaks during an answer, another vendor takes over and gets the whole question',
  async (t) => {
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
    await recorder.until('the second answer', () =>
      recorder.all('turn-done').some((done) => done.status === 'completed'),
    )
    t.ok(b.session.callerAudioMs >= UTTERANCE_MS, `${b.session.callerAudioMs} ms arrived`)
    t.equal(backend.stats.lostSamples, 0)
    t.ok(recorder.audioPieces.some((piece) => piece.generation > (first?.generation ?? Infinity)))
    t.equal(recorder.all('ready').length, 1)
    t.notOk(recorder.all('error').some((error) => error.fatal))
    t.comment(`first sound ${backend.stats.soundMsLast.toFixed(1)} ms after the fault`)
  },
)

t.test('a service that detects turns itself takes over from one that does not', async (t) => {
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

t.test('a wrong key is tried by one call, and not by the next ones', async (t) => {
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

t.test('a tool result of one service goes to the next one, and the tool is not run again', async (t) => {
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

t.test('a half-open connection is replaced when the caller has waited for stallMs', async (t) => {
  const [a, b] = [await openAi(t), await openAi(t)]
  b.script.reply({ say: 'I am here.', audioMs: 300 })
  const { recorder, backend } = await line(t, [toOpenAi(a, 'first'), toOpenAi(b, 'second')], { stallMs: 1500 })
  a.session.freeze()
  utterance(backend)
  const failover = await recorder.next('failover')
  t.match(failover, { to: 'second', reason: 'stall' })
  await recorder.until('an answer', () => recorder.audioPieces.length > 0)
})

t.test('a service whose greeting is all zeros is replaced, and the next one greets', async (t) => {
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

t.test('a warm standby of another vendor takes over within the same turn of the event loop', async (t) => {
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

t.test('a service that drops the first connection is tried once more', async (t) => {
  const vendor = await openAi(t)
  vendor.closeAtOnce = { code: 1001, reason: '' }
  const connected = line(t, [toOpenAi(vendor, 'openai')])
  while (vendor.connections === 0) await new Promise((resolve) => setImmediate(resolve))
  vendor.closeAtOnce = null
  const { recorder } = await connected
  t.equal(vendor.connections, 2)
  t.notOk(recorder.all('error').some((error) => error.fatal))
})
