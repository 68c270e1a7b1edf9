import { z } from 'zod'
import { readTable, sheetText } from '../../agents/identity/spreadsheet.js'
import { usageSchemaOf } from '../../call/backend-events.js'
import { GatewayError } from '../../core/errors.js'
import { VENDORS } from '../../vendors/list.js'
import type { ListedExport } from '../../vendors/vendor.js'

const { model: _, ...units } = usageSchemaOf(z.number()).shape
/** Units of usage in call records. */
export const UNITS = Object.keys(units) as (keyof typeof units)[]
export type Unit = (typeof UNITS)[number]

const column = z.string().trim().min(1).max(200)
const columns = z.union([column, z.array(column).min(1).max(20)]).transform((given) => [given].flat())

/** Columns of a vendor's usage file, in the YAML file for `--map`. */
export const columnMapSchema = z.strictObject({
  day: columns.describe(
    'Column with the day in UTC, as a date, a time or seconds since 1970. The first existing column is used.',
  ),
  model: columns.describe('Column with the model. The first existing column is used.'),
  units: z
    .partialRecord(z.enum(UNITS), columns)
    .default({})
    .describe('Columns by unit of the call record, such as inputTokens; several are added up.'),
  times: z
    .partialRecord(z.enum(UNITS), z.number().positive())
    .default({})
    .describe('Factor of a unit: 60 for a column in minutes that becomes sessionSeconds.'),
  amount: column.exactOptional().describe('Column with the money charged.'),
  currency: z
    .union([z.string().regex(/^[A-Z]{3}$/), z.strictObject({ column })])
    .default('USD')
    .describe('Currency of `amount`, or its column.'),
  models: z
    .record(z.string().min(1).max(200), z.string().min(1).max(200))
    .default({})
    .describe("Model name in the call records by the vendor's name, if the names differ."),
})
export type ColumnMap = z.output<typeof columnMapSchema>

interface KnownExport {
  readonly map: ColumnMap
  /** Columns by which a file of this form is recognised. */
  readonly marks: readonly string[]
}

/** The common form of several clouds, from https://focus.finops.org/focus-columns/ on 2026-11-29. */
const FOCUS: Pick<ListedExport, 'marks' | 'map'> = {
  marks: ['BilledCost', 'BillingCurrency', 'ChargePeriodStart'],
  map: {
    day: 'ChargePeriodStart',
    model: ['SkuMeter', 'x_SkuMeterName', 'ChargeDescription', 'ServiceName'],
    amount: 'BilledCost',
    currency: { column: 'BillingCurrency' },
  },
}

/** Exports with known columns, by their name for `--map`. More specific forms come first. */
export const KNOWN_EXPORTS: Readonly<Record<string, KnownExport>> = Object.fromEntries(
  [...VENDORS.flatMap(({ exports = {} }) => Object.entries(exports)), ['focus', FOCUS] as const].map(
    ([name, { marks, map }]) => [name, { marks, map: columnMapSchema.parse(map) }],
  ),
)

/** Usage of one model on one day, from a vendor's file. */
export interface ExportedUsage {
  /** YYYY-MM-DD in UTC. */
  readonly day: string
  readonly model: string
  /** Units with a column in the file. */
  readonly units: Partial<Record<Unit, number>>
  /** Amount of money; null if the file has no column for it. */
  readonly amount: number | null
  readonly currency: string | null
}

/** BYTES_MAX: maximum size in bytes of a file. ROWS_MAX: maximum number of its rows. */
export const BYTES_MAX = 64 * 1024 * 1024
const ROWS_MAX = 500_000

/**
 * Name of the known form that a file has, found by the file's columns; null if no form matches.
 * @param given  the columns
 */
export function knownExport(given: readonly string[]): string | null {
  return Object.entries(KNOWN_EXPORTS).find(([, { marks }]) => marks.every((mark) => given.includes(mark)))?.[0] ?? null
}

/**
 * Sums of a usage file by day and model. Rows without a model or a figure are skipped, because some exports have a row
 * for every day.
 * @param map  columns; null to find the columns by their names
 * @throws GatewayError CONFIG_INVALID that names the line and the existing columns
 */
export function readExport(
  file: string,
  bytes: Uint8Array,
  map: ColumnMap | null,
): { readonly form: string | null; readonly rows: readonly ExportedUsage[] } {
  const refuse = (what: string): GatewayError => new GatewayError('CONFIG_INVALID', `${file}: ${what}`)
  if (bytes.byteLength > BYTES_MAX) throw refuse(`has ${bytes.byteLength} bytes; at most ${BYTES_MAX} are read`)
  const read = readTable(sheetText(bytes))
  if ('fault' in read) throw refuse(read.fault)
  const { columns: given, records } = read
  if (records.length > ROWS_MAX) throw refuse(`has ${records.length} rows; at most ${ROWS_MAX} are read`)
  const form = map === null ? knownExport(given) : null
  const used = map ?? (form === null ? null : (KNOWN_EXPORTS[form]?.map ?? null))
  if (used === null)
    throw refuse(
      `its columns match no known export (${Object.keys(KNOWN_EXPORTS).join(', ')}); name them with --map (docs/COST.md). It has: ${given.join(', ').slice(0, 400)}`,
    )
  const placeOf = (names: readonly string[], what: string): number => {
    const place = names.map((name) => given.indexOf(name)).find((at) => at >= 0)
    if (place === undefined)
      throw refuse(`has no column ${names.join(' or ')} (${what}). It has: ${given.join(', ').slice(0, 400)}`)
    return place
  }
  const dayAt = placeOf(used.day, 'day')
  const modelAt = placeOf(used.model, 'model')
  const amountAt = used.amount === undefined ? null : placeOf([used.amount], 'amount')
  const { currency } = used
  const currencyAt = typeof currency === 'string' ? null : placeOf([currency.column], 'currency')
  const unitsAt = Object.entries(used.units).map(([unit, names]) => ({
    unit: unit as Unit,
    places: names.map((name) => placeOf([name], unit)),
    times: used.times[unit as Unit] ?? 1,
  }))
  const sums = new Map<
    string,
    { day: string; model: string; units: Partial<Record<Unit, number>>; amount: number | null; currency: string | null }
  >()
  for (const { line, cells } of records) {
    const cell = (place: number): string => cells[place]?.trim() ?? ''
    const figure = (place: number): number => {
      const written = cell(place)
      // Commas are allowed only between groups of thousands. A decimal comma, as in 0,125, is refused.
      const text = /^-?[1-9]\d{0,2}(?:[\s,]\d{3})+(?:\.\d+)?$/.test(written)
        ? written.replaceAll(/[\s,]/g, '')
        : written
      if (text === '') return 0
      const value = Number(text)
      if (!Number.isFinite(value))
        throw refuse(`line ${line}: ${given[place] ?? ''} is not a number; allowed: digits with a point`)
      return value
    }
    const named = cell(modelAt)
    if (named === '') continue
    const day = dayOf(cell(dayAt))
    if (day === null)
      throw refuse(
        `line ${line}: ${given[dayAt] ?? ''} is not a day; allowed: 2026-11-29, a time in ISO 8601, or seconds since 1970`,
      )
    const model = modelName(used.models[named] ?? named)
    const key = `${day} ${model}`
    const sum = sums.get(key) ?? { day, model, units: {}, amount: null, currency: null }
    sums.set(key, sum)
    for (const { unit, places, times } of unitsAt)
      sum.units[unit] = (sum.units[unit] ?? 0) + times * places.reduce((total, place) => total + figure(place), 0)
    if (amountAt === null) continue
    sum.amount = (sum.amount ?? 0) + figure(amountAt)
    const own = typeof currency === 'string' ? currency : cell(currencyAt ?? 0).toUpperCase()
    if (sum.currency !== null && sum.currency !== own)
      throw refuse(`line ${line}: ${own} and ${sum.currency} for one model on one day; allowed: one currency`)
    sum.currency = own
  }
  return { form, rows: [...sums.values()].toSorted((a, b) => (`${a.day} ${a.model}` < `${b.day} ${b.model}` ? -1 : 1)) }
}

/** UTC day of a date, a time or seconds since 1970; null for any other text. A time without a zone is in UTC. */
export function dayOf(text: string): string | null {
  const [date] = /^\d{4}-\d{2}-\d{2}/.exec(text) ?? []
  // A time in another zone is converted to its UTC day.
  const hasZone = /(?:z|utc|gmt|\d:\d\d(?:\.\d+)?\s*[+-]\d\d(?::?\d\d)?)$/i.test(text)
  const inUtc = hasZone ? text : date === text ? `${text}T00:00:00Z` : text.includes('T') ? `${text}Z` : `${text} UTC`
  const time = /^\d{9,10}(?:\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(inUtc)
  return Number.isFinite(time) && (date !== undefined || /^\d/.test(text))
    ? new Date(time).toISOString().slice(0, 10)
    : null
}

/**
 * Name by which models are compared, without the date of a snapshot and the suffix of a line item:
 * `gpt-realtime-2.1-2026-08-01, audio input` becomes `gpt-realtime-2.1`.
 */
export function modelName(name: string): string {
  return name
    .replace(/, .*$/, '')
    .replace(/^models\//, '')
    .replace(/-\d{4}-?\d{2}-?\d{2}$/, '')
}
