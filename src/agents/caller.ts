import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { earlierValues } from '../call/caller-data.js'
import type { CallerAnswer, CallerValues, EarlierCall } from '../call/caller-data.js'
import { jsonText } from '../core/json.js'
import { numberToCall, partyKey } from '../sautikit/phone.js'
import { sharedText } from './shared-text.js'
import { readTable } from './spreadsheet.js'

/** Fields of one caller, and characters of a value: they stand in a prompt, or in a sentence. */
const FIELDS_MAX = 40
const VALUE_CHARS_MAX = 200
/** Bytes of a file with callers: about 40,000 rows. */
const CALLERS_FILE_BYTES_MAX = 4 * 1024 * 1024

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
        "Keeps the facts and the outcome of a caller's last call for their next: last_NAME, said to verified callers only.",
      ),
  })
  .refine(({ tool, file }) => tool === undefined || file === undefined, {
    error: 'has tool and file; allowed: one of them',
  })
  .refine(({ tool, file, memory }) => memory || tool !== undefined || file !== undefined, {
    error: 'needs tool, file or memory: true',
  })

/** Part of a result that is kept of a caller: the scalars of its top level. */
function valuesOf(result: unknown): CallerValues {
  if (typeof result !== 'object' || result === null || Array.isArray(result)) return {}
  const kept = Object.entries(result as Readonly<Record<string, unknown>>).flatMap(
    ([name, value]): [string, string | number | boolean][] => {
      if (!field.safeParse(name).success) return []
      if (typeof value === 'number' || typeof value === 'boolean') return [[name, value]]
      // Control characters would break a prompt into lines of their own.
      const text = typeof value === 'string' ? value.replace(/[\p{Cc}\s]+/gu, ' ').trim() : ''
      return text === '' ? [] : [[name, text.slice(0, VALUE_CHARS_MAX)]]
    },
  )
  return Object.fromEntries(kept.slice(0, FIELDS_MAX))
}

/** Caller values in a tool's answer. */
export function callerAnswer(outcome: { readonly ok: boolean; readonly value: unknown }): CallerAnswer {
  const values = outcome.ok ? valuesOf(outcome.value) : {}
  const known = Object.keys(values).length > 0
  return { state: known ? 'found' : outcome.ok ? 'unknown' : 'failed', from: 'tool', values }
}

/** A look-up's answer with what the caller's last call left. @param wallMs calendar time */
export function withEarlier(answer: CallerAnswer, earlier: EarlierCall, wallMs: number): CallerAnswer {
  return { ...answer, state: 'found', values: { ...earlierValues(earlier, wallMs), ...answer.values } }
}

/** Rows of a file by the number of the caller, as lines of `KEY TAB JSON` in the order of their keys. */
export interface CallerRows {
  readonly lines: SharedArrayBuffer
  readonly fields: readonly string[]
}

/**
 * Reads a file of callers.
 * @throws SyntaxError naming the row that cannot be used
 */
export async function readCallers(file: string, key: string): Promise<CallerRows> {
  const bytes = await readFile(file)
  if (bytes.length > CALLERS_FILE_BYTES_MAX)
    throw new SyntaxError(`has ${bytes.length} bytes; at most ${CALLERS_FILE_BYTES_MAX} are allowed`)
  const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  const rows = rowsOf(text, file.endsWith('.csv'))
  const byKey = new Map<string, CallerValues>()
  const fields = new Set<string>()
  for (const [index, row] of rows.entries()) {
    const { [key]: number, ...rest } = row
    const called = numberToCall(typeof number === 'string' ? number : jsonText(number ?? ''))
    // The number itself is not in the message.
    if ('fault' in called) throw new SyntaxError(`row ${index + 1}: has in ${key} a number that ${called.fault}`)
    const party = partyKey(called.number)
    if (byKey.has(party)) throw new SyntaxError(`row ${index + 1}: has in ${key} the number of an earlier row`)
    const values = valuesOf(rest)
    Object.keys(values).forEach((name) => fields.add(name))
    byKey.set(party, values)
  }
  const lines = [...byKey]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([party, values]) => `${party}\t${JSON.stringify(values)}\n`)
  return { lines: sharedText(lines.join('')), fields: [...fields] }
}

function rowsOf(text: string, csv: boolean): readonly Readonly<Record<string, unknown>>[] {
  let rows: unknown
  try {
    rows = csv ? recordsOf(text) : JSON.parse(text)
  } catch {
    // The parser's own message quotes the file.
  }
  const list = z.array(z.record(z.string(), z.unknown())).safeParse(rows)
  if (list.success) return list.data
  throw new SyntaxError(
    `is no ${csv ? 'CSV with a line of names and as many cells in each row' : 'JSON list of objects'}`,
  )
}

/** Null: a row has more or fewer cells than the line of names, or there is no such line. */
function recordsOf(text: string): readonly Readonly<Record<string, string>>[] | null {
  const table = readTable(text)
  if ('fault' in table || table.records.some(({ cells }) => cells.length !== table.columns.length)) return null
  return table.records.map(({ cells }) =>
    Object.fromEntries(table.columns.map((name, place) => [name, cells[place] ?? ''])),
  )
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
