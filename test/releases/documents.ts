import { z } from 'zod'

/** Text of a string for whose form there is nothing more exact. */
const TEXTS = [
  'HD_sample000001',
  'some words',
  '+254700000001',
  'order-status',
  '2026-11-28T09:00:00.000Z',
  'Africa/Nairobi',
  'http://10.0.0.1:9470',
  '1',
  '0123456789abcdef',
  'order-status.yaml',
  'gw-a',
  'Mon-Sat 09:00-18:00',
  '90s',
  '2026-11-28',
  'en',
  '127.0.0.1',
  'HD_sample000001.0123456789abcdef01234567',
  '4f5c0d34-0c3b-4c57-9d0f-0a2b1c3d4e5f',
] as const

type Schema = z.core.$ZodType

/**
 * Documents of a schema that have every key, each time with other values, until each listed value and each alternative of it
 * has been in one of them. The same schema gives the same documents.
 * @param later  keys that each object has beside those of the schema, as a later release may write them
 */
export function documentsOf(schema: Schema, later: object = {}): readonly unknown[] {
  return Array.from({ length: breadth(schema) }, (_, turn) => valueOf(schema, turn, { path: '', later }))
}

/** Where in a document a value is, and the keys that each of its objects has more. */
interface Place {
  readonly path: string
  readonly later: object
}

const below = ({ path, later }: Place, name: string): Place => ({ path: `${path}${name}`, later })

const breadths = new WeakMap<Schema, number>()

/** How many documents show every alternative. */
function breadth(schema: Schema): number {
  const known = breadths.get(schema)
  if (known !== undefined) return known
  breadths.set(schema, 1) // of one that contains itself
  const found = breadthOf(schema)
  breadths.set(schema, found)
  return found
}

function breadthOf(schema: Schema): number {
  const { def } = (schema as z.core.$ZodTypes)._zod
  switch (def.type) {
    case 'object':
      return Math.max(1, ...Object.values(def.shape).map(breadth))
    case 'union':
      return def.options.reduce((sum, option) => sum + breadth(option), 0)
    case 'enum':
      return Object.keys(def.entries).length
    case 'literal':
      return def.values.length
    case 'boolean':
      return 2
    case 'nullable':
      return breadth(def.innerType) + 1
    case 'array':
      return breadth(def.element)
    case 'record':
      return breadth(def.valueType)
    case 'tuple':
      return Math.max(1, ...def.items.map(breadth))
    case 'optional':
    case 'default':
    case 'prefault':
    case 'readonly':
    case 'catch':
    case 'nonoptional':
      return breadth(def.innerType)
    case 'pipe':
      return breadth(writtenOf(def))
    default:
      return 1
  }
}

function valueOf(schema: Schema, turn: number, place: Place): unknown {
  const { def } = (schema as z.core.$ZodTypes)._zod
  switch (def.type) {
    case 'object':
      return {
        ...Object.fromEntries(
          Object.entries(def.shape).map(([key, inner]) => [key, valueOf(inner, turn, below(place, `.${key}`))]),
        ),
        ...place.later,
      }
    case 'union': {
      let rest = turn % breadth(schema)
      const option = def.options.find((one) => {
        if (rest < breadth(one)) return true
        rest -= breadth(one)
        return false
      })
      return valueOf(option as Schema, rest, place)
    }
    case 'enum': {
      const values = Object.values(def.entries)
      return values[turn % values.length]
    }
    case 'literal':
      return def.values[turn % def.values.length]
    case 'boolean':
      return turn % 2 === 0
    case 'nullable':
      return turn > 0 && turn % (breadth(def.innerType) + 1) === breadth(def.innerType)
        ? null
        : valueOf(def.innerType, turn, place)
    case 'array':
      return fitting(schema, [[valueOf(def.element, turn, below(place, '[]'))], []], place)
    case 'record':
      return recordOf(schema, def, turn, place)
    case 'tuple':
      return def.items.map((item, i) => valueOf(item, turn, below(place, `[${i}]`)))
    case 'optional':
    case 'default':
    case 'prefault':
    case 'readonly':
    case 'catch':
    case 'nonoptional':
      return valueOf(def.innerType, turn, place)
    case 'pipe':
      return valueOf(writtenOf(def), turn, place)
    case 'number':
      return fitting(schema, [turn + 1, 60, 1, 0, 16_000, 0.5], place)
    case 'string':
      return fitting(schema, TEXTS, place)
    case 'null':
      return null
    case 'any':
    case 'unknown':
      return { sample: 'anything', of: [1, true, null] }
    case 'custom':
      return fitting(schema, [...TEXTS, { type: 'result' }], place)
    default:
      throw new TypeError(`${place.path}: there is no sample of ${def.type}`)
  }
}

/** The side of a pipe that says what is written: what an earlier form is made into, if that comes first. */
function writtenOf(def: z.core.$ZodPipeDef): Schema {
  return (def.in as z.core.$ZodTypes)._zod.def.type === 'transform' ? def.out : def.in
}

function recordOf(schema: Schema, def: z.core.$ZodRecordDef, turn: number, place: Place): unknown {
  const keyDef = (def.keyType as z.core.$ZodTypes)._zod.def
  const keys =
    keyDef.type === 'enum'
      ? Object.values(keyDef.entries).map(String)
      : [String(valueOf(def.keyType, turn, below(place, '{}')))]
  const one = Object.fromEntries(keys.map((key) => [key, valueOf(def.valueType, turn, below(place, '.*'))]))
  return fitting(schema, [one, {}], place)
}

/** The first that the schema takes. */
function fitting(schema: Schema, values: readonly unknown[], { path, later }: Place): unknown {
  const found = values.find((value) => z.safeParse(schema, value).success)
  // A strict schema takes no more keys: whoever reads the document says so.
  if (found === undefined && Object.keys(later).length > 0) return values[0]
  if (found === undefined) throw new TypeError(`${path}: none of the samples fits`)
  return found
}
