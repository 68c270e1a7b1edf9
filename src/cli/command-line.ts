import { parseArgs } from 'node:util'
import type { ParseArgsConfig } from 'node:util'
import { GatewayError, messageOf } from '../core/errors.js'

/** Errors of what the operator gave us end with exit code 2, everything else with 1. */
export const USAGE_CODES: ReadonlySet<string> = new Set([
  'CONFIG_INVALID',
  'AGENT_INVALID',
  'AGENT_UNKNOWN',
  'BACKEND_KEY_MISSING',
  'PORT_IN_USE',
  'SCRIPT_INVALID',
  'WAV_INVALID',
  'JOURNAL_INVALID',
])

// --- arguments ----------------------------------------------------------------------------------------------

/** What every command has. */
export const HELP_OPTION = { type: 'boolean', short: 'h', default: false } as const

/**
 * The options of a command that takes nothing else.
 * @throws GatewayError CONFIG_INVALID naming the command and what was wrong
 */
export function commandOptions<const O extends NonNullable<ParseArgsConfig['options']>>(
  command: string,
  argv: readonly string[],
  options: O,
) {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: false, strict: true }).values
  } catch (thrown) {
    throw wrongUse(command, messageOf(thrown))
  }
}

/**
 * The words and options of a command that has both.
 * @throws GatewayError CONFIG_INVALID naming the command and what was wrong
 */
export function wordsAndOptions<const O extends NonNullable<ParseArgsConfig['options']>>(
  command: string,
  argv: readonly string[],
  options: O,
) {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true })
    return { values, words: positionals }
  } catch (thrown) {
    throw wrongUse(command, messageOf(thrown))
  }
}

export function wrongUse(command: string, message: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', `${command}: ${message} (see mkondo ${command.split(' ')[0] ?? ''} --help)`)
}

/** @throws GatewayError CONFIG_INVALID unless there is one word for each of `names` */
export function exactly(command: string, words: readonly string[], ...names: readonly string[]): readonly string[] {
  if (words.length === names.length) return words
  throw wrongUse(command, names.length === 0 ? 'takes no further words' : `takes ${names.join(' and ')}`)
}

// --- the process a command runs in --------------------------------------------------------------------------

/** Where a command writes, and what it reads of its process; tests give their own. */
export interface Terminal {
  readonly out: (text: string) => unknown
  readonly env: Readonly<Record<string, string | undefined>>
  readonly signal?: AbortSignal
}

export const PROCESS_TERMINAL = {
  out: (text: string) => process.stdout.write(text),
  err: (text: string) => process.stderr.write(text),
  env: process.env,
}

/** Runs a command that SIGINT and SIGTERM end in order. */
export async function untilSignal(run: (signal: AbortSignal) => Promise<number>): Promise<number> {
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

// --- what is printed ----------------------------------------------------------------------------------------

/** Lines in columns that are as wide as their widest word; `none` for an empty list. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], none: string): string {
  if (rows.length === 0) return `${none}\n`
  const all = [head, ...rows]
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

/** Minor units as people read them: `KES 3.00`. */
export function money(minor: number | null, currency: string | null): string {
  return minor === null ? '-' : `${currency ?? ''} ${(minor / 100).toFixed(2)}`.trim()
}
