import { agentJsonSchema } from '../../src/agents/file/definition.js'
import { tableRow, withMadeSection } from './made-section.js'

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
  /** Whether it has keys of its own, which are listed too. */
  readonly section: boolean
  /** The values that it takes, in words. */
  takes: string
  /** Null where it has none: it is required, or its description says what its absence means. */
  readonly fallback: string | null
  readonly required: boolean
}

/** Keys that a page of their own explains. */
const ELSEWHERE: ReadonlySet<string> = new Set(['offline'])
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
          section: own > 0,
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
    const words = spoken ? ['text, or one a language'] : given.map((part) => typeOf(part, name, depth + 1))
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
      return `list${amount(schema.minItems, schema.maxItems, 'entries')}${schema.items === undefined ? '' : ` of: ${typeOf(schema.items, name, depth + 1)}`}`
    case 'object':
      return objectType(schema, name, depth)
    default:
      return 'any JSON'
  }
}

function objectType({ properties, additionalProperties: named }: Schema, name: string, depth: number): string {
  const own = properties === undefined ? [] : ['section']
  const others = typeof named === 'object' ? [`map of: ${typeOf(named, name, depth + 1)}`] : []
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

const INTRO = `Every key that the schema has, made from it by \`npm run documents\`: \`NAME\` is a name of yours, \`[]\` an entry of a list, and a
default of \`{}\` stands for the defaults of the keys below.

| key | takes | default | meaning |
|---|---|---|---|
`

/** The section of all keys in docs/AGENT-FILE.md. */
export function agentFilePage(): string {
  const rows = agentKeys().map(({ path, schema, takes, fallback, required }) =>
    tableRow([`\`${path}\``, takes, required ? 'required' : (fallback ?? ''), prose(schema.description ?? '')]),
  )
  return withMadeSection('docs/AGENT-FILE.md', 'keys', `${INTRO}${rows.join('\n')}\n\n`)
}

/** A description as Markdown in which nothing is a tag or a template of the site. */
function prose(text: string): string {
  return text
    .split('`')
    .map((part, i) =>
      i % 2 === 1
        ? part
        : part
            .replace(/\{\{[^}]*\}\}|<[^>]*>|\*/g, (found) => `\`${found}\``)
            .replace(/\bdocs\/([A-Z-]+\.md)/g, '[$1]($1)'),
    )
    .join('`')
}
