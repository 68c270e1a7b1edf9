import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../src/config/load-config.js'
import { backendSettings, hostedAgents } from '../../src/gateway/agents/hosted-agents.js'
import type { HandoffNews } from '../../src/messages/message.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { callerSays } from '../support/caller-says.js'
import { sid, startHost, TestLine } from '../support/host.js'

/** A whole call on a cascade: real audio, and the recogniser's double says what was heard. */

const NUMBER = '+254720100001'

t.test("a caller beyond the number's budget leaves a message", async (t) => {
  const double = await CascadeDouble.start()
  t.teardown(() => double.close())
  const dir = t.testdir({ agents: {} })
  const file = (name: string): string => join(dir, name)
  await writeFile(
    file('agents/desk.yaml'),
    'version: 1\nname: desk\ninstructions: x\nescalation: { numbers: ["+254720000099"] }\n',
  )
  await writeFile(
    file('numbers.yaml'),
    `version: 1\nnumbers: { '${NUMBER}': { agent: desk, facts: { name: Duka }, budget: { perDay: 1000 } } }\n`,
  )
  await writeFile(file('prices.yaml'), 'currency: USD\nexchange: { readOn: 2026-11-20, rates: { KES: 130 } }\n')
  const env = {
    AGENTS_DIR: file('agents'),
    NUMBERS_FILE: file('numbers.yaml'),
    PRICES_FILE: file('prices.yaml'),
    STT_URL: double.baseUrl,
    LLM_URL: double.baseUrl,
    TTS_URL: double.baseUrl,
  }
  const config = loadConfig(env, null)
  const { agents, numbers } = await hostedAgents(config, env)
  const handoffs: HandoffNews[] = []
  const test = await startHost({
    paced: true,
    agents,
    businesses: numbers.businesses,
    backends: backendSettings(config),
    speech: null,
    budgetStep: () => 'messages',
    onHandoff: (news) => void handoffs.push(news),
  })
  t.teardown(() => test.close())
  const call = { callSid: sid('HD_budget000003'), agent: 'desk', from: '+254700000001', to: NUMBER }
  const line = new TestLine(test.host.prepare({ ...call, direction: 'inbound' }))
  line.start()
  for (const words of ['Otieno', 'My delivery of yesterday']) {
    await line.agentQuiet(300)
    double.script.callerSays(words)
    line.say(await callerSays(words))
  }
  const [spending] = [...test.host.spending()]
  t.match(spending, { callSid: call.callSid, number: NUMBER, direction: 'inbound', models: { currency: 'USD' } })
  t.ok((spending?.durationMs ?? 0) > 1000)
  const record = await test.recordOf(call.callSid)
  t.match(
    record.transcript.map(({ role, text }) => [role, text]),
    [
      ['agent', 'Hello. For the rest of today I can only take a message. What is your name, please?'],
      ['caller', 'Otieno'],
      ['agent', 'Thank you. And what is it about?'],
      ['caller', 'My delivery of yesterday'],
      ['agent', /^Thank you\. I have noted it/],
    ],
  )
  t.match(record, { budgetStep: 'messages', endReason: 'agent-goodbye' })
  t.equal(record.escalation?.callback?.note, 'Otieno: My delivery of yesterday')
  t.ok(
    record.timeline.some(({ name, detail }) => name === 'budget-step' && detail === 'messages'),
    'the timeline says why',
  )
  t.equal(double.requests.llm, 0)
  t.match(handoffs.at(-1), { kind: 'callback' })
})
