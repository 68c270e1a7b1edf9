import t from 'tap'
import fc from 'fast-check'
import { exactJson, jsonText } from '../../src/core/json.js'
import { parseArguments, replyText } from '../../src/backends/tool-text.js'
import { api, context, runner } from '../agents/tool-rig.js'

const LONG = [
  '9007199254740993',
  '-9223372036854775808',
  '18446744073709551615',
  '340282366920938463463374607431768211455',
]

t.test('a number that a double cannot hold is kept to the digit, from the model to the API', async (t) => {
  const shop = await api(t, (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'))
  const tools = runner(t, {
    parameters: {
      properties: {
        id: { type: 'integer' },
        ids: { type: 'array', items: { type: 'integer' } },
        text: { type: 'string' },
      },
    },
    http: {
      method: 'POST',
      url: `${shop.url}/{{args.id}}`,
      query: { id: '{{args.id}}' },
      body: { id: '{{args.id}}', ids: '{{args.ids}}', text: '{{args.text}}' },
    },
  })
  for (const digits of LONG) {
    for (const written of [digits, `"${digits}"`]) {
      const { args } = parseArguments(`{"id":${written},"ids":[${written},7],"text":${written}}`)
      t.match(await tools.run('look_up', args, context()), { ok: true }, written)
      t.equal(shop.bodies.at(-1), `{"id":${digits},"ids":[${digits},7],"text":"${digits}"}`)
      t.equal(shop.requests.at(-1)?.url, `/${digits}?id=${digits}`)
    }
  }
})

t.test('and from the API to the model', async (t) => {
  for (const digits of LONG) {
    const shop = await api(t, (_, response) =>
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(`{"order":{"id":${digits},"list":[${digits},1.50],"text":"${digits}"},"total":12.5}`),
    )
    const tools = runner(t, { http: { url: shop.url } })
    const { value } = await tools.run('look_up', {}, context())
    t.equal(
      replyText({ ok: true, value }),
      `{"order":{"id":"${digits}","list":["${digits}",1.5],"text":"${digits}"},"total":12.5}`,
    )
  }
})

t.test('every JSON is read as before where no digit is at stake', (t) => {
  fc.assert(
    fc.property(
      fc.jsonValue().filter((value) => !/\d{16}/.test(JSON.stringify(value).replace(/\.\d+/g, ''))),
      (value) => {
        const text = JSON.stringify(value)
        t.strictSame(exactJson(text), JSON.parse(text))
      },
    ),
    { numRuns: 50 },
  )
  fc.assert(fc.property(fc.bigInt(), (number) => String(exactJson(String(number))) === String(number)))
  t.same(exactJson('{"a":1e400,"b":1e-400,"c":0.1234567890123456,"d":123456789012345678.25,"e":1.0}'), {
    a: '1e400',
    b: '1e-400',
    c: 0.1234567890123456,
    d: '123456789012345678.25',
    e: 1,
  })
  t.same(exactJson('{"a":12345678901234567890,"a":2}'), { a: 2 }, 'the last of two members, as ever')
  t.ok(Object.hasOwn(exactJson('{"__proto__":{"x":1},"n":12345678901234567890}') as object, '__proto__'))
  for (const text of [
    '{"a":12345678901234567890,}',
    "{'a':12345678901234567890}",
    '[12345678901234567890',
    '012345678901234567890',
  ])
    t.throws(() => exactJson(text), SyntaxError, text)
  t.equal(
    jsonText({ a: 12345678901234567890n, b: [undefined], c: new Date(0) }),
    '{"a":12345678901234567890,"b":[null],"c":"1970-01-01T00:00:00.000Z"}',
  )
  t.end()
})
