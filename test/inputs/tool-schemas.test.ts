import t from 'tap'
import { parse } from 'yaml'
import { argumentChecker } from '../../src/agents/tool-arguments.js'
import { toolParametersSchema, unknownKeywords } from '../../src/agents/json-schema.js'
import { functionOf, traitsOf } from '../../src/backends/gemini-live/setup.js'
import { functionParameters, geminiParameters } from '../../src/backends/tool-schema.js'

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

t.test('schemas of every writer are accepted, and hold', (t) => {
  for (const [writer, { schema, takes, refuses }] of Object.entries(SCHEMAS)) {
    const check = argumentChecker(read(schema))
    t.same(check({ ...takes }), { ok: true, args: takes, coerced: false }, `${writer}: takes`)
    t.match(check({ ...refuses }), { ok: false, why: /; send / }, `${writer}: refuses`)
  }
  t.end()
})

t.test('mistakes in a schema are named with their place', (t) => {
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

t.test('Gemini gets what it takes, written out, and what it does not get is said', (t) => {
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

t.test('the others get the schema as it is, without alternatives at its root', (t) => {
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
