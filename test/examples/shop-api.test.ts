import t from 'tap'
import { DEMO_DATA } from '../../examples/shop-api/data.js'
import { startShopApi } from '../../examples/shop-api/server.js'

const shop = await startShopApi({ port: 0 })
t.teardown(() => shop.close())

async function ask(path: string, init: RequestInit = {}): Promise<{ status: number; body: unknown }> {
  const response = await fetch(shop.url + path, init)
  t.match(response.headers.get('content-type'), 'application/json', `${path.slice(0, 40)} answers JSON`)
  return { status: response.status, body: await response.json() }
}

const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  body: typeof body === 'string' ? body : JSON.stringify(body),
  headers: {
    'content-type': 'application/json',
    ...headers,
  },
})

t.test('an order is found by number and hides its owner', async (t) => {
  t.same(await ask('/api/orders?order_number=4127'), {
    status: 200,
    body: {
      orderNumber: '4127',
      status: 'out_for_delivery',
      eta: 'today between 4 and 6 PM',
      courier: 'PikiPiki',
      items: ['rice cooker'],
    },
  })
  t.same(await ask('/api/orders?order_number=0000'), { status: 404, body: { error: 'no such order' } })
})

t.test('every notation of a phone number finds the same account', async (t) => {
  for (const phone of ['%2B254700000001', '254700000001', '00254700000001', '+254 700 000 001']) {
    t.match(
      await ask(`/api/orders?phone=${phone}`),
      { status: 200, body: { orders: [{ orderNumber: '4127' }] } },
      phone,
    )
  }
})

t.test("a caller's open orders are listed, else the finished order", async (t) => {
  const numbersOf = async (phone: string): Promise<string[]> => {
    const { body } = await ask(`/api/orders?phone=${encodeURIComponent(phone)}`)
    return (body as { orders: { orderNumber: string }[] }).orders.map((order) => order.orderNumber)
  }
  t.same(await numbersOf('+254700000002'), ['3056', '8214', '6403'])
  t.same(await numbersOf('+254700000003'), ['1792'], 'with nothing open, the finished one')
  t.same(await numbersOf('+254700000009'), [])
})

t.test('an account is returned with its open tickets', async (t) => {
  t.match(await ask('/api/accounts?phone=%2B254700000002'), {
    status: 200,
    body: {
      accountId: 'AC-1002',
      plan: 'Home 50',
      balanceKes: -1200,
      status: 'suspended',
      outage: null,
      openTickets: [{ ticketId: 'T-501' }],
    },
  })
  t.equal((await ask('/api/accounts?phone=%2B254799999999')).status, 404)
})

t.test('only one path returns the data that proves an identity', async (t) => {
  const account = await ask('/api/accounts?phone=%2B254700000001')
  t.notMatch(JSON.stringify(account.body), /birthDate|idNumber|customerNumber/)
  t.match(await ask('/api/accounts/verification?phone=%2B254700000001'), {
    status: 200,
    body: {
      accountId: 'AC-1001',
      vip: false,
      security: { birthDate: /^\d{4}-\d{2}-\d{2}$/, idNumber: /^\d{8}$/, customerNumber: /^\d{8}$/ },
    },
  })
  t.equal((await ask('/api/accounts/verification?phone=%2B254799999999')).status, 404)
  t.equal((await ask('/api/accounts/verification')).status, 400)
})

t.test("an outage is found by area or resident's phone", async (t) => {
  const here = { status: 200, body: { active: true, area: 'Kilimani', restoredBy: 'this evening at 6' } }
  t.match(await ask('/api/outages?area=kilimani'), here)
  t.match(await ask('/api/outages?phone=%2B254700000003'), here)
  t.match(await ask('/api/accounts?phone=%2B254700000003'), { body: { outage: { area: 'Kilimani' } } })
  t.same(await ask('/api/outages?phone=%2B254700000001'), { status: 200, body: { active: false } })
  t.same(await ask('/api/outages?phone=%2B254799999999'), { status: 200, body: { active: false } })
  t.equal((await ask('/api/outages')).status, 400)
  t.match(await ask('/api/plans'), { status: 200, body: { plans: [{ name: 'Home 10', priceKes: 1500 }] } })
})

t.test('a ticket is opened once for each key', async (t) => {
  const ticket = { phone: '+254700000001', subject: 'Late order', details: 'Order 4127' }
  const first = await ask('/api/tickets', post(ticket, { 'idempotency-key': 'k1' }))
  t.match(first, { status: 201, body: { ticketId: 'T-502', status: 'open' } })
  t.same(await ask('/api/tickets', post(ticket, { 'idempotency-key': 'k1' })), { ...first, status: 200 })
  t.equal((await ask('/api/tickets', post({ ...ticket, subject: 'Other' }, { 'idempotency-key': 'k1' }))).status, 409)
  t.match(await ask('/api/accounts?phone=%2B254700000001'), { body: { openTickets: [{ ticketId: 'T-502' }] } })
})

t.test('a delivery time is requested once per key', async (t) => {
  const path = '/api/orders/reschedule'
  const wish = { order_number: '4127', phone: '+254700000001', date: '2026-11-27', time: '10:00' }
  const asked = (fields: object, key: string) => ask(path, post({ ...wish, ...fields }, { 'idempotency-key': key }))
  const done = { requested: true, orderNumber: '4127', date: '2026-11-27', time: '10:00' }
  t.same(await asked({}, 'r1'), { status: 200, body: done })
  t.same(await asked({}, 'r1'), { status: 200, body: done })
  t.equal((await asked({ time: '11:00' }, 'r1')).status, 409)
  t.equal((await asked({ phone: '+254700000002' }, 'r2')).status, 404, "another's order")
  t.equal((await asked({ order_number: '2968' }, 'r3')).status, 409, 'it is delivered')
  for (const wrong of [{ time: '07:30' }, { time: '18:01' }, { time: 'ten' }, { date: '27/11' }, { phone: '' }])
    t.equal((await asked(wrong, 'r4')).status, 422, JSON.stringify(wrong))
})

t.test('a price is found by English and Swahili words', async (t) => {
  const found = async (query: string) => (await ask(`/api/products?query=${encodeURIComponent(query)}`)).body
  t.same(await found('Viatu ni bei gani?'), { products: [{ name: 'shoes', priceKes: 1250 }] })
  t.same(await found('how much is the rice cooker and the kettle'), {
    products: [
      { name: 'rice cooker', priceKes: 4500 },
      { name: 'kettle', priceKes: 2200 },
    ],
  })
  t.same(await found('bookshelf'), { products: [{ name: 'bookshelf', priceKes: null }] })
  t.same(await found('elephants'), { products: [] })
  t.equal((await ask('/api/products')).status, 400)
})

t.test('wrong requests are refused with a reason', async (t) => {
  const key = { 'idempotency-key': 'k2' }
  const cases: [string, RequestInit, number][] = [
    ['/api/orders', {}, 400],
    ['/api/orders?phone=abc', {}, 400],
    ['/api/accounts', {}, 400],
    ['/nothing', {}, 404],
    ['/api/orders', { method: 'DELETE' }, 405],
    ['/api/tickets', {}, 405],
    [`/api/orders?phone=${'1'.repeat(3000)}`, {}, 414],
    ['/api/tickets', post({ phone: '+254700000001', subject: 'x' }), 400],
    ['/api/tickets', post('{', key), 400],
    ['/api/tickets', post({ phone: 'x', subject: 'x' }, key), 422],
    ['/api/tickets', post({ phone: '+254700000001' }, key), 422],
    ['/api/tickets', post([], key), 422],
    ['/api/tickets', post('x', { ...key, 'content-type': 'text/plain' }), 415],
    ['/api/tickets', post({ phone: '+254700000001', subject: 'x', details: 'y'.repeat(20_000) }, key), 413],
  ]
  for (const [path, init, status] of cases) {
    const answer = await ask(path, init)
    t.match(answer, { status, body: { error: String } }, `${init.method ?? 'GET'} ${path.slice(0, 40)}`)
  }
})

t.test('the API can be started twice with its own data', async (t) => {
  const other = await startShopApi({ data: { ...DEMO_DATA, orders: [] } })
  t.teardown(() => other.close())
  t.equal((await fetch(`${other.url}/api/orders?order_number=4127`)).status, 404)
  await t.rejects(startShopApi({ port: Number(new URL(other.url).port) }), { code: 'EADDRINUSE' })
})
