import t from 'tap'
import { AMINA, contextOf, openLine } from './support-line.js'

const { tools, close } = await openLine('order-status')
t.teardown(close)
const context = contextOf(AMINA)

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
