import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startShopApi } from '../../examples/shop-api/server.js'
import { CallerIdentity } from '../../src/agents/tool.js'
import { HttpClient } from '../../src/http/http-client.js'
import { loadAgents } from '../../src/agents/loader.js'
import { ToolRunner } from '../../src/agents/tool-runner.js'

let root = dirname(fileURLToPath(import.meta.url))
while (
  !existsSync(join(root, 'package.json')) ||
  !readFileSync(join(root, 'package.json'), 'utf8').includes('"name": "mkondo"')
)
  root = dirname(root)

const shop = await startShopApi()
const client = new HttpClient()
t.teardown(async () => {
  client.close()
  await shop.close()
})
const env = { SHOP_API_URL: shop.url }
const agent = (await loadAgents(join(root, 'agents'), env)).agents.get('order-status')
if (agent === undefined) throw new Error('agents/order-status.yaml is missing')
const tools = new ToolRunner(agent, env, client)
const context = {
  callSid: 'HD_000000000001',
  from: '+254700000001',
  to: '+254720000001',
  agent: 'order-status',
  language: 'en',
  idempotencyKey: 'k',
  caller: new CallerIdentity(),
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
