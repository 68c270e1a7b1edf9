/** Where a command writes, and what it reads of its process; tests give their own. */
export interface Terminal {
  readonly out: (text: string) => unknown
  readonly env: Readonly<Record<string, string | undefined>>
  readonly signal?: AbortSignal
}

export const PROCESS_TERMINAL: Terminal = { out: (text) => process.stdout.write(text), env: process.env }

/** Lines in columns that are as wide as their widest word; an empty list is said in words. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], none: string): string {
  if (rows.length === 0) return `${none}\n`
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  return all.map((row) => `${row.map((word, column) => word.padEnd(widths[column] ?? 0)).join('  ').trimEnd()}\n`).join('')
}

export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

/** Minor units as people read them: `KES 3.00`. */
export function money(minor: number | null, currency: string | null): string {
  return minor === null ? '-' : `${currency ?? ''} ${(minor / 100).toFixed(2)}`.trim()
}
