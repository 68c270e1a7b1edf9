import fc from 'fast-check'
import t from 'tap'
import { parse } from 'yaml'
import { foreignParametersSchema, toolParametersSchema, unknownKeywords } from '../../src/agents/tools/json-schema.js'
import { patternOf } from '../../src/agents/tools/patterns.js'
import { argumentChecker } from '../../src/agents/tools/tool-arguments.js'
import { functionOf, traitsOf } from '../../src/vendors/gemini/live/setup.js'
import { functionParameters } from '../../src/backends/tool-schema.js'
import { geminiParameters } from '../../src/vendors/gemini/tool-schema.js'
import { objectArguments, parseArguments, replyText } from '../../src/backends/tool-text.js'
import { exactJson, jsonText } from '../../src/core/json.js'
import { api, context, json, runner } from '../agents/tool-rig.js'

type Args = Readonly<Record<string, unknown>>

const checkerOf = (properties: Args, required: readonly string[] = [], more: Args = {}) =>
  argumentChecker(toolParametersSchema.parse({ properties, required, ...more }))

t.test('unambiguous arguments are converted and marked as changed', (t) => {
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

t.test('ambiguous arguments are refused with advice', (t) => {
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

t.test('wrapped JSON arguments are unwrapped', (t) => {
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

t.test('a converted argument reaches the API as its type', async (t) => {
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

t.test('arguments that fit a schema are never changed', (t) => {
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

t.test("the caller's numbers and dates are converted for the tool", (t) => {
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

/** Schemas as their tools write them, each with arguments that it takes, and some that it refuses. */
const SCHEMAS: Readonly<Record<string, { readonly schema: string; readonly takes: object; readonly refuses: object }>> =
  {
    'pydantic, with $defs, a union and a default': {
      schema: `
      $defs:
        Priority: { enum: [low, high], title: Priority, type: string }
        Item:
          properties:
            sku: { title: Sku, type: string }
            pieces: { default: 1, exclusiveMinimum: 0, title: Pieces, type: integer }
          required: [sku]
          title: Item
          type: object
      properties:
        items: { items: { $ref: '#/$defs/Item' }, minItems: 1, title: Items, type: array }
        priority: { $ref: '#/$defs/Priority', default: low }
        note: { anyOf: [{ maxLength: 20, type: string }, { type: 'null' }], default: null, title: Note }
      required: [items]
      title: PlaceOrder
      type: object`,
      takes: { items: [{ sku: 'A', pieces: 2 }], priority: 'high', note: null },
      refuses: { items: [{ sku: 'A', pieces: 0 }] },
    },
    'zod, with $schema, a record and a discriminated union': {
      schema: `
      $schema: https://json-schema.org/draft/2020-12/schema
      type: object
      properties:
        method:
          oneOf:
            - { type: object, properties: { type: { type: string, const: card }, last4: { type: string, pattern: '^\\d{4}$' } }, required: [type, last4], additionalProperties: false }
            - { type: object, properties: { type: { type: string, const: mpesa }, amount: { type: number, exclusiveMinimum: 0 } }, required: [type, amount], additionalProperties: false }
        labels: { type: object, propertyNames: { type: string }, additionalProperties: { type: string } }
        ids: { type: array, items: { type: integer, minimum: -9007199254740991, maximum: 9007199254740991 }, uniqueItems: true }
      required: [method]
      additionalProperties: false`,
      takes: { method: { type: 'card', last4: '4127' }, labels: { a: 'b' }, ids: [1, 2] },
      refuses: { method: { type: 'card', last4: '41' } },
    },
    'OpenAI strict mode, where everything is required and may be null': {
      schema: `
      type: object
      strict: true
      properties:
        unit: { type: [string, 'null'], enum: [kg, lb, null], description: Which unit. }
        weight: { type: [number, 'null'] }
      required: [unit, weight]
      additionalProperties: false`,
      takes: { unit: null, weight: 2.5 },
      refuses: { unit: 'stone', weight: 2.5 },
    },
    'OpenAPI 3.0, with nullable, boolean limits and its formats': {
      schema: `
      type: object
      properties:
        order-id: { type: integer, format: int64, minimum: 0, exclusiveMinimum: true, example: 4127 }
        $filter: { type: string, nullable: true, enum: [open, closed] }
        since: { type: string, format: date-time }
        colour: { allOf: [{ $ref: '#/definitions/Colour' }], nullable: true }
      required: [order-id]
      definitions: { Colour: { type: string, enum: [red, blue] } }`,
      takes: { 'order-id': 4127, $filter: null, since: '2026-11-25T20:00:00Z', colour: 'red' },
      refuses: { 'order-id': 0 },
    },
    'an MCP server: draft 7, a tuple, and the root behind a reference': {
      schema: `
      $schema: http://json-schema.org/draft-07/schema#
      $ref: '#/definitions/Search'
      definitions:
        Search:
          type: object
          properties:
            box: { type: array, items: [{ type: number }, { type: number }], minItems: 2, maxItems: 2 }
            uri: { type: string, format: uri }
            tree: { $ref: '#/definitions/Tree' }
          required: [box]
          additionalProperties: false
        Tree:
          type: object
          properties: { name: { type: string }, children: { type: array, items: { $ref: '#/definitions/Tree' } } }`,
      takes: { box: [1.5, 2], uri: 'https://example.com/', tree: { name: 'a', children: [{ name: 'b' }] } },
      refuses: { box: ['north', 2] },
    },
    "Gemini's own, with types in capitals": {
      schema: `
      type: OBJECT
      properties: { city: { type: STRING, nullable: true }, days: { type: INTEGER, minimum: 1 } }
      required: [days]
      propertyOrdering: [city, days]`,
      takes: { city: null, days: 2 },
      refuses: { days: 0 },
    },
  }

const read = (text: string) => toolParametersSchema.parse(parse(text))

t.test("schemas of every vendor's tools are accepted and enforced", (t) => {
  for (const [writer, { schema, takes, refuses }] of Object.entries(SCHEMAS)) {
    const check = argumentChecker(read(schema))
    t.same(check({ ...takes }), { ok: true, args: takes, coerced: false }, `${writer}: takes`)
    t.match(check({ ...refuses }), { ok: false, why: /; send / }, `${writer}: refuses`)
  }
  t.end()
})

t.test('mistakes in a schema are reported with their place', (t) => {
  const faulty: readonly (readonly [string, string, RegExp])[] = [
    ['properties: { id: { type: strnig } }', 'properties.id.type', /string/],
    ['properties: { id: { $ref: "#/$defs/Nowhere" } }', '', /can't resolve reference #\/\$defs\/Nowhere/],
    ['properties: { id: { type: string, pattern: "(" } }', 'properties.id.pattern', /not a regular expression/],
    ['properties: { id: { type: string, maxLength: -1 } }', 'properties.id.maxLength', /must be >= 0/],
    ['type: array', 'type', /always type: object/],
    ['properties: { "a b": { type: string } }', 'properties.a b', /without spaces/],
    ['{ properties: {}, required: [id] }', 'required.0', /id is not one of the properties/],
  ]
  for (const [text, place, message] of faulty) {
    const { error } = toolParametersSchema.safeParse(parse(text))
    t.ok(
      error?.issues.some((issue) => issue.path.join('.') === place && message.test(JSON.stringify(issue))),
      `${text}: ${JSON.stringify(error?.issues)}`,
    )
  }
  t.same(unknownKeywords(read('properties: { id: { type: string, maxLenght: 3, x-order: 1 } }')), ['maxLenght'])
  t.end()
})

t.test('Gemini gets an expanded schema, and omissions are reported', (t) => {
  const taken = new Set(
    (
      'type format title description nullable enum maxItems minItems properties required minProperties maxProperties ' +
      'minLength maxLength pattern anyOf default items minimum maximum'
    ).split(' '),
  )
  const walk = (schema: Readonly<Record<string, unknown>>, path: string): void => {
    for (const key of Object.keys(schema)) t.ok(taken.has(key), `${path}.${key} is a field of Gemini's Schema`)
    t.ok(
      'anyOf' in schema ||
        ['STRING', 'NUMBER', 'INTEGER', 'BOOLEAN', 'ARRAY', 'OBJECT'].includes(String(schema['type'])),
      `${path} has a type`,
    )
    if (schema['type'] === 'ARRAY') walk(schema['items'] as never, `${path}[]`)
    for (const [name, one] of Object.entries(schema['properties'] ?? {})) walk(one as never, `${path}.${name}`)
    for (const one of (schema['anyOf'] ?? []) as never[]) walk(one, `${path}|`)
  }
  for (const [writer, { schema }] of Object.entries(SCHEMAS)) walk(geminiParameters(read(schema)).schema, writer)
  const { schema, dropped } = geminiParameters(
    read(SCHEMAS['pydantic, with $defs, a union and a default']?.schema ?? ''),
  )
  t.match(schema, {
    type: 'OBJECT',
    properties: {
      items: { type: 'ARRAY', items: { type: 'OBJECT', properties: { pieces: { type: 'INTEGER', minimum: 1 } } } },
      priority: { type: 'STRING', enum: ['low', 'high'], default: 'low' },
      note: { type: 'STRING', maxLength: 20, nullable: true },
    },
    required: ['items'],
  })
  t.same(dropped, [])
  const zod = geminiParameters(read(SCHEMAS['zod, with $schema, a record and a discriminated union']?.schema ?? ''))
  t.same(zod.dropped, [
    'exclusiveMinimum of method.amount',
    'propertyNames of labels',
    'additionalProperties of labels',
    'uniqueItems of ids',
  ])
  const tool = { name: 'a', description: 'b', parameters: read('properties: {}') }
  t.notHas(functionOf(tool, traitsOf({ model: 'gemini-2.5-flash-native-audio' })), { parameters: {} })
  t.end()
})

t.test('other vendors get the schema without alternatives at its root', (t) => {
  const given = read(
    '{ properties: { a: { type: string }, b: { type: string } }, anyOf: [{ required: [a] }, { required: [b] }] }',
  )
  const { schema, dropped } = functionParameters(given)
  t.same(dropped, ['anyOf of the arguments'])
  t.notOk('anyOf' in schema)
  t.match(argumentChecker(given)({}), { ok: false }, 'the gateway holds to them all the same')
  for (const { schema: text } of Object.values(SCHEMAS))
    t.same(functionParameters(read(text)), { schema: read(text), dropped: [] })
  t.end()
})

const LONG = [
  '9007199254740993',
  '-9223372036854775808',
  '18446744073709551615',
  '340282366920938463463374607431768211455',
]

t.test('long integers keep every digit from model to API', async (t) => {
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

t.test('long integers keep every digit from API to model', async (t) => {
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

t.test('JSON without long integers is parsed as usual', (t) => {
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

/** Names `a0`, `a1`, …, each of which stands for two of the next. */
function doubled(applicator: string, depth = 40): Args {
  const $defs: Record<string, unknown> = { [`a${depth}`]: { type: 'object', properties: { x: { type: 'string' } } } }
  for (let at = 0; at < depth; at++) {
    const next = { $ref: `#/$defs/a${at + 1}` }
    $defs[`a${at}`] = { [applicator]: [next, next] }
  }
  return $defs
}

t.test('a schema with exploding references is refused at once', (t) => {
  for (const applicator of ['anyOf', 'oneOf']) {
    const $defs = doubled(applicator)
    for (const schema of [
      { $ref: '#/$defs/a0', $defs },
      { [applicator]: [{ $ref: '#/$defs/a0' }, { $ref: '#/$defs/a0' }], $defs },
    ])
      t.match(
        toolParametersSchema.safeParse(schema).error?.issues,
        [{ message: /^takes too many steps to check/ }],
        applicator,
      )
  }
  const joined = toolParametersSchema.parse({ $ref: '#/$defs/a0', $defs: doubled('allOf') })
  t.match(
    argumentChecker(joined)({ x: 5 }),
    { ok: true, args: { x: '5' } },
    'at the top allOf is joined, each schema once',
  )
  t.same(toolParametersSchema.parse({ allOf: [{ $ref: '#' }] }).properties, {}, 'and may name itself')
  for (const schema of [{ anyOf: [{ $ref: '#/$defs/a' }], $defs: { a: { anyOf: [{ $ref: '#/$defs/a' }] } } }])
    t.match(
      toolParametersSchema.safeParse(schema).error?.issues,
      [{ message: /too many steps/ }],
      JSON.stringify(schema),
    )
  for (const $ref of ['#/%', '#/$defs/%E0%A4%A', '#/$defs/none'])
    t.match(toolParametersSchema.safeParse({ properties: { x: { $ref } } }).error?.issues, [
      { message: /^is not a usable JSON Schema/ },
    ])
  t.match(toolParametersSchema.safeParse({ anyOf: Array.from({ length: 1001 }, () => ({})) }).error?.issues, [
    { message: /^has 1002 schemas in it; at most 1000 are allowed$/ },
  ])
  const heavy = { allOf: Array.from({ length: 100 }, (_, at) => ({ pattern: `^\\p{L}{1,${900 - at}}$` })) }
  t.match(foreignParametersSchema.safeParse({ properties: { x: heavy } }).error?.issues, [
    { message: /too many steps/ },
  ])
  let deep: unknown = 'x'
  for (let level = 0; level < 100_000; level++) deep = [deep]
  t.match(toolParametersSchema.safeParse({ default: deep }).error?.issues, [{ message: /nested deeper than 32/ }])
  t.end()
})

t.test('an argument with exploding references is refused [1]', (t) => {
  for (const applicator of ['allOf', 'anyOf', 'oneOf']) {
    const check = argumentChecker(
      toolParametersSchema.parse({ properties: { x: { $ref: '#/$defs/a0' } }, $defs: doubled(applicator) }),
    )
    t.match(check({ x: { x: 1 } }), { ok: false, why: /too many steps to check/ }, applicator)
  }
  let nested: Args = { type: 'string' }
  for (let level = 0; level < 28; level++) nested = { type: 'array', items: nested }
  t.match(
    checkerOf({ x: nested })({ x: 5 }),
    { ok: false, why: /too many steps/ },
    'a value that could be any list of lists',
  )
  const pairs = checkerOf({ x: { type: 'array', uniqueItems: true } })
  t.match(pairs({ x: Array.from({ length: 2000 }, () => ({})).map((_, at) => at % 10) }), {
    ok: false,
    why: /too many/,
  })
  t.match(pairs({ x: [1, 2, 3] }), { ok: true })
  const money = { type: 'object', properties: { amount: { type: 'number' }, currency: { enum: ['KES', 'TZS'] } } }
  const shared = argumentChecker(
    toolParametersSchema.parse({
      properties: Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`m${at}`, { $ref: '#/$defs/money' }])),
      $defs: { money },
    }),
  )
  const given = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`m${at}`, { amount: at, currency: 'KES' }]))
  t.match(shared(given), { ok: true, coerced: false })
  const tree = argumentChecker(
    toolParametersSchema.parse({
      properties: { filter: { $ref: '#/$defs/filter' } },
      $defs: {
        filter: {
          anyOf: [
            {
              type: 'object',
              properties: { op: { const: 'and' }, of: { type: 'array', items: { $ref: '#/$defs/filter' } } },
            },
            {
              type: 'object',
              properties: { op: { const: 'or' }, of: { type: 'array', items: { $ref: '#/$defs/filter' } } },
            },
            { type: 'object', properties: { op: { const: 'is' }, field: { type: 'string' } }, required: ['field'] },
          ],
        },
      },
    }),
  )
  const is = { op: 'is', field: 'city' }
  t.match(tree({ filter: { op: 'and', of: [is, { op: 'or', of: [is, is, { op: 'and', of: [is, is] }] }] } }), {
    ok: true,
  })
  t.end()
})

t.test('an expanded schema for Gemini has a size limit', (t) => {
  const $defs: Record<string, unknown> = {}
  const wide = (next: Args): Args =>
    Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`p${at}`, { ...next, description: 'w'.repeat(50) }]))
  for (let at = 0; at < 6; at++) $defs[`a${at}`] = { type: 'object', properties: wide({ $ref: `#/$defs/a${at + 1}` }) }
  $defs['a6'] = { type: 'string' }
  const { schema, dropped } = geminiParameters({ ...($defs['a0'] as Args), $defs })
  t.match(dropped, [/^what is over \d+ characters$/])
  t.ok(JSON.stringify(schema).length < 200_000)
  t.end()
})

t.test('no pattern can block a thread [2]', (t) => {
  const words = 'a'.repeat(5000)
  for (const pattern of ['^(a+)+$', '^(a|aa)+$', '^(a|a?)+$', '^(.*)*x$', '(x+x+)+y', '^(\\w+\\s?)*$'])
    t.match(
      checkerOf({ x: { type: 'string', pattern } })({ x: `${words}!` }),
      { ok: false, why: /must match pattern/ },
      pattern,
    )
  t.match(
    checkerOf({ x: { type: 'object', patternProperties: { '^(a+)+$': { type: 'integer' } } } })({
      x: { [`${words}!`]: 'x' },
    }),
    { ok: true },
  )
  for (const pattern of [
    '^(?=.*\\d)a',
    '^(?!x)',
    '(?<=a)b',
    '^(a)\\1$',
    'a{2000}',
    '(a{900}){900}',
    'a'.repeat(1001),
  ]) {
    const issues = toolParametersSchema.safeParse({ properties: { x: { pattern } } }).error?.issues
    t.match(issues, [{ path: ['properties', 'x', 'pattern'] }], pattern)
    const foreign = foreignParametersSchema.parse({ properties: { x: { type: 'string', pattern } } })
    t.same(foreign.properties['x'], { type: 'string' }, 'a server checks its own')
  }
  t.match(foreignParametersSchema.safeParse({ properties: { x: { pattern: '(' } } }).error?.issues, [
    { message: /not a regular expression/ },
  ])
  const size = checkerOf({ x: { type: 'array', items: { type: 'string', pattern: '^(a|b|ab){1,200}$' } } })
  t.match(size({ x: Array.from({ length: 8 }, () => 'ab'.repeat(500)) }), { ok: false, why: /too many steps/ })
  t.end()
})

t.test('a pattern has its ECMAScript meaning', (t) => {
  const patterns =
    '\\s|\\S|.|$|^a$|\\w|\\b|[\\s]|[^\\s]|\\d|[^]|[]|a[]|\\cA|\\0|[\\b]|\\x41|\\u0041|\\p{L}|\\p{Script=Latin}|\\p{sc=Greek}|\\P{L}|[\\p{L}\\d]|(?<n>a)|\\/|\\-|[a\\-z]|a{2,}|a??|\\t|\\v|[\\w-]|^\\S+@\\S+\\.\\S+$|\\u{1F600}|\\ud83d\\ude00|\\u2028|^.$|[^a]|[.]|[[]|[[a]|[^[]|\\B|x*|^[A-Z]{2}-\\d{4}$|\\@|\\Q|\\z|\\A|\\a'.split(
      '|',
    )
  const texts = [
    ...'aA \u00a0\ufeff\u2028\n\ré😀_-\b\x01\0/1\t\v\f@.αb[]&xQz',
    '',
    'ab\n',
    'aaa',
    'a@b.c',
    'KE-2030',
    '𝔸',
  ]
  const different: unknown[] = []
  for (const source of [...patterns, 'a|', '(|a)', '(?:a|b)*?c']) {
    const pattern = patternOf(source)
    if ('fault' in pattern) {
      t.fail(`${source} ${pattern.fault}`)
      continue
    }
    let native: RegExp
    try {
      native = new RegExp(source, 'u')
    } catch {
      native = new RegExp(source)
    }
    for (const text of texts) if (pattern.test(text) !== native.test(text)) different.push([source, text])
  }
  t.same(different, [])
  t.end()
})
