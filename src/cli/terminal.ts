import { createInterface } from 'node:readline/promises'
import { styleText } from 'node:util'
import { Help } from 'commander'
import { ownSequence } from '../core/terminal-text.js'

/** Where a command writes, and what it reads of its process; tests give their own. */
export interface Terminal {
  readonly out: (text: string) => unknown
  readonly err: (text: string) => unknown
  readonly env: Readonly<Record<string, string | undefined>>
  /** True if standard output is a terminal that shows colours. */
  readonly colours: boolean
  /** Width of standard output where it is a terminal, else null. */
  readonly columns: () => number | null
  /** True if standard error is a terminal: progress is shown there. */
  readonly showsProgress: boolean
  /** All of standard input. */
  readonly input: () => Promise<string>
  /** Asks the person at the terminal; null where standard input is not a terminal. */
  readonly ask: ((question: string) => Promise<string>) | null
  /** Aborting ends the command in order; null: SIGINT and SIGTERM do. */
  readonly signal: AbortSignal | null
}

export const PROCESS_TERMINAL: Terminal = {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  env: process.env,
  // `hasColors` knows NO_COLOR, FORCE_COLOR and TERM; a stream that is no terminal does not have it.
  colours: process.stdout.isTTY && process.stdout.hasColors(),
  columns: () => (process.stdout.isTTY ? process.stdout.columns : null),
  showsProgress: process.stderr.isTTY,
  input: standardInput,
  ask: process.stdin.isTTY && process.stdout.isTTY ? ask : null,
  signal: null,
}

async function standardInput(): Promise<string> {
  let text = ''
  for await (const chunk of process.stdin) text += String(chunk)
  return text
}

async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stdout })
  try {
    return await lines.question(question)
  } finally {
    lines.close()
  }
}

const SPLIT = '|'

/** Styles a text where the terminal shows colours. */
export function painted(
  { colours }: Pick<Terminal, 'colours'>,
  style: Parameters<typeof styleText>[0],
  text: string,
): string {
  if (!colours) return text
  const [begin = '', end = ''] = styleText(style, SPLIT, { validateStream: false }).split(SPLIT)
  return `${ownSequence(begin)}${text}${ownSequence(end)}`
}

/** Runs a command that the terminal's signal, or else SIGINT and SIGTERM, end in order. */
export async function untilSignal<T>(terminal: Terminal, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  if (terminal.signal !== null) return run(terminal.signal)
  const stop = new AbortController()
  const onSignal = (): void => {
    stop.abort()
  }
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  try {
    return await run(stop.signal)
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}

const HELP_COLUMNS_DEFAULT = 80
const HELP_COLUMNS_MAX = 120

/** Width of help: that of the terminal, or else what most have. */
export function helpColumns({ columns }: Pick<Terminal, 'columns'>): number {
  return Math.min(columns() ?? HELP_COLUMNS_DEFAULT, HELP_COLUMNS_MAX)
}

/** Help that is no wider than `columns`: paragraphs are filled, and what stands beside a term continues beneath it. */
export function filledHelp(text: string, columns: number): string {
  const help = new Help()
  return text
    .replace(/^(\S.*)\n(?=\S)/gm, '$1 ')
    .split('\n')
    .map((line) => {
      const [indent] = /^ +\S.*? {2,}(?=\S)|^ {8,}|^(?! )/.exec(line) ?? []
      // An example is copied as a whole line.
      if (indent === undefined || line.length <= columns) return line
      const wrapped = help.boxWrap(line.slice(indent.length), columns - indent.length)
      return indent + wrapped.replaceAll('\n', `\n${' '.repeat(indent.length)}`)
    })
    .join('\n')
}

/** Lines in columns that are as wide as their widest word; `none` for an empty list. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], none: string): string {
  if (rows.length === 0) return `${none}\n`
  // A line of its own in a cell would look like another row.
  const all = [head, ...rows].map((row) => row.map((word) => word.replace(/[\n\t]/g, ' ')))
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  return all
    .map(
      (row) =>
        `${row
          .map((word, column) => word.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

/** Prints a result: as JSON where `--json` asks for it, else as text. @returns 0 */
export function shown(
  options: { readonly json?: true },
  { out }: Terminal,
  value: unknown,
  text: () => string,
): number {
  out(options.json === true ? json(value) : text())
  return 0
}

/** Minor units as people read them: `KES 3.00`. */
export function money(minor: number | null, currency: string | null): string {
  return minor === null ? '-' : `${currency ?? ''} ${(minor / 100).toFixed(2)}`.trim()
}

/** One thing that a command has looked at. */
export interface Finding {
  /** Null: should be looked at, but prevents nothing. */
  readonly ok: boolean | null
  readonly what: string
}

export const good = (what: string): Finding => ({ ok: true, what })
export const bad = (what: string): Finding => ({ ok: false, what })
export const lookAt = (what: string): Finding => ({ ok: null, what })

const MARKS = { good: 'ok     ', bad: 'NOT OK ', unsure: 'LOOK AT' } as const

/** A finding as one line. */
export function findingLine({ ok, what }: Finding, terminal: Pick<Terminal, 'colours'>): string {
  const text = ok === null ? MARKS.unsure : ok ? MARKS.good : MARKS.bad
  return `${painted(terminal, ok === null ? 'yellow' : ok ? 'green' : 'red', text)} ${what}\n`
}
