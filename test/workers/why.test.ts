/** The account of calls that went wrong, each made by the parts of production. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { startShopApi } from '../../examples/shop-api/server.js'
import type { AgentDefinition } from '../../src/agents/file/definition.js'

import { allCallsOn } from '../../src/backends/split.js'
import { usualOf } from '../../src/call/why/usual.js'
import { whyOf } from '../../src/call/why/why.js'
import type { CauseCode } from '../../src/call/why/call-cause.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { agentFacts, backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { agentYaml, vocabularyOf } from '../../src/simulator/vocabulary.js'
import { parseScenario } from '../../src/simulator/scenarios/scenario.js'
import { runTextCall } from '../../src/simulator/scenarios/text-call.js'
import { openTextMedia } from '../../src/simulator/scenarios/text-gateway.js'
import { recordOfLost, refusedRecord } from '../../src/workers/main/call/call-record.js'
import { inbound, orderStatusAgent, pass, sid, startHost, TestLine, until } from '../support/host.js'
import { keptCall, keptState } from '../support/kept-call.js'

const SILENT = `module:${new URL('./silent-backend.js', import.meta.url).href}`

function told(t: Test, record: CallRecord, code: CauseCode, text: RegExp, about: readonly string[]): void {
  const { cause } = whyOf(record, null)
  t.equal(cause.code, code, cause.text)
  t.match(cause.text, text)
  t.same(
    cause.about.map(({ name }) => name),
    about,
  )
}

/** A call of the order line on the embedded backend. */
async function lineOf(t: Test, callSid: string, change?: (agent: AgentDefinition) => AgentDefinition) {
  const test = await startHost({}, change)
  t.teardown(() => test.close())
  return { test, line: new TestLine(test.host.prepare(inbound(callSid))) }
}

const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
const env = { SHOP_API_URL: shop.url }
const media = await openTextMedia(backendSettings(loadConfig({}, null)), env)
t.teardown(async () => {
  await media.close()
  await shop.close()
})

/** The record of a call in text with the order line. */
async function played(scenario: string, change: (agent: AgentDefinition) => AgentDefinition): Promise<CallRecord> {
  const definition = change(await orderStatusAgent())
  const hosted = { definition, facts: agentFacts(definition), shares: allCallsOn('embedded') }
  const { record } = await runTextCall(media, {
    scenario: parseScenario(`version: 1\nagent: order-status\n${scenario}`, 'why.yaml'),
    agents: new Map([['order-status', hosted]]),
    businesses: new Map(),
    env,
    vocabulary: vocabularyOf(await agentYaml([join(packageRoot(), 'agents')], 'order-status')),
    ...{ seed: 1, signal: null },
  })
  if (record === null) throw new Error('the call has no record')
  return record
}

const same = (agent: AgentDefinition): AgentDefinition => agent
const KNOWS = readFileSync(join(packageRoot(), 'scenarios', 'order-status', 'knows-the-number.yaml'), 'utf8')
  .split('\n')
  .filter((line) => !/^(?:#|version|agent)/.test(line))
  .join('\n')

t.test('a successful call is reported without problems', async (t) => {
  const record = await played(KNOWS, same)
  told(t, record, 'good', /^The caller got an answer, and the agent said goodbye after /, [])
  const { turns, unheard } = whyOf(record, null)
  t.equal(turns.length, 3)
  t.match(turns[0]?.text, /^The caller stopped at .*; the end of the turn was detected .*; the answer was sent after /)
  for (const { stoppedAtMs, untilMs, parts } of turns) {
    const { endOfTurnMs, toolsMs, backendMs, playoutMs } = parts
    t.equal(endOfTurnMs + toolsMs + backendMs + playoutMs, untilMs - stoppedAtMs, 'the parts of a wait sum to it')
  }
  t.same(unheard, [])
})

t.test('a slow API is reported as the cause', async (t) => {
  const record = await played(`slow: [{ tool: lookup_order, answerAfterMs: 2600 }]\n${KNOWS}`, same)
  const usual = usualOf(Array.from({ length: 50 }, () => ({ answer: [700, 900], 'tool lookup_order': [100, 130] })))
  const { cause, turns, unusual } = whyOf(record, usual)
  t.equal(cause.code, 'tool-slow')
  t.match(cause.text, /^The caller waited .* for an answer at .*: the tool lookup_order took 2\.\d s\.$/)
  t.match(turns.map(({ text }) => text).join(' '), /the tool lookup_order took 2\.\d s, 2\d\.\d times its usual/)
  t.match(
    unusual.find(({ name }) => name === 'tool lookup_order'),
    { p50Ms: 100, p95Ms: 130 },
  )
})

t.test('a caller never understood is reported as the cause', async (t) => {
  const never = (agent: AgentDefinition): AgentDefinition => ({ ...agent, escalation: null })
  const steps = Array.from({ length: 3 }, () => '{ say: I would like a pizza }').join(', ')
  const record = await played(`caller: { steps: [${steps}, { hangup: true }] }`, never)
  const about = ['docs/VAD.md', 'docs/OFFLINE-AGENT.md']
  told(t, record, 'not-understood', /^The caller was not understood \(.* times\), and /, about)
})

t.test('a line without audio is reported as the cause', async (t) => {
  const { test, line } = await lineOf(t, 'HD_whydeaf00001')
  const record = await test.recordOf(line.call.callSid)
  told(t, record, 'deaf-line', /^No audio came from the caller's line in \d+\.\d s\.$/, [
    'docs/DOCTOR.md',
    'docs/closures/carrier.md',
  ])
})

t.test("a caller's silent hang-up is reported as the cause", async (t) => {
  const { test, line } = await lineOf(t, 'HD_whyhungup001')
  line.start()
  await pass(2000)
  line.call.detach(1000)
  line.stop()
  const about = ['greeting', 'docs/closures/caller.md']
  told(
    t,
    await test.recordOf(line.call.callSid),
    'hung-up',
    /^The caller hung up after 2\.\d s without a word\.$/,
    about,
  )
})

t.test('a slow vendor is reported as the cause', async (t) => {
  const definition = { ...(await orderStatusAgent()), greeting: 'Hello.' }
  const agents = new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn(SILENT) }]])
  const test = await startHost({ agents })
  t.teardown(() => test.close())
  const line = new TestLine(test.host.prepare(inbound('HD_whyvendor001', { from: '+254700000015' })))
  line.start()
  await line.agentQuiet(1500)
  await test.say(line, 'Where is my order?')
  await pass(5500)
  line.call.detach(1000)
  line.stop()
  const record = await test.recordOf(line.call.callSid)
  const about = ['failover.stallMs', 'docs/runbooks/first-sound.md']
  told(
    t,
    record,
    'model-slow',
    /^The caller hung up after waiting \d\.\d s: the backend silent had given no answer\.$/,
    about,
  )
})

t.test('a spent budget is reported as the cause', async (t) => {
  const budget = { maxMinutes: 0.5, prices: null }
  const { test, line } = await lineOf(t, 'HD_whybudget001', (agent) => ({ ...agent, budget }))
  line.start()
  await until(() => line.closedWith !== null, 90_000, 'the end of the budget')
  const about = ['budget.maxMinutes', 'docs/COST.md']
  told(
    t,
    await test.recordOf(line.call.callSid),
    'budget',
    /^The budget of the call was used up \(maxMs\), and /,
    about,
  )
})

t.test('a refusal is reported with its setting', (t) => {
  const call = { callSid: sid('HD_whyrefused01'), from: '+254700000001', to: '+254709000000' }
  const refused = { ...call, agent: 'order-status', reason: 'capacity', why: '200 of 200 slots' } as const
  const text = /^The call was refused because all call slots were taken: 200 of 200 slots\.$/
  told(t, refusedRecord(refused, 0, true), 'refused', text, ['MAX_CALLS', 'docs/runbooks/capacity.md'])
  t.end()
})

t.test('a dead node is reported as the cause', async (t) => {
  const { test } = await lineOf(t, 'HD_whynode00001')
  const { metrics } = test
  const callSeries = { open: () => ({}), end: () => undefined } as never
  const record = recordOfLost(keptState(keptCall()), { metrics, callSeries, maskNumbers: true })
  const text = /^The node that carried the call died: its node node-a was lost/
  told(t, record, 'node-dead', text, ['docs/runbooks/takeover.md'])
})
