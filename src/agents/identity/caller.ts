import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { earlierValues } from '../../call/caller-data.js'
import type { CallerAnswer, CallerValues, EarlierCall } from '../../call/caller-data.js'
import { jsonOrNull, jsonText } from '../../core/json.js'
import { numberToCall, partyKey } from '../../sautikit/phone.js'
import { holdsDates, saidFault, valueFault } from '../../call/tools/value-fault.js'
import type { ValueFault } from '../../call/tools/value-fault.js'
import { sharedText } from './shared-text.js'
import { columnName, numberColumnOf, readAs, readTable, sheetText } from './spreadsheet.js'

/** Fields of one caller, and characters of a value: they stand in a prompt, or in a sentence. */
const FIELDS_MAX = 40
const VALUE_CHARS_MAX = 200
/** Bytes of a file with callers: about 40,000 rows. */
const CALLERS_FILE_BYTES_MAX = 4 * 1024 * 1024
/** Its faults that are named; more are counted. */
const ROW_FAULTS_MAX = 20

const field = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,39}$/, {
  error: 'is no name; a name is a letter or _, then letters, digits or _, 40 at most',
})

export const callerSchema = z
  .strictObject({
    tool: z
      .string()
      .min(1)
      .max(64)
      .exactOptional()
      .describe(
        'One of tools that only reads, and whose required arguments are all bound: the gateway calls it by itself, the model does not get it.',
      ),
    file: z
      .string()
      .regex(/\.(csv|json)$/, { error: 'must be a .csv or .json file' })
      .max(200)
      .exactOptional()
      .describe('A file of this folder in place of a tool: CSV with a line of names, or a JSON list of objects.'),
    key: field.default('phone').describe('Field of the file with the number of the caller.'),
    withinMs: z
      .int()
      .min(50)
      .max(2000)
      .default(800)
      .describe('How long after the webhook the greeting may wait for the answer.'),
    fields: z
      .array(field)
      .max(FIELDS_MAX)
      .exactOptional()
      .describe('The fields that the tool gives. Default: those of its result.fields, else any.'),
    personal: z
      .array(field)
      .max(FIELDS_MAX)
      .default([])
      .describe('Fields that only a verified caller hears; the model has them only then.'),
    language: field
      .exactOptional()
      .describe("Field with the caller's language, such as sw. Default: the call begins as it does without."),
    memory: z
      .boolean()
      .default(false)
      .describe(
        "Keeps the facts and the outcome of a verified caller's last call for their next: last_NAME, of which nobody and no model has anything before the caller is verified again. Needs verification.",
      ),
  })
  .refine(({ tool, file }) => tool === undefined || file === undefined, {
    error: 'has tool and file; allowed: one of them',
  })
  .refine(({ tool, file, memory }) => memory || tool !== undefined || file !== undefined, {
    error: 'needs tool, file or memory: true',
  })

/**
 * Part of a result that is kept of a caller: the scalars of its top level that say something.
 * @param own  number of the caller; empty: withheld
 * @param left  gets each field that is left out, and why
 */
function valuesOf(
  result: unknown,
  own: string,
  left: (field: string, fault: ValueFault) => void = () => undefined,
  dates: ReadonlySet<string> = new Set(),
): CallerValues {
  if (typeof result !== 'object' || result === null || Array.isArray(result)) return {}
  const kept = Object.entries(result as Readonly<Record<string, unknown>>).flatMap(
    ([name, value]): [string, string | number | boolean][] => {
      if (!field.safeParse(name).success) return []
      const fault = valueFault(value, { field: name, own, dates: dates.has(name) })
      if (fault !== null) left(name, fault)
      if (fault !== null) return []
      if (typeof value === 'number' || typeof value === 'boolean') return [[name, value]]
      // Control characters would break a prompt into lines of their own.
      const text = typeof value === 'string' ? value.replace(/[\p{Cc}\s]+/gu, ' ').trim() : ''
      return text === '' ? [] : [[name, text.slice(0, VALUE_CHARS_MAX)]]
    },
  )
  return Object.fromEntries(kept.slice(0, FIELDS_MAX))
}

/** Caller values in a tool's answer. @param from  number of the caller; empty: withheld */
export function callerAnswer(outcome: { readonly ok: boolean; readonly value: unknown }, from: string): CallerAnswer {
  const values = outcome.ok ? valuesOf(outcome.value, from) : {}
  const known = Object.keys(values).length > 0
  return { state: known ? 'found' : outcome.ok ? 'unknown' : 'failed', from: 'tool', values }
}

/** A look-up's answer with what the caller's last call left. @param wallMs calendar time */
export function withEarlier(answer: CallerAnswer, earlier: EarlierCall, wallMs: number): CallerAnswer {
  return { ...answer, state: answer.state === 'failed' ? 'failed' : 'found', earlier: earlierValues(earlier, wallMs) }
}

/** Rows of a file by the number of the caller, as lines of `KEY TAB JSON` in the order of their keys. */
export interface CallerRows {
  readonly lines: SharedArrayBuffer
  readonly fields: readonly string[]
}

/**
 * Reads a file of callers. A row that cannot be used is left out, and so are those of several callers with one number: who calls
 * from there is not known. A value that says nothing is left out. No fault has a number, a name or a value of the file.
 * @param key  column of the number; another one that is named as such columns are, where it is the only one
 * @param reads  fields that the agent reads: a column has their spelling where it differs in case, spaces and signs alone
 * @throws SyntaxError where the whole file cannot be used
 */
export async function readCallers(
  file: string,
  key: string,
  reads: readonly string[] = [],
): Promise<{ readonly rows: CallerRows; readonly faults: readonly string[] }> {
  const bytes = await readFile(file)
  if (bytes.length > CALLERS_FILE_BYTES_MAX)
    throw new SyntaxError(`has ${bytes.length} bytes; at most ${CALLERS_FILE_BYTES_MAX} are allowed`)
  const text = sheetText(bytes)
  const { columns, at: headAt, rows } = file.endsWith('.csv') ? csvRows(text) : jsonRows(text)
  const keyAt = numberColumnOf(columns, key)
  const keyColumn = columns[keyAt]
  // The names of columns are not in the message: without a line of names they are those of a caller.
  if (keyColumn === undefined && rows.length + columns.length > 0)
    throw new SyntaxError(
      `${headAt}: has no column ${key} (caller.key), and not one other for the number alone; allowed: ${key}, or caller.key with its name`,
    )
  const names = fieldNames(columns, reads, keyAt)
  const faults: string[] = []
  const twice = columns.filter((name, index) => name !== '' && columns.indexOf(name) !== index)
  if (twice.length > 0) faults.push(`${headAt}: has a column twice; the first of them is read`)
  const dates = new Set(
    columns.flatMap((name, place) =>
      holdsDates(rows.map(({ values }) => (typeof values[name] === 'string' ? values[name] : '')))
        ? [names.get(place) ?? '']
        : [],
    ),
  )
  const known = new Map<string, { readonly at: string; readonly values: CallerValues | null }>()
  const fields = new Set<string>()
  const left = new Map<string, { readonly at: string; count: number }>()
  for (const { at, values: row, fault } of rows) {
    const number = keyColumn === undefined ? undefined : row[keyColumn]
    const called = numberToCall(typeof number === 'string' ? number : jsonText(number ?? ''))
    if (fault !== undefined) faults.push(`${at}: ${fault}`)
    else if ('fault' in called) faults.push(`${at}: has in ${key} a number that ${called.fault}`)
    else {
      const party = partyKey(called.number)
      const named = columns.flatMap((column, place): [string, unknown][] => {
        const name = names.get(place)
        return name === undefined ? [] : [[name, row[column]]]
      })
      const leftOut = (name: string, why: ValueFault): void => {
        const what = `has in ${name} ${saidFault(why)}`
        const first = left.get(what)
        if (first === undefined) left.set(what, { at, count: 1 })
        else first.count++
      }
      const values = valuesOf(Object.fromEntries(named), called.number, leftOut, dates)
      const before = known.get(party)
      if (before !== undefined)
        faults.push(`${at}: has in ${key} the number of ${before.at}; callers from there are not known`)
      known.set(party, before === undefined ? { at, values } : { at: before.at, values: null })
    }
  }
  for (const name of names.values()) fields.add(name)
  const lines = [...known]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([party, { values }]) => (values === null ? [] : [`${party}\t${JSON.stringify(values)}\n`]))
  const more = faults.length - ROW_FAULTS_MAX
  return {
    rows: { lines: sharedText(lines.join('')), fields: [...fields] },
    faults: [
      ...(more > 0 ? [...faults.slice(0, ROW_FAULTS_MAX), `${more} more rows cannot be used`] : faults),
      ...[...left]
        .slice(0, ROW_FAULTS_MAX)
        .map(([what, { at, count }]) => `${at}${count === 1 ? '' : ` and ${count - 1} more`}: ${what}`),
    ],
  }
}

/** The field of each column, by its place: as the agent reads it, else as it is written; without columns that are no fields. */
function fieldNames(columns: readonly string[], reads: readonly string[], keyAt: number): ReadonlyMap<number, string> {
  const names = new Map<number, string>()
  const taken = new Set(columns)
  for (const [place, column] of columns.entries()) {
    if (place === keyAt || column === '' || columns.indexOf(column) !== place) continue
    const name = readAs(column, reads, columns) ?? column
    const plain = field.safeParse(name).success ? name : columnName(column)
    if (!field.safeParse(plain).success || (plain !== column && taken.has(plain))) continue
    taken.add(plain)
    names.set(place, plain)
  }
  return names
}

/** A row with its place in the file, and why it cannot be read. */
interface Row {
  readonly at: string
  /** By column. */
  readonly values: Readonly<Record<string, unknown>>
  readonly fault?: string
}

interface Rows {
  readonly columns: readonly string[]
  /** Place of the names of the columns. */
  readonly at: string
  readonly rows: readonly Row[]
}

function jsonRows(text: string): Rows {
  const list = z.array(z.record(z.string(), z.unknown())).safeParse(jsonOrNull(text.replace(/^\ufeff/, '')))
  if (!list.success) throw new SyntaxError('is no JSON list of objects')
  const rows = list.data.map((values, index) => ({ at: `row ${index + 1}`, values }))
  return { columns: [...new Set(rows.flatMap(({ values }) => Object.keys(values)))], at: 'the list', rows }
}

/** A spreadsheet leaves out empty cells at the end of a row. */
function csvRows(text: string): Rows {
  const table = readTable(text)
  if ('fault' in table) throw new SyntaxError(table.fault)
  const { columns } = table
  const rows = table.records.map(({ line, cells }) => ({
    at: `line ${line}`,
    // The first of two columns with one name counts.
    values: Object.fromEntries(columns.map((name, place) => [name, cells[place] ?? ''] as const).reverse()),
    ...(cells.slice(columns.length).some((cell) => cell !== '')
      ? { fault: `has more than ${columns.length} cells, as many as there are names` }
      : {}),
  }))
  return { columns, at: `line ${table.line}`, rows }
}

const NEW_LINE = 10
const TAB = 9

/** The row of a caller, found without reading the others. @param from  E.164; empty: withheld */
export function findCaller({ lines }: CallerRows, from: string): CallerAnswer {
  const wanted = partyKey(from)
  if (wanted === '') return { state: 'withheld', from: 'file', values: {} }
  const bytes = Buffer.from(lines)
  let [low, high] = [0, bytes.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const start = middle === 0 ? 0 : bytes.lastIndexOf(NEW_LINE, middle - 1) + 1
    const begin = Math.max(start, low)
    const tab = bytes.indexOf(TAB, begin)
    const end = bytes.indexOf(NEW_LINE, tab)
    const key = bytes.toString('utf8', begin, tab)
    if (key === wanted)
      return { state: 'found', from: 'file', values: JSON.parse(bytes.toString('utf8', tab + 1, end)) as CallerValues }
    if (key < wanted) low = end + 1
    else high = begin
  }
  return { state: 'unknown', from: 'file', values: {} }
}
