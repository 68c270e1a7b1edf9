type CsvCell = string | number | boolean

/** Texts that a spreadsheet takes for a formula; a plain number with its sign is none. */
const FORMULA = /^(?![+-]\d+(?:\.\d+)?$)[=+\-@\t\r\uFF1D\uFF0B\uFF0D\uFF20]/

/**
 * A table in the form of RFC 4180, for spreadsheets: every CSV of the gateway is written here. A text that would be a formula
 * begins with an apostrophe.
 */
export function csvText(rows: readonly (readonly CsvCell[])[]): string {
  return rows.map((row) => `${row.map(csvCell).join(',')}\r\n`).join('')
}

function csvCell(value: CsvCell): string {
  const text = typeof value === 'string' && FORMULA.test(value) ? `'${value}` : String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
