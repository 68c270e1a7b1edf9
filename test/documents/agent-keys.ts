import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { agentJsonSchema } from '../../src/agents/file/definition.js'
import { packageRoot } from '../../src/config/package-root.js'
import { REALTIME, SERVICES, VENDORS } from '../../src/vendors/list.js'
import type { PartName, Vendor } from '../../src/vendors/vendor.js'
import { filledSection, tableRow } from './made-section.js'

/** The parts of a JSON Schema that zod writes. */
interface Schema {
  readonly $ref?: string
  readonly $defs?: Readonly<Record<string, Schema>>
  readonly type?: string
  readonly description?: string
  readonly default?: unknown
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly format?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: Schema | boolean
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
}

/** A key of an agent's file. */
interface AgentKey {
  /** `escalation.numbers[].hours`, `backends.openai.model`; `NAME` is a name that the author chooses. */
  readonly path: string
  readonly schema: Schema
  /** The values that it takes, in words. */
  takes: string
  /** Null where it has none: it is required, or its description says what its absence means. */
  readonly fallback: string | null
  readonly required: boolean
}

/** Keys that a page of their own explains. */
const ELSEWHERE: ReadonlySet<string> = new Set(['offline'])

/**
 * The vendors whose pages list a key: that of a realtime service's option or voice, all those of a service of a cascade that
 * has the option. Null: docs/AGENT-FILE.md lists it.
 */
export function vendorsOf(path: string): readonly Vendor[] | null {
  const [, name = ''] = /^(?:backends|voice)\.([^.]+)/.exec(path) ?? []
  const realtime = REALTIME.get(name)
  if (realtime !== undefined) return [realtime.vendor]
  const [, part = '', option = ''] = /^backends\.cascade\.(\w+)\.(\w+)/.exec(path) ?? []
  if (!(part in SERVICES)) return null
  const having = [...SERVICES[part as PartName].values()].filter(({ options }) => option in options)
  return having.length === 0 ? null : VENDORS.filter((vendor) => having.some((service) => service.vendor === vendor))
}
/** A section is described once; where the same one comes again, it is named. */
const REPEATED_KEYS_MIN = 3
const LITERAL_CHARS_MAX = 60
/** Steps into a schema that names itself. */
const DEPTH_MAX = 6

const root = agentJsonSchema() as Schema

function resolved(schema: Schema): Schema {
  if (schema.$ref === undefined) return schema
  const { $ref, ...own } = schema
  const target = root.$defs?.[$ref.split('/').at(-1) ?? '']
  return target === undefined ? own : { ...resolved(target), ...own }
}

/** The alternatives of a schema, null aside; itself where it has none. */
function alternatives(schema: Schema): Schema[] {
  const { anyOf, oneOf, allOf } = schema
  const found = [...(anyOf ?? []), ...(oneOf ?? []), ...(allOf ?? [])].map(resolved)
  return found.length === 0 ? [schema] : found.flatMap(alternatives)
}

/** Every key that the schema of an agent's file has, in its order. */
export function agentKeys(): AgentKey[] {
  const keys: AgentKey[] = []
  const known = new Map<string, string>()
  const add = (schema: Schema, path: string): void => {
    for (const one of alternatives(resolved(schema))) {
      const { properties = {}, required = [], additionalProperties, items } = one
      for (const [name, property] of Object.entries(properties)) {
        const at = path === '' ? name : `${path}.${name}`
        const child = resolved(property)
        const twin = keys.find((key) => key.path === at)
        if (twin !== undefined) {
          const takes = typeOf(child, name)
          if (!twin.takes.split('; or ').includes(takes)) twin.takes += `; or ${takes}`
          continue
        }
        const shape = JSON.stringify(shapeOf(child))
        const before = known.get(shape)
        const own = ELSEWHERE.has(at) ? 0 : ownKeys(child)
        const repeats = own >= REPEATED_KEYS_MIN && before !== undefined
        if (own >= REPEATED_KEYS_MIN && before === undefined) known.set(shape, at)
        keys.push({
          path: at,
          schema: child,
          takes: repeats ? `as \`${before}\`` : typeOf(child, name),
          fallback: child.default === undefined ? null : literal(child.default),
          required: required.includes(name) && child.default === undefined,
        })
        if (!repeats && !ELSEWHERE.has(at)) add(child, at)
      }
      // An entry of a list that may stand alone is described there.
      const alone = keys.some(({ path: other }) => other.startsWith(`${path}.`))
      if (items !== undefined && ownKeys(items) > 0 && !alone) add(items, `${path}[]`)
      if (typeof additionalProperties === 'object' && ownKeys(additionalProperties) > 0)
        add(additionalProperties, `${path}.NAME`)
    }
  }
  add(root, '')
  return keys
}

function shapeOf({ default: _, description: __, ...shape }: Schema): unknown {
  return shape
}

/** How many keys are below a schema, those of its alternatives and entries included, to a depth. */
function ownKeys(schema: Schema, depth = 0): number {
  if (depth > DEPTH_MAX) return 0
  return alternatives(resolved(schema)).reduce((sum, one) => {
    const { properties = {}, items, additionalProperties } = one
    const entries = items === undefined ? 0 : ownKeys(items, depth + 1)
    const named = typeof additionalProperties === 'object' ? ownKeys(additionalProperties, depth + 1) : 0
    return sum + Object.keys(properties).length + entries + named
  }, 0)
}

const UNITS: readonly (readonly [ending: RegExp, unit: string])[] = [
  [/Ms$/, ' ms'],
  [/S$/, ' s'],
  [/Hz$/, ' Hz'],
  [/Db$/, ' dB'],
  [/Minutes$/, ' minutes'],
  [/Days$/, ' days'],
]

function typeOf(given: Schema, name: string, depth = 0): string {
  if (depth > DEPTH_MAX) return 'any JSON'
  const schema = resolved(given)
  if (schema.const !== undefined) return literal(schema.const)
  if (schema.enum !== undefined) return schema.enum.map(literal).join(', ')
  const parts = alternatives(schema)
  if (parts.length > 1 || parts[0] !== schema) {
    if (['string', 'number', 'boolean', 'array'].every((type) => parts.some((part) => part.type === type)))
      return 'any JSON'
    const given = parts.filter(({ type }) => type !== 'null')
    const spoken = given.length === 2 && given[0]?.type === 'string' && isTexts(given[1])
    const words = spoken ? ['text, or one for each language'] : given.map((part) => typeOf(part, name, depth + 1))
    return [...new Set(given.length < parts.length ? [...words, '`null`'] : words)].join('; or ')
  }
  switch (schema.type) {
    case 'boolean':
      return '`true`, `false`'
    case 'null':
      return '`null`'
    case 'integer':
    case 'number':
      return numberType(schema, name)
    case 'string':
      return schema.format === 'uri' ? 'URL' : `text${amount(schema.minLength, schema.maxLength, 'characters')}`
    case 'array':
      return `list${amount(schema.minItems, schema.maxItems, 'entries')}${schema.items === undefined ? '' : ` (each: ${typeOf(schema.items, name, depth + 1)})`}`
    case 'object':
      return objectType(schema, name, depth)
    default:
      return 'any JSON'
  }
}

function objectType({ properties, additionalProperties: named }: Schema, name: string, depth: number): string {
  const own = properties === undefined ? [] : ['section']
  const others = typeof named === 'object' ? [`map (each value: ${typeOf(named, name, depth + 1)})`] : []
  return [...own, ...others].join(', and ') || 'map'
}

const isTexts = (schema: Schema | undefined): boolean =>
  schema?.type === 'object' &&
  typeof schema.additionalProperties === 'object' &&
  resolved(schema.additionalProperties).type === 'string'

function numberType({ type, minimum, maximum, exclusiveMinimum }: Schema, name: string): string {
  const unit = UNITS.find(([ending]) => ending.test(name))?.[1] ?? ''
  const what = type === 'integer' ? 'whole number' : 'number'
  const least = exclusiveMinimum ?? minimum
  const most = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum
  if (least !== undefined && most !== undefined && least > Number.MIN_SAFE_INTEGER)
    return `${what}, ${least}-${most}${unit}`
  return unit === '' ? what : `${what},${unit}`
}

function amount(least: number | undefined, most: number | undefined, of: string): string {
  if (most === undefined) return ''
  return ` of ${least === undefined || least === 0 ? 'up to ' : least === most ? '' : `${least}-`}${most} ${of}`
}

function literal(value: unknown): string {
  if (value === '') return 'empty'
  const text = JSON.stringify(value)
  if (text === '{}' || text === '[]' || text === 'null' || text.length <= LITERAL_CHARS_MAX) return `\`${text}\``
  return Array.isArray(value) ? 'sentences' : 'a sentence'
}

/**
 * docs/AGENT-FILE.md with its tables: the marks `keys of turn bargeIn` have a table of these two keys and all keys below them.
 */
export function agentFilePage(): string {
  const file = 'docs/AGENT-FILE.md'
  const page = readFileSync(join(packageRoot(), file), 'utf8')
  const keys = agentKeys().filter(({ path }) => vendorsOf(path) === null)
  const sections = page.matchAll(/^<!-- (keys of (.+)): begin -->$/gm)
  return [...sections].reduce((made, [, section = '', names = '']) => {
    const own = names.split(' ').flatMap((name) => keys.filter(({ path }) => path.split(/[.[]/)[0] === name))
    return filledSection(made, file, section, `\n${keysTable(own)}\n`)
  }, page)
}

/**
 * A table of keys, as all pages that have some show it.
 * @param docs  the way from the page to docs/
 */
export function keysTable(keys: readonly AgentKey[], docs = ''): string {
  const rows = keys.map(({ path, schema, takes, fallback, required }) =>
    tableRow([`\`${path}\``, takes, required ? 'required' : (fallback ?? ''), prose(schema.description ?? '', docs)]),
  )
  return `| key | takes | default | meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`
}

/** A description as Markdown in which nothing is a tag or a template of the site. */
function prose(text: string, docs: string): string {
  return text
    .split('`')
    .map((part, i) =>
      i % 2 === 1
        ? part
        : part
            .replace(/\{\{[^}]*\}\}|<[^>]*>|\*/g, (found) => `\`${found}\``)
            .replace(/\bdocs\/([A-Z-]+\.md)(#[a-z0-9-]+)?/g, `[$1](${docs}$1$2)`),
    )
    .join('`')
}
