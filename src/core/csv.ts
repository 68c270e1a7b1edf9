type CsvCell = string | number | boolean

/** Matches texts that a spreadsheet treats as a formula. A plain number with a sign is not a formula. */
const FORMULA = /^(?![+-]\d+(?:\.\d+)?$)[=+\-@\t\r\uFF1D\uFF0B\uFF0D\uFF20]/

/**
 * Returns a table as RFC 4180 CSV, for spreadsheets. All CSV of the gateway is written by this function. A text that a
 * spreadsheet would treat as a formula gets an apostrophe before it.
 */
export function csvText(rows: readonly (readonly CsvCell[])[]): string {
  return rows.map((row) => `${row.map(csvCell).join(',')}\r\n`).join('')
}

function csvCell(value: CsvCell): string {
  const text = typeof value === 'string' && FORMULA.test(value) ? `'${value}` : String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
