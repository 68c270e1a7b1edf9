import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startShopApi } from '../../examples/shop-api/server.js'
import type { Business } from '../../src/agents/file/business.js'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import { loadAgents } from '../../src/agents/file/loader.js'
import { allCallsOn, usesRecogniser } from '../../src/backends/split.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import {
  agentFacts,
  backendSettings,
  followAgents,
  hostedAgents,
  uncountedByBudgets,
  versionsFor,
  withoutReplacement,
} from '../../src/gateway/agents/hosted-agents.js'
import { createLog } from '../../src/telemetry/log.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { toneSpeaker } from '../../src/simulator/vendors/tone-speaker.js'
import { OpenAiLiveDouble } from '../../src/vendors/openai/live-double.js'
import { get, newSid, post, ringing } from '../edge/gateway.js'
import { whole } from '../support/gateway.js'
import { accountFile, serviceAccount } from '../support/service-account.js'
import { sid, startHost, TestLine, time } from '../support/host.js'
import { until } from '../support/until.js'

const folder = await mkdtemp(join(tmpdir(), 'mkondo-hosted-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const orders = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
const plain = 'version: 1\nname: plain\ninstructions: Say back what you hear.\n'
await writeFile(join(folder, 'order-status.yaml'), orders)
await writeFile(join(folder, 'plain.yaml'), plain)
const named = plain.replace('plain', 'named').concat('backend: openai\n')
await writeFile(join(folder, 'named.yaml'), named)

const KEY = { OPENAI_API_KEY: 'a-key-of-the-tests-and-of-nothing-else' }

async function agentsWith(env: Readonly<Record<string, string>>) {
  const config = loadConfig({ AGENTS_DIR: folder, ...env }, null)
  const { agents } = await hostedAgents(config, { SHOP_API_URL: 'http://127.0.0.1:1' })
  return agents
}

t.test('`auto` adds the embedded backend for agents with a dialogue', async (t) => {
  const agents = await agentsWith(KEY)
  t.same(
    agents.get('order-status')?.shares.flatMap(({ names }) => names),
    ['openai', 'embedded'],
  )
  t.same(
    agents.get('plain')?.shares.flatMap(({ names }) => names),
    ['openai'],
  )
  t.same(
    agents.get('named')?.shares.flatMap(({ names }) => names),
    ['openai'],
    'a backend that is named has only what the agent names',
  )
  t.same(withoutReplacement(agents), ['plain'], 'what the start warns of')
  t.notOk(
    [...agents.values()].some(({ shares }) => shares.some(usesRecogniser)),
    'the recogniser is not loaded until it is needed',
  )
  const cascade = await agentsWith({ ...KEY, AUTO_BACKEND: 'openai-live' })
  t.same(
    cascade.get('order-status')?.shares.flatMap(({ names }) => names),
    ['openai-live', 'embedded'],
  )
  const embedded = await agentsWith({ ...KEY, AUTO_BACKEND: 'embedded' })
  t.same(
    embedded.get('order-status')?.shares.flatMap(({ names }) => names),
    ['embedded'],
  )
  t.same(withoutReplacement(embedded), [])
  t.ok([...embedded.values()].some(({ shares }) => shares.some(usesRecogniser)))
})

t.test('an agent with an unconfigured backend is left out', async (t) => {
  const config = loadConfig({ AGENTS_DIR: folder }, null)
  const { agents, faults } = await hostedAgents(config, { SHOP_API_URL: 'http://127.0.0.1:1' })
  t.same([...agents.keys()].sort(), ['order-status', 'plain'])
  const what = 'agent named uses backend openai, but OPENAI_API_KEY is not set'
  t.match(faults, [{ file: join(folder, 'named.yaml'), what }])
  const alone = loadConfig({ AGENTS_DIR: t.testdir({ 'named.yaml': named }) }, null)
  await t.rejects(hostedAgents(alone, {}), { message: what }, 'where none is left the gateway does not start')

  const dir = t.testdir({
    'named.yaml': named,
    'plain.yaml': plain,
    'desk.yaml': plain.replace('plain', 'desk').concat('handoverTo: { named: They ask for it. }\n'),
  })
  const three = loadConfig({ AGENTS_DIR: dir }, null)
  const usable = await hostedAgents(three, {})
  t.same([...usable.agents.keys()], ['plain'], 'nor is one used that hands over to it')
  t.match(usable.faults, [
    { what },
    { file: join(dir, 'desk.yaml'), what: /hands over to named, which cannot be used/ },
  ])

  const counts: number[] = []
  const { agents: live, numbers } = usable
  const log = createLog({ level: 'silent' })
  const onCount = (faults: number): void => void counts.push(faults)
  t.teardown(await followAgents({ config: three, env: {}, log, agents: live, numbers, onCount }))
  await writeFile(join(dir, 'plain.yaml'), plain.replace('Say back', 'Repeat'))
  const isRead = (): boolean => live.get('plain')?.definition.instructions.startsWith('Repeat') === true
  await until(() => isRead() && counts.length > 0, 10_000, 'a reading of the folder')
  t.equal(counts.at(-1), 2, 'an edit of another file does not hide that they take no calls')
})

t.test('a canary has its own backends', async (t) => {
  const dir = t.testdir({
    'plain.yaml': plain.concat('backend: openai\n'),
    'plain.next.yaml': plain.concat('backend: gemini\ncanary: { percent: 20 }\n'),
  })
  const config = loadConfig({ AGENTS_DIR: dir, ...KEY, GEMINI_API_KEY: 'another-key-of-the-tests' }, null)
  const { agents } = await hostedAgents(config, {})
  t.match(agents.get('plain'), {
    shares: [{ names: ['openai'] }],
    canary: { percent: 20, version: { shares: [{ names: ['gemini'] }] } },
  })
  const settings = {
    ...backendSettings(config),
    realtime: {
      ...backendSettings(config).realtime,
      gemini: { ...backendSettings(config).realtime['gemini'], model: 'a-model-without-price' },
    },
  }
  const business: Business = { number: '+254720000101', agent: 'plain', facts: {}, budget: { perDay: 100 } } as never
  t.match(uncountedByBudgets(settings, agents, [business]), [{ agent: 'plain', backend: 'gemini' }])
  const { agents: onOne } = await hostedAgents(config, {}, 'embedded')
  t.equal(onOne.get('plain')?.canary, undefined)
})

t.test('an unusable canary is left out with its fault', async (t) => {
  const canary = 'canary: { percent: 20 }\n'
  const dir = t.testdir({
    'plain.yaml': plain,
    'plain.next.yaml': plain.concat('backend: openai\n', canary),
    'named.yaml': named,
    'desk.yaml': plain.replace('plain', 'desk'),
    'desk.next.yaml': plain.replace('plain', 'desk').concat('handoverTo: { named: They ask for it. }\n', canary),
  })
  const config = loadConfig({ AGENTS_DIR: dir }, null)
  const { agents, numbers, faults } = await hostedAgents(config, {})
  t.same([...agents.keys()].sort(), ['desk', 'plain'])
  t.notOk([...agents.values()].some((agent) => agent.canary !== undefined))
  t.match(faults, [
    { file: join(dir, 'named.yaml') },
    { file: join(dir, 'plain.next.yaml'), what: /OPENAI_API_KEY is not set/ },
    { file: join(dir, 'desk.next.yaml'), what: 'hands over to named, which cannot be used' },
  ])

  const counts: number[] = []
  const log = createLog({ level: 'silent' })
  const onCount = (count: number): void => void counts.push(count)
  t.teardown(await followAgents({ config, env: {}, log, agents, numbers, onCount }))
  await writeFile(join(dir, 'plain.yaml'), plain.replace('Say back', 'Repeat'))
  await until(() => counts.length > 0, 10_000, 'a reading of the folder')
  t.match(agents.get('plain')?.definition.instructions, /^Repeat/, 'the agent itself can be edited')
  t.equal(counts.at(-1), 3)
  t.notOk([...agents.values()].some((agent) => agent.canary !== undefined))
})

t.test("an agent is edited without Google's key file", async (t) => {
  const dir = t.testdir({ agents: { 'plain.yaml': plain.concat('backend: openai\n') } })
  const key = accountFile(dir, serviceAccount('key-of-the-project'))
  const config = loadConfig({ AGENTS_DIR: join(dir, 'agents'), GOOGLE_SPEECH_CREDENTIALS: key, ...KEY }, null)
  const { agents, numbers } = await hostedAgents(config, {})
  const use = versionsFor(config, numbers)
  await rm(key)
  const agent = agents.get('plain')?.definition
  if (agent === undefined) throw new Error('the agent was not loaded')
  t.match(use({ agent, assets: NO_ASSETS }), { shares: [{ names: ['openai'] }] })
})

t.test('a share takes a list or `auto`', async (t) => {
  await writeFile(
    join(folder, 'order-status.yaml'),
    orders.replace(/^backend: .*$/m, 'backend: [{ use: auto, percent: 80 }, { use: [gemini, openai], percent: 20 }]'),
  )
  const agents = await agentsWith({ ...KEY, GEMINI_API_KEY: 'another-key-of-the-tests' })
  t.same(agents.get('order-status')?.shares, [
    { percent: 80, auto: true, names: ['openai', 'embedded'] },
    { percent: 20, auto: false, names: ['gemini', 'openai'] },
  ])
})

/** A key like any other: nothing listens where it is used. */
const OPENAI = { OPENAI_API_KEY: 'a-key-of-the-tests-and-of-nothing-else', OPENAI_BASE_URL: 'ws://127.0.0.1:1' }

async function speechWorkers(opsPort: number): Promise<string | undefined> {
  const { text } = await get(`http://127.0.0.1:${opsPort}/metrics`)
  return /^mkondo_workers\{pool="speech"\} (\d+)$/m.exec(text)?.[1]
}

t.test('without an embedded backend no speech worker runs before calls', async (t) => {
  const { at, close } = await whole(OPENAI)
  t.teardown(close)
  t.equal(await speechWorkers(at.opsPort), '0')
  t.equal((await post(`http://127.0.0.1:${at.port}/voice/order-status`, { form: ringing(newSid()) })).status, 200)
  // Its voice loads while the call is being connected.
  await until(async () => /^1$/.test((await speechWorkers(at.opsPort)) ?? ''), 15_000, 'the speech worker')
})

t.test('with an embedded backend the speech worker is ready early', async (t) => {
  const { at, close } = await whole(OPENAI, (yaml) => yaml.replace('backend: auto', 'backend: [openai, embedded]'))
  t.teardown(close)
  t.match((await speechWorkers(at.opsPort)) ?? '', /^[2-5]$/, 'its voice and recognisers')
})

const LIVE_KEY = 'sk-test-live'
const CALLER = '+254700000001'
const OTHERS = { msisdn: '+254700000002' }

/** Talked into the account of somebody else before and after the proof, then a claim of what nobody did, and a price. */
const conversation = (): Script =>
  new Script(
    [
      { say: 'Hello.' },
      { calls: [{ callId: 'c1', name: 'getAccount', args: OTHERS }] },
      { calls: [{ callId: 'c2', name: 'verify_caller', args: { question: 'id-number', answer: '7386' } }] },
      { calls: [{ callId: 'c3', name: 'verify_caller', args: { question: 'customer-number', answer: '5291' } }] },
      { calls: [{ callId: 'c4', name: 'getAccount', args: OTHERS }] },
      { say: 'I have opened a ticket for you. That costs KES 9,870.' },
    ],
    ['my balance'],
  )

const DELEGATES = ['responses', 'client'] as const

t.test('GPT-Live verifies its caller and reaches no other account', async (t) => {
  const scripts = { responses: conversation(), client: conversation() }
  const [shop, double, llm] = await Promise.all([
    startShopApi(),
    OpenAiLiveDouble.start({
      key: LIVE_KEY,
      speaker: () => toneSpeaker(24_000)('short'),
      model: (instructions) => scripts[/^You are the voice of client on/m.test(instructions) ? 'client' : 'responses'],
    }),
    CascadeDouble.start({ key: LIVE_KEY, script: scripts.client }),
  ])
  const env = { SHOP_API_URL: shop.url }
  const support = (await loadAgents(join(packageRoot(), 'agents'), env)).agents.get('support')
  if (support === undefined) throw new Error('agents/support.yaml is missing')
  const agents = DELEGATES.map((by) => {
    const options = { 'openai-live': { delegate: { by } } }
    const definition = { ...support, name: by, instructions: `${support.instructions}\n${by}`, backends: options }
    return [by, { definition, facts: agentFacts(definition), shares: allCallsOn('openai-live') }] as const
  })
  const settings = {
    OPENAI_API_KEY: LIVE_KEY,
    OPENAI_LIVE_URL: double.baseUrl,
    LLM_URL: llm.baseUrl,
    LLM_API_KEY: LIVE_KEY,
  }
  const backends = backendSettings(loadConfig(settings, null))
  const served = await startHost({
    agents: new Map(agents),
    defaultAgent: 'client',
    env,
    backends,
    speech: null,
    paced: true,
  })
  t.teardown(async () => {
    await served.close()
    await Promise.all([shop.close(), double.close(), llm.close()])
  })
  const records = await Promise.all(
    DELEGATES.map(async (agent, index) => {
      const callSid = sid(`HD_live00${index}`)
      const call = served.host.prepare({ callSid, agent, from: CALLER, to: '+254709000000', direction: 'inbound' })
      const line = new TestLine(call)
      line.start()
      await line.agentQuiet(400)
      await served.say(line, 'My balance?')
      const judged = (): boolean => call.timeline().timeline.some(({ name }) => name === 'claim-unsupported')
      await time.until(judged, 20_000, 'the claim to be judged')
      call.hangup('operator-hangup', 'the test is over', false)
      return served.recordOf(callSid)
    }),
  )
  t.equal(served.host.languageOf(CALLER), 'en', 'the words of the caller have shown it')
  served.host.forgetLine(CALLER)
  t.equal(served.host.languageOf(CALLER), undefined)
  for (const record of records) {
    t.match(
      record.toolCalls.map(({ name, ok, error }) => [name, ok ? 'ok' : error]),
      [
        ['getAccount', /^getAccount cannot be called in the stage verify\. It can be called in: help\./],
        ['verify_caller', 'ok'],
        ['verify_caller', 'ok'],
        ['getAccount', 'ok'],
      ],
      record.agent,
    )
    t.match(
      record.stages.map(({ stage, why }) => [stage, why]),
      [
        ['verify', 'begin'],
        ['help', 'facts'],
      ],
      'the gateway moves the call when the caller has proved who they are',
    )
    const withoutMeasures = (_: string, value: unknown): unknown => (typeof value === 'number' ? null : value)
    // A call of 5291 ms is no answer.
    t.notMatch(JSON.stringify(record, withoutMeasures), /7386|5291/, 'no answer is in the record')
    t.match(record.claims, [
      { tool: 'open_ticket', verdict: 'not-called' },
      { tool: null, phrase: 'KES 9,870', verdict: 'no-source' },
    ])
  }
  const [hosted, own] = records.map(({ cost }) => cost)
  t.match(hosted, { amount: Number, unknown: null }, 'the session and the hosted delegate have public prices')
  t.match(own, { amount: null, unknown: /^no price for the model default@127\.0\.0\.1/ }, 'a model of our own has none')
  for (const told of [double.sessions.map(({ received }) => received), llm.chats].map((all) => JSON.stringify(all))) {
    t.ok(/Home 20/.test(told), "the caller's own account, whatever number was asked for")
    t.notOk(/Home 50/.test(told))
  }

  const page = await served.metrics.render()
  const counted = (name: string): Record<string, number> =>
    Object.fromEntries(
      [...page.matchAll(new RegExp(`^mkondo_${name}_total{(.*?)} ([\\d.e-]+)`, 'gm'))].map(([, labels = '', count]) => [
        labels,
        Number(count),
      ]),
    )
  for (const agent of DELEGATES)
    t.match(counted('claims'), {
      [`agent="${agent}",backend="openai-live",tool="open_ticket",verdict="not-called"`]: 1,
      [`agent="${agent}",backend="openai-live",tool="none",verdict="no-source"`]: 1,
    })
  t.match(
    Object.keys(counted('cost_unknown_calls')),
    [/^agent="client",backend="openai-live",model="default@127\.0\.0\.1:\d+"$/],
    'the model of our own',
  )
  const sumOf = (amounts: readonly (number | undefined)[]): string =>
    amounts.reduce<number>((sum, amount = NaN) => sum + amount, 0).toFixed(9)
  t.equal(sumOf(Object.values(counted('cost'))), sumOf([hosted?.known, own?.known]), 'what is known counts for both')
})
