import { exactJson, jsonText, wholeNumber, withoutFence } from '../../core/json.js'
import { TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import { heardValue } from './heard-arguments.js'
import { compiled, isSchema, propertiesOf, requiredOf, resolved, typeOf, typesOf } from './json-schema.js'
import type { JsonSchema, ToolParameters } from './json-schema.js'
import { spendSteps, TooManySteps, withinSteps } from './steps.js'

type Arguments = Readonly<Record<string, unknown>>

/** Arguments for the tool, or a sentence for the model if the arguments cannot be used. */
export type CheckedArguments =
  | {
      readonly ok: true
      /** Checked arguments. Whole numbers that a double cannot represent are bigints. */
      readonly args: Arguments
      /** True if the arguments were converted to fit the schema, without loss. */
      readonly coerced: boolean
    }
  | { readonly ok: false; readonly why: string }

/** Maximum depth of a value that is converted; schemas may be recursive. */
const DEPTH_MAX = 32
/** Maximum number of faults in one answer for the model. */
const FAULTS_MAX = 5
/** Maximum number of values that a sentence lists. */
const NAMED_MAX = 20

const WHOLE = /^-?(?:0|[1-9]\d{0,39})(?:\.0{1,20})?$/
const DECIMAL = /^-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?(?:[eE][+-]?\d{1,2})?$/
const NO_VALUE = /^(?:null|none|undefined)$/i
/** Names of members in which some models wrap the arguments. */
const WRAPPERS: readonly string[] = ['arguments', 'args', 'parameters', 'params', 'input']

/**
 * Creates the check of a tool's arguments by JSON Schema 2020-12. The check first corrects frequent mistakes of models,
 * because a second request to the model would need the time of another turn. A value is changed only if its meaning is
 * certain:
 * - `"4"` for a number, and an object or a list as JSON text, with or without a code fence
 * - a list around one value, and a value without its list
 * - `null` and `""` for an optional argument
 * - an argument, or a value of an enum, in other capitals
 * - arguments that the schema does not name, which are dropped and never sent
 * - numbers, times and dates in the caller's words
 *
 * Words with several meanings are refused, with a question for the caller.
 * @param today  date in the caller's time zone, as `2026-11-25`
 */
export function argumentChecker(
  parameters: ToolParameters,
  today: (wallMs: number) => string = (wallMs) => new Date(wallMs).toISOString().slice(0, 10),
): (args: Arguments, wallMs?: number) => CheckedArguments {
  let valid: ReturnType<typeof compiled> | null = null
  const check = (given: Arguments, wallMs: number): CheckedArguments => {
    const text = JSON.stringify(given)
    if (text.length > TOOL_TEXT_CHARS_MAX)
      return { ok: false, why: `the arguments are longer than ${TOOL_TEXT_CHARS_MAX} characters` }
    const { args, open } = heard(
      parameters,
      coerced(parameters, unwrapped(given, parameters), parameters, 0) as Arguments,
      () => today(wallMs),
    )
    if (open !== null) return { ok: false, why: open }
    valid ??= compiled(parameters)
    if (valid(withDoubles(args)))
      return { ok: true, args, coerced: JSON.stringify(args, (_, value: unknown) => plain(value)) !== text }
    const faults = new Map<string, string>()
    for (const error of valid.errors ?? []) {
      if (faults.size >= FAULTS_MAX) break
      const { instancePath, keyword, params, message } = error
      const missing = (params as { readonly missingProperty?: string }).missingProperty
      const path = [...instancePath.split('/').slice(1), ...(missing === undefined ? [] : [missing])].map((part) =>
        part.replaceAll('~1', '/').replaceAll('~0', '~'),
      )
      const name = path.join('.') || 'arguments'
      const wanted = wantedAt(parameters, path)
      const what = missing !== undefined ? `is missing; send ${wanted}` : `${message ?? keyword}; send ${wanted}`
      if (!faults.has(name)) faults.set(name, `${name}: ${what}`)
    }
    return { ok: false, why: [...faults.values()].join('. ') }
  }
  return (given, wallMs = Date.now()) => {
    try {
      return withinSteps(() => check(given, wallMs))
    } catch (thrown) {
      if (!(thrown instanceof TooManySteps)) throw thrown
      return { ok: false, why: 'the arguments take too many steps to check; send fewer and less deep ones' }
    }
  }
}

/**
 * Converts an object from a model to its schema, with the corrections for tools' arguments. The object is never
 * refused. Wrong values are not changed, so that the reader can drop only these values. A number that a double cannot
 * represent becomes text.
 */
export function fitted(schema: ToolParameters, given: Arguments): Arguments {
  try {
    const read = withinSteps(() => coerced(schema, unwrapped(given, schema), schema, 0))
    return JSON.parse(JSON.stringify(read, (_, value: unknown) => plain(value))) as Arguments
  } catch (thrown) {
    if (!(thrown instanceof TooManySteps)) throw thrown
    return given
  }
}

/** Converts those arguments of a tool that contain the caller's words. */
function heard(
  parameters: ToolParameters,
  args: Arguments,
  today: () => string,
): { readonly args: Arguments; readonly open: string | null } {
  const result = { ...args }
  for (const [name, text] of Object.entries(args)) {
    const property = parameters.properties[name]
    if (typeof text !== 'string' || property === undefined) continue
    const found = heardValue(resolved(property, parameters), text, today())
    if (found === null) continue
    if ('choices' in found)
      return {
        args,
        open: `${name}: may be ${found.choices.join(' or ')}. Ask the caller which, then send one of them`,
      }
    result[name] = found.value
  }
  return { args: result, open: null }
}

function plain(value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}

/** Returns a value with doubles instead of bigints, because the validator can compare only doubles with limits. */
function withDoubles(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value)
  if (Array.isArray(value)) return value.map(withDoubles)
  if (!isSchema(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withDoubles(member)]))
}

function unwrapped(given: Arguments, { properties }: ToolParameters): Arguments {
  const [[name, value] = ['', null], ...others] = Object.entries(given)
  if (others.length > 0 || Object.hasOwn(properties, name) || !WRAPPERS.includes(name)) return given
  const inner = typeof value === 'string' ? parsedJson(value) : value
  return isSchema(inner) ? inner : given
}

function parsedJson(text: string): unknown {
  try {
    return exactJson(withoutFence(text))
  } catch {
    return undefined // the value is a plain text, not JSON
  }
}

/**
 * Converts a value to its schema if the meaning is certain. Otherwise the value stays unchanged, and the validator
 * refuses it.
 */
function coerced(schema: unknown, value: unknown, root: JsonSchema, depth: number): unknown {
  if (depth > DEPTH_MAX) return value
  spendSteps(1)
  const wanted = resolved(schema, root)
  const variants = variantsOf(wanted, root)
  if (variants !== null) {
    const exact = variants.find((variant) => fits(variant, value, root))
    if (exact !== undefined) return coerced(exact, value, root, depth + 1)
    const results = variants.flatMap((variant) => {
      const result = coerced(variant, value, root, depth + 1)
      return fits(variant, result, root) ? [result] : []
    })
    const distinct = new Map(results.map((result) => [JSON.stringify(result, (_, one: unknown) => plain(one)), result]))
    return distinct.size === 1 ? results[0] : value
  }
  const types = typesOf(wanted)
  const typed =
    types === null || types.some((type) => isType(type, value)) ? value : toType(types, wanted, value, root, depth)
  const fitted = toListed(wanted, typed)
  if (Array.isArray(fitted) && wanted['items'] !== undefined)
    return fitted.map((one: unknown) => coerced(wanted['items'], one, root, depth + 1))
  return isSchema(fitted) ? members(wanted, fitted, root, depth) : fitted
}

/** Returns the alternatives of a schema, if the schema consists only of alternatives; otherwise null. */
function variantsOf(schema: JsonSchema, root: JsonSchema): readonly JsonSchema[] | null {
  const list = schema['anyOf'] ?? schema['oneOf']
  if (!Array.isArray(list) || propertiesOf(schema) !== null) return null
  return list.map((one) => resolved(one, root))
}

function isType(type: string, value: unknown): boolean {
  const is = typeOf(value)
  return is === type || (type === 'number' && is === 'integer')
}

/**
 * True if a value is clearly meant for a schema. The value's type, the listed values, and the required members of an
 * object decide this.
 */
function fits(schema: JsonSchema, value: unknown, root: JsonSchema): boolean {
  spendSteps(1)
  const variants = variantsOf(schema, root)
  if (variants !== null) return variants.some((variant) => fits(variant, value, root))
  const types = typesOf(schema)
  if (types !== null && !types.some((type) => isType(type, value))) return false
  const listed = listedIn(schema)
  if (listed !== null && !listed.includes(value)) return false
  if (!isSchema(value)) return true
  const properties = propertiesOf(schema) ?? {}
  return (
    requiredOf(schema).every((name) => Object.hasOwn(value, name)) &&
    Object.entries(properties).every(([name, property]) => {
      const constant = listedIn(resolved(property, root))
      return constant === null || !Object.hasOwn(value, name) || constant.includes(value[name])
    })
  )
}

function listedIn(schema: JsonSchema): readonly unknown[] | null {
  if ('const' in schema) return [schema['const']]
  return Array.isArray(schema['enum']) ? (schema['enum'] as readonly unknown[]) : null
}

function toType(
  types: readonly string[],
  schema: JsonSchema,
  value: unknown,
  root: JsonSchema,
  depth: number,
): unknown {
  const found = types.flatMap((type): unknown[] => {
    const result = converted(type, schema, value, root, depth)
    return result === undefined ? [] : [result]
  })
  return found.length === 1 ? found[0] : value
}

/** Converts the value to a type; undefined if the value does not fit or may have several meanings. */
function converted(type: string, schema: JsonSchema, value: unknown, root: JsonSchema, depth: number): unknown {
  if (type === 'array') return toArray(schema, value, root, depth)
  const [only] = Array.isArray(value) && value.length === 1 ? (value as readonly unknown[]) : [value]
  if (only !== value && isType(type, only)) return only
  switch (type) {
    case 'string':
      return typeof only === 'number' || typeof only === 'boolean' ? String(only) : undefined
    case 'null':
      return typeof only === 'string' && (only.trim() === '' || NO_VALUE.test(only.trim())) ? null : undefined
    default:
  }
  if (typeof only !== 'string') return undefined
  const text = only.trim()
  switch (type) {
    case 'integer':
      return WHOLE.test(text) ? wholeNumber(text.replace(/\..*$/, '')) : undefined
    case 'number':
      if (WHOLE.test(text)) return wholeNumber(text.replace(/\..*$/, ''))
      return DECIMAL.test(text) ? Number(text) : undefined
    case 'boolean':
      return /^true$/i.test(text) ? true : /^false$/i.test(text) ? false : undefined
    case 'object': {
      const parsed = parsedJson(text)
      return isSchema(parsed) ? parsed : undefined
    }
    default:
      return undefined
  }
}

/**
 * Returns the list that a JSON text contains, or a list with one value. A text with separators may be several values,
 * so it is not converted.
 */
function toArray(schema: JsonSchema, value: unknown, root: JsonSchema, depth: number): unknown {
  if (typeof value === 'string') {
    const parsed = parsedJson(value)
    if (Array.isArray(parsed)) return parsed
    if (/[,;\n]/.test(value) || value.trim() === '') return undefined
  }
  if (value === null || schema['items'] === undefined) return undefined
  const item = resolved(schema['items'], root)
  return fits(item, coerced(item, value, root, depth + 1), root) ? [value] : undefined
}

/**
 * Returns the listed value that is equal except for capitals, spaces or quotes, if there is exactly one such listed
 * value.
 */
function toListed(schema: JsonSchema, value: unknown): unknown {
  const listed = listedIn(schema)
  if (listed === null || listed.includes(value) || typeof value === 'object') return value
  spendSteps(listed.length)
  const alike = listed.filter(
    (one) => one !== null && typeof one !== 'object' && bare(jsonText(one)) === bare(jsonText(value)),
  )
  return alike.length === 1 ? alike[0] : value
}

/** Returns a name in a form without the characters that models often change. */
function bare(name: string): string {
  return name.toLowerCase().replace(/[\s"_-]+/g, '')
}

function members(schema: JsonSchema, given: Arguments, root: JsonSchema, depth: number): Arguments {
  const properties = propertiesOf(schema)
  const others = schema['additionalProperties']
  if (properties === null && !isSchema(others)) return given
  const known = properties ?? {}
  const result: Record<string, unknown> = {}
  for (const [written, value] of Object.entries(given)) {
    if (value === undefined) continue
    const name = Object.hasOwn(known, written) ? written : alias(written, known, given)
    if (name === null) {
      if (others === false) continue
      result[written] = isSchema(others) ? coerced(others, value, root, depth + 1) : value
      continue
    }
    const property = known[name] ?? {}
    if (!requiredOf(schema).includes(name) && isAbsent(resolved(property, root), value, root)) continue
    result[name] = coerced(property, value, root, depth + 1)
  }
  return result
}

/** True if the value of an optional argument means "no value". */
function isAbsent(schema: JsonSchema, value: unknown, root: JsonSchema): boolean {
  if (value === '') return true
  const takes = (type: string): boolean =>
    [schema, ...(variantsOf(schema, root) ?? [])].some(
      (one) => typesOf(one)?.includes(type) ?? variantsOf(one, root) === null,
    )
  if (value === null) return !takes('null')
  return typeof value === 'string' && NO_VALUE.test(value.trim()) && !takes('string') && !takes('null')
}

/**
 * Returns the property that a misspelt name means. Exactly one property must match, and the model must not have sent
 * this property as well.
 */
function alias(written: string, properties: Readonly<Record<string, unknown>>, given: Arguments): string | null {
  const names = Object.keys(properties)
  spendSteps(names.length)
  const alike = names.filter((name) => bare(name) === bare(written))
  const [name] = alike
  return alike.length === 1 && name !== undefined && !Object.hasOwn(given, name) ? name : null
}

/** Describes, for the model, the value that it should send at a path. */
function wantedAt(root: ToolParameters, path: readonly string[]): string {
  let schema: JsonSchema = root
  for (const part of path) {
    const inner = propertiesOf(schema)?.[part] ?? (/^\d+$/.test(part) ? schema['items'] : undefined)
    if (inner === undefined) break
    schema = resolved(inner, root)
  }
  return wanted(schema, root)
}

function wanted(schema: JsonSchema, root: JsonSchema): string {
  spendSteps(1)
  const listed = listedIn(schema)
  if (listed !== null)
    return `one of ${listed
      .slice(0, NAMED_MAX)
      .map((one) => JSON.stringify(one))
      .join(', ')}`
  const variants = variantsOf(schema, root)
  if (variants !== null) return [...new Set(variants.map((variant) => wanted(variant, root)))].join(' or ')
  const format = typeof schema['format'] === 'string' ? ` in the form ${schema['format']}` : ''
  const pattern = typeof schema['pattern'] === 'string' ? ` that matches ${schema['pattern']}` : ''
  const names = Object.keys(propertiesOf(schema) ?? {}).slice(0, NAMED_MAX)
  const words: Readonly<Record<string, string>> = {
    string: `a text${format}${pattern}`,
    integer: `a whole number without quotes, such as 4${limits(schema)}`,
    number: `a number without quotes, such as 4.5${limits(schema)}`,
    boolean: 'true or false',
    null: 'null',
    array: 'a JSON list',
    object: names.length === 0 ? 'a JSON object' : `a JSON object with ${names.join(', ')}`,
  }
  return (typesOf(schema) ?? []).map((type) => words[type] ?? type).join(' or ') || 'a value'
}

function limits({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: JsonSchema): string {
  const named = [
    ['at least', minimum],
    ['more than', exclusiveMinimum],
    ['at most', maximum],
    ['less than', exclusiveMaximum],
  ] as const
  return named
    .filter(([, limit]) => typeof limit === 'number')
    .map(([words, limit]) => `, ${words} ${String(limit)}`)
    .join('')
}
