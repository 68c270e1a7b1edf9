import t from 'tap'
import type { Test } from 'tap'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import { ShadowBackend } from '../../src/backends/shadow.js'
import { SHADOW_TURNS_MAX } from '../../src/core/limits.js'
import { FakeTimers, ScriptedService, settled } from './failover/scripted.js'

interface Rig {
  readonly timers: FakeTimers
  readonly recorder: Recorder
  readonly backend: ShadowBackend
  readonly a: ScriptedService
  readonly b: ScriptedService
}

async function rig(t: Test, b = new ScriptedService('b'), a = new ScriptedService('a')): Promise<Rig> {
  const timers = new FakeTimers()
  const recorder = new Recorder()
  const backend = new ShadowBackend(recorder, { primary: a.create, second: b.create, timers, secondVoice: 'marin' })
  t.teardown(() => backend.close('the test is over'))
  await backend.connect(conformanceSession({ voice: 'slt', resume: { mine: 1 } }), new AbortController().signal)
  await settled()
  return { timers, recorder, backend, a, b }
}

async function says(rig: Rig, ms: number): Promise<void> {
  rig.backend.speechStart(rig.timers.now)
  for (let done = 0; done < ms; done += 20) {
    await rig.timers.pass(20)
    rig.backend.pushAudio(new Int16Array(320).fill(done))
  }
  rig.backend.speechEnd(rig.timers.now)
}

t.test('the call sees only the primary', async (t) => {
  const line = await rig(t)
  const { recorder, a, b, backend, timers } = line
  await says(line, 400)
  b.now.answer(1, 'I am the shadow.', 500)
  b.now.emit({ type: 'error', code: 'internal', message: 'x', fatal: false, retryable: true })
  b.now.emit({ type: 'expiring', inMs: 5 })
  b.now.emit({ type: 'speech-started' })
  b.now.emit({ type: 'usage', usage: { inputTokens: 5, outputTokens: 7, audioInMs: 1, audioOutMs: 2 } })
  t.same(
    recorder.events.map((event) => event.type),
    ['ready'],
  )
  t.equal(recorder.audioPieces.length, 0)
  a.now.answer(1, 'Hello.', 500)
  t.equal(recorder.audioPieces.length, 1)
  t.same(b.now.samples, a.now.samples, 'both get the same audio')
  t.same(
    b.now.fed.map((fed) => fed.type),
    ['speech-start', 'speech-end'],
  )
  t.match(b.now.session, { voice: 'marin', resume: null })
  t.match(a.now.session, { voice: 'slt', resume: { mine: 1 } })
  backend.interrupt({ itemId: 'item1', playedMs: 120 })
  t.match(b.now.fed.at(-1), { type: 'interrupt', itemId: 'item1', playedMs: 120 })
  t.match(backend.shadowReport().usage, { inputTokens: 5, outputTokens: 7 })
  t.equal(recorder.all('usage').length, 0, "its usage is not the call's")
  await backend.close('over')
  t.equal(b.now.closedWith, 'over')
  t.equal(timers.pending, 0)
})

t.test('the report compares, for each turn, the times, the words and the tools', async (t) => {
  const line = await rig(t)
  const { a, b, backend, timers } = line
  await says(line, 400)
  await timers.pass(300)
  a.now.hears('Where is order 4711?', 1)
  b.now.hears('where is order, 4711', 1)
  a.now.call(1, 'c1', 'lookup_order', { orderNumber: '4711' })
  await timers.pass(200)
  b.now.call(1, 'x1', 'lookup_order', { orderNumber: '4711' })
  backend.toolResult('c1', { ok: true, value: { status: 'out' } })
  await timers.pass(100)
  a.now.answer(2, 'It is out for delivery.', 900)
  await timers.pass(250)
  b.now.answer(2, 'Out for delivery today.', 800)
  await says(line, 400)
  a.now.hears('Thanks.', 3)
  b.now.hears('Banks.', 3)
  a.now.answer(3, 'Goodbye.', 300)
  b.now.call(3, 'x2', 'end_call', {})
  const report = backend.shadowReport()
  t.match(report, {
    primary: 'a',
    second: 'b',
    state: 'live',
    fault: null,
    connectMs: 0,
    turnsWithOtherTools: 1,
    soundDifferenceMsMedian: 250,
  })
  t.match(report.turns, [
    {
      asked: 'speech',
      sameTools: true,
      sameCallerText: true,
      soundDifferenceMs: 250,
      primary: { soundMs: 600, actMs: 300, audioMs: 900, agentText: 'It is out for delivery.' },
      second: { soundMs: 850, actMs: 500, audioMs: 800, callerText: 'where is order, 4711' },
    },
    {
      sameTools: false,
      sameCallerText: false,
      soundDifferenceMs: null,
      second: { soundMs: null, tools: [{ name: 'end_call' }] },
    },
  ])
  t.same(JSON.parse(JSON.stringify(report)), report, 'plain data')
})

t.test("its tools are not run: it gets the primary's results, also later ones, or an error", async (t) => {
  const line = await rig(t)
  const { a, b, backend, recorder, timers } = line
  backend.sendText('', { role: 'system', respond: true })
  const results = (): unknown[] =>
    b.now.fed.flatMap((fed) => (fed.type === 'tool-result' ? [[fed.callId, fed.reply.ok]] : []))
  b.now.call(1, 'x1', 'get_account', {})
  b.now.call(1, 'x2', 'book_slot', { day: 'Monday' })
  t.equal(recorder.all('tool-call').length, 0)
  await timers.pass(2000)
  t.same(results(), [])
  a.now.call(1, 'c1', 'get_account', {})
  backend.toolResult('c1', { ok: true, value: { name: 'Wanjiru' } })
  t.same(results(), [['x1', true]])
  await timers.pass(8000)
  t.same(results(), [
    ['x1', true],
    ['x2', false],
  ])
  b.now.call(2, 'x3', 'get_account', {})
  t.same(results(), [
    ['x1', true],
    ['x2', false],
    ['x3', true],
  ])
  t.equal(recorder.all('tool-call').length, 1)
  t.match(backend.shadowReport(), { toolsAnswered: 2, toolsUnanswered: 1 })
})

t.test('a fault of the shadow is only reported', async (t) => {
  const refused = await rig(t, new ScriptedService('b', ['auth']))
  t.match(refused.backend.shadowReport(), { state: 'failed', fault: 'auth', connectMs: null })
  await says(refused, 200)
  t.equal(refused.b.now.samples.length, 0)
  const line = await rig(t)
  line.b.now.call(1, 'x1', 'get_account', {})
  line.b.now.die('quota')
  await says(line, 200)
  line.a.now.answer(1, 'Yes.', 300)
  await line.timers.pass(60_000)
  t.match(line.backend.shadowReport(), { state: 'failed', fault: 'quota', connectMs: 0 })
  t.same(line.recorder.all('error'), [])
  t.equal(line.b.now.closedWith, 'failed')
})

t.test("a shadow without turn detection gets the primary's turns", async (t) => {
  const line = await rig(t, new ScriptedService('b'), new ScriptedService('a', ['ready'], { serverVad: true }))
  t.equal(line.backend.capabilities.serverVad, true)
  line.a.now.emit({ type: 'speech-started' })
  line.backend.pushAudio(new Int16Array(320))
  line.a.now.emit({ type: 'speech-stopped' })
  t.same(line.b.now.fed, [
    { type: 'speech-start', at: 0 },
    { type: 'speech-end', at: 320 },
  ])
})

t.test('the report of a call without end is bounded', async (t) => {
  const { a, b, backend } = await rig(t)
  for (let i = 1; i <= SHADOW_TURNS_MAX + 50; i++) {
    backend.sendText('More', { role: 'caller', respond: true })
    a.now.answer(i, 'x'.repeat(5000), 100)
    b.now.answer(i, 'y', 100)
  }
  const report = backend.shadowReport()
  t.equal(report.turns.length, SHADOW_TURNS_MAX)
  t.equal(report.turnsDropped, 50)
  t.equal(report.turns.at(-1)?.primary.agentText.length, 1000)
})
