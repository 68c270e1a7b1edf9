import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { PriceFile, Prices } from '../../src/agents/file/prices.js'
import type { BudgetOptions } from '../../src/backends/budget.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { conformanceSession, Recorder } from '../../src/backends/conformance.js'
import { CostMeter } from '../../src/backends/cost-meter.js'
import { tokensOf as geminiTokens } from '../../src/vendors/gemini/live/usage.js'
import { tokensOf as openAiTokens, transcriptionUsage } from '../../src/vendors/self-hosted/realtime/usage.js'
import { CARRIER_RATES, costOf, LIST_PRICES, pricedModel, priceList } from '../../src/backends/prices.js'
import type { BackendUsage } from '../../src/call/backend-events.js'
import type { CallCost, CallRecord, CarrierDetail } from '../../src/call/documents/record.js'
import { noUsage } from '../../src/call/usage.js'
import { loadConfig } from '../../src/config/load-config.js'
import { readPrices } from '../../src/config/prices-file.js'
import { CallCosts } from '../../src/gateway/call-costs.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { endedCall } from '../support/record.js'
import { FakeTimers, ScriptedService, settled } from './failover/scripted.js'

const about = (cost: number | null | undefined): string => (cost ?? NaN).toFixed(9)
const listed = (backend: string, model: string, usage: Partial<BackendUsage>) => {
  const meter = new CostMeter(priceList([]), () => model)
  meter.add(backend, { ...noUsage(), ...usage })
  return meter.cost()
}

/** OpenAI's guide on the cost of its Realtime API: the usage of the `response.done` that it shows. */
const OPENAI_EXAMPLE: BackendUsage = {
  ...noUsage(),
  ...openAiTokens({
    input_tokens: 132,
    output_tokens: 121,
    input_token_details: {
      text_tokens: 119,
      audio_tokens: 13,
      cached_tokens: 64,
      cached_tokens_details: { audio_tokens: 0 },
    },
    output_token_details: { text_tokens: 30, audio_tokens: 91 },
  }),
}

t.test("the example in OpenAI's guide is priced by token kind", async (t) => {
  const parts = (119 - 64) * 4 + 64 * 0.4 + 13 * 32 + 30 * 24 + 91 * 64
  t.equal(about(listed('openai', 'gpt-realtime-2.1', OPENAI_EXAMPLE).amount), about(parts / 1e6))
  const mini = (119 - 64) * 0.6 + 64 * 0.06 + 13 * 10 + 30 * 2.4 + 91 * 20
  t.equal(about(listed('openai', 'gpt-realtime-2.1-mini', OPENAI_EXAMPLE).amount), about(mini / 1e6))
})

t.test("ignoring cached input would double a long call's cost", async (t) => {
  // The second response of a public question on that usage, of a call of 15 s: 640 of 789 input tokens were cached.
  const usage: BackendUsage = {
    ...noUsage(),
    inputTokens: 789,
    inputTextTokens: 313,
    inputAudioTokens: 476,
    inputCachedTokens: 640,
    inputCachedAudioTokens: 384,
    outputTokens: 32,
    outputTextTokens: 9,
    outputAudioTokens: 23,
  }
  const bill = listed('openai', 'gpt-realtime-2.1', usage).amount ?? NaN
  const whole = listed('openai', 'gpt-realtime-2.1', { ...usage, inputCachedTokens: 0, inputCachedAudioTokens: 0 })
  t.ok((whole.amount ?? 0) / bill > 2, `${whole.amount} against ${bill}`)
})

t.test('transcription is charged separately from the responses', async (t) => {
  const usage = transcriptionUsage('gpt-transcribe', { seconds: 40 })
  t.equal(about(listed('openai', 'gpt-realtime-2.1', usage).amount), about(0.003))
})

t.test('90 seconds of GPT-Live cost 7.5 cents as documented', async (t) => {
  t.equal(about(listed('openai-live', 'gpt-live-1', { sessionSeconds: 90 }).amount), about(0.075))
})

t.test("GPT-Live's default delegate has a price", async (t) => {
  const { openaiLiveDelegateModel } = loadConfig({}, null)
  const delegate = { inputTokens: 10_000, inputCachedTokens: 8000, outputTokens: 300 }
  const parts = 2000 * 0.75 + 8000 * 0.075 + 300 * 4.5
  t.equal(about(listed('openai-live', openaiLiveDelegateModel, delegate).amount), about(parts / 1e6))
})

t.test("Gemini's thinking and unclassified tokens are charged as text", async (t) => {
  // The usage that a user of gemini-3.8-live published: 25 prompt tokens have no modality, 136 are thoughts.
  const usage = geminiTokens({
    promptTokenCount: 522,
    responseTokenCount: 42,
    thoughtsTokenCount: 136,
    promptTokensDetails: [
      { modality: 'TEXT', tokenCount: 332 },
      { modality: 'AUDIO', tokenCount: 165 },
    ],
    responseTokensDetails: [{ modality: 'AUDIO', tokenCount: 42 }],
  })
  const cost = listed('gemini', 'models/gemini-3.8-live', usage)
  t.equal(about(cost.amount), about((357 * 0.75 + 165 * 3 + 136 * 4.5 + 42 * 12) / 1e6))
})

t.test('each service of a cascade is priced in its unit', async (t) => {
  const models = { 'gpt-of-ours': { inputPerMillionTokens: 1, cachedPerMillionTokens: 0.1, outputPerMillionTokens: 4 } }
  const meter = new CostMeter(priceList([{ currency: 'USD', backends: {}, models }]), () => null)
  const add = (model: string, usage: Partial<BackendUsage>): void =>
    meter.add('cascade', { ...noUsage(), ...usage, model })
  add('whisper-1', { sessionSeconds: 30 })
  add('gpt-of-ours', { inputTokens: 1000, inputCachedTokens: 500, outputTokens: 100 })
  add('tts-1', { speechCharacters: 200, audioOutMs: 12_000 })
  const { amount, models: rows } = meter.cost()
  t.equal(about(amount), about(0.003 + (500 + 50 + 400) / 1e6 + 0.003))
  t.match(rows, [{ model: 'whisper-1' }, { model: 'gpt-of-ours' }, { model: 'tts-1' }])
})

t.test('cache writes cost more than text, cache reads less', async (t) => {
  const usage = { inputTokens: 5000, inputCachedTokens: 3000, inputCacheWriteTokens: 1500, outputTokens: 100 }
  const { amount } = listed('cascade', 'claude-haiku-4-5-20251001', usage)
  t.equal(about(amount), about((500 + 3000 * 0.1 + 1500 * 1.25 + 100 * 5) / 1e6))
  const plain = listed('cascade', 'gpt-5.4-mini', { inputTokens: 1500, inputCacheWriteTokens: 1500 })
  t.equal(about(plain.amount), about((1500 * 0.75) / 1e6), 'without a price of its own it costs what text costs')
})

t.test('an unknown cost is null with a reason', async (t) => {
  const unknown = (model: string, usage: Partial<BackendUsage>) => listed('a', model, usage)
  t.match(unknown('gpt-next', { inputTokens: 1 }), { amount: null, unknown: 'no price for the model gpt-next' })
  t.match(unknown('gpt-realtime-2.1', { inputTokens: 100 }), {
    amount: null,
    unknown: /how many input tokens are audio/,
  })
  t.match(unknown('gpt-realtime-2.1', { outputTokens: 100 }), { amount: null, unknown: /how many output tokens/ })
  t.match(unknown('gpt-realtime-2.1', { ...OPENAI_EXAMPLE, inputCachedTokens: 20, inputCachedAudioTokens: 20 }), {
    amount: /\d/,
  })
  t.match(unknown('gpt-live-1', { inputTokens: 100, audioInMs: 1000 }), { amount: null, unknown: /has no price/ })
  const prices = { currency: 'USD', backends: {}, models: { b: { inputPerMillionTokens: 1 } } }
  const meter = new CostMeter(priceList([prices]), () => 'b')
  meter.add('a', { ...noUsage(), inputTokens: 10, outputTokens: 10 })
  t.match(meter.cost(), { amount: null, unknown: 'no price for output text tokens' })
  t.match(listed('embedded', 'none', { audioInMs: 60_000, audioOutMs: 60_000 }), { amount: 0, unknown: null })
  t.match(listed('a', 'gpt-live-1', {}), { amount: 0 })
})

t.test("an OpenAI-compatible server does not have OpenAI's prices", async (t) => {
  t.equal(pricedModel('tts-1', 'https://api.openai.com/v1'), 'tts-1')
  const own = pricedModel('tts-1', 'http://127.0.0.1:8000/v1')
  t.equal(own, 'tts-1@127.0.0.1:8000')
  t.equal(priceList([]).priceOf('cascade', own), null)
  const free = { currency: 'USD', backends: {}, models: { [own]: { perMillionCharacters: 0 } } }
  t.same(costOf({ ...noUsage(), speechCharacters: 100 }, priceList([free]).priceOf('cascade', own) ?? {}), {
    amount: 0,
  })
})

t.test("the agent's prices take precedence, then the operator's", async (t) => {
  const agent = { currency: 'USD', backends: { openai: { perMinute: 1 } }, models: {} }
  const operator = { currency: 'USD', backends: {}, models: { 'gpt-live-1': { perMinute: 0.04 } } }
  const { priceOf } = priceList([agent, operator])
  t.same(priceOf('openai', 'gpt-realtime-2.1'), { perMinute: 1 })
  t.same(priceOf('openai-live', 'gpt-live-1'), { perMinute: 0.04 })
  t.equal(priceOf('gemini', 'gemini-3.8-live'), LIST_PRICES['gemini-3.8-live'])
  t.equal(priceOf('openai-2', 'gpt-realtime-2.1-2026-05-06'), LIST_PRICES['gpt-realtime-2.1'], 'a dated snapshot')
  const shillings = priceList([{ ...agent, currency: 'KES' }, operator])
  t.equal(shillings.currency, 'KES')
  t.equal(shillings.priceOf('openai-live', 'gpt-live-1'), null, 'nothing converts money')
})

t.test('each public price has a source and a date', async (t) => {
  for (const [model, { source, readOn }] of Object.entries({ ...LIST_PRICES, carrier: CARRIER_RATES })) {
    t.match(source, /^https:\/\//, model)
    t.match(readOn, /^2026-\d{2}-\d{2}$/, model)
  }
})

t.test('a mistake in PRICES_FILE is reported with its line', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prices-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'prices.yaml')
  const read = (text: string) => {
    writeFileSync(file, text)
    return readPrices(file)
  }
  t.same(read('currency: KES\nmodels:\n  gpt-live-1: { perMinute: 6.5 }\n').models, {
    'gpt-live-1': { perMinute: 6.5 },
  })
  t.throws(() => read('currency: KES\nmodels:\n  gpt-live-1: { perMinut: 6.5 }\n'), {
    code: 'CONFIG_INVALID',
    message: /prices\.yaml:3 .*perMinut/,
  })
  t.match(read('currency: USD\nexchange: { readOn: 2026-11-20, rates: { KES: 130 } }\n').exchange, {
    rates: { KES: 130 },
  })
  t.throws(() => read('currency: USD\nexchange: { rates: { KES: 130 } }\n'), { message: /prices\.yaml:2 .*readOn/ })
  t.throws(() => read('currency: shillings\n'), { message: /prices\.yaml:1 currency: must be three letters/ })
  t.throws(() => read('currency: [\n'), { code: 'CONFIG_INVALID' })
  t.throws(() => readPrices(join(folder, 'none.yaml')), { message: /PRICES_FILE is .*ENOENT/ })
})

const EXCHANGE: PriceFile = {
  currency: 'USD',
  backends: {},
  models: {},
  exchange: { readOn: '2026-11-20', rates: { KES: 130, EUR: 0.65 } },
}
const costsIn = (currency: string, prices: PriceFile | null) => {
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const spends: (readonly [string, number])[] = []
  const spent = (number: string, amount: number): void => void spends.push([number, amount])
  return { metrics, spends, costs: new CallCosts({ currency, prices, metrics, spent }) }
}
const modelCost = (currency: string, known: number, unknown: string | null = null): CallCost => ({
  currency,
  amount: unknown === null ? known : null,
  known,
  unknown,
  models: [],
})
/** Two begun minutes. */
const called = (changes: Partial<CallRecord>) =>
  endedCall({ durationMs: 61_000, cost: modelCost('USD', 0.02), ...changes })

t.test("a call's whole cost is in one currency", async (t) => {
  const { costs, metrics, spends } = costsIn('KES', EXCHANGE)
  const inbound = costs.withCost(called({ number: '+254720000101' }))
  t.match(inbound.wholeCost, {
    currency: 'KES',
    carrier: { by: 'rates', amount: 1 },
    models: { amount: 2.6 },
    analysis: null,
    amount: 3.6,
    unknown: null,
  })
  const soFar = { direction: 'inbound', durationMs: 61_000, models: { currency: 'USD', known: 0.02 } } as const
  t.equal(costs.soFar(soFar).toFixed(6), (3.6).toFixed(6), 'a live call of that length has cost the same')
  t.equal(costs.soFar({ ...soFar, durationMs: 0, models: null }), 0)
  costs.count(inbound)
  const about = { model: 'm', language: null, summary: null, fields: {}, fault: null, cost: modelCost('EUR', 0.01) }
  const analysed = costs.withCost({ ...inbound, analysis: about })
  t.match(analysed.wholeCost, { analysis: { amount: 2 }, amount: 5.6 })
  costs.countAnalysis(analysed)
  t.match(costs.withCost(called({ direction: 'outbound' })).wholeCost, { carrier: { amount: 7 } })
  const part = { node: 'a', streamMs: 600_000, recording: null }
  const resumed = [{ ...part, why: 'called-back' } as const, { ...part, streamMs: 630_000, why: 'moved' } as const]
  t.match(
    costs.withCost(called({ direction: 'outbound', durationMs: 661_000, resumed })).wholeCost,
    { carrier: { amount: 7 } },
    'the minutes of a call that was cut off are in its own record, and not in that of the call back',
  )
  const detail = { costMinor: 450, costCurrency: 'KES' } as CarrierDetail
  t.match(
    costs.withCost(called({ direction: 'outbound', carrier: detail })).wholeCost,
    { carrier: { by: 'carrier', amount: 5.5 } },
    "the carrier's own price of the call, and its stream",
  )
  t.match(
    costs.withCost(called({ direction: 'outbound', durationMs: 0, cost: null })).wholeCost,
    { amount: 0, carrier: { amount: 0 }, models: { amount: 0 } },
    'nobody answered',
  )
  t.same(
    spends,
    [1, 2.6, 2].map((amount) => ['+254720000101', amount]),
    'the budget of its number learns of each part',
  )
  const page = await metrics.render()
  for (const [part, amount] of Object.entries({ carrier: 1, models: 2.6, analysis: 2 }))
    t.match(page, `mkondo_call_cost_total{agent="order-status",part="${part}",currency="KES"} ${amount}`)
  t.notMatch(page, 'mkondo_call_cost_unknown_total{')
})

t.test('one unknown part makes the whole cost unknown', async (t) => {
  const none = costsIn('USD', null)
  const call = none.costs.withCost(called({}))
  t.match(call.wholeCost, {
    amount: null,
    known: 0.02,
    unknown: 'no exchange rate from KES to USD in PRICES_FILE',
    carrier: { amount: null },
    models: { amount: 0.02 },
  })
  none.costs.count(call)
  t.match(await none.metrics.render(), 'mkondo_call_cost_unknown_total{agent="order-status",part="carrier"} 1')
  const { withCost } = costsIn('KES', EXCHANGE).costs
  t.match(withCost(called({ cost: modelCost('USD', 0.01, 'no price for the model x') })).wholeCost, {
    amount: null,
    known: 2.3,
    unknown: 'no price for the model x',
  })
  t.match(withCost(called({ cost: null })).wholeCost?.models, { amount: null, unknown: /was lost/ })
  const human = { strategy: 'supervision', human: 1, outcome: 'answered', detail: '', ms: 1 } as const
  const escalation = {
    reason: '',
    strategy: 'supervision',
    outcome: 'answered',
    attempts: [human],
    callback: null,
  } as const
  t.match(withCost(called({ escalation })).wholeCost, { carrier: { amount: null, known: 1, unknown: /human/ } })
})

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

t.test('a call within its budget continues and reports its cost', async (t) => {
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

t.test('the budget covers the whole call across workers and nodes', async (t) => {
  const limits = { maxMs: 60_000, maxTokens: 2000 }
  const first = await rig(t, { limits })
  first.a.now.emit(used(900, 200))
  await first.timers.pass(50_000)
  const resume: unknown = JSON.parse(JSON.stringify(first.backend.snapshot()))

  const goesOn = async (resume: unknown) => {
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
  const tokens = await goesOn(resume)
  t.match(tokens.meter.total(), { inputTokens: 900, outputTokens: 200 })
  tokens.a.now.emit(used(900, 0))
  t.equal(tokens.backend.report().budget?.spent, 'maxTokens')
  const time = await goesOn(resume)
  await time.timers.pass(9000)
  t.equal(time.backend.report().budget?.spent, null)
  await time.timers.pass(2000)
  t.equal(time.backend.report().budget?.spent, 'maxMs')

  const recorded = { inputTokens: 900, outputTokens: 200, known: 1 }
  const backs = await goesOn({ version: 2, used: { models: [], usedMs: 0, recorded }, serving: null })
  t.match(backs.meter.total(), { inputTokens: 0, outputTokens: 0 }, 'what has a record already is in no other cost')
  backs.a.now.emit(used(890, 0))
  t.equal(backs.backend.report().budget?.spent, null)
  t.match(backs.backend.snapshot().used, { recorded })
  backs.a.now.emit(used(10, 0))
  t.equal(backs.backend.report().budget?.spent, 'maxTokens')
})

t.test('an exhausted budget asks the model for a goodbye', async (t) => {
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

t.test('the guard ends a call after a goodbye without end_call', async (t) => {
  const { a, backend, recorder, timers } = await rig(t, { limits: { maxMs: 60_000 } })
  await timers.pass(60_000)
  a.now.answer(1, 'Goodbye.', 500)
  t.match(recorder.all('tool-call'), [{ name: 'end_call', callId: 'budget-end-1' }])
  t.match(backend.report().budget, { spent: 'maxMs', endedBy: 'guard' })
})

t.test('the guard ends the call after goodbyeMs of silence', async (t) => {
  const { recorder, timers } = await rig(t, { limits: { maxMs: 60_000 }, goodbyeMs: 5000 })
  await timers.pass(64_900)
  t.equal(recorder.all('tool-call').length, 0)
  await timers.pass(100)
  t.equal(recorder.all('tool-call').length, 1)
})

t.test('usage reported while closing counts once', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const recorder = new Recorder()
  const meter = meterAt(null)
  const candidates = [{ create: a.create }, { create: b.create }]
  const budget = { limits: {}, meter }
  const backend = new CallBackend(recorder, { candidates, timers: new FakeTimers(), budget })
  await backend.connect(conformanceSession(), new AbortController().signal)
  a.now.emit(used(100, 10))
  a.now.die()
  await settled()
  b.now.emit(used(200, 20))
  a.now.emit(used(3, 1))
  const closing = backend.close('the call is over')
  b.now.emit(used(4, 2))
  await closing
  b.now.emit(used(5, 3))
  t.match(meter.rows(), [
    { backend: 'a', usage: { inputTokens: 103, outputTokens: 11 } },
    { backend: 'b', usage: { inputTokens: 209, outputTokens: 25 } },
  ])
  t.equal(recorder.events.at(-1)?.type, 'closed', 'which stays the last event')
})

t.test('a refused end_call does not prolong the call', async (t) => {
  for (const before of [true, false]) {
    const { a, backend, recorder, timers } = await rig(t, { limits: { maxMs: 60_000 }, goodbyeMs: 5000 })
    if (!before) await timers.pass(60_000)
    // While the caller keys in a number, the model is not heard, and no tool of it runs.
    a.now.emit({ type: 'tool-call', callId: 'c1', name: 'end_call', args: {}, generation: 1 })
    if (before) await timers.pass(60_000)
    await timers.pass(5000)
    t.match(recorder.all('tool-call'), [{ callId: '1.c1' }, { callId: 'budget-end-1', spent: true }])
    t.match(backend.report().budget, { spent: 'maxMs', endedBy: 'agent' })
  }
})

t.test('a caller who speaks during the goodbye gets another one', async (t) => {
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

t.test('an unknown cost does not stop a call', async (t) => {
  const { a, backend, meter } = await rig(t, {
    limits: { maxCost: 0.01 },
    prices: { currency: 'KES', backends: { b: { inputPerMillionTokens: 1 } }, models: {} },
  })
  a.now.emit(used(1_000_000, 1_000_000))
  t.match(meter.cost(), { amount: null, known: 0, unknown: 'a names no model' })
  t.equal(backend.report().budget?.spent, null)
})

t.test('the known part of a cost can reach the limit', async (t) => {
  const { a, backend, meter } = await rig(t, { limits: { maxCost: 1 } })
  a.now.emit({ type: 'usage', usage: { ...used(10, 10).usage, model: 'a-model-of-ours' } })
  a.now.emit({ type: 'usage', usage: { ...noUsage(), model: 'gpt-live-1', sessionSeconds: 1199 } })
  t.equal(backend.report().budget?.spent, null)
  a.now.emit({ type: 'usage', usage: { ...noUsage(), model: 'gpt-live-1', sessionSeconds: 1 } })
  t.equal(backend.report().budget?.spent, 'maxCost')
  t.match(meter.cost(), { amount: null, known: 1, unknown: 'no price for the model a-model-of-ours' })
})
