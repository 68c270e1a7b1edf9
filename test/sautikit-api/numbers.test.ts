import t from 'tap'
import { allPages, CarrierApiError } from '../../src/sautikit-api/http.js'
import { KEY, OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'

const failureOf = async (promise: Promise<unknown>): Promise<CarrierApiError> => {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (error instanceof CarrierApiError) return error
  throw new Error('expected a CarrierApiError')
}

t.test('a number is claimed and led to a webhook, as the guide says', async (t) => {
  const { server, numbers } = await simulatedApi(t)
  const claimed = await numbers.claim('inv_2')
  t.equal(claimed.e164, '+254700000101')
  await numbers.route(claimed.id, {
    voiceUrl: 'https://gw.example/voice/order-status',
    eventsUrl: 'https://gw.example/events',
  })
  const { items } = await numbers.list()
  t.match(
    items.find(({ id }) => id === claimed.id),
    { voiceUrl: 'https://gw.example/voice/order-status', eventsUrl: 'https://gw.example/events' },
  )
  t.same(
    server.seen.map(({ method, path }) => `${method} ${path}`),
    ['POST /v1/numbers', `PATCH /v1/numbers/${claimed.id}`, 'GET /v1/numbers'],
  )
})

t.test("the carrier's spelling is found once, and remembered", async (t) => {
  const { server, numbers } = await simulatedApi(t, { spellings: ['claim:claim', 'route:put'] })
  const first = await numbers.claim('inv_1')
  const tried = server.seen.length
  t.equal(tried, 4, 'every spelling until the one that is understood')
  await numbers.claim('inv_2')
  t.equal(server.seen.length, tried + 1)
  await numbers.route(first.id, { voiceUrl: 'https://gw.example/voice' })
  t.equal(server.seen.at(-1)?.method, 'PUT')
  t.match(await failureOf(numbers.route('num_unknown', { voiceUrl: 'https://gw.example/voice' })), {
    carrierCode: 'numbers.not_found',
  })
  t.equal(
    server.seen.filter(({ path }) => path.includes('num_unknown')).length,
    1,
    'a spelling that has worked is right about what it does not find',
  )
})

t.test('the configured order is tried first', async (t) => {
  const { server, numbers } = await simulatedApi(t, { paths: ['claim:available', 'route:patch'] })
  const { id } = await numbers.claim('inv_1')
  await numbers.route(id, { voiceUrl: 'https://gw.example/voice' })
  t.same(
    server.seen.map(({ method, path }) => `${method} ${path}`),
    ['POST /v1/numbers/available/claim', `PATCH /v1/numbers/${id}/routing`],
  )
})

t.test('only 404 and 405 lead to the next spelling: any other refusal is final', async (t) => {
  const { server, numbers } = await simulatedApi(t, { keys: { [KEY]: ['numbers.read'] } })
  const denied = await failureOf(numbers.claim('inv_1'))
  t.match(denied, {
    status: 403,
    carrierCode: 'api_key.scope_denied',
    message: /api_key\.scope_denied: this API key lacks the scope numbers\.claim/,
  })
  t.notMatch(denied.message, KEY)
  t.equal(server.seen.length, 1)
})

t.test("what no spelling finds is reported with the carrier's own code", async (t) => {
  const { numbers } = await simulatedApi(t)
  t.match(await failureOf(numbers.claim('inv_none')), { status: 404, carrierCode: 'numbers.not_available' })
})

t.test('a claim whose answer was lost is not made twice', async (t) => {
  const { server, workspace, numbers } = await simulatedApi(t)
  const before = workspace.inventory.length
  server.faults.add({ match: 'POST /v1/numbers', status: 503, times: 1 })
  await numbers.claim('inv_1', { idempotencyKey: 'once' })
  await numbers.claim('inv_1', { idempotencyKey: 'once' })
  t.equal(workspace.inventory.length, before - 1)
  t.equal(new Set(server.seen.map(({ idempotencyKey }) => idempotencyKey)).size, 1)
})

t.test('429 and 500 are waited out, HTML and silence are errors with words', async (t) => {
  const { server, numbers, pauses } = await simulatedApi(t)
  server.faults.add({ match: 'GET /v1/numbers', status: 429, retryAfterS: 3, times: 1 })
  server.faults.add({ match: 'GET /v1/numbers', status: 500, times: 1 })
  t.equal((await numbers.list()).items[0]?.e164, OUR_NUMBER)
  t.same(pauses, [3000, 400])
  server.faults.add({ match: 'GET /v1/numbers', status: 502, html: true, times: 3 })
  t.match(await failureOf(numbers.list()), { status: 502, carrierCode: null, retryable: true })
  const silent = await simulatedApi(t, { timeoutMs: 100 })
  silent.server.faults.add({ match: 'GET /v1/numbers', status: null, delayMs: 1500, times: 3 })
  t.match(await failureOf(silent.numbers.list()), { code: 'CARRIER_API_NETWORK', message: /no answer in 100 ms/ })
})

t.test('all pages of a list are read, and not one more', async (t) => {
  const { server, numbers } = await simulatedApi(t)
  const { items, complete } = await allPages((cursor) => numbers.available(cursor), 1000)
  t.equal(items.length, 30)
  t.ok(complete)
  t.equal(server.seen.length, 2)
  t.same(await allPages((cursor) => numbers.available(cursor), 10).then((some) => [some.items.length, some.complete]), [
    10,
    false,
  ])
})

t.test('a list that never ends, or turns in a circle, is left', async (t) => {
  let asked = 0
  const endless = await allPages(() => Promise.resolve({ items: [++asked], nextCursor: String(asked) }), 1e9)
  t.same([endless.items.length, endless.complete], [100, false])
  const circle = await allPages(() => Promise.resolve({ items: [1], nextCursor: 'again' }), 1e9)
  t.same([circle.items.length, circle.complete], [2, false])
})
