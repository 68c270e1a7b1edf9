import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { api, context, runner } from '../agents/tool-rig.js'

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

t.test('an answer is used in whichever encoding, charset and type its bytes came', async (t) => {
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

t.test('what says nothing to a model is an error, and only the log has the title of a page', async (t) => {
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

t.test("a model gets the API's own reason, in whichever form", async (t) => {
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
