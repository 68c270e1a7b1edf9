import { TOOL_TEXT_CHARS_MAX } from '../core/limits.js'
import { propertiesOf, resolved, typesOf } from '../agents/tools/json-schema.js'
import type { JsonSchema } from '../agents/tools/json-schema.js'

/**
 * The schemas of tools in the words of each service. The gateway checks arguments against the whole schema itself
 * (`argumentChecker`), so a constraint that a service does not take costs a model a second try, not the caller a mistake.
 */
interface VendorSchema {
  readonly schema: Record<string, unknown>
  /** Parts that the service does not get: `format of when`. Empty: none. */
  readonly dropped: readonly string[]
}

/** Keywords that OpenAI and Anthropic refuse at the root of a function's schema. */
const ROOT_REFUSED = ['anyOf', 'oneOf', 'not', 'enum', 'const', 'if', 'then', 'else'] as const

/** JSON Schema as OpenAI, Anthropic and servers with their interfaces take it: any, but at the root an object alone. */
export function functionParameters(schema: JsonSchema): VendorSchema {
  const rest: Record<string, unknown> = { ...schema }
  const dropped = ROOT_REFUSED.filter((keyword) => keyword in schema)
  for (const keyword of dropped) delete rest[keyword]
  return { schema: rest, dropped: dropped.map((keyword) => `${keyword} of the arguments`) }
}

/** How deep a schema is written out for Gemini, which knows no `$ref`. A recursive one ends there. */
const GEMINI_DEPTH_MAX = 6
/** Characters that are written out for one tool: a few references in each other make any number of them. */
const GEMINI_CHARS_MAX = 8 * TOOL_TEXT_CHARS_MAX
/** Those of a schema without words. */
const GEMINI_SCHEMA_CHARS = 40
/** Keywords of Gemini's `Schema` that say the same as those of JSON Schema. */
const GEMINI_SAME: readonly string[] = [
  'title',
  'description',
  'default',
  'minItems',
  'maxItems',
  'minLength',
  'maxLength',
  'minProperties',
  'maxProperties',
  'pattern',
]
/** Formats that Gemini takes; it refuses others. */
const GEMINI_FORMATS: Readonly<Record<string, readonly string[]>> = {
  STRING: ['enum', 'date-time'],
  NUMBER: ['float', 'double'],
  INTEGER: ['int32', 'int64'],
}
/** Keywords that limit nothing for a model, or that this translation reads itself. */
const GEMINI_SILENT: readonly string[] = [
  'type',
  'properties',
  'required',
  'items',
  'enum',
  'const',
  'anyOf',
  'oneOf',
  'allOf',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'format',
  '$ref',
  '$defs',
  'definitions',
  '$comment',
  'example',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'discriminator',
]

/** The `Schema` of Gemini's `parameters`: a subset of OpenAPI 3.0, with everything written out. */
export function geminiParameters(schema: JsonSchema): VendorSchema {
  const written: Written = { chars: 0, dropped: new Set() }
  const translated = gemini(schema, schema, 'the arguments', 0, written)
  return { schema: translated, dropped: [...written.dropped] }
}

/** Result of writing a tool so far. */
interface Written {
  chars: number
  readonly dropped: Set<string>
}

function gemini(
  given: unknown,
  root: JsonSchema,
  name: string,
  depth: number,
  soFar: Written,
): Record<string, unknown> {
  const { dropped } = soFar
  const schema = resolved(given, root)
  const inner = (one: unknown, at: string): Record<string, unknown> => gemini(one, root, at, depth + 1, soFar)
  const listed = [schema['anyOf'], schema['oneOf']].find(Array.isArray) as readonly unknown[] | undefined
  const variants = (listed ?? []).map((one) => resolved(one, root))
  const types = typesOf(schema) ?? []
  const isNull = (one: JsonSchema): boolean => typesOf(one)?.every((type) => type === 'null') === true
  const nullable = types.includes('null') || variants.some(isNull)
  const own = types.filter((type) => type !== 'null')
  const real = variants.filter((one) => !isNull(one))
  const common = Object.fromEntries(Object.entries(schema).filter(([keyword]) => GEMINI_SAME.includes(keyword)))
  soFar.chars += GEMINI_SCHEMA_CHARS + JSON.stringify([common, schema['enum'], schema['required']]).length
  const isLong = soFar.chars > GEMINI_CHARS_MAX
  const notes: string[] = []
  const end = (more: Record<string, unknown>): Record<string, unknown> => {
    const description = common['description'] ?? more['description']
    const words = [...(typeof description === 'string' ? [description] : []), ...notes]
    return {
      ...common,
      ...more,
      ...(words.length === 0 ? {} : { description: words.join(' ') }),
      ...(nullable ? { nullable } : {}),
    }
  }
  if ((isLong || depth >= GEMINI_DEPTH_MAX) && (own.includes('object') || own.includes('array') || real.length > 0)) {
    dropped.add(
      isLong
        ? `what is over ${GEMINI_CHARS_MAX} characters`
        : `what is deeper than ${GEMINI_DEPTH_MAX} levels in ${name}`,
    )
    notes.push('JSON text.')
    return end({ type: 'STRING' })
  }
  for (const keyword of Object.keys(schema)) {
    if (GEMINI_SAME.includes(keyword) || GEMINI_SILENT.includes(keyword) || keyword.startsWith('x-')) continue
    if (keyword === 'additionalProperties' && schema[keyword] === false) continue
    dropped.add(`${keyword} of ${name}`)
  }
  const [single] = real
  if (real.length === 1 && single !== undefined && own.length === 0) return end(inner(single, name))
  if (real.length > 1 && propertiesOf(schema) === null) return end({ anyOf: real.map((one) => inner(one, name)) })
  if (real.length > 0) dropped.add(`alternatives of ${name}`)
  if (own.length > 1) return end({ anyOf: own.map((type) => inner({ ...schema, type, description: undefined }, name)) })
  const type = (own[0] ?? 'string').toUpperCase()
  const written: Record<string, unknown> = { type }
  limits(schema, type, name, written, dropped)
  const { format } = schema
  if (typeof format === 'string') {
    if (GEMINI_FORMATS[type]?.includes(format) === true) written['format'] = format
    else notes.push(`In the form ${format}.`)
  }
  const choices =
    'const' in schema ? [schema['const']] : Array.isArray(schema['enum']) ? (schema['enum'] as unknown[]) : null
  const values = choices?.filter((one) => one !== null)
  if (values !== undefined && type === 'STRING') written['enum'] = values.map(String)
  else if (values !== undefined) notes.push(`One of ${values.map((one) => JSON.stringify(one)).join(', ')}.`)
  if (type === 'ARRAY')
    written['items'] = schema['items'] === undefined ? { type: 'STRING' } : inner(schema['items'], `${name}[]`)
  if (type !== 'OBJECT') return end(written)
  const properties = Object.entries(propertiesOf(schema) ?? {})
  if (properties.length > 0)
    written['properties'] = Object.fromEntries(
      properties.map(([key, one]) => [key, inner(one, depth === 0 ? key : `${name}.${key}`)]),
    )
  const required = (schema['required'] as readonly string[] | undefined) ?? []
  if (required.length > 0) written['required'] = required
  return end(written)
}

/** Gemini has inclusive limits only: the next whole number is the same limit, for others it is left out. */
function limits(
  schema: JsonSchema,
  type: string,
  name: string,
  written: Record<string, unknown>,
  dropped: Set<string>,
): void {
  for (const [inclusive, exclusive, step] of [
    ['minimum', 'exclusiveMinimum', 1],
    ['maximum', 'exclusiveMaximum', -1],
  ] as const) {
    const limit = schema[exclusive]
    if (typeof schema[inclusive] === 'number') written[inclusive] = schema[inclusive]
    if (typeof limit !== 'number') continue
    if (type === 'INTEGER') written[inclusive] = Math.trunc(limit) + step
    else dropped.add(`${exclusive} of ${name}`)
  }
}
