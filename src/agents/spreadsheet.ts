import { parse } from 'csv-parse/sync'

/** Lines above the header in which a table may begin: `sep=;` of Excel, and blank ones. */
const SEPARATOR_LINE = /^sep=(.)$/i
/** Delimiters between the columns of a file. */
const DELIMITERS = [',', ';', '\t'] as const

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
 * The cells of a file. One delimiter holds for all of it: that of `sep=`, else the one by which the header has most columns,
 * so that a comma in a file with semicolons is part of a value.
 */
export function readTable(csv: string): Table | { readonly fault: string } {
  if (csv.includes('\0')) return { fault: 'line 1: is no text; allowed: CSV in UTF-8, as "CSV UTF-8" of a spreadsheet' }
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
