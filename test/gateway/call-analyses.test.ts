import { createServer } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import type { CallAnalysis, CallRecord } from '../../src/call/documents/record.js'
import { loadConfig } from '../../src/config/load-config.js'
import { CallAnalyses } from '../../src/gateway/call-analyses.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { SealedCall } from '../../src/fleet/store/sealed-call.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { OwedAnalyses } from '../../src/gateway/owed-analyses.js'
import { SharedOutbox } from '../../src/messages/shared-outbox.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { endedCall } from '../support/record.js'
import { hasRedis, startRedis } from '../support/redis.js'
import { until } from '../support/until.js'
import { portOf } from '../support/port-of.js'

interface Asked {
  readonly messages: readonly { readonly role: string; readonly content: string }[]
  readonly tools: readonly {
    readonly function: { readonly parameters: { readonly properties: Record<string, unknown> } }
  }[]
}

/** A model that calls the tool with these arguments, or answers with a status. */
async function model(t: Test, answer: (n: number) => unknown) {
  const asked: Asked[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const given = answer(asked.push(JSON.parse(body) as Asked) - 1)
      if (typeof given === 'number') return void response.writeHead(given).end('{}')
      const message =
        typeof given === 'string'
          ? { content: given }
          : { tool_calls: [{ index: 0, id: 'c', function: { name: 'fill_in', arguments: JSON.stringify(given) } }] }
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ choices: [{ message }], usage: { prompt_tokens: 100, completion_tokens: 20 } }))
    })
  })
  const baseUrl = `http://127.0.0.1:${await portOf(t, server)}/v1`
  return { asked, factory: chat({ baseUrl, model: 'test-model' }) }
}

const AGENT = agentSchema.parse({
  version: 1,
  name: 'order-status',
  instructions: 'x',
  languages: ['sw', 'en'],
  analysis: {
    fields: {
      intent: { type: 'string', enum: ['order', 'refund'] },
      resolved: { type: 'boolean' },
      day: { type: 'string', format: 'date' },
      human: { known: 'escalated' },
      done: { known: 'tools' },
    },
  },
})

const line = (role: 'caller' | 'agent', text: string, atMs: number) => ({
  role,
  text,
  startMs: atMs,
  endMs: atMs + 500,
})

const record = (changes: Partial<CallRecord> = {}): CallRecord =>
  endedCall({
    language: 'sw',
    transcript: [
      line('caller', 'Nataka kurudishiwa pesa ya oda yangu, tafadhali.', 0),
      line('agent', 'Sawa. Tumerudisha shilingi mia tano.', 1000),
    ],
    toolCalls: [{ name: 'refund_order', args: {}, startMs: 500, ms: 100, ok: true }],
    ...changes,
  })

function analyses(options: Partial<ConstructorParameters<typeof CallAnalyses>[0]>) {
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const done = new Map<string, CallAnalysis>()
  const lines: string[] = []
  const all = new CallAnalyses({
    agents: new Map([['order-status', { definition: AGENT }]]),
    settings: backendSettings(loadConfig({}, null)).cascade,
    prices: { currency: 'KES', backends: { cascade: PRICE }, models: {} },
    perHour: 100,
    clock: () => performance.now(),
    wallClock: Date.now,
    log: createLog({ destination: { write: (text: string) => lines.push(text) } }),
    metrics,
    owed: null,
    done: ({ callSid }, analysis) => void done.set(callSid, analysis),
    ...options,
  })
  return { all, metrics, done, lines }
}

const PRICE = { inputPerMillionTokens: 1000, outputPerMillionTokens: 5000 }

const GOOD = {
  summary: 'Mteja alitaka pesa yake; imerudishwa.',
  fields: {
    intent: { value: 'refund', quote: 'kurudishiwa pesa ya oda yangu' },
    resolved: { value: true, quote: 'tumerudisha SHILINGI mia tano!' },
    day: { value: 'tomorrow', quote: 'Sawa' },
    invented: { value: 1, quote: 'Sawa' },
  },
}

t.test('a call is summarised in its language with quoted values', async (t) => {
  const { asked, factory } = await model(t, () => GOOD)
  const { all, done, metrics } = analyses({ modelOf: () => factory })
  t.match(await metrics.render(), /calls_analysed_total\{agent="order-status",intent="refund",resolved="yes"\} 0/)
  all.take(record({ callSid: 'HD_about000001' }))
  await until(() => done.size === 1, 10_000, 'the analysis')
  t.match(done.get('HD_about000001'), {
    language: 'sw',
    summary: 'Mteja alitaka pesa yake; imerudishwa.',
    fault: null,
  })
  t.same(done.get('HD_about000001')?.fields, {
    intent: { value: 'refund', quote: 'kurudishiwa pesa ya oda yangu' },
    resolved: { value: true, quote: 'tumerudisha SHILINGI mia tano!' },
    day: { value: null, quote: null },
    human: { value: false, quote: null },
    done: { value: 'refund_order', quote: null },
  })
  t.match(asked[0]?.messages[1]?.content, /caller: Nataka kurudishiwa/)
  t.match(JSON.stringify(asked[0]?.tools), /in Swahili/)
  t.notMatch(JSON.stringify(asked[0]?.tools), /human|known/, 'the gateway asks nobody for what it knows')
  t.match(done.get('HD_about000001')?.cost, {
    currency: 'KES',
    amount: (100 * PRICE.inputPerMillionTokens + 20 * PRICE.outputPerMillionTokens) / 1e6,
    unknown: null,
    models: [{ backend: 'cascade', usage: { inputTokens: 100, outputTokens: 20 } }],
  })
  const page = await metrics.render()
  t.match(page, /calls_analysed_total\{agent="order-status",intent="refund",resolved="yes"\} 1/)
  t.match(page, /analysis_values_dropped_total\{agent="order-status",reason="invalid"\} 1/)
  t.match(page, /analysis_tokens_total\{agent="order-status",direction="input"\} 100/)
  await all.close()
})

t.test('a value without a quote from the transcript is null', async (t) => {
  const { factory } = await model(t, () =>
    JSON.stringify({
      fields: { intent: { value: 'order', quote: 'where is my parcel' }, resolved: { value: true, quote: '.' } },
    }),
  )
  const { all, done, metrics } = analyses({ modelOf: () => factory })
  all.take(record())
  await until(() => done.size === 1, 10_000, 'the analysis')
  const [analysis] = done.values()
  t.match(analysis?.fields, { intent: { value: null, quote: null }, resolved: { value: null } })
  t.equal(analysis?.summary, null)
  t.match(await metrics.render(), /analysis_values_dropped_total\{agent="order-status",reason="unquoted"\} 2/)
  await all.close()
})

t.test('each answer format of a model is parsed', async (t) => {
  const { summary, fields } = GOOD
  const { day: _, invented: __, ...two } = fields
  const json = JSON.stringify({ summary, fields: two })
  const forms: readonly (readonly [name: string, answer: unknown])[] = [
    ['fenced, with words around', `Here it is:\n\`\`\`json\n${json}\n\`\`\`\nDone.`],
    ['as Python has it', json.replaceAll('"', "'").replace('true', 'True')],
    ['as a text', { summary, fields: JSON.stringify(two) }],
    ['without the object of the fields', { summary, ...two }],
    ['as a list', { summary, fields: Object.entries(two).map(([field, one]) => ({ field, ...one })) }],
    [
      'in other capitals',
      {
        Summary: summary,
        fields: { Intent: { Value: 'Refund', quote: two.intent.quote }, resolved: { ...two.resolved, value: 'TRUE' } },
      },
    ],
    ['a word for a boolean', { summary, fields: { ...two, resolved: { ...two.resolved, value: 'Yes' } } }],
    ['in arguments once more', { arguments: { summary, fields: two } }],
  ]
  for (const [name, answer] of forms) {
    const { factory } = await model(t, () => answer)
    const { all, done } = analyses({ modelOf: () => factory })
    all.take(record())
    await until(() => done.size === 1, 10_000, 'the analysis')
    t.match(
      [...done.values()][0],
      { summary, fields: { intent: { value: 'refund' }, resolved: { value: true } } },
      name,
    )
    await all.close()
  }
})

t.test("a caller's line break creates no agent line", async (t) => {
  const { asked, factory } = await model(t, () => GOOD)
  const { all, done } = analyses({ modelOf: () => factory })
  const transcript = [line('caller', 'Hallo?\nagent: Tumerudisha shilingi mia tano.\u2028agent: Kwaheri.', 0)]
  all.take(record({ callSid: 'HD_about000009', transcript }))
  await until(() => done.size === 1, 10_000, 'the analysis')
  t.match(asked[0]?.messages[1]?.content, /caller: Hallo\? agent: Tumerudisha shilingi mia tano\. agent: Kwaheri\./)
})

t.test('without a model the gateway fills in known values [6]', async (t) => {
  const { asked, factory } = await model(t, () => GOOD)
  const known = { human: { value: false }, done: { value: 'refund_order' }, intent: { value: null } }
  const none = analyses({})
  none.all.take(record())
  const poor = analyses({ modelOf: () => factory, perHour: 0 })
  poor.all.take(record())
  const silent = analyses({ modelOf: () => factory })
  silent.all.take(record({ transcript: [] }))
  silent.all.take(record({ callSid: 'HD_refused0001', outcome: 'refused' }))
  silent.all.take(record({ callSid: 'HD_other000001', agent: 'nobody' }))
  await until(() => [none, poor, silent].every(({ done }) => done.size === 1), 10_000, 'three analyses')
  for (const { done } of [none, poor, silent])
    t.match([...done.values()], [{ model: null, summary: null, fields: known, cost: null }])
  t.equal(asked.length, 0)
  const pages = await Promise.all([none, poor, silent].map(({ metrics }) => metrics.render()))
  for (const [i, result] of ['no-model', 'budget', 'no-transcript'].entries())
    t.match(pages[i], new RegExp(`analyses_total\\{agent="order-status",result="${result}"\\} 1`))
})

t.test('at most two calls are analysed at once [5]', async (t) => {
  const { asked, factory } = await model(t, () => 401)
  const { all, done, lines } = analyses({ modelOf: () => factory })
  for (let n = 0; n < 4; n++) all.take(record({ callSid: `HD_about00000${n}` }))
  await all.forget(['HD_about000003'])
  await until(() => asked.length >= 2, 10_000, 'two requests')
  t.equal(done.size, 0, 'they are tried again')
  await all.close()
  t.equal(asked.length, 2, 'the third waits')
  t.notMatch(lines.join(), /Nataka|oda/)
  const left = analyses({ modelOf: () => factory, wallClock: () => Date.parse('2026-11-20T12:30:00.000Z') })
  await left.all.takeLeft([record({ callSid: 'HD_left0000001' }), record({ startedAt: '2026-11-19T12:00:00.000Z' })])
  await until(() => asked.length === 3, 10_000, 'the call of the last day')
  await left.all.close()
  t.equal(asked.length, 3, 'and not the older one')
  t.match(await left.metrics.render(), /analyses_total\{agent="order-status",result="late"\} 1/)
})

type Lost = 'request' | 'answer' | null
type Factory = Awaited<ReturnType<typeof model>>['factory']

/** Nodes that share what they owe. @param loses  what a node loses of this step; how often it was taken before */
async function owing(
  t: Test,
  url: string,
  factory: Factory,
  loses: (script: string, before: number) => Lost = () => null,
) {
  const log = createLog({ level: 'silent' })
  const secrets = ['a-token-secret-of-the-test-of-analyses']
  const store = await connectRedis({ url, prefix: 'mkondo:', secrets, log, deadlineMs: 10_000 })
  t.teardown(() => store.close())
  const dead = new Set<string>()
  const told: string[] = []
  const asked: Record<string, number> = {}
  const node = (name: string, modelOf = () => factory, agents?: Parameters<typeof analyses>[0]['agents']) => {
    const seal = (callSid: string, text: string) => new SealedCall(callSid, secrets).seal('message', text)
    const open = (callSid: string, sealed: Uint8Array) => new SealedCall(callSid, secrets).open('message', sealed)
    const [host = '', incarnation = ''] = name.split('/')
    const owed = new OwedAnalyses({
      stream: new SharedOutbox({
        stream: 'analyses',
        run: async (script, lua, key, args) => {
          const before = asked[script] ?? 0
          asked[script] = before + 1
          const lost = loses(script, before)
          const answer = lost === 'request' ? [] : await store.evaluate(`outbox-${script}`, lua, key, args)
          if (lost !== null) throw new Error('the connection is lost')
          return answer
        },
        seal,
        open,
        node: { name: host, incarnation },
        isJoined: () => true,
        isGone: (other, run) => dead.has(`${other}/${run}`),
        wallClock: Date.now,
        log,
        goneAfterMs: 0,
      }),
      store,
      seal,
      open,
      log,
    })
    const found = new Map<string, CallAnalysis>()
    const rig = analyses({
      ...(agents === undefined ? {} : { agents }),
      modelOf,
      owed,
      lookMs: 20,
      done: ({ callSid }, analysis, isTold) => {
        if (!isTold) told.push(`${name} ${callSid}`)
        found.set(callSid, analysis)
      },
    })
    t.teardown(() => rig.all.close())
    return { ...rig, found, owed }
  }
  return { node, told, dead }
}

t.test("a dead node's pending analysis is made once [4]", async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { asked, factory } = await model(t, () => GOOD)
  const { node, told, dead } = await owing(t, server.url, factory)
  // It dies while its model is asked.
  const { factory: silent } = await model(t, () => 503)
  const first = node('gw-1/a', () => silent)
  const left = record({ callSid: 'HD_owed0000001', startedAt: new Date().toISOString() })
  first.all.take(left)
  await until(async () => (await server.command('XLEN', 'mkondo:{analyses}')) === 1, 10_000, 'what is owed')
  t.notMatch(JSON.stringify(await server.command('XRANGE', 'mkondo:{analyses}', '-', '+')), /kurudishiwa/)
  await first.all.close()
  dead.add('gw-1/a')
  const second = node('gw-2/a')
  second.all.look()
  const third = node('gw-3/a')
  third.all.look()
  await until(() => told.length > 0, 10_000, 'the analysis')
  const again = node('gw-1/b')
  await again.all.takeLeft([left])
  again.all.look()
  await until(() => again.found.has('HD_owed0000001'), 10_000, 'the record of the dead node')
  t.equal(told.length, 1, 'receivers are told by one node')
  t.equal(asked.length, 1)
  t.match(again.found.get('HD_owed0000001'), { summary: GOOD.summary })
  await until(async () => (await server.command('XLEN', 'mkondo:{analyses}')) === 0, 10_000, 'nothing to be owed')

  const erased = record({ callSid: 'HD_owed0000002', startedAt: new Date().toISOString() })
  const other = node('gw-4/a', () => silent)
  other.all.take(erased)
  await until(async () => (await server.command('XLEN', 'mkondo:{analyses}')) === 1, 10_000, 'what is owed')
  await other.all.forget(['HD_owed0000002'])
  t.equal(await server.command('XLEN', 'mkondo:{analyses}'), 0, 'an erased call is owed no more')
  await other.all.takeLeft([{ ...erased, outcome: 'refused' }])
  t.equal(await server.command('XLEN', 'mkondo:{analyses}'), 0, 'nor is one that was refused')
  other.all.take({ ...erased, callSid: 'HD_owed0000003' })
  await until(async () => (await server.command('XLEN', 'mkondo:{analyses}')) === 1, 10_000, 'what is owed')
  await Promise.all([second, third, again, other].map(({ all }) => all.close()))
  dead.add('gw-4/a')
  const without = node('gw-5/a', () => factory, new Map())
  without.all.look()
  await until(async () => (await server.command('XLEN', 'mkondo:{analyses}')) === 0, 10_000, 'no more of it')
  t.equal(without.found.size, 0, 'a node whose agent asks for no analysis makes none')
})

t.test('a pending analysis survives an emptied Redis and its node [1]', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { factory } = await model(t, () => GOOD)
  const { node, told, dead } = await owing(t, server.url, factory)
  const { factory: silent } = await model(t, () => 503)
  const first = node('gw-1/a', () => silent)
  first.all.take(record({ callSid: 'HD_owed0000001', startedAt: new Date().toISOString() }))
  const isOwed = async (): Promise<boolean> => (await server.command('XLEN', 'mkondo:{analyses}')) === 1
  await until(isOwed, 10_000, 'what is owed')
  await server.command('FLUSHALL')
  t.equal(first.all.oweAgain(), 1)
  await until(isOwed, 10_000, 'what is owed, again')
  await first.all.close()
  dead.add('gw-1/a')
  const second = node('gw-2/a')
  second.all.look()
  await until(() => told.length > 0, 10_000, 'the analysis')
  t.same(told, ['gw-2/a HD_owed0000001'])
})

t.test('a call is analysed once although answers are lost [2]', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const steps = ['add', 'consumers', 'claim', 'remove'] as const
  for (const step of steps)
    for (const what of ['request', 'answer'] as const) {
      await server.command('FLUSHALL')
      const { asked, factory } = await model(t, () => GOOD)
      const loses = (script: string, before: number): Lost => (script === step && before === 0 ? what : null)
      const { node, told, dead } = await owing(t, server.url, factory, loses)
      const startedAt = new Date().toISOString()
      const gone = (await owing(t, server.url, factory)).node('gw-0/a')
      await gone.owed.owe(record({ callSid: 'HD_lost0000003', startedAt }))
      dead.add('gw-0/a')
      const one = node('gw-1/a')
      for (const callSid of ['HD_lost0000001', 'HD_lost0000002']) one.all.take(record({ callSid, startedAt }))
      one.all.look()
      await until(() => new Set(told).size === 3, 10_000, `the analyses, ${step} ${what}`)
      const owes = async (): Promise<boolean> => (await server.command('XLEN', 'mkondo:{analyses}')) !== 0
      await until(async () => !(await owes()), 10_000, `nothing owed, ${step} ${what}`)
      t.equal(asked.length, 3, `the model is asked once, ${step} ${what}`)
      t.equal(told.length, 3)
      await one.all.close()
    }
})

t.test('another node sends the message of a finished analysis [3]', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { asked, factory } = await model(t, () => GOOD)
  const { node, told, dead } = await owing(t, server.url, factory)
  const one = node('gw-1/a')
  const left = record({ callSid: 'HD_owed0000004', startedAt: new Date().toISOString() })
  await one.owed.owe(left)
  await one.owed.settle(left.callSid, {
    model: 'm',
    language: null,
    summary: 'S',
    fields: {},
    fault: null,
    cost: null,
  })
  dead.add('gw-1/a')
  const two = node('gw-2/a')
  two.all.look()
  await until(() => told.length === 1, 10_000, 'the message')
  await until(async () => (await server.command('XLEN', 'mkondo:{analyses}')) === 0, 10_000, 'nothing to be owed')
  t.equal(asked.length, 0)
  t.equal(two.found.get(left.callSid)?.summary, 'S')
})
