import { join } from 'node:path'
import t from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import { loadAgents } from '../../src/agents/loader.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { agentFacts, backendSettings } from '../../src/gateway/hosted-agents.js'
import { CascadeDouble } from '../../src/simulator/vendors/cascade-double.js'
import { Script, toneSpeaker } from '../../src/simulator/vendors/double.js'
import { OpenAiLiveDouble } from '../../src/simulator/vendors/openai-live-double.js'
import { startShopApi } from '../../examples/shop-api/server.js'
import { TestLine, callerSays, sid, startHost, until } from '../support/host.js'

t.setTimeout(60_000)

const KEY = 'sk-test-live'
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

t.test('GPT-Live proves its caller and reaches no other account, whoever its delegate is', async (t) => {
  const scripts = { responses: conversation(), client: conversation() }
  const [shop, double, llm] = await Promise.all([
    startShopApi(),
    OpenAiLiveDouble.start({
      key: KEY,
      speaker: () => toneSpeaker(24_000)('short'),
      model: (instructions) => scripts[/^client$/m.test(instructions) ? 'client' : 'responses'],
    }),
    CascadeDouble.start({ key: KEY, script: scripts.client }),
  ])
  const env = { SHOP_API_URL: shop.url }
  const support = (await loadAgents(join(packageRoot(), 'agents'), env)).agents.get('support')
  if (support === undefined) throw new Error('agents/support.yaml is missing')
  const agents = DELEGATES.map((by) => {
    const options = { 'openai-live': { delegate: { by } } }
    const definition = { ...support, name: by, instructions: `${support.instructions}\n${by}`, backends: options }
    return [by, { definition, facts: agentFacts(definition), shares: allCallsOn('openai-live') }] as const
  })
  const settings = { OPENAI_API_KEY: KEY, OPENAI_LIVE_URL: double.baseUrl, LLM_URL: llm.baseUrl, LLM_API_KEY: KEY }
  const backends = backendSettings(loadConfig(settings, null))
  const served = await startHost({
    agents: new Map(agents),
    defaultAgent: 'client',
    env,
    backends,
    speech: null,
  })
  t.teardown(async () => {
    await served.close()
    await Promise.all([shop.close(), double.close(), llm.close()])
  })
  const question = await callerSays('My balance?')
  const records = await Promise.all(
    DELEGATES.map(async (agent, index) => {
      const callSid = sid(`HD_live00${index}`)
      const call = served.host.prepare({ callSid, agent, from: CALLER, to: '+254709000000', direction: 'inbound' })
      const line = new TestLine(call)
      line.start()
      await line.agentQuiet(400)
      line.say(question)
      const judged = (): boolean => call.timeline().timeline.some(({ name }) => name === 'claim-unsupported')
      await until(judged, 20_000, 'the claim to be judged')
      call.hangup('operator-hangup', 'the test is over', false)
      return served.recordOf(callSid)
    }),
  )
  for (const record of records) {
    t.same(
      record.toolCalls.map(({ name, ok, error }) => [name, ok ? 'ok' : error]),
      [
        ['getAccount', 'TOOL_UNVERIFIED'],
        ['verify_caller', 'ok'],
        ['verify_caller', 'ok'],
        ['getAccount', 'ok'],
      ],
      record.agent,
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
  t.same(counted('cost_unknown_calls'), { 'agent="client",backend="openai-live"': 1 })
  const sorted = (amounts: readonly (number | undefined)[]): unknown => amounts.map(Number).toSorted((a, b) => a - b)
  t.same(sorted(Object.values(counted('cost'))), sorted([hosted?.known, own?.known]), 'what is known counts for both')
})
