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

/** Maximum number of fields of one caller. Values are inserted into prompts and sentences. */
const FIELDS_MAX = 40
/** Maximum number of characters in a value. */
const VALUE_CHARS_MAX = 200
/** Maximum size of a file of callers in bytes: about 40,000 rows. */
const CALLERS_FILE_BYTES_MAX = 4 * 1024 * 1024
/** Maximum number of listed faults in a file; further faults are counted. */
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
        'Tool of the agent, by HTTP or in code, that only reads (a GET, or idempotent: true) and whose required arguments are all bound. The gateway itself calls this tool; models and dialogues cannot call it.',
      ),
    file: z
      .string()
      .regex(/\.(csv|json)$/, { error: 'must be a .csv or .json file' })
      .max(200)
      .exactOptional()
      .describe(
        'File of the agents folder in place of a tool, at most 4 MiB: CSV with a line of names, or a JSON list of objects. An edit applies to new calls.',
      ),
    key: field
      .default('phone')
      .describe("Field of the file with the caller's number, in any common form, such as 0712 345 678."),
    withinMs: z
      .int()
      .min(50)
      .max(2000)
      .default(800)
      .describe(
        'Maximum time in ms from the webhook that the greeting waits for the answer. If the stream opens later than this, the greeting does not wait.',
      ),
    fields: z
      .array(field)
      .max(FIELDS_MAX)
      .exactOptional()
      .describe('Fields in the answer of the tool. Default: the fields of its result.fields, else any field.'),
    personal: z
      .array(field)
      .max(FIELDS_MAX)
      .default([])
      .describe(
        'Fields that only a verified caller may hear. Before verify_caller has succeeded, texts, model, stages and dialogue do not get these fields.',
      ),
    language: field
      .exactOptional()
      .describe(
        "Field with the caller's language, such as sw or sw-KE. If the agent speaks this language, the call begins in it. Default: none.",
      ),
    memory: z
      .boolean()
      .default(false)
      .describe(
        "Stores the facts and the outcome of a verified caller's call for the caller's next call to the same number, as last_NAME. They are used only after the caller is verified again. This option needs verification, and works without tool and file.",
      ),
  })
  .refine(({ tool, file }) => tool === undefined || file === undefined, {
    error: 'has tool and file; allowed: one of them',
  })
  .refine(({ tool, file, memory }) => memory || tool !== undefined || file !== undefined, {
    error: 'needs tool, file or memory: true',
  })

/**
 * Returns the fields of a result that are stored for a caller: only scalars with a meaning, from the top level of the
 * result.
 * @param own  phone number of the caller; empty if withheld
 * @param left  receives each field that is left out, and its fault
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
      // Refused, because a control character could begin a new line in a prompt.
      const text = typeof value === 'string' ? value.replace(/[\p{Cc}\s]+/gu, ' ').trim() : ''
      return text === '' ? [] : [[name, text.slice(0, VALUE_CHARS_MAX)]]
    },
  )
  return Object.fromEntries(kept.slice(0, FIELDS_MAX))
}

/**
 * Returns the caller's values in the result of a tool.
 * @param from  number of the caller; empty if withheld
 */
export function callerAnswer(outcome: { readonly ok: boolean; readonly value: unknown }, from: string): CallerAnswer {
  const values = outcome.ok ? valuesOf(outcome.value, from) : {}
  const known = Object.keys(values).length > 0
  return { state: known ? 'found' : outcome.ok ? 'unknown' : 'failed', from: 'tool', values }
}

/**
 * Returns the answer of a look-up, and the values that were stored in the caller's last call.
 * @param wallMs  calendar time
 */
export function withEarlier(answer: CallerAnswer, earlier: EarlierCall, wallMs: number): CallerAnswer {
  const { owner } = earlier
  return {
    ...answer,
    state: answer.state === 'failed' ? 'failed' : 'found',
    earlier: earlierValues(earlier, wallMs),
    ...(owner === undefined ? {} : { owner }),
  }
}

/** Rows of a file by the caller's number: lines of `KEY TAB JSON`, sorted by key. */
export interface CallerRows {
  readonly lines: SharedArrayBuffer
  readonly fields: readonly string[]
}

/**
 * Reads a file of callers. Rows that cannot be used are left out. If several rows have one phone number, all of them
 * are left out, because the caller is then ambiguous. Values without a meaning are left out. Faults do not contain a
 * number, a name or a value of the file.
 * @param key  name of the column with the phone number. If there is no such column, a column with a usual name for
 * phone numbers is used, if only one column has such a name
 * @param reads  fields that the agent reads. If a column's name differs from a field only in case, spaces and signs,
 * the field's spelling is used
 * @throws SyntaxError if the whole file cannot be used
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
  // The message does not contain the names of the columns. If the file has no header, these "names" are a caller's
  // values.
  if (keyColumn === undefined && rows.length + columns.length > 0)
    throw new SyntaxError(
      `${headAt}: has no column ${key} (caller.key), and no other column is certainly the number; allowed: a column ${key}, or caller.key with the name of the column`,
    )
  const names = fieldNames(columns, reads, keyAt)
  const faults: string[] = []
  const twice = columns.filter((name, index) => name !== '' && columns.indexOf(name) !== index)
  if (twice.length > 0) faults.push(`${headAt}: has two columns with one name; only the first one is read`)
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
        faults.push(`${at}: has in ${key} the same number as ${before.at}; callers with this number are not recognised`)
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

/**
 * Returns the field of each column, by index. If the agent reads the field, it has the agent's spelling. A column whose
 * name cannot be a field is left out.
 */
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

/** A row and its position in the file, or the fault of a row that cannot be read. */
interface Row {
  readonly at: string
  /** Values by column. */
  readonly values: Readonly<Record<string, unknown>>
  readonly fault?: string
}

interface Rows {
  readonly columns: readonly string[]
  /** Position of the header line. */
  readonly at: string
  readonly rows: readonly Row[]
}

function jsonRows(text: string): Rows {
  const list = z.array(z.record(z.string(), z.unknown())).safeParse(jsonOrNull(text.replace(/^\ufeff/, '')))
  if (!list.success) throw new SyntaxError('is not a JSON list of objects')
  const rows = list.data.map((values, index) => ({ at: `row ${index + 1}`, values }))
  return { columns: [...new Set(rows.flatMap(({ values }) => Object.keys(values)))], at: 'the list', rows }
}

/**
 * Reads the rows of a CSV file. A row may have fewer cells than the header, because spreadsheets leave out empty cells
 * at the end of a row.
 */
function csvRows(text: string): Rows {
  const table = readTable(text)
  if ('fault' in table) throw new SyntaxError(table.fault)
  const { columns } = table
  const rows = table.records.map(({ line, cells }) => ({
    at: `line ${line}`,
    // If two columns have the same name, the first is used.
    values: Object.fromEntries(columns.map((name, place) => [name, cells[place] ?? ''] as const).reverse()),
    ...(cells.slice(columns.length).some((cell) => cell !== '')
      ? { fault: `has more than ${columns.length} cells, as many as there are names` }
      : {}),
  }))
  return { columns, at: `line ${table.line}`, rows }
}

const NEW_LINE = 10
const TAB = 9

/**
 * Finds the row of a caller without parsing the other rows.
 * @param from  number in E.164 form; empty if withheld
 */
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
