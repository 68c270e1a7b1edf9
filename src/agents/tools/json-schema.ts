import { Ajv2020 } from 'ajv/dist/2020.js'
import type { ValidateFunction } from 'ajv/dist/2020.js'
import ajvFormats from 'ajv-formats'
import { z } from 'zod'
import { TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import { faultIn } from '../file/faults.js'
import { patternOf } from './patterns.js'
import { spendSteps, TooManySteps, withinSteps } from './steps.js'

/**
 * Schema of a tool's arguments in JSON Schema 2020-12. `readSchema` converts OpenAPI 3.0 and earlier drafts, so all
 * other code needs to read only 2020-12.
 */
export type JsonSchema = Readonly<Record<string, unknown>>

/** Schema of a tool's `parameters`, which is always an object. */
export interface ToolParameters extends JsonSchema {
  readonly type: 'object'
  readonly properties: Readonly<Record<string, JsonSchema>>
  readonly required: readonly string[]
}

/** Maximum number of arguments of one tool. */
const TOOL_PARAMETERS_MAX = 100
/** Maximum depth of the arguments' schema, including `$defs`. */
const SCHEMA_DEPTH_MAX = 32
/**
 * Maximum number of schemas within the schema of one tool. The validator needs a tenth of a millisecond to compile one
 * schema.
 */
const SCHEMAS_MAX = 1000
/** Maximum number of consecutive `$ref` steps at one position. */
const REF_HOPS_MAX = 16

/**
 * Matches a name that a template can use, which has no spaces and no braces. MCP servers and OpenAPI use names such as
 * `order-id` and `$filter`.
 */
const ARGUMENT_NAME = /^[^\s{}\p{Cc}]{1,64}$/u

/** Keywords whose value is a map of schemas, a list of schemas, or one schema. */
const MAPS: readonly string[] = ['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas']
const LISTS: readonly string[] = ['allOf', 'anyOf', 'oneOf', 'prefixItems']
const SINGLE: readonly string[] = [
  'items',
  'additionalProperties',
  'contains',
  'propertyNames',
  'not',
  'if',
  'then',
  'else',
  'unevaluatedItems',
  'unevaluatedProperties',
]

export function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Applies `change` to the schema and to each schema inside it, beginning with the innermost schemas. */
function mapSchema(
  schema: JsonSchema,
  change: (schema: JsonSchema, keyword: string) => JsonSchema,
  at = '',
): JsonSchema {
  const inner = (value: unknown, keyword: string): unknown =>
    isSchema(value) ? mapSchema(value, change, keyword) : value
  const copy = Object.fromEntries(
    Object.entries(schema).map(([keyword, value]): [string, unknown] => {
      if (MAPS.includes(keyword) && isSchema(value))
        return [keyword, Object.fromEntries(Object.entries(value).map(([name, one]) => [name, inner(one, keyword)]))]
      if (LISTS.includes(keyword) && Array.isArray(value)) return [keyword, value.map((one) => inner(one, keyword))]
      return [keyword, SINGLE.includes(keyword) ? inner(value, keyword) : value]
    }),
  )
  return change(copy, at)
}

/**
 * Converts OpenAPI 3.0, dialects of vendors and earlier drafts to 2020-12. Members with only the name of a schema or
 * dialect are left out.
 */
function modern(schema: JsonSchema): JsonSchema {
  const { $schema: _dialect, $id: _name, nullable, items, additionalItems, ...rest } = schema
  const copy: Record<string, unknown> = { ...rest }
  if (Array.isArray(items)) {
    copy['prefixItems'] = items
    if (additionalItems !== undefined) copy['items'] = additionalItems
  } else if (items !== undefined) copy['items'] = items
  for (const [exclusive, limit] of [
    ['exclusiveMinimum', 'minimum'],
    ['exclusiveMaximum', 'maximum'],
  ] as const) {
    if (typeof copy[exclusive] !== 'boolean') continue
    if (copy[exclusive]) copy[exclusive] = copy[limit]
    else delete copy[exclusive]
    if (copy[exclusive] !== undefined) delete copy[limit]
  }
  if (typeof copy['type'] === 'string') copy['type'] = copy['type'].toLowerCase()
  if (nullable === true && typeof copy['type'] === 'string') {
    copy['type'] = [copy['type'], 'null']
    if (Array.isArray(copy['enum']) && !copy['enum'].includes(null))
      copy['enum'] = [...(copy['enum'] as unknown[]), null]
  }
  return copy
}

/**
 * Forbids properties that the schema does not name (`additionalProperties: false`), because a model may invent
 * properties.
 */
function closed(schema: JsonSchema, keyword: string): JsonSchema {
  const open = schema['additionalProperties'] !== undefined || schema['patternProperties'] !== undefined
  const inherited = keyword === 'allOf' || schema['allOf'] !== undefined || schema['$ref'] !== undefined
  return open || inherited || schema['properties'] === undefined ? schema : { ...schema, additionalProperties: false }
}

/** Resolved form of each schema, by root. So a `$ref` that occurs at many positions is followed only once. */
const stoodFor = new WeakMap<JsonSchema, WeakMap<JsonSchema, JsonSchema>>()

/** Returns the schema with its `$ref` followed and its `allOf` joined. */
export function resolved(schema: unknown, root: JsonSchema): JsonSchema {
  if (!isSchema(schema)) return {}
  let found = stoodFor.get(root)
  if (found === undefined) stoodFor.set(root, (found = new WeakMap()))
  const before = found.get(schema)
  if (before !== undefined) return before
  // This entry stops the recursion if a schema contains itself in `allOf`. The inner schema then has no effect.
  found.set(schema, {})
  const joined = withJoined(schema, root)
  found.set(schema, joined)
  return joined
}

function withJoined(schema: JsonSchema, root: JsonSchema): JsonSchema {
  let current = schema
  for (let hop = 0; hop < REF_HOPS_MAX && typeof current['$ref'] === 'string'; hop++) {
    const { $ref, ...rest } = current
    current = { ...(pointed(root, $ref) ?? {}), ...rest }
  }
  const { allOf } = current
  if (!Array.isArray(allOf)) return current
  return [current, ...allOf.map((one) => resolved(one, root))].reduce<JsonSchema>(
    (joined, one) => ({
      ...one,
      ...joined,
      ...(isSchema(one['properties']) || isSchema(joined['properties'])
        ? { properties: { ...(one['properties'] as object), ...(joined['properties'] as object) } }
        : {}),
      required: [...new Set([...requiredOf(joined), ...requiredOf(one)])],
    }),
    {},
  )
}

function pointed(root: JsonSchema, ref: string): JsonSchema | null {
  if (ref !== '#' && !ref.startsWith('#/')) return null
  let at: unknown = root
  for (const part of ref.split('/').slice(1)) {
    const name = percentDecoded(part).replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return null
    at = (at as Readonly<Record<string, unknown>>)[name]
  }
  return isSchema(at) ? at : null
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // the reference has no target, which the validator reports
  }
}

export function requiredOf({ required }: JsonSchema): readonly string[] {
  return Array.isArray(required) ? required.filter((name): name is string => typeof name === 'string') : []
}

export function propertiesOf({ properties }: JsonSchema): Readonly<Record<string, JsonSchema>> | null {
  return isSchema(properties) ? (properties as Readonly<Record<string, JsonSchema>>) : null
}

/** Returns the types that a resolved schema allows; null if the schema has no `type`. */
export function typesOf(schema: JsonSchema): readonly string[] | null {
  const { type } = schema
  if (typeof type === 'string') return [type]
  if (Array.isArray(type)) return type as string[]
  const values = 'const' in schema ? [schema['const']] : Array.isArray(schema['enum']) ? schema['enum'] : null
  if (values !== null) return [...new Set(values.map(typeOf))]
  if (propertiesOf(schema) !== null) return ['object']
  return schema['items'] !== undefined || schema['prefixItems'] !== undefined ? ['array'] : null
}

/** Returns the type of a JSON value; `integer` for a whole number. */
export function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'bigint' || Number.isInteger(value)) return 'integer'
  return typeof value
}

/**
 * Keyword that is added to each schema of a compiled check. Its value contains the number of steps for one visit of the
 * schema.
 */
const STEPS = 'x-mkondo-steps'

/** Number of pairs of list items whose comparison counts as one step. */
const PAIRS_PER_STEP = 10

interface Visit {
  /** Number of steps for the schema itself and for its listed values. */
  readonly steps: number
  /** True if each item of a list is compared with all other items. */
  readonly pairs: boolean
}

function counted(schema: JsonSchema): JsonSchema {
  return mapSchema(schema, (one) => {
    const values = Object.values(one).map((value) => (typeof value === 'object' && value !== null ? value : {}))
    const steps = values.reduce((sum, value) => sum + Object.keys(value).length, 1)
    return { ...one, [STEPS]: { steps, pairs: one['uniqueItems'] === true } satisfies Visit }
  })
}

/**
 * Compiles the check of a schema in a few milliseconds. The check counts its steps (`withinSteps`).
 * @throws Error for a reference without a target, or a pattern that cannot be used
 */
export function compiled(schema: JsonSchema): ValidateFunction {
  const ajv = new Ajv2020({
    strict: false,
    allErrors: true,
    logger: false,
    meta: false,
    validateSchema: false,
    // If schemas were inlined, a shared schema would be repeated at each position that refers to it.
    inlineRefs: false,
    code: { regExp },
  })
  ajvFormats['default'](ajv)
  ajv.addKeyword({
    keyword: STEPS,
    errors: false,
    validate: ({ steps, pairs }: Visit, data: unknown) => {
      spendSteps(steps + (pairs && Array.isArray(data) ? data.length ** 2 / PAIRS_PER_STEP : 0))
      return true
    },
  })
  return ajv.compile(counted(schema))
}

const regExp = Object.assign(
  (source: string) => {
    const pattern = patternOf(source)
    if ('fault' in pattern) throw new Error(`the pattern ${source} ${pattern.fault}`)
    return pattern
  },
  { code: 'patternOf' },
)

let metaSchema: Ajv2020 | null = null

interface SchemaFault {
  readonly path: readonly string[]
  readonly message: string
  /** Values that are allowed at this position. */
  readonly allowed?: readonly string[]
}

/** Returns the faults of a schema, with their positions. */
function faultsOf(schema: JsonSchema): readonly SchemaFault[] {
  const patterns = wrongPatterns(schema, [])
  if (patterns.length > 0) return patterns
  metaSchema ??= new Ajv2020({ strict: false, allErrors: true, logger: false })
  if (metaSchema.validateSchema(schema) === true) {
    try {
      compiled(schema)({})
      return []
    } catch (thrown) {
      if (thrown instanceof TooManySteps || thrown instanceof RangeError) throw thrown
      return [
        { path: [], message: `is not a usable JSON Schema: ${thrown instanceof Error ? thrown.message : 'unknown'}` },
      ]
    }
  }
  const first = new Map<string, SchemaFault>()
  for (const { instancePath, message = 'is wrong', params } of metaSchema.errors ?? []) {
    if (first.has(instancePath)) continue
    const path = instancePath
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    const { allowedValues } = params as { readonly allowedValues?: readonly string[] }
    first.set(instancePath, { path, message, ...(allowedValues === undefined ? {} : { allowed: allowedValues }) })
  }
  return [...first.values()]
}

function wrongPatterns(value: unknown, path: readonly string[]): SchemaFault[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]: [string, unknown]): SchemaFault[] => {
    if (key !== 'pattern' || typeof inner !== 'string') return wrongPatterns(inner, [...path, key])
    const pattern = patternOf(inner)
    return 'fault' in pattern ? [{ path: [...path, key], message: pattern.fault }] : []
  })
}

/** Keywords of 2020-12 that do not limit a value, or that the functions above need not examine. */
const OTHER_KEYWORDS: readonly string[] = [
  ...['type', 'enum', 'const', 'required', 'format', 'pattern', 'minLength', 'maxLength', 'uniqueItems', 'multipleOf'],
  ...[
    'minimum',
    'maximum',
    'exclusiveMinimum',
    'exclusiveMaximum',
    'minItems',
    'maxItems',
    'minContains',
    'maxContains',
  ],
  ...[
    'minProperties',
    'maxProperties',
    'dependentRequired',
    '$ref',
    '$anchor',
    '$dynamicRef',
    '$dynamicAnchor',
    '$comment',
  ],
  ...['title', 'description', 'default', 'example', 'examples', 'deprecated', 'readOnly', 'writeOnly', 'discriminator'],
  ...['contentEncoding', 'contentMediaType', 'contentSchema', 'xml', 'externalDocs', 'propertyOrdering'],
]

/** Returns keywords that JSON Schema does not define, such as `minLenght`. Such keywords do not have an effect. */
export function unknownKeywords(schema: JsonSchema): readonly string[] {
  const found = new Set<string>()
  const known = new Set([...MAPS, ...LISTS, ...SINGLE, ...OTHER_KEYWORDS])
  mapSchema(schema, (one) => {
    for (const keyword of Object.keys(one)) if (!known.has(keyword) && !keyword.startsWith('x-')) found.add(keyword)
    return one
  })
  return [...found]
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1))
}

/** Returns the schema without patterns whose run time may be unlimited. */
function withoutOpenPatterns(schema: JsonSchema): JsonSchema {
  const { pattern: source, ...rest } = schema
  if (typeof source !== 'string') return schema
  const pattern = patternOf(source)
  return 'fault' in pattern && pattern.open ? rest : schema
}

/** Schema of a tool's `parameters`, converted to 2020-12. Unknown properties are forbidden. */
export const toolParametersSchema = parametersSchema((schema) => schema)

/**
 * Schema for tools of a server that checks arguments itself. If the run time of a `pattern` may be unlimited, only the
 * server checks this pattern.
 */
export const foreignParametersSchema = parametersSchema(withoutOpenPatterns)

function parametersSchema(change: (schema: JsonSchema) => JsonSchema) {
  return z.record(z.string(), z.unknown()).transform((given, context) => {
    try {
      return withinSteps(() => parametersOf(given, change, context))
    } catch (thrown) {
      if (!(thrown instanceof TooManySteps)) throw thrown
      faultIn(context)([], 'takes too many steps to check: its anyOf, oneOf, $ref and patterns multiply')
      return z.NEVER
    }
  })
}

function parametersOf(
  given: JsonSchema,
  change: (schema: JsonSchema) => JsonSchema,
  context: z.RefinementCtx,
): ToolParameters {
  const fault = faultIn(context)
  if (isDeeper(given, SCHEMA_DEPTH_MAX) || JSON.stringify(given).length > 4 * TOOL_TEXT_CHARS_MAX) {
    fault(
      [],
      `is nested deeper than ${SCHEMA_DEPTH_MAX} levels, or has more than ${4 * TOOL_TEXT_CHARS_MAX} characters`,
    )
    return z.NEVER
  }
  let schemas = 0
  const whole = mapSchema(given, (one) => {
    schemas++
    return change(modern(one))
  })
  if (schemas > SCHEMAS_MAX) {
    fault([], `has ${schemas} schemas in it; at most ${SCHEMAS_MAX} are allowed`)
    return z.NEVER
  }
  const { allOf: _joined, ...root } = resolved(whole, whole)
  const type = root['type'] ?? 'object'
  if (type !== 'object') fault(['type'], 'must be object: the parameters of a tool are always type: object')
  const properties = root['properties'] ?? {}
  const schema = mapSchema({ ...root, type: 'object', properties, required: root['required'] ?? [] }, closed)
  for (const { path, message, allowed } of faultsOf(schema))
    if (allowed === undefined) fault(path, message)
    else context.addIssue({ code: 'invalid_value', path: [...path], values: [...allowed], input: null })
  if (!isSchema(properties)) return z.NEVER
  const names = Object.keys(properties)
  if (names.length > TOOL_PARAMETERS_MAX)
    fault(['properties'], `has ${names.length} arguments; at most ${TOOL_PARAMETERS_MAX} are allowed`)
  for (const name of names)
    if (!ARGUMENT_NAME.test(name))
      fault(['properties', name], 'is not a name of an argument: 1 to 64 characters without spaces and braces')
  if (schema['additionalProperties'] === false)
    requiredOf(schema).forEach((name, index) => {
      if (!names.includes(name))
        fault(['required', index], `${name} is not one of the properties: ${names.join(', ') || '(none)'}`)
    })
  return schema as ToolParameters
}
