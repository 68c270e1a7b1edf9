import t from 'tap'
import { AMINA, contextOf, openLine } from './support-line.js'

const { tools, close } = await openLine('order-status')
t.teardown(close)
const context = contextOf(AMINA)

t.test('an order is found by its number', async (t) => {
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

t.test("without a number only the caller's own orders are found", async (t) => {
  for (const args of [{}, { callerNumber: '+254700000001' }, { callerNumber: '+254700000002' }]) {
    t.match(await tools.run('lookup_order', args, context), { ok: true, value: { orders: [{ orderNumber: '4127' }] } })
  }
})

t.test('an unknown order is an answer, not an error', async (t) => {
  t.match(await tools.run('lookup_order', { orderNumber: '0000' }, context), { ok: true, value: { found: false } })
})
