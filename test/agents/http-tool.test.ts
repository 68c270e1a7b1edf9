import type { RequestListener } from 'node:http'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { api, context, json, runner, type ToolInput } from './tool-rig.js'
import { anyText } from '../support/any-text.js'

const idParameter = { properties: { id: { type: 'string' as const } } }

t.test('requests are encoded and answers are mapped', async (t) => {
  const shop = await api(t, (_, response) => {
    json(response, { order: { status: 'packed' }, phone: '+254700000009' })
  })
  const tools = runner(
    t,
    {
      parameters: idParameter,
      http: {
        url: '{{env.SHOP}}/orders/{{args.id}}',
        query: { by: '{{call.from}}', none: '{{args.id}}' },
        headers: { 'X-Key': 'k ${KEY}' },
      },
      result: { fields: { status: 'order.status', eta: 'order.eta' } },
    },
    { SHOP: `${shop.url}/base/`, KEY: 'secret' },
  )
  t.same(await tools.run('look_up', { id: 'a/b?c#d&é' }, context()), { ok: true, value: { status: 'packed' } })
  const [request] = shop.requests
  t.equal(request?.url, '/base/orders/a%2Fb%3Fc%23d%26%C3%A9?by=%2B254700000001&none=a%2Fb%3Fc%23d%26%C3%A9')
  t.equal(request?.headers['x-key'], 'k secret')
  t.notOk(request?.headers['idempotency-key'])
})

t.test("an API gets the call's trace unless the author overrides", async (t) => {
  const shop = await api(t, (_, response) => {
    json(response, {})
  })
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const own = '00-11111111111111111111111111111111-2222222222222222-01'
  const env = { SHOP: shop.url }
  const plain = runner(t, { http: { url: '{{env.SHOP}}/orders' } }, env)
  await plain.run('look_up', {}, context({ traceparent }))
  await plain.run('look_up', {}, context())
  const other = runner(t, { http: { url: '{{env.SHOP}}/orders', headers: { Traceparent: own } } }, env)
  await other.run('look_up', {}, context({ traceparent }))
  t.same(
    shop.requests.map(({ headers }) => headers['traceparent']),
    [traceparent, undefined, own],
  )
})

t.test('no argument of a model changes the path or host', async (t) => {
  const shop = await api(t, (_, response) => {
    json(response, {})
  })
  const tools = runner(t, {
    parameters: idParameter,
    http: { url: `${shop.url}/orders/{{args.id}}/status`, query: { q: '{{args.id}}' } },
  })
  const evil = fc.oneof(
    anyText(40),
    fc.constantFrom(
      '..',
      '.',
      '../..',
      '%2e%2e',
      '//evil.example',
      '@evil.example',
      '\\..\\',
      '\r\nX: y',
      '?a=b',
      '\ud800',
      '/..;/',
      '..%2f',
    ),
  )
  await fc.assert(
    fc.asyncProperty(evil, async (id) => {
      const before = shop.requests.length
      const outcome = await tools.run('look_up', { id }, context())
      if (!outcome.ok) {
        t.equal(outcome.code, 'TOOL_ARGUMENTS')
        return shop.requests.length === before
      }
      const url = new URL(shop.requests.at(-1)?.url ?? '', 'http://x')
      return (
        /^\/orders\/[^/]+\/status$/.test(url.pathname) &&
        url.searchParams.get('q') === id &&
        [...url.searchParams].length === 1
      )
    }),
    { numRuns: 200 },
  )
})

t.test('the first query with known values is sent', async (t) => {
  const shop = await api(t, (_, response) => {
    json(response, {})
  })
  const tools = runner(t, {
    parameters: { properties: { orderNumber: { type: 'string' }, callerNumber: { type: 'string' } } },
    bind: { callerNumber: '{{call.from}}' },
    http: {
      url: `${shop.url}/api/orders`,
      query: [{ order_number: '{{args.orderNumber}}' }, { phone: '{{args.callerNumber}}' }],
    },
  })
  await tools.run('look_up', { orderNumber: '4127' }, context())
  await tools.run('look_up', { orderNumber: '', callerNumber: null }, context())
  t.same(
    shop.requests.map((request) => request.url),
    ['/api/orders?order_number=4127', '/api/orders?phone=%2B254700000001'],
  )

  const withheld = await tools.run('look_up', {}, context({ from: '' }))
  t.match(withheld, {
    ok: false,
    code: 'TOOL_ARGUMENTS',
    value: { error: 'needs orderNumber, which is unknown. The number of this call is withheld' },
  })
})

t.test("a bound argument overrides the model's value", async (t) => {
  const shop = await api(t, (_, response) => {
    json(response, {})
  })
  const tools = runner(t, {
    parameters: { properties: { phone: { type: 'string' } } },
    bind: { phone: '{{call.from}}' },
    http: { url: shop.url, query: { phone: '{{args.phone}}' } },
  })
  await tools.run('look_up', { phone: '+254700000002' }, context())
  t.equal(shop.requests[0]?.url, '/?phone=%2B254700000001')
})

t.test('arguments are checked; numbers, nulls and extras are tolerated', async (t) => {
  const shop = await api(t, (_, response) => {
    json(response, {})
  })
  const tools = runner(t, {
    parameters: {
      properties: { order: { type: 'string', pattern: '^\\d{4}$' }, count: { type: 'integer', minimum: 1 } },
      required: ['order'],
    },
    http: { url: shop.url, query: { o: '{{args.order}}' } },
  })
  t.match(await tools.run('look_up', { order: 4127, count: null, invented: true }, context()), { ok: true })
  t.match(await tools.run('look_up', { order: '41' }, context()), {
    ok: false,
    code: 'TOOL_ARGUMENTS',
    value: { error: /order: .*pattern/ },
  })
  t.match(await tools.run('look_up', { order: '4127', count: 0 }, context()), {
    ok: false,
    value: { error: /count: / },
  })
  t.match(await tools.run('look_up', {}, context()), { ok: false, value: { error: /order: / } })
  t.match(await tools.run('look_up', { order: 'x'.repeat(10_000) }, context()), {
    ok: false,
    value: { error: /longer than/ },
  })
  t.match(await tools.run('nope', {}, context()), { ok: false, code: 'TOOL_UNKNOWN', value: { error: /look_up/ } })
  t.equal(shop.requests.length, 1)
})

t.test('a 404 is an answer only with result.notFound', async (t) => {
  const shop = await api(t, (_, response) => {
    json(response, { error: 'no such order' }, 404)
  })
  const quiet = runner(t, { http: { url: shop.url }, result: { notFound: { found: false } } })
  t.same(await quiet.run('look_up', {}, context()), { ok: true, value: { found: false } })
  t.match(await runner(t, { http: { url: shop.url } }).run('look_up', {}, context()), {
    ok: false,
    code: 'TOOL_HTTP',
    value: { error: 'the system answered with an error', status: 404, detail: 'no such order' },
  })
})

t.test('unusable answers are errors in words [3]', async (t) => {
  const answers: Record<string, RequestListener> = {
    '/html': (_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Log in</h1>')
    },
    '/broken': (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"a":')
    },
    '/huge': (_, response) => {
      json(response, 'x'.repeat(300_000))
    },
    '/chunked': (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      for (let chunk = 0; chunk < 40; chunk++) response.write('"'.padEnd(10_000, 'x'))
      response.end()
    },
    '/long': (_, response) => {
      json(response, 'x'.repeat(20_000))
    },
    '/gzip': (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end('x')
    },
    '/deep': (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end('['.repeat(500) + ']'.repeat(500))
    },
    '/cut': (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 }).write('{')
      setImmediate(() => response.socket?.destroy())
    },
  }
  const shop = await api(t, (request, response) => {
    answers[request.url ?? '']?.(request, response)
  })
  const expected: Record<string, [string, RegExp]> = {
    '/html': ['TOOL_RESPONSE', /answered with an HTML page/],
    '/broken': ['TOOL_RESPONSE', /not JSON$/],
    '/huge': ['TOOL_RESPONSE', /larger than 262144/],
    '/chunked': ['TOOL_RESPONSE', /larger than/],
    '/long': ['TOOL_RESPONSE', /too long for a model/],
    '/gzip': ['TOOL_RESPONSE', /bytes that are not gzip/],
    '/deep': ['TOOL_RESPONSE', /nested deeper/],
    '/cut': ['TOOL_HTTP', /could not be reached: ECONNRESET/],
  }
  for (const [path, [code, error]] of Object.entries(expected)) {
    t.match(
      await runner(t, { http: { url: shop.url + path } }).run('look_up', {}, context()),
      { ok: false, code, error },
      path,
    )
  }
})

t.test('oversized and slow answers are cut off', async (t) => {
  let sent = 0
  const shop = await api(t, (request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    if (request.url === '/drip') {
      const drip = setInterval(() => response.write(' '), 20)
      response.on('close', () => clearInterval(drip))
      return
    }
    const more = (): void => {
      while (sent < 50_000_000 && !response.destroyed) {
        sent += 16_384
        if (!response.write('x'.repeat(16_384))) {
          response.once('drain', more)
          return
        }
      }
      response.end()
    }
    more()
  })
  t.match(await runner(t, { http: { url: `${shop.url}/huge` } }).run('look_up', {}, context()), {
    ok: false,
    code: 'TOOL_RESPONSE',
    error: /larger than 262144 bytes/,
    value: { error: 'the system gave an answer that cannot be used' },
  })
  t.ok(sent < 10_000_000, `the socket was closed after ${sent} bytes`)
  t.match(await runner(t, { http: { url: `${shop.url}/drip`, timeoutMs: 200 } }).run('look_up', {}, context()), {
    ok: false,
    code: 'TOOL_TIMEOUT',
    value: { error: 'the system did not answer in time' },
  })
})

t.test('a tool ends at its deadline or call end [1]', async (t) => {
  const shop = await api(t, () => undefined)
  const tools = runner(t, { http: { url: shop.url, timeoutMs: 100 } })
  t.match(await tools.run('look_up', {}, context()), {
    ok: false,
    code: 'TOOL_TIMEOUT',
    value: { error: 'the system did not answer in time' },
  })
  const call = new AbortController()
  const slow = runner(t, { http: { url: shop.url, timeoutMs: 15_000 } })
  const pending = slow.run('look_up', {}, context({ signal: call.signal }))
  call.abort()
  t.match(await pending, { ok: false, code: 'TOOL_CANCELLED' })
  t.match(
    await slow.run('look_up', {}, context({ signal: call.signal })),
    { ok: false, code: 'TOOL_CANCELLED' },
    'an ended call starts no tool',
  )
  t.match(slow.counters, { runs: 2, cancelled: 2, failed: 0 })
})

t.test('only idempotent requests are tried twice', async (t) => {
  let asked = 0
  const shop = await api(t, (_, response) => {
    asked += 1
    json(response, { error: 'busy' }, asked % 2 === 1 ? 503 : 200)
  })
  t.match(await runner(t, { http: { url: shop.url } }).run('look_up', {}, context()), { ok: true })
  t.equal(asked, 2)
  t.match(await runner(t, { http: { url: shop.url, method: 'POST' } }).run('look_up', {}, context()), {
    ok: false,
    value: { status: 503 },
  })
  t.equal(asked, 3)
  asked = 0
  t.match(
    await runner(t, { http: { url: shop.url, method: 'POST' }, idempotent: true }).run('look_up', {}, context()),
    { ok: true },
  )
  t.same(
    shop.requests.slice(-2).map((request) => request.headers['idempotency-key']),
    ['HD_000000000001:1', 'HD_000000000001:1'],
  )
})

t.test('a body keeps value types and omits missing values', async (t) => {
  const shop = await api(t, (_, response) => {
    json(response, {})
  })
  const tools = runner(t, {
    parameters: { properties: { count: { type: 'integer' }, note: { type: 'string' } } },
    http: {
      url: shop.url,
      method: 'POST',
      body: { count: '{{args.count}}', note: '{{args.note}}', by: 'call {{call.sid}}', tags: ['x', '{{args.note}}'] },
    },
  })
  await tools.run('look_up', { count: 3 }, context())
  t.same(JSON.parse(shop.bodies[0] ?? ''), { count: 3, by: 'call HD_000000000001', tags: ['x'] })
  t.equal(shop.requests[0]?.headers['content-type'], 'application/json')
})

t.test('redirects are followed only within the host', async (t) => {
  const other = await api(t, (_, response) => {
    json(response, { reached: 'other' })
  })
  let location = ''
  const shop = await api(t, (request, response) => {
    if (request.url === '/here') json(response, { reached: 'here' })
    else response.writeHead(302, { location }).end()
  })
  const run = (http: Partial<ToolInput['http']> = {}): Promise<unknown> =>
    runner(t, { http: { url: `${shop.url}/start`, headers: { Authorization: 'Bearer key' }, ...http } }).run(
      'look_up',
      {},
      context(),
    )

  location = '/here'
  t.match(await run(), { ok: true, value: { reached: 'here' } })
  for (location of [
    `${other.url}/x`,
    'http://169.254.169.254/latest',
    'http://[::ffff:127.0.0.1]/',
    `http://2130706433:${other.port}/`,
    'file:///etc/passwd',
  ]) {
    t.match(
      await run(),
      { ok: false, code: 'TOOL_FORBIDDEN_HOST', value: { error: 'the system cannot be reached' } },
      location,
    )
  }
  t.equal(other.requests.length, 0)

  location = `${other.url}/x`
  t.match(await run({ allowHosts: [`127.0.0.1:${other.port}`] }), { ok: true, value: { reached: 'other' } })
  t.notOk(other.requests[0]?.headers.authorization, "the first host's key is not sent to another host")
  location = `http://localhost.localdomain:${other.port}/`
  t.match(await run({ method: 'POST' }), { ok: false, code: 'TOOL_HTTP', error: /redirects are followed for GET only/ })
  location = '/start'
  t.match(await run(), { ok: false, code: 'TOOL_HTTP', error: /redirects more than 2 times/ })
})

t.test('an unreachable host is an error answer [2]', async (t) => {
  const shop = await api(t, () => undefined)
  const tools = runner(t, { http: { url: 'http://127.0.0.1:1/' } })
  t.match(await tools.run('look_up', {}, context()), {
    ok: false,
    code: 'TOOL_HTTP',
    error: '127.0.0.1:1 could not be reached: ECONNREFUSED',
  })
  t.equal(shop.requests.length, 0)
})

t.test('the logged error holds neither argument nor answer', async (t) => {
  const shop = await api(t, (_, response) => {
    json(response, { error: 'Amina has no order 9999' }, 500)
  })
  const tools = runner(t, { parameters: idParameter, http: { url: `${shop.url}/{{args.id}}`, method: 'POST' } })
  const { error } = await tools.run('look_up', { id: '9999' }, context())
  t.equal(error, `${new URL(shop.url).host} answered with status 500`)
})

const ORDER = { order: 4127, city: 'Nyahururu', note: 'déjà payé' }
const TEXT = JSON.stringify(ORDER)

interface Sent {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body: string | Buffer
}

const answers: Record<string, Sent> = {}
const asked = async (t: Parameters<typeof api>[0]) => {
  const shop = await api(t, (request, response) => {
    const { status = 200, headers = {}, body } = answers[request.url ?? ''] as Sent
    response.writeHead(status, { ...headers }).end(body)
  })
  return async (sent: Sent, tool: object = {}) => {
    answers['/'] = sent
    return await runner(t, { http: { url: `${shop.url}/` }, ...tool }).run('look_up', {}, context())
  }
}

t.test('answers are read in any encoding, charset and type', async (t) => {
  const ask = await asked(t)
  const json = { 'content-type': 'application/json' }
  const encoded = (name: string, body: Buffer): Sent => ({ headers: { ...json, 'content-encoding': name }, body })
  const same: Readonly<Record<string, Sent>> = {
    'Brotli, though not asked for': encoded('br', brotliCompressSync(TEXT)),
    'deflate with its header': encoded('deflate', deflateSync(TEXT)),
    'deflate without it': encoded('deflate', deflateRawSync(TEXT)),
    'x-gzip in capitals': encoded('X-GZIP', gzipSync(TEXT)),
    'two encodings': encoded('gzip, br', brotliCompressSync(gzipSync(TEXT))),
    'an encoding that a proxy had undone': encoded('gzip', Buffer.from(TEXT)),
    'identity, said': encoded('identity', Buffer.from(TEXT)),
    'UTF-8 as an encoding': encoded('utf-8', Buffer.from(TEXT)),
    'JSON as text/plain': { headers: { 'content-type': 'text/plain; charset=us-ascii' }, body: TEXT },
    'JSON as a download': { headers: { 'content-type': 'application/octet-stream' }, body: TEXT },
    'JSON as JavaScript, guarded': { headers: { 'content-type': 'text/javascript' }, body: `)]}',\n${TEXT}` },
    'UTF-8 said to be latin-1': { headers: { 'content-type': 'application/json; charset=iso-8859-1' }, body: TEXT },
    'latin-1 said to be UTF-8': {
      headers: { 'content-type': 'application/json; charset=utf-8' },
      body: Buffer.from(TEXT, 'latin1'),
    },
    'windows-1252, said in quotes': {
      headers: { 'content-type': 'application/json; charset="windows-1252"' },
      body: Buffer.from(TEXT, 'latin1'),
    },
    'UTF-16 with its mark': { headers: json, body: Buffer.from(`\ufeff${TEXT}`, 'utf16le') },
    'UTF-8 with its mark': { headers: json, body: `\ufeff${TEXT}` },
    'an unknown charset': { headers: { 'content-type': 'application/json; charset=klingon' }, body: TEXT },
  }
  for (const [name, sent] of Object.entries(same)) t.match(await ask(sent), { ok: true, value: ORDER }, name)
  const others: readonly (readonly [string, Sent, unknown])[] = [
    ['a text', { headers: { 'content-type': 'text/plain' }, body: 'Dispatched at noon.\n' }, 'Dispatched at noon.'],
    ['a text without a type', { body: 'OK' }, 'OK'],
    ['a text said to be JSON', { headers: json, body: 'Accepted' }, 'Accepted'],
    [
      'lines of JSON',
      { headers: { 'content-type': 'application/x-ndjson' }, body: '{"a":1}\n{"a":2}\n' },
      [{ a: 1 }, { a: 2 }],
    ],
    ['only spaces', { headers: json, body: ' \n' }, { status: 200 }],
  ]
  for (const [name, sent, value] of others) t.same(await ask(sent), { ok: true, value }, name)
})

t.test('unusable answers are errors, and page titles are only logged', async (t) => {
  const ask = await asked(t)
  const page = '<!DOCTYPE html>\n<html><head><title>Sign in,\n +254700000001</title></head></html>'
  const cases: readonly (readonly [Sent, RegExp])[] = [
    [
      { headers: { 'content-type': 'application/json' }, body: page },
      /^the API answered with an HTML page: Sign in, \+2547…01$/,
    ],
    [{ headers: { 'content-type': 'application/json' }, body: '{"a":' }, /text that is not JSON$/],
    [{ body: '[1,2' }, /text that is not JSON$/],
    [
      { headers: { 'content-type': 'image/png' }, body: Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 3]) },
      /image\/png that are no text$/,
    ],
    [{ headers: { 'content-encoding': 'compress' }, body: 'x' }, /content encoding compress; known are gzip/],
    [{ headers: { 'content-encoding': 'br' }, body: Buffer.alloc(100, 7) }, /bytes that are not br$/],
    [
      { headers: { 'content-encoding': 'gzip' }, body: gzipSync(Buffer.alloc(5_000_000, 32)) },
      /larger than 262144 bytes/,
    ],
  ]
  for (const [sent, error] of cases) {
    const outcome = await ask(sent)
    t.match(outcome, { ok: false, code: 'TOOL_RESPONSE', error }, String(error))
    t.same(outcome.value, { error: 'the system gave an answer that cannot be used' })
  }
  t.match(await ask({ status: 502, headers: { 'content-type': 'text/html' }, body: page }), {
    error: /status 502: the API answered with an HTML page: Sign in/,
    value: { error: 'the system answered with an error', status: 502, detail: undefined },
  })
  t.match(await ask({ body: 'Shipped' }, { result: { fields: { status: 'status' } } }), {
    ok: false,
    error: 'the API answered with a text; result.fields needs a JSON object',
  })
})

t.test("a model gets the API's error reason in any format", async (t) => {
  const ask = await asked(t)
  const cases: readonly (readonly [unknown, string])[] = [
    [{ detail: 'Order not found' }, 'Order not found'],
    [{ detail: [{ type: 'missing', loc: ['body', 'phone'], msg: 'Field required' }] }, 'body.phone: Field required'],
    [{ type: 'about:blank', title: 'Out of stock', detail: 'Only 2 left', status: 409 }, 'Out of stock; Only 2 left'],
    [
      { title: 'Invalid', 'invalid-params': [{ name: 'age', reason: 'must be positive' }] },
      'Invalid; age: must be positive',
    ],
    [
      { title: 'Validation failed', errors: { Phone: ['is too short', 'is not a number'] } },
      'Validation failed; Phone: is too short; Phone: is not a number',
    ],
    [
      { errors: [{ title: 'Bad', detail: 'no such SKU', source: { pointer: '/data/sku' } }] },
      '/data/sku: Bad; /data/sku: no such SKU',
    ],
    [{ error: 'invalid_grant', error_description: 'The token has expired' }, 'The token has expired; invalid_grant'],
    [{ error: { code: 404, message: 'No such order', status: 'NOT_FOUND' } }, 'No such order'],
    [{ phone: ['This field is required.'], non_field_errors: ['Too late.'] }, 'Too late.'],
    [{ phone: ['This field is required.'] }, 'phone: This field is required.'],
    [{ fault: { faultstring: 'Rate limit' } }, 'Rate limit'],
    ['closed on Sundays', 'closed on Sundays'],
  ]
  for (const [body, detail] of cases)
    t.match(
      await ask({ status: 422, headers: { 'content-type': 'application/problem+json' }, body: JSON.stringify(body) }),
      { ok: false, code: 'TOOL_HTTP', value: { status: 422, detail } },
      detail,
    )
  t.same((await ask({ status: 500, body: '{}' })).value, { error: 'the system answered with an error', status: 500 })
})
