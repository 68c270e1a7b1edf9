import { createInterface } from 'node:readline/promises'
import { styleText } from 'node:util'
import { Help } from 'commander'
import { ownSequence } from '../core/terminal-text.js'

/** Output and input of a command in its process; tests provide their own. */
export interface Terminal {
  readonly out: (text: string) => unknown
  readonly err: (text: string) => unknown
  readonly env: Readonly<Record<string, string | undefined>>
  /** True if standard output is a terminal that shows colours. */
  readonly colours: boolean
  /** Returns the width of standard output; null if it is not a terminal. */
  readonly columns: () => number | null
  /** True if standard error is a terminal: progress is shown there. */
  readonly showsProgress: boolean
  /** Reads all of standard input. */
  readonly input: () => Promise<string>
  /** Asks the person at the terminal; null if standard input is not a terminal. */
  readonly ask: ((question: string) => Promise<string>) | null
  /** Signal that ends the command in an orderly way; null to use SIGINT and SIGTERM. */
  readonly signal: AbortSignal | null
}

export const PROCESS_TERMINAL: Terminal = {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  env: process.env,
  // `hasColors` reads NO_COLOR, FORCE_COLOR and TERM. It exists only if standard output is a terminal.
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

/** Styles a text if the terminal shows colours. */
export function painted(
  { colours }: Pick<Terminal, 'colours'>,
  style: Parameters<typeof styleText>[0],
  text: string,
): string {
  if (!colours) return text
  const [begin = '', end = ''] = styleText(style, SPLIT, { validateStream: false }).split(SPLIT)
  return `${ownSequence(begin)}${text}${ownSequence(end)}`
}

/**
 * Runs a command. The terminal's `signal` ends the command in an orderly way. If `signal` is null, SIGINT and SIGTERM
 * do this.
 */
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

/** Width of help in columns: the terminal's width, or a default. */
export function helpColumns({ columns }: Pick<Terminal, 'columns'>): number {
  return Math.min(columns() ?? HELP_COLUMNS_DEFAULT, HELP_COLUMNS_MAX)
}

/**
 * Help that is not wider than `columns`. Lines of a paragraph are filled. A term's description continues below its
 * first line.
 */
export function filledHelp(text: string, columns: number): string {
  const help = new Help()
  return text
    .replace(/^(\S.*)\n(?=\S)/gm, '$1 ')
    .split('\n')
    .map((line) => {
      const [indent] = /^ +\S.*? {2,}(?=\S)|^ {8,}|^(?! )/.exec(line) ?? []
      // An indented example is not filled, because users copy it as a whole line.
      if (indent === undefined || line.length <= columns) return line
      const wrapped = help.boxWrap(line.slice(indent.length), columns - indent.length)
      return indent + wrapped.replaceAll('\n', `\n${' '.repeat(indent.length)}`)
    })
    .join('\n')
}

/** Table whose columns are as wide as their longest cell; `none` for an empty list. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], none: string): string {
  if (rows.length === 0) return `${none}\n`
  // A line break in a cell would look like a new row.
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

/**
 * Prints a result: as JSON with `--json`, else as text.
 * @returns 0
 */
export function shown(
  options: { readonly json?: true },
  { out }: Terminal,
  value: unknown,
  text: () => string,
): number {
  out(options.json === true ? json(value) : text())
  return 0
}

/** Text of an amount in minor units: `KES 3.00`. */
export function money(minor: number | null, currency: string | null): string {
  return minor === null ? '-' : `${currency ?? ''} ${(minor / 100).toFixed(2)}`.trim()
}

/** One result of a check. */
export interface Finding {
  /** True if the check passed, false if it failed; null for a warning, which does not fail the check. */
  readonly ok: boolean | null
  readonly what: string
}

export const good = (what: string): Finding => ({ ok: true, what })
export const bad = (what: string): Finding => ({ ok: false, what })
export const lookAt = (what: string): Finding => ({ ok: null, what })

const MARKS = { good: 'ok     ', bad: 'NOT OK ', unsure: 'LOOK AT' } as const

/** Finding as one line of text. */
export function findingLine({ ok, what }: Finding, terminal: Pick<Terminal, 'colours'>): string {
  const text = ok === null ? MARKS.unsure : ok ? MARKS.good : MARKS.bad
  return `${painted(terminal, ok === null ? 'yellow' : ok ? 'green' : 'red', text)} ${what}\n`
}
