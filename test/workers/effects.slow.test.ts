import { createServer } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import type { ToolOutcome } from '../../src/agents/tools/tool.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { EFFECT_RESULT_BYTES_MAX, Effects, effectKey } from '../../src/workers/shared/effects.js'
import type { EffectGate } from '../../src/workers/shared/effects.js'
import type { CarrierControl } from '../../src/workers/main/main-thread-context.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { inbound, TestLine, orderStatusAgent, startHost, until } from '../support/host.js'
import type { TestHost } from '../support/host.js'
import { httpTool as tool } from './http-tool.js'
import { portOf } from '../support/port-of.js'

/** A real API that notes what it is asked. */
async function toolServer(t: Test) {
  const requests: { readonly method: string; readonly path: string; readonly key: string | null }[] = []
  const server = createServer((request, response) => {
    const key = request.headers['idempotency-key']
    const { method = '', url: path = '' } = request
    requests.push({ method, path, key: typeof key === 'string' ? key : null })
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"done":true}')
  })
  return { requests, origin: `http://127.0.0.1:${await portOf(t, server)}` }
}

/** A gateway whose calls call tools: `refund` (POST), `book` (idempotent POST) and `look` (GET). */
async function toolHost(
  t: Test,
  origin: string,
  effects: EffectGate | null = null,
  carrier: CarrierControl | null = null,
): Promise<TestHost> {
  const definition = {
    ...(await orderStatusAgent()),
    verification: null,
    tools: [
      tool('refund', { method: 'POST' }),
      tool('book', { method: 'POST' }, { idempotent: true }),
      tool('look', {}),
    ],
  }
  const backend = `module:${new URL('./tool-backend.js', import.meta.url).href}`
  const test = await startHost({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn(backend) }]]),
    env: { API: origin },
    speech: null,
    effects,
    carrier,
  })
  t.teardown(() => test.close())
  return test
}

function lineOf(test: TestHost, callSid: string): TestLine {
  const call = test.host.prepare(inbound(callSid))
  const line = new TestLine(call)
  line.start()
  return line
}

async function ended(test: TestHost, line: TestLine): Promise<CallRecord> {
  line.call.hangup('operator-hangup', 'the test is over', false)
  return test.recordOf(line.call.callSid)
}

const toolsOf = ({ toolCalls }: CallRecord) => toolCalls.map(({ name, ok, error }) => [name, ok, error ?? null])

/** A fleet that answers as the test says, and notes what it is asked. */
function gateOf(answers: Partial<EffectGate>): EffectGate & { readonly asked: string[] } {
  const asked: string[] = []
  return {
    asked,
    mayAct: (call, confirm) => {
      asked.push(`may ${call}${confirm ? ', confirmed' : ''}`)
      return answers.mayAct?.(call, confirm) ?? Promise.resolve(true)
    },
    intend: (key) => {
      asked.push(`intend ${key}`)
      return answers.intend?.(key) ?? Promise.resolve('new')
    },
    settle: (key, result) => asked.push(`settle ${key} ${JSON.stringify(result)}`),
  }
}

t.test('only a tool with an effect waits for the store', async (t) => {
  const api = await toolServer(t)
  const never = new Promise<'new'>(() => undefined)
  const gate = gateOf({ intend: () => never })
  const test = await toolHost(t, api.origin, gate)
  const line = lineOf(test, 'HD_look_book_refund_2')
  const key = effectKey(line.call.callSid, 'refund', { order: 5 }, 0)
  await until(() => gate.asked.includes(`intend ${key}`), 20_000, 'the intent of the refund')
  t.same(
    api.requests.map(({ path }) => path),
    ['/look', '/book'],
  )
  await ended(test, line)
  t.equal(api.requests.length, 2, 'the refund was not sent')
})

t.test("a tool's result is stored and reused at another node", async (t) => {
  const api = await toolServer(t)
  const gate = gateOf({})
  const test = await toolHost(t, api.origin, gate)
  const line = lineOf(test, 'HD_refund_3')
  const key = effectKey(line.call.callSid, 'refund', { order: 5 }, 0)
  await until(() => gate.asked.some((line) => line.startsWith('settle')), 20_000, 'the result')
  t.match(gate.asked.slice(0, 3), [
    `may ${line.call.callSid}`,
    `intend ${key}`,
    `settle ${key} {"ok":true,"value":{"done":true}}`,
  ])
  await ended(test, line)

  const elsewhere = gateOf({ intend: () => Promise.resolve({ result: { ok: true, value: { done: 'before' } } }) })
  const other = await toolHost(t, api.origin, elsewhere)
  const again = lineOf(other, 'HD_refund_3')
  await until(() => again.call.view().toolCalls.length === 1, 20_000, 'the answer')
  t.match(toolsOf(await ended(other, again)), [['refund', true, null]])
  t.equal(api.requests.length, 1)
  t.match(await other.metrics.render(), /mkondo_effect_intents_total\{answer="repeated"\} 1\b/)
})

t.test('a call owned by another node has no effects [4]', async (t) => {
  const api = await toolServer(t)
  const hangups: string[] = []
  const carrier = {
    hangup: (callSid: string, key: string) => Promise.resolve(void hangups.push(`${callSid} ${key}`)),
    supervise: () => Promise.resolve(),
    callHuman: () => Promise.resolve(),
  }
  const gate = gateOf({ mayAct: (call) => Promise.resolve(call === 'HD_5') })
  const test = await toolHost(t, api.origin, gate, carrier)
  const line = lineOf(test, 'HD_look_refund_4')
  await until(() => line.call.view().toolCalls.length === 2, 20_000, 'both tools')
  const record = await ended(test, line)
  t.same(toolsOf(record), [
    ['look', true, null],
    ['refund', false, 'TOOL_NOT_OWNER'],
  ])
  t.same(
    api.requests.map(({ path }) => path),
    ['/look'],
  )
  await ended(test, lineOf(test, 'HD_5'))
  await until(() => hangups.length > 0, 10_000, 'the hang-up of a call that this node has')
  t.same(hangups, ['HD_5 HD_5:hangup:0'], 'and none of the other')
  t.ok(gate.asked.includes('may HD_5'), 'it had its socket until now, which is proof enough')
  t.ok(
    record.timeline.some(({ name, detail }) => name === 'not-owner' && detail === 'tool: refund'),
    'in the timeline',
  )
  t.match(await test.metrics.render(), /mkondo_effects_refused_total\{kind="tool"\} 1\b/)
  t.match(await test.metrics.render(), /mkondo_effects_refused_total\{kind="rest"\} 1\b/)
})

t.test('an effect without a stored intent does not begin [1]', async (t) => {
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const answers = ['store-down', 'new'] as const
  let asked = 0
  const here = new Effects(gateOf({ intend: () => Promise.resolve(answers[asked++] ?? 'store-down') }), metrics)
  t.same(await here.intend('k', false), { type: 'store-down' })
  t.same(await here.intend('k', false), { type: 'run' }, 'the store is back')
  t.same(await here.intend('k', false), { type: 'uncertain' }, 'this process has the key, and no result')
  here.settle('k', { ok: true, value: 1 })
  t.same(await here.intend('k', false), { type: 'done', outcome: { ok: true, value: 1 } })
  t.match(await metrics.render(), /mkondo_effect_intents_total\{answer="store-down"\} 1\b/)
})

t.test('a resumed effect is uncertain without the store [2]', async (t) => {
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const answers = ['store-down', 'uncertain', { result: { ok: true, value: 2 } }] as const
  let asked = 0
  const resumed = new Effects(gateOf({ intend: () => Promise.resolve(answers[asked++] ?? 'store-down') }), metrics)
  t.same(await resumed.intend('k', true), { type: 'uncertain' }, 'the other node may have run it')
  t.same(await resumed.intend('k', true), { type: 'uncertain' }, 'the store is back, and says the same')
  t.same(await resumed.intend('k', true), { type: 'done', outcome: { ok: true, value: 2 } }, 'and then knows more')
})

t.test('a tool without a stored intent sends nothing [3]', async (t) => {
  const api = await toolServer(t)
  const test = await toolHost(t, api.origin, gateOf({ intend: () => Promise.resolve('store-down') }))
  const line = lineOf(test, 'HD_look_refund_6')
  await until(() => line.call.view().toolCalls.length === 2, 20_000, 'both tools')
  const record = await ended(test, line)
  t.same(toolsOf(record), [
    ['look', true, null],
    ['refund', false, 'STORE_DOWN'],
  ])
  t.same(
    api.requests.map(({ path }) => path),
    ['/look'],
  )
  t.ok(record.timeline.some(({ name, detail }) => name === 'tool-unstored' && detail === 'refund'))
})

t.test('of a large result only its success is stored', async (t) => {
  const settled: ToolOutcome[] = []
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const gate = { ...gateOf({}), settle: (_: string, result: ToolOutcome) => settled.push(result) }
  const effects = new Effects(gate, metrics)
  for (const ok of [true, false]) {
    const value = 'x'.repeat(EFFECT_RESULT_BYTES_MAX)
    await effects.intend(`k${ok}`, false)
    effects.settle(`k${ok}`, { ok, value })
    t.match(await effects.intend(`k${ok}`, false), { type: 'done', outcome: { ok } })
  }
  t.match(settled, [
    { ok: true, value: { done: true } },
    { ok: false, value: { error: /failed/ } },
  ])
  t.ok(settled.every((one) => JSON.stringify(one).length < 200))
})

t.test('an effect key fits a header and ignores argument order', async (t) => {
  const key = effectKey('HD_1', 'refund', { order: 5, note: 'Asante ☺' }, 0)
  t.match(key, /^HD_1:refund:[0-9a-f]{32}:0$/)
  t.equal(effectKey('HD_1', 'refund', { note: 'Asante ☺', order: 5 }, 0), key)
  const others = [
    effectKey('HD_2', 'refund', { order: 5, note: 'Asante ☺' }, 0),
    effectKey('HD_1', 'pay', { order: 5, note: 'Asante ☺' }, 0),
    effectKey('HD_1', 'refund', { order: 6, note: 'Asante ☺' }, 0),
    effectKey('HD_1', 'refund', { order: 5, note: 'Asante ☺' }, 1),
  ]
  t.equal(new Set([key, ...others]).size, 5)
})

t.test('record and metrics have the cost of the models', async (t) => {
  const api = await toolServer(t)
  const test = await toolHost(t, api.origin)
  const line = lineOf(test, 'HD_look_look_1')
  await until(() => line.call.view().toolCalls.length > 0, 10_000, 'a look-up')
  const { cost } = await ended(test, line)
  const [model] = cost?.models ?? []
  t.match(model, { backend: 'tools', model: 'gpt-live-1', unknown: null })
  t.equal(cost?.amount, ((model?.usage.sessionSeconds ?? 0) / 60) * 0.05)
  t.ok((cost?.amount ?? 0) > 0)
  const rendered = await test.metrics.render()
  t.match(
    rendered,
    new RegExp(
      `mkondo_cost_total\\{agent="order-status",backend="tools",model="gpt-live-1",currency="USD"\\} ${cost?.amount}\\b`,
    ),
  )
  const { inputTokens = 0 } = model?.usage ?? {}
  for (const [cache, share] of Object.entries({ read: 0.6, written: 0.3, none: 0.1 }))
    t.match(
      rendered,
      `mkondo_model_input_tokens_total{agent="order-status",backend="tools",cache="${cache}"} ${inputTokens * share} `,
    )
})
