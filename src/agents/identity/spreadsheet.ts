import { parse } from 'csv-parse/sync'

/** Lines above the header in which a table may begin: `sep=;` of Excel, and blank ones. */
const SEPARATOR_LINE = /^sep=(.)$/i
/** Bytes at the beginning of a file that decide its encoding. */
const ENCODING_BYTES = 4096
/** Delimiters between the columns of a file. */
const DELIMITERS = [',', ';', '\t', '|'] as const

/** A table of a file, or what is wrong with it. */
interface Table {
  /** As they are written, by place; empty for one without a name. */
  readonly columns: readonly string[]
  /** The line of the header in the file. */
  readonly line: number
  /** The rows that have anything, each with the line at which it begins. */
  readonly records: readonly Line[]
}

interface Line {
  readonly line: number
  readonly cells: readonly string[]
}

/**
 * The text of a file as a spreadsheet or an editor has saved it: UTF-8 or UTF-16, with a mark at its begin or without one, else the
 * letters of Windows for Western Europe, which Excel writes as "CSV".
 * @returns also what only an encoding that is not known could tell apart, as U+FFFD or control characters
 */
export function sheetText(bytes: Uint8Array): string {
  const [first = 0, second = 0] = bytes
  if (first === 0xff && second === 0xfe) return decoded(bytes, 'utf-16le')
  if (first === 0xfe && second === 0xff) return decoded(bytes, 'utf-16be')
  // Without a mark: half of the bytes of letters, digits and delimiters are 0, and those of UTF-8 never.
  const zeros = [0, 0]
  const looked = bytes.subarray(0, ENCODING_BYTES)
  for (const [at, byte] of looked.entries()) if (byte === 0) zeros[at % 2] = (zeros[at % 2] ?? 0) + 1
  const [even = 0, odd = 0] = zeros
  if (odd > looked.length / 4 && even === 0) return decoded(bytes, 'utf-16le')
  if (even > looked.length / 4 && odd === 0) return decoded(bytes, 'utf-16be')
  try {
    return decoded(bytes, 'utf-8', true)
  } catch {
    // TextDecoder of some versions of Node reads it as Latin-1.
    return Buffer.from(bytes)
      .toString('latin1')
      .replace(/[\x80-\x9f]/g, (control) => WINDOWS_LETTERS[control.charCodeAt(0) - 0x80] ?? control)
  }
}

/** Letters of windows-1252 from 0x80 on; a control character: none has that byte. */
const WINDOWS_LETTERS = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ'

function decoded(bytes: Uint8Array, encoding: string, fatal = false): string {
  return new TextDecoder(encoding, { fatal }).decode(bytes)
}

/** The name of a column as it is compared: `First name` and `FIRST_NAME` are `first_name`. */
export function columnName(header: string): string {
  return header
    .replace(/\p{Cf}/gu, '')
    .trim()
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
}

/**
 * The name that a reader of a file has for a column: its own if case, spaces and signs alone differ and no other column is named
 * exactly so.
 * @param reads  names that are read
 * @param columns  all columns, as they are written
 * @returns undefined: nothing reads it
 */
export function readAs(column: string, reads: readonly string[], columns: readonly string[]): string | undefined {
  if (reads.includes(column)) return column
  const plain = (name: string): string => columnName(name).replaceAll('_', '')
  return reads.find((name) => plain(name) === plain(column) && plain(name) !== '' && !columns.includes(name))
}

/** How the column of a person's number is named, in lists that nobody made for this gateway. */
export const NUMBER_COLUMNS: readonly string[] = [
  ...['number', 'phone', 'to', 'mobile', 'msisdn', 'phone_number', 'simu', 'nambari'],
  ...['telephone', 'tel', 'cell', 'mobile_number', 'phone_no', 'mobile_no', 'telephone_number', 'contact_number'],
  ...['whatsapp', 'namba', 'namba_ya_simu', 'nambari_ya_simu'],
]

/** The column of a person's number. @param columns  by place @returns its place; -1: none, or several may be it */
export function numberColumnOf(columns: readonly string[], wanted: string | null = null): number {
  // `Phone No.` ends in a sign.
  const names = columns.map((name) => columnName(name).replace(/_+$/, ''))
  const exact = wanted === null ? -1 : columns.indexOf(wanted)
  if (exact >= 0) return exact
  const named = wanted === null ? -1 : names.indexOf(columnName(wanted).replace(/_+$/, ''))
  if (named >= 0) return named
  const found = NUMBER_COLUMNS.map((name) => names.indexOf(name)).filter((place) => place >= 0)
  return wanted === null || found.length === 1 ? (found[0] ?? -1) : -1
}

/**
 * The cells of a file. One delimiter holds for all of it: that of `sep=`, else the one by which the header has most columns,
 * so that a comma in a file with semicolons is part of a value.
 */
export function readTable(csv: string): Table | { readonly fault: string } {
  if (csv.includes('\0')) return { fault: 'line 1: is no text; allowed: CSV, such as "CSV UTF-8" of a spreadsheet' }
  // The parser counts a \r\n within quotes as two lines.
  const text = csv.replace(/^\ufeff/, '').replace(/\r\n?/g, '\n')
  const first = text.slice(0, text.indexOf('\n')).trim()
  const separator = SEPARATOR_LINE.exec(first)?.[1]
  const body = separator === undefined ? text : text.slice(text.indexOf('\n'))
  try {
    const [header, ...records] = linesOf(body, separator ?? delimiterOf(body))
    if (header === undefined) return { fault: 'there is no row' }
    return { columns: header.cells, line: header.line, records }
  } catch (thrown) {
    const { code = 'CSV', lines = 1 } = thrown as { readonly code?: string; readonly lines?: number }
    return { fault: `line ${lines}: is no CSV (${code}); allowed: columns as in its first line` }
  }
}

/** By which the header has most columns. */
function delimiterOf(text: string): string {
  const [header = ''] = /(?:"[^"]*"|[^"\n])+/.exec(text.trimStart()) ?? []
  const columns = (delimiter: string): number => {
    try {
      return linesOf(header, delimiter)[0]?.cells.length ?? 0
    } catch {
      return 0
    }
  }
  const [best = ','] = [...DELIMITERS].sort((a, b) => columns(b) - columns(a))
  return best
}

/** The lines that are not empty, each with its first line of the text. */
function linesOf(text: string, delimiter: string): readonly Line[] {
  const found: Line[] = []
  let line = 1
  parse(text, {
    delimiter,
    record_delimiter: '\n',
    trim: true,
    relax_column_count: true,
    on_record: (cells, { lines }) => {
      if (cells.some((cell) => cell !== '')) found.push({ line, cells })
      line = lines + 1
      return null
    },
  })
  return found
}
