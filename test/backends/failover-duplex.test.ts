import t from 'tap'
import type { Test } from 'tap'
import type { BackendFactory } from '../../src/backends/backend.js'
import type { Recorder } from '../../src/backends/conformance.js'
import type { CallBackend } from '../../src/backends/call-backend.js'
import { OpenAiLiveBackend } from '../../src/backends/openai-live/live-backend.js'
import type { OpenAiLiveOptions } from '../../src/backends/openai-live/session-start.js'
import { OpenAiRealtimeBackend } from '../../src/backends/openai-realtime/openai-backend.js'
import { OpenAiLiveDouble } from '../../src/simulator/vendors/openai-live-double.js'
import { OpenAiDouble } from '../../src/simulator/vendors/openai-realtime-double.js'
import { UTTERANCE_MS, line, utterance } from './failover/vendors-line.js'

// Between a model that is asked for each answer and one that owns the floor: real sockets and clients, the services are
// doubles.

const KEY = 'sk-test-0123456789abcdef0123456789abcdef'
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
      model: 'gpt-live-1',
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

t.test('a full-duplex model takes over in mid-sentence from one that is asked for each answer', async (t) => {
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

t.test('a model that is asked for each answer takes over in mid-sentence from a full-duplex one', async (t) => {
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

t.test('a live session that nears its end is replaced by a new one, with what was said', async (t) => {
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

t.test('a live session that was refused leaves the call to the next backend', async (t) => {
  const { turns, live } = await doubles(t)
  live.refuseSession = { type: 'insufficient_quota', code: 'insufficient_quota', message: 'You exceeded your quota.' }
  const { recorder, backend } = await line(t, [toLive(live), toTurns(turns)])
  t.equal(backend.capabilities.name, 'openai')
  t.match(recorder.all('error'), [{ code: 'quota', fatal: false }])
})
