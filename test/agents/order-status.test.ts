import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startShopApi } from '../../examples/shop-api/server.js'
import { callOptions } from '../../src/agents/call-options.js'
import { agentDocuments } from '../../src/agents/documents.js'
import { HttpTransport } from '../../src/agents/http-transport.js'
import { loadAgents } from '../../src/agents/loader.js'
import { ToolRunner } from '../../src/agents/tool-runner.js'
import { toolSpecs } from '../../src/agents/tool-specs.js'

let root = dirname(fileURLToPath(import.meta.url))
while (!existsSync(join(root, 'package.json')) || !readFileSync(
  join(root, 'package.json'), 'utf8',
).includes('"name": "mkondo"')) root = dirname(root)

const shop = await startShopApi()
const transport = new HttpTransport()
t.teardown(async () => {
  transport.close()
  await shop.close()
})
const env = { SHOP_API_URL: shop.url }
const agent = (await loadAgents(join(root, 'agents'), env)).agents.get('order-status')
if (agent === undefined) throw new Error('agents/order-status.yaml is missing')
const tools = new ToolRunner(agent, env, transport)
const context = {
  callSid: 'HD_000000000001', from: '+254700000001', to: '+254720000001', agent: 'order-status', idempotencyKey: 'k',
  signal: new AbortController().signal,
}

t.test('the order line looks an order up by its number', async (t) => {
  t.same(await tools.run('lookup_order', { orderNumber: '8214' }, context), {
    ok: true,
    value: {
      orderNumber: '8214',
      status: 'packed',
      eta: 'tomorrow before noon',
      courier: 'Boda Express',
      items: ['phone charger', 'phone cover'],
    },
  })
})

t.test('without a number it finds the orders of the phone that called, and of no other', async (t) => {
  for (const args of [{}, { callerNumber: '+254700000001' }, { callerNumber: '+254700000002' }]) {
    t.match(await tools.run('lookup_order', args, context), { ok: true, value: { orders: [{ orderNumber: '4127' }] } })
  }
})

t.test('an order that does not exist is an answer', async (t) => {
  t.match(await tools.run('lookup_order', { orderNumber: '0000' }, context), { ok: true, value: { found: false } })
})

t.test('the model sees the agent\'s tools and the gateway\'s', async (t) => {
  const specs = toolSpecs(agent)
  t.same(specs.map((spec) => spec.name), ['lookup_order', 'escalate_to_human', 'end_call'])
  t.match(
    specs[0]?.parameters,
    {
      type: 'object', additionalProperties: false, properties: { orderNumber: { type: 'string', pattern: '^\\d{4}$' } },
    },
  )
  t.same(toolSpecs({ ...agent, escalation: null }).map((spec) => spec.name), ['lookup_order', 'end_call'])
})

t.test('the carrier\'s documents come from the agent', async (t) => {
  const documents = agentDocuments(agent)
  t.match(
    documents.stream,
    { name: 'order-status', track: 'inbound_track', samplingRateHz: 16000, statusCallback: true, openMetadata: null },
  )
  t.equal(documents.say, null)
  t.match(
    documents.fallback,
    [
      { verb: 'say', language: 'en-KE' },
      { verb: 'dial', numbers: ['+254720000010'], timeoutS: 25 },
      { verb: 'hangup' },
    ],
  )
  t.same(agentDocuments({ ...agent, escalation: null }).fallback.map((action) => action.verb), ['say', 'hangup'])
  t.same(documents.afterCall, [{ verb: 'hangup' }])
  t.match(agentDocuments({
    ...agent, say: { ...agent.say, greeting: 'Karibu' }, afterCall: { say: 'Kwaheri', hangup: false },
  }), {
    say: { verb: 'say', text: 'Karibu', voice: 'woman' }, afterCall: [{ verb: 'say', text: 'Kwaheri' }],
  })
})

t.test('the call session is told what the agent says, in its own units', async (t) => {
  const facts = { callSid: 'HD_1', preparedAtMs: 5, wallOffsetMs: 7, serverVad: false, truncate: true } as const
  const options = callOptions(agent, { ...facts, greetedBy: 'gateway' })
  t.match(options, {
    agent: 'order-status', toolNames: ['lookup_order'], greeting: agent.greeting, duration: { maxMs: 600_000 },
    onBackendFailure: 'escalate',
    speech: { onsetMs: 40 }, bargeIn: {
      commitMs: 200, resumeAfterMs: 1000,
    }, escalation: { announceText: agent.escalation?.announce },
  })
  const spokenByModel = callOptions({ ...agent, escalation: null }, { ...facts, greetedBy: 'backend' })
  t.equal(spokenByModel.greeting, null)
  t.match(spokenByModel.kickOffText, agent.greeting ?? '')
  t.match(spokenByModel, { escalation: null, onBackendFailure: 'hangup' })
})
