import { parse } from 'csv-parse/sync'

/** Matches the line `sep=;`, which Excel writes above the header. */
const SEPARATOR_LINE = /^sep=(.)$/i
/** Number of bytes at the beginning of a file that are used to detect its encoding. */
const ENCODING_BYTES = 4096
/** Possible delimiters between columns. */
const DELIMITERS = [',', ';', '\t', '|'] as const

/** A table from a file, or the file's fault. */
interface Table {
  /** Column names as written, by index; empty for a column without a name. */
  readonly columns: readonly string[]
  /** Line number of the header in the file. */
  readonly line: number
  /** Rows that are not empty, each with the line number at which the row begins. */
  readonly records: readonly Line[]
}

interface Line {
  readonly line: number
  readonly cells: readonly string[]
}

/**
 * Decodes a file that a spreadsheet or an editor has saved. It reads UTF-8 and UTF-16, with or without a byte order
 * mark. Any other text is read as windows-1252, which Excel writes as "CSV".
 * @returns the text. In an unknown encoding some characters become U+FFFD or control characters
 */
export function sheetText(bytes: Uint8Array): string {
  const [first = 0, second = 0] = bytes
  if (first === 0xff && second === 0xfe) return decoded(bytes, 'utf-16le')
  if (first === 0xfe && second === 0xff) return decoded(bytes, 'utf-16be')
  // Detects UTF-16 without a byte order mark. In UTF-16, half of the bytes of letters, digits and delimiters are 0, but
  // UTF-8 text does not contain 0 bytes.
  const zeros = [0, 0]
  const looked = bytes.subarray(0, ENCODING_BYTES)
  for (const [at, byte] of looked.entries()) if (byte === 0) zeros[at % 2] = (zeros[at % 2] ?? 0) + 1
  const [even = 0, odd = 0] = zeros
  if (odd > looked.length / 4 && even === 0) return decoded(bytes, 'utf-16le')
  if (even > looked.length / 4 && odd === 0) return decoded(bytes, 'utf-16be')
  try {
    return decoded(bytes, 'utf-8', true)
  } catch {
    // The letters are converted here, because TextDecoder reads windows-1252 as Latin-1 in some versions of Node.
    return Buffer.from(bytes)
      .toString('latin1')
      .replace(/[\x80-\x9f]/g, (control) => WINDOWS_LETTERS[control.charCodeAt(0) - 0x80] ?? control)
  }
}

/** Letters of windows-1252 from 0x80. Bytes without a letter are given as control characters. */
const WINDOWS_LETTERS = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ'

function decoded(bytes: Uint8Array, encoding: string, fatal = false): string {
  return new TextDecoder(encoding, { fatal }).decode(bytes)
}

/** Returns a column's name for comparison: `First name` and `FIRST_NAME` become `first_name`. */
export function columnName(header: string): string {
  return header
    .replace(/\p{Cf}/gu, '')
    .trim()
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
}

/**
 * Returns the name that the agent reads and that matches a column. Names match if they differ only in case, spaces and
 * signs. If another column has exactly this name, the result is undefined.
 * @param reads  names that are read
 * @param columns  all columns, as written
 * @returns the name; undefined if the column is not read
 */
export function readAs(column: string, reads: readonly string[], columns: readonly string[]): string | undefined {
  if (reads.includes(column)) return column
  const plain = (name: string): string => columnName(name).replaceAll('_', '')
  return reads.find((name) => plain(name) === plain(column) && plain(name) !== '' && !columns.includes(name))
}

/** Usual names of the column with a person's phone number, in lists from other systems. */
export const NUMBER_COLUMNS: readonly string[] = [
  ...['number', 'phone', 'to', 'mobile', 'msisdn', 'phone_number', 'simu', 'nambari'],
  ...['telephone', 'tel', 'cell', 'mobile_number', 'phone_no', 'mobile_no', 'telephone_number', 'contact_number'],
  ...['whatsapp', 'namba', 'namba_ya_simu', 'nambari_ya_simu'],
]

/**
 * Finds the column with a person's phone number.
 * @param columns  column names by index
 * @returns index of the column; -1 if there is no such column or if several columns are possible
 */
export function numberColumnOf(columns: readonly string[], wanted: string | null = null): number {
  // The sign at the end is removed, as in `Phone No.`.
  const names = columns.map((name) => columnName(name).replace(/_+$/, ''))
  const exact = wanted === null ? -1 : columns.indexOf(wanted)
  if (exact >= 0) return exact
  const named = wanted === null ? -1 : names.indexOf(columnName(wanted).replace(/_+$/, ''))
  if (named >= 0) return named
  const found = NUMBER_COLUMNS.map((name) => names.indexOf(name)).filter((place) => place >= 0)
  return wanted === null || found.length === 1 ? (found[0] ?? -1) : -1
}

/**
 * Reads the cells of a file. One delimiter is used for the whole file: the delimiter in `sep=`, or the delimiter that
 * gives the header the most columns. So a comma in a file with semicolons is part of a value.
 */
export function readTable(csv: string): Table | { readonly fault: string } {
  if (csv.includes('\0')) return { fault: 'line 1: is not text; allowed: CSV, such as "CSV UTF-8" of a spreadsheet' }
  // Line ends are converted, because the parser counts \r\n within quotes as two lines.
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
    return { fault: `line ${lines}: is not CSV (${code}); allowed: columns as in its first line` }
  }
}

/** Returns the delimiter that gives the header the most columns. */
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

/** Returns the rows that are not empty, each with the line number at which the row begins. */
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
