import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { SautikitClient } from '../../src/sautikit-api/client.js'
import { allPages, CarrierApiError, CarrierHttp } from '../../src/sautikit-api/http.js'
import { KEY, OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'
import { publicPrices, publicPricesText, ratesOf, ratesUnlike } from '../../src/sautikit-api/public-prices.js'
import { CARRIER_RATES } from '../../src/backends/prices.js'
import { WalletWatch } from '../../src/sautikit-api/wallet.js'
import { createLog } from '../../src/telemetry/log.js'
import { verifySignature } from '../../src/sautikit/signature.js'
import { parseEvent } from '../../src/sautikit/webhook.js'
import { portOf } from '../support/port-of.js'
import { until } from '../support/until.js'

const SID = 'HD_0a8d5911d055'

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: unknown
}

/** The carrier's side on loopback: `answers` are used in turn, the last one for good. */
async function carrier(
  t: Test,
  answers: ((response: ServerResponse) => void)[],
): Promise<{
  client: SautikitClient
  baseUrl: string
  http: CarrierHttp
  seen: Seen[]
  pauses: number[]
}> {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString()
    })
    request.on('end', () => {
      const answer = answers[Math.min(seen.length, answers.length - 1)]
      seen.push({
        method: request.method ?? '',
        url: request.url ?? '',
        headers: request.headers,
        body: body === '' ? null : (JSON.parse(body) as unknown),
      })
      answer?.(response)
    })
  })
  const port = await portOf(t, server)
  const pauses: number[] = []
  const http = new CarrierHttp({
    baseUrl: `http://127.0.0.1:${port}/`,
    apiKey: KEY,
    timeoutMs: 300,
    random: () => 1,
    pause: (ms) => {
      pauses.push(ms)
      return Promise.resolve()
    },
  })
  return { client: new SautikitClient(http), baseUrl: `http://127.0.0.1:${port}`, http, seen, pauses }
}

type Answer = (response: ServerResponse) => void
const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Answer =>
  (response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
  }
const cut = (response: ServerResponse): void => {
  response.socket?.destroy()
}
const failureOf = async (promise: Promise<unknown>): Promise<CarrierApiError> => {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (error instanceof CarrierApiError) return error
  throw new Error('expected a CarrierApiError')
}

t.test('a call is hung up by its SID', async (t) => {
  const { client, seen } = await carrier(t, [json(200, { call_id: 'x', status: 'hung_up' })])
  await client.hangup(SID)
  t.match(seen, [{ method: 'POST', url: `/v1/calls/${SID}/hangup`, headers: { authorization: `Bearer ${KEY}` } }])
})

t.test('a human joins a call as the carrier documents it', async (t) => {
  const { client, seen } = await carrier(t, [json(201, { status: 'ringing' })])
  await client.supervise(SID, '+254720000010')
  t.match(seen[0], {
    url: `/v1/calls/${SID}/supervision`,
    body: { mode: 'barge', supervisor: { type: 'phone', number: '+254720000010' }, announce: 'none' },
  })
})

t.test('a call is placed once although answers are lost', async (t) => {
  const { client, seen, http } = await carrier(t, [
    cut,
    json(503, {}),
    json(201, { call_id: 'c-1', session_id: SID, status: 'ringing' }),
  ])
  const call = await client.createCall({
    from: '+254720000001',
    to: '+254700000001',
    voiceCallbackUrl: 'https://gw.example/voice',
  })
  t.match(call, { callSid: SID, callId: 'c-1', status: 'ringing' })
  t.equal(new Set(seen.map((request) => request.headers['idempotency-key'])).size, 1)
  t.match(seen[2]?.body, {
    from: '+254720000001',
    to: ['+254700000001'],
    voice_callback_url: 'https://gw.example/voice',
    client_request_id: call.clientRequestId,
  })
  t.match(http.counters, { requests: 1, retries: 2, failures: 0 })
  const again = await client.createCall({ from: '+254720000001', to: '+254700000001' })
  t.not(again.clientRequestId, call.clientRequestId)
})

t.test('an unusable client request id is refused before sending', async (t) => {
  const { client, seen } = await carrier(t, [json(201, {})])
  for (const clientRequestId of ['', 'a b', 'mcp:1', 'broadcast:1', '{x}', 'a,b', 'a\u0000', 'x'.repeat(501)]) {
    await t.rejects(client.createCall({ from: '+254720000001', to: '+254700000001', clientRequestId }), {
      code: 'CARRIER_API',
    })
  }
  t.equal(seen.length, 0)
})

t.test('both error shapes of the carrier are parsed, numbers masked', async (t) => {
  const nested = await carrier(t, [
    json(403, {
      error: {
        code: 'api_key.scope_denied',
        message: 'needs calls.supervise for +254700000001',
        request_id: 'r-1',
      },
    }),
  ])
  const denied = await failureOf(nested.client.supervise(SID, '+254720000010'))
  t.match(denied, {
    code: 'CARRIER_API',
    status: 403,
    carrierCode: 'api_key.scope_denied',
    requestId: 'r-1',
    retryable: false,
  })
  t.notMatch(denied.message, '254700000001')
  t.equal(nested.seen.length, 1, 'a refusal is not asked for twice')

  const bare = await carrier(t, [json(404, { code: 'calls.not_found', reason: 'no such call' })])
  t.match(await failureOf(bare.client.getCall(SID)), {
    status: 404,
    carrierCode: 'calls.not_found',
    message: /calls\.not_found: no such call/,
  })
  const page = await carrier(t, [
    (response) => {
      response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad gateway</h1>')
    },
  ])
  t.match(await failureOf(page.client.getCall(SID)), { status: 502, carrierCode: null, retryable: true })
})

t.test('Retry-After is obeyed unless it is too long', async (t) => {
  const polite = await carrier(t, [json(429, {}, { 'retry-after': '2' }), json(200, {})])
  await polite.client.hangup(SID)
  t.same(polite.pauses, [2000])
  const long = await carrier(t, [json(429, {}, { 'retry-after': '600' })])
  t.match(await failureOf(long.client.hangup(SID)), { status: 429, retryAfterS: 600, retryable: true })
  t.same(long.pauses, [])
})

t.test('a persistent failure is tried three times', async (t) => {
  const { client, seen, pauses, http } = await carrier(t, [json(500, {})])
  await failureOf(client.hangup(SID))
  t.equal(seen.length, 3)
  t.same(pauses, [200, 400])
  t.match(http.counters, { requests: 1, retries: 2, failures: 1 })
})

t.test('a supervision request is not repeated after a lost answer', async (t) => {
  const broken = await carrier(t, [cut])
  t.match(await failureOf(broken.client.supervise(SID, '+254720000010')), {
    code: 'CARRIER_API_NETWORK',
    retryable: true,
  })
  t.equal(broken.seen.length, 1)
  const busy = await carrier(t, [json(429, {}), json(201, {})])
  await busy.client.supervise(SID, '+254720000010')
  t.equal(busy.seen.length, 2)
})

t.test('a missing, oversized or malformed answer is an error', async (t) => {
  const silent = await carrier(t, [() => undefined])
  t.match(await failureOf(silent.client.supervise(SID, '+254720000010')), {
    code: 'CARRIER_API_NETWORK',
    message: /no answer in 300 ms/,
  })
  const huge = await carrier(t, [json(200, 'x'.repeat(1024 * 1024 + 10))])
  t.match(await failureOf(huge.client.getCall(SID)), { message: /larger than/ })
  const page = await carrier(t, [
    (response) => {
      response.end('<html>')
    },
  ])
  t.match(await failureOf(page.client.getCall(SID)), { message: /not JSON/ })
  const redirect = await carrier(t, [
    (response) => {
      response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()
    },
  ])
  t.match(await failureOf(redirect.client.getCall(SID)), { status: 302 })
})

t.test('an abort cancels a request at once', async (t) => {
  const { client, seen } = await carrier(t, [() => undefined])
  const gone = new AbortController()
  const pending = failureOf(client.getCall(SID, gone.signal))
  setImmediate(() => {
    gone.abort()
  })
  t.match(await pending, { code: 'CARRIER_API_NETWORK', message: /cancelled/ })
  t.ok(seen.length <= 1)
})

t.test('errors contain no key, SID or number', async (t) => {
  const { client } = await carrier(t, [cut])
  const requests = [
    () => client.hangup(SID),
    () =>
      client.createCall({
        from: '+254720000001',
        to: '+254700000001',
      }),
    () => client.getCall(SID),
  ]
  for (const request of requests) {
    const error = await failureOf(request())
    t.notMatch(`${error.message} ${JSON.stringify(error)} ${error.stack ?? ''}`, /tsk_test|0a8d5911d055|2547/)
  }
})

t.test("a missing field of the carrier's record is null", async (t) => {
  const { client } = await carrier(t, [
    json(200, {
      call: {
        id: 'c-1',
        session_id: SID,
        direction: 'inbound',
        status: 'completed',
        duration_seconds: 61,
        cost_minor: 0,
        cost_currency: 'KES',
        events: [],
      },
    }),
  ])
  t.match(await client.getCall(SID), {
    callId: 'c-1',
    callSid: SID,
    status: 'completed',
    durationS: 61,
    costMinor: 0,
    costCurrency: 'KES',
    failureCode: null,
  })
  const bare = await carrier(t, [json(200, { id: 'c-2', status: 'ringing' })])
  t.match(await bare.client.getCall(SID), { callId: 'c-2', callSid: null })
  for (const body of [{ call: { id: 'c', duration_seconds: 'long' } }, {}, [], { call: null }]) {
    const wrong = await carrier(t, [json(200, body)])
    t.match(await failureOf(wrong.client.getCall(SID)), { message: /not a call detail record/ })
  }
})

t.test('a number is claimed and gets its webhook', async (t) => {
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

t.test("the carrier's path is found once and remembered", async (t) => {
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

t.test('only 404 and 405 lead to the next path', async (t) => {
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

t.test("a failure of all paths has the carrier's code", async (t) => {
  const { numbers } = await simulatedApi(t)
  t.match(await failureOf(numbers.claim('inv_none')), { status: 404, carrierCode: 'numbers.not_available' })
})

t.test('a claim with a lost answer is not repeated', async (t) => {
  const { server, workspace, numbers } = await simulatedApi(t)
  const before = workspace.inventory.length
  server.faults.add({ match: 'POST /v1/numbers', status: 503, times: 1 })
  await numbers.claim('inv_1', 'once')
  await numbers.claim('inv_1', 'once')
  t.equal(workspace.inventory.length, before - 1)
  t.equal(new Set(server.seen.map(({ idempotencyKey }) => idempotencyKey)).size, 1)
})

t.test('429 and 500 are retried, and HTML is an error', async (t) => {
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

t.test('exactly the pages of a list are read', async (t) => {
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

t.test('an endless or circular list is abandoned', async (t) => {
  let asked = 0
  const endless = await allPages(() => Promise.resolve({ items: [++asked], nextCursor: String(asked) }), 1e9)
  t.same([endless.items.length, endless.complete], [100, false])
  const circle = await allPages(() => Promise.resolve({ items: [1], nextCursor: 'again' }), 1e9)
  t.same([circle.items.length, circle.complete], [2, false])
})

t.test('an unreadable wallet is not taken for empty', async (t) => {
  const answers: (number | null | Error)[] = [125_000, null, new Error('403'), 4000]
  const due: { ms: number; run: () => void }[] = []
  const wallet = new WalletWatch({
    ask: () => {
      const answer = answers.shift()
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer ?? null)
    },
    log: createLog({ level: 'silent' }),
    later: (ms, run) => {
      due.splice(0, due.length, { ms, run })
      return () => void due.splice(0)
    },
  })
  t.equal(wallet.minor, null)
  const seen: (number | null)[] = []
  for (let i = 0; i < 4; i++) {
    await wallet.look()
    seen.push(wallet.minor)
  }
  t.same(seen, [125_000, null, null, 4000])
  t.equal(due[0]?.ms, 15 * 60_000)
  wallet.empty()
  t.equal(wallet.minor, 0, 'a call was refused for want of money')
  t.equal(due[0]?.ms, 60_000)
  wallet.heard(777)
  t.equal(wallet.minor, 777)
  wallet.heard(null)
  t.equal(wallet.minor, 777, 'an event without a balance changes none')
  wallet.close()
  t.same(due, [])
})

t.test('public prices are parsed in both shapes without a key', async (t) => {
  const flat = {
    currency: 'KES',
    outbound_per_min_kes: 3,
    inbound_per_min_kes: '0.00',
    updated_at: '2026-10-09T00:00:00Z',
  }
  const rate = (direction: string, destination: string, per_minute: number) => ({ direction, destination, per_minute })
  const byDestination = {
    currency: 'KES',
    rates: [
      rate('outbound', 'KE-mobile', 2.5),
      rate('outbound', 'KE-landline', 1.8),
      rate('inbound', 'KE-mobile', 0),
      rate('sideways', 'KE-mobile', 9),
    ],
  }
  const of = async (...answers: ((response: ServerResponse) => void)[]) => {
    const { baseUrl, seen } = await carrier(t, answers)
    const keyless = new CarrierHttp({ baseUrl, apiKey: null, timeoutMs: 300 })
    const found = await publicPrices(keyless)
    t.match(seen[0], { method: 'GET', url: '/v1/public/pricing', headers: { authorization: undefined } })
    return found
  }
  const newer = await of(json(200, flat))
  const older = await of(json(200, byDestination))
  if (newer === null || older === null) throw new Error('no prices')
  t.equal(publicPricesText(newer), 'KES 0.00 inbound; 3.00 outbound; updated 2026-10-09')
  t.equal(publicPricesText(older), 'KES 0.00 (KE-mobile) inbound; 2.50 (KE-mobile), 1.80 (KE-landline) outbound')
  t.equal(ratesUnlike(newer, CARRIER_RATES), null)
  t.equal(ratesUnlike(older, CARRIER_RATES), 'KES 3 a minute outbound')
  t.equal(ratesUnlike(older, { ...CARRIER_RATES, currency: 'UGX' }), 'rates in UGX')
  t.match(ratesOf(older, CARRIER_RATES, '2026-11-29'), {
    outboundPerMinute: 2.5,
    inboundPerMinute: 0,
    streamPerMinute: 0.5,
    readOn: '2026-11-29',
  })
  for (const nothing of [json(404, {}), json(200, {}), json(200, { currency: 'KES', rates: 'none' })])
    t.equal(await of(nothing), null)
})

t.test('the double posts signed account events once', async (t) => {
  const { server } = await simulatedApi(t)
  const got: { readonly headers: IncomingMessage['headers']; readonly body: string }[] = []
  const receiver = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      got.push({ headers: request.headers, body })
      response.end()
    })
  })
  const port = await portOf(t, receiver)
  const ask = async (path: string, body: object) => {
    const headers = { authorization: `Bearer ${KEY}` }
    const answer = await fetch(`${server.origin}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    return { status: answer.status, body: (await answer.json()) as Readonly<Record<string, unknown>> }
  }
  const url = `http://127.0.0.1:${port}/events`
  const made = await ask('/v1/webhooks', { url, events: ['wallet.low_balance', 'storage.tier_changed'] })
  t.match(made, { status: 201, body: { secret: /^whsec_/ } })
  t.equal((await ask('/v1/webhooks', { url, events: ['call.started'] })).status, 422)
  for (const balance_minor of [40_000, 30_000])
    t.equal((await ask('/simulator/account', { balance_minor })).status, 200)
  await ask('/simulator/account', { tier_gb: 25 })
  await until(() => got.length === 2, 2000, 'both events')
  const kinds = got.map(({ body }) => parseEvent('application/json', Buffer.from(body)).account)
  t.match(
    kinds.toSorted((a, b) => ((a?.kind ?? '') < (b?.kind ?? '') ? -1 : 1)),
    [
      { kind: 'storage.tier_changed', previousTierGb: 5, tierGb: 25 },
      { kind: 'wallet.low_balance', balanceMinor: 40_000 },
    ],
  )
  for (const { headers, body } of got) {
    const header = String(headers['x-sautikit-signature'])
    const secrets = [String(made.body['secret'])]
    t.equal(verifySignature({ header, body: Buffer.from(body), secrets, nowS: Date.now() / 1000 }), 'ok')
  }
  t.equal((await ask('/simulator/account', { balance: 1 })).status, 400)
})
