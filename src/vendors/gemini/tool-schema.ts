import { propertiesOf, resolved, typesOf } from '../../agents/tools/json-schema.js'
import type { JsonSchema } from '../../agents/tools/json-schema.js'
import type { VendorSchema } from '../../backends/tool-schema.js'
import { TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'

/**
 * Maximum depth of an expanded schema, because Gemini does not support `$ref`. A recursive schema ends at this depth.
 */
const GEMINI_DEPTH_MAX = 6
/** Maximum number of characters for one tool: nested references can multiply without limit. */
const GEMINI_CHARS_MAX = 8 * TOOL_TEXT_CHARS_MAX
/** Estimated number of characters of a schema without its texts. */
const GEMINI_SCHEMA_CHARS = 40
/** Keywords with one meaning in Gemini's `Schema` and in JSON Schema. */
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
/** Formats that Gemini accepts. */
const GEMINI_FORMATS: Readonly<Record<string, readonly string[]>> = {
  STRING: ['enum', 'date-time'],
  NUMBER: ['float', 'double'],
  INTEGER: ['int32', 'int64'],
}
/**
 * Keywords that are dropped without a report: they do not constrain a model, or another part of this file reads them.
 */
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

/** Translates to the `Schema` of Gemini's `parameters`: a subset of OpenAPI 3.0, with all references expanded. */
export function geminiParameters(schema: JsonSchema): VendorSchema {
  const written: Written = { chars: 0, dropped: new Set() }
  const translated = gemini(schema, schema, 'the arguments', 0, written)
  return { schema: translated, dropped: [...written.dropped] }
}

/** Result of the translation of a tool so far. */
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

/**
 * Gemini has only inclusive limits. For integers an exclusive limit becomes the next whole number; for other types the
 * limit is dropped.
 */
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
