import t from 'tap'
import type { Test } from 'tap'
import { CallBackend } from '../../src/backends/call-backend.js'
import { CostMeter } from '../../src/backends/cost-meter.js'
import { priceList } from '../../src/backends/prices.js'
import type { Prices } from '../../src/agents/prices.js'
import { noUsage } from '../../src/call/usage.js'
import type { BudgetOptions } from '../../src/backends/budget.js'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import { FakeTimers, ScriptedService, settled } from './failover/scripted.js'

interface Rig {
  readonly timers: FakeTimers
  readonly recorder: Recorder
  readonly backend: CallBackend
  readonly meter: CostMeter
  readonly a: ScriptedService
  readonly asked: () => number
}

const meterAt = (prices: Prices | null): CostMeter => new CostMeter(priceList([prices]), () => null)

async function rig(
  t: Test,
  { prices, ...options }: Partial<BudgetOptions> & { readonly prices?: Prices },
): Promise<Rig> {
  const a = new ScriptedService('a')
  const timers = new FakeTimers()
  const recorder = new Recorder()
  const meter = meterAt(prices ?? null)
  const backend = new CallBackend(recorder, {
    candidates: [{ create: a.create }],
    timers,
    budget: { limits: {}, meter, ...options },
  })
  t.teardown(() => backend.close('the test is over'))
  await backend.connect(conformanceSession(), new AbortController().signal)
  const asked = (): number =>
    a.now.fed.filter((fed) => fed.type === 'text' && fed.respond && fed.text.includes('end_call')).length
  return { timers, recorder, backend, meter, a, asked }
}

const used = (inputTokens: number, outputTokens: number) =>
  ({ type: 'usage', usage: { inputTokens, outputTokens, audioInMs: 60_000, audioOutMs: 30_000 } }) as const

t.test('a call within its budget goes on, and its cost is reported', async (t) => {
  const { a, backend, meter, recorder, timers, asked } = await rig(t, {
    limits: { maxMs: 600_000, maxTokens: 10_000, maxCost: 1 },
    prices: {
      currency: 'USD',
      backends: { a: { inputPerMillionTokens: 4, outputPerMillionTokens: 16, audioInPerMinute: 0.06 } },
      models: {},
    },
  })
  a.now.emit(used(1000, 500))
  a.now.emit(used(2000, 250))
  await timers.pass(599_000)
  t.equal(asked(), 0)
  t.match(backend.report().budget, { spent: null })
  t.match(meter.total(), { audioInMs: 120_000, audioOutMs: 60_000 })
  t.match(meter.cost(), {
    currency: 'USD',
    models: [{ backend: 'a', usage: { inputTokens: 3000, outputTokens: 750 } }],
  })
  const cost = meter.cost().amount ?? NaN
  t.ok(Math.abs(cost - (0.012 + 0.012 + 0.12)) < 1e-9, `${cost}`)
  t.equal(recorder.all('usage').length, 2)
})

t.test("the budget is the whole call's, also when another worker or node goes on with it", async (t) => {
  const limits = { maxMs: 60_000, maxTokens: 2000 }
  const first = await rig(t, { limits })
  first.a.now.emit(used(900, 200))
  await first.timers.pass(50_000)
  const resume: unknown = JSON.parse(JSON.stringify(first.backend.snapshot()))

  const goesOn = async () => {
    const a = new ScriptedService('a')
    const timers = new FakeTimers()
    const meter = meterAt(null)
    const backend = new CallBackend(new Recorder(), {
      candidates: [{ create: a.create }],
      timers,
      budget: { limits, meter },
    })
    t.teardown(() => backend.close('the test is over'))
    await backend.connect({ ...conformanceSession(), resume }, new AbortController().signal)
    return { a, timers, backend, meter }
  }
  const tokens = await goesOn()
  t.match(tokens.meter.total(), { inputTokens: 900, outputTokens: 200 })
  tokens.a.now.emit(used(900, 0))
  t.equal(tokens.backend.report().budget?.spent, 'maxTokens')
  const time = await goesOn()
  await time.timers.pass(9000)
  t.equal(time.backend.report().budget?.spent, null)
  await time.timers.pass(2000)
  t.equal(time.backend.report().budget?.spent, 'maxMs')
})

t.test('when the budget is used up the model is asked for a goodbye, but not while anybody speaks', async (t) => {
  const { a, backend, recorder, asked } = await rig(t, { limits: { maxTokens: 1000 } })
  a.now.speak(1, 'Let me explain', 2000)
  a.now.emit(used(900, 200))
  t.equal(asked(), 0, 'while it answers')
  backend.speechStart(0)
  a.now.finish(1)
  t.equal(asked(), 0, 'while the caller speaks')
  backend.speechEnd(0)
  a.now.answer(2, 'Yes.', 100)
  t.equal(asked(), 1)
  a.now.speak(3, 'Goodbye.', 500)
  a.now.emit({ type: 'tool-call', callId: 'c1', name: 'end_call', args: {}, generation: 3 })
  a.now.finish(3)
  t.equal(recorder.all('tool-call').length, 1, 'it ended the call itself')
  t.match(backend.report().budget, { spent: 'maxTokens', endedBy: 'agent' })
})

t.test('the guard ends the call when the model says goodbye without end_call', async (t) => {
  const { a, backend, recorder, timers } = await rig(t, { limits: { maxMs: 60_000 } })
  await timers.pass(60_000)
  a.now.answer(1, 'Goodbye.', 500)
  t.match(recorder.all('tool-call'), [{ name: 'end_call', callId: 'budget-end-1' }])
  t.match(backend.report().budget, { spent: 'maxMs', endedBy: 'guard' })
})

t.test('the guard ends the call when the model says nothing for goodbyeMs', async (t) => {
  const { recorder, timers } = await rig(t, { limits: { maxMs: 60_000 }, goodbyeMs: 5000 })
  await timers.pass(64_900)
  t.equal(recorder.all('tool-call').length, 0)
  await timers.pass(100)
  t.equal(recorder.all('tool-call').length, 1)
})

t.test('a caller who speaks during the goodbye gets another one, at most twice', async (t) => {
  const { a, backend, recorder, timers, asked } = await rig(t, { limits: { maxOutputTokens: 10 } })
  a.now.emit(used(0, 10))
  for (let i = 1; i <= 2; i++) {
    a.now.answer(i, 'Goodbye.', 500)
    const call = recorder.all('tool-call').at(-1)
    t.equal(call?.callId, `budget-end-${i}`)
    backend.toolResult(call?.callId ?? '', { ok: false, value: { error: 'The caller spoke up; the call goes on.' } })
    t.equal(asked(), i + 1)
  }
  t.notOk(
    a.now.fed.some((fed) => fed.type === 'tool-result'),
    "the model does not see the guard's tool call",
  )
  a.now.answer(3, 'Goodbye.', 500)
  backend.toolResult('budget-end-3', { ok: false, value: {} })
  t.match(recorder.all('error'), [{ code: 'quota', fatal: true }])
  await settled()
  t.equal(recorder.events.at(-1)?.type, 'closed')
  t.equal(timers.pending, 0)
})

t.test('a cost that is not known is none, and stops no call', async (t) => {
  const { a, backend, meter } = await rig(t, {
    limits: { maxCost: 0.01 },
    prices: { currency: 'KES', backends: { b: { inputPerMillionTokens: 1 } }, models: {} },
  })
  a.now.emit(used(1_000_000, 1_000_000))
  t.match(meter.cost(), { amount: null, known: 0, unknown: 'a names no model' })
  t.equal(backend.report().budget?.spent, null)
})

t.test('what is known of a cost stops a call, when that alone is the limit', async (t) => {
  const { a, backend, meter } = await rig(t, { limits: { maxCost: 1 } })
  a.now.emit({ type: 'usage', usage: { ...used(10, 10).usage, model: 'a-model-of-ours' } })
  a.now.emit({ type: 'usage', usage: { ...noUsage(), model: 'gpt-live-1', sessionSeconds: 1199 } })
  t.equal(backend.report().budget?.spent, null)
  a.now.emit({ type: 'usage', usage: { ...noUsage(), model: 'gpt-live-1', sessionSeconds: 1 } })
  t.equal(backend.report().budget?.spent, 'maxCost')
  t.match(meter.cost(), { amount: null, known: 1, unknown: 'no price for the model a-model-of-ours' })
})
