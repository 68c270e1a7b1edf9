import t from 'tap'
import fc from 'fast-check'
import { argumentChecker } from '../../src/agents/tool-arguments.js'
import { toolParametersSchema } from '../../src/agents/json-schema.js'
import { objectArguments, parseArguments } from '../../src/backends/tool-text.js'
import { api, context, json, runner } from '../agents/tool-rig.js'

type Args = Readonly<Record<string, unknown>>

const checkerOf = (properties: Args, required: readonly string[] = [], more: Args = {}) =>
  argumentChecker(toolParametersSchema.parse({ properties, required, ...more }))

t.test('what a model certainly meant is made of what it sent, and is said to have been changed', (t) => {
  const check = checkerOf(
    {
      count: { type: 'integer', minimum: 1 },
      price: { type: 'number' },
      gift: { type: 'boolean' },
      code: { type: 'string' },
      size: { enum: ['Small', 'Extra Large'] },
      when: { anyOf: [{ type: 'string', format: 'date' }, { type: 'null' }] },
      flat: { type: ['integer', 'null'] },
      tags: { type: 'array', items: { type: 'string' } },
      lines: {
        type: 'array',
        items: {
          type: 'object',
          properties: { sku: { type: 'string' }, pieces: { type: 'integer' }, note: { type: ['string', 'null'] } },
          required: ['sku'],
        },
      },
      address: {
        type: 'object',
        properties: { street: { type: 'string' }, flat: { type: 'integer' }, 'post-code': { type: 'string' } },
        required: ['street'],
      },
      target: {
        oneOf: [
          {
            type: 'object',
            properties: { kind: { const: 'order' }, id: { type: 'integer' } },
            required: ['kind', 'id'],
          },
          {
            type: 'object',
            properties: { kind: { const: 'phone' }, id: { type: 'string' } },
            required: ['kind', 'id'],
          },
        ],
      },
    },
    [],
  )
  const cases: readonly (readonly [given: Args, wanted: Args])[] = [
    [{ count: ' 12 ' }, { count: 12 }],
    [{ count: '3.0' }, { count: 3 }],
    [{ count: ['7'] }, { count: ['7'].map(Number)[0] }],
    [{ price: '-19.90' }, { price: -19.9 }],
    [{ price: '1e3' }, { price: 1000 }],
    [{ gift: 'True' }, { gift: true }],
    [{ code: 4127 }, { code: '4127' }],
    [{ code: ['A-1'] }, { code: 'A-1' }],
    [{ size: 'extra large' }, { size: 'Extra Large' }],
    [{ size: 'extra_large' }, { size: 'Extra Large' }],
    [{ when: null }, { when: null }],
    [{ flat: 'None' }, { flat: null }],
    [{ tags: 'fragile' }, { tags: ['fragile'] }],
    [{ tags: '["fragile","cold"]' }, { tags: ['fragile', 'cold'] }],
    [{ lines: { sku: 'A', pieces: '2', note: null } }, { lines: [{ sku: 'A', pieces: 2, note: null }] }],
    [{ lines: '```json\n[{"sku":"B"}]\n```' }, { lines: [{ sku: 'B' }] }],
    [{ address: '{"street":"Moi Avenue","flat":"4"}' }, { address: { street: 'Moi Avenue', flat: 4 } }],
    [{ address: { street: 'Moi Avenue', flat: null } }, { address: { street: 'Moi Avenue' } }],
    [
      { address: { Street: 'Moi Avenue', post_code: '00100' } },
      { address: { street: 'Moi Avenue', 'post-code': '00100' } },
    ],
    [{ target: { kind: 'order', id: '12' } }, { target: { kind: 'order', id: 12 } }],
    [{ target: { kind: 'phone', id: 12 } }, { target: { kind: 'phone', id: '12' } }],
    [{ arguments: { count: '2' } }, { count: 2 }],
    [{ parameters: '{"count":2}' }, { count: 2 }],
    [{ count: 2, invented: 'x', price: '' }, { count: 2 }],
  ]
  for (const [given, args] of cases) {
    const unchanged = JSON.stringify(given) === JSON.stringify(args)
    t.same(check(given), { ok: true, args, coerced: !unchanged }, JSON.stringify(given))
  }
  t.end()
})

t.test('what could mean several things is refused, with what to send', (t) => {
  const check = checkerOf({
    count: { type: 'integer', minimum: 1, maximum: 9 },
    gift: { type: 'boolean' },
    tags: { type: 'array', items: { type: 'string' } },
    size: { enum: ['S', 'M'] },
    day: { type: 'string', format: 'date' },
    either: { anyOf: [{ type: 'integer' }, { type: 'boolean' }] },
  })
  const cases: readonly (readonly [Args, RegExp])[] = [
    [
      { count: '1,000' },
      /^count: must be integer; send a whole number without quotes, such as 4, at least 1, at most 9$/,
    ],
    [{ count: '007' }, /^count: must be integer/],
    [{ count: 'a few' }, /^count: must be integer/],
    [{ count: '2.5' }, /^count: must be integer/],
    [{ count: '+2' }, /^count: must be integer/],
    [{ count: 40 }, /^count: must be <= 9/],
    [{ gift: 'yes' }, /^gift: must be boolean; send true or false$/],
    [{ gift: 1 }, /^gift: must be boolean/],
    [{ tags: 'fragile, cold' }, /^tags: must be array; send a JSON list$/],
    [{ size: 'large' }, /^size: .*; send one of "S", "M"$/],
    [{ day: 'soon' }, /^day: must match format "date"; send a text in the form date$/],
    [{ either: 'maybe' }, /^either: .*; send a whole number without quotes, such as 4 or true or false$/],
  ]
  for (const [given, why] of cases) t.match(check(given), { ok: false, why }, JSON.stringify(given))
  const needs = checkerOf({ order: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] } }, [
    'order',
  ])
  t.match(needs({}), { ok: false, why: 'order: is missing; send a JSON object with id' })
  t.match(needs({ order: { id: null } }), { ok: false, why: 'order.id: must be string; send a text' })
  t.match(needs({ order: {} }), { ok: false, why: 'order.id: is missing; send a text' })
  t.end()
})

t.test('arguments that are not a plain JSON object are read where they mean one', (t) => {
  const meant: readonly (readonly [text: string, args: Args])[] = [
    ['```json\n{"id":"4"}\n```', { id: '4' }],
    ['```\n{"id":"4"}```', { id: '4' }],
    ['"{\\"id\\":\\"4\\"}"', { id: '4' }],
    ['"```json\\n{\\"id\\":4}\\n```"', { id: 4 }],
    ['[{"id":"4"}]', { id: '4' }],
    ['[]', {}],
  ]
  for (const [text, args] of meant) t.same(parseArguments(text), { args, mended: true }, text)
  t.same(objectArguments('{"id":4}'), { args: { id: 4 }, mended: true })
  t.same(parseArguments('{"id":4}'), { args: { id: 4 } })
  t.same(parseArguments('null'), { args: {} })
  for (const text of ['{"id":4}{"id":4}', '[{"id":4},{"id":5}]', 'id=4', '4', '"four"', '{id: 4}'])
    t.match(parseArguments(text), { args: {}, invalid: /JSON/ }, text)
  t.end()
})

t.test('a changed argument reaches the API as its type, and the change is counted', async (t) => {
  const shop = await api(t, (_, response) => json(response, { ok: true }))
  const tools = runner(t, {
    parameters: { properties: { count: { type: 'integer' }, 'order-id': { type: 'string' } } },
    http: { method: 'POST', url: `${shop.url}/{{args.order-id}}`, body: { count: '{{args.count}}' } },
  })
  let coerced = 0
  const counting = context({ coerced: () => void coerced++ })
  await tools.run('look_up', { count: '4', order_id: 4127 }, counting)
  await tools.run('look_up', { count: 4, 'order-id': '4127' }, counting)
  t.same(shop.bodies, ['{"count":4}', '{"count":4}'])
  t.same(
    shop.requests.map(({ url }) => url),
    ['/4127', '/4127'],
  )
  t.equal(coerced, 1)
  t.equal(tools.counters.coerced, 1)
})

t.test('what fits a schema is never changed', (t) => {
  const check = checkerOf(
    {
      n: { type: 'integer' },
      s: { type: 'string', minLength: 1 },
      any: {},
      list: { type: 'array', items: { type: ['string', 'integer', 'null'] } },
    },
    ['n', 's', 'any', 'list'],
  )
  const value = fc.record({
    n: fc.integer(),
    s: fc.string({ minLength: 1 }),
    any: fc.jsonValue().filter((one) => one !== null),
    list: fc.array(fc.oneof(fc.string(), fc.integer(), fc.constant(null))),
  })
  fc.assert(
    fc.property(value, (args) => {
      const text = JSON.stringify(args)
      const plain = JSON.parse(text) as Args
      const checked = check(plain)
      return checked.ok && JSON.stringify(checked.args) === text && !checked.coerced
    }),
  )
  t.end()
})

t.test("numbers, times and dates in the caller's words are taken in the tool's form", (t) => {
  const check = argumentChecker(
    toolParametersSchema.parse({
      properties: {
        time: { type: 'string', pattern: '^\\d\\d:\\d\\d$' },
        date: { type: 'string', format: 'date' },
        order: { type: 'string', pattern: '^\\d{4}$' },
        phone: { type: 'string', pattern: '^\\+\\d{12}$' },
        pieces: { type: 'integer' },
        amount: { type: 'number' },
        note: { type: 'string' },
      },
    }),
    () => '2026-11-25',
  )
  const cases: readonly (readonly [given: Args, wanted: Args])[] = [
    [{ time: 'saa nne asubuhi' }, { time: '10:00' }],
    [{ time: '4 PM' }, { time: '16:00' }],
    [{ time: '10:00' }, { time: '10:00' }],
    [{ date: 'kesho kutwa' }, { date: '2026-11-27' }],
    [{ date: 'tarehe tano mwezi wa kumi na mbili' }, { date: '2026-12-05' }],
    [{ order: 'nne moja two saba' }, { order: '4127' }],
    [{ order: 'nne moja mbili, hapana, tatu saba' }, { order: '4137' }],
    [{ phone: 'sifuri saba moja mbili tatu nne tano sita saba nane' }, { phone: '+254712345678' }],
    [{ pieces: 'kumi na tano' }, { pieces: 15 }],
    [{ amount: 'shilingi laki moja na nusu' }, { amount: 150000 }],
    [{ note: 'saa nne asubuhi' }, { note: 'saa nne asubuhi' }],
  ]
  for (const [given, wanted] of cases) t.match(check(given), { ok: true, args: wanted }, JSON.stringify(given))
  t.match(check({ time: 'saa kumi' }), {
    ok: false,
    why: 'time: may be 04:00 (saa kumi alfajiri, four A M) or 16:00 (saa kumi jioni, four P M). Ask the caller which, then send one of them',
  })
  t.match(check({ date: 'next Friday' }), { ok: false, why: /2026-11-27 \(Friday\) or 2026-12-04 \(Friday\)/ })
  for (const given of [
    { time: 'later' },
    { order: 'nne moja mbili' },
    { pieces: 'a few' },
    { pieces: 'one and a half' },
  ])
    t.match(check(given), { ok: false }, JSON.stringify(given))
  t.end()
})
