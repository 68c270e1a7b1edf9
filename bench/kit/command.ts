import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseArgs, type ParseArgsConfig } from 'node:util'
import { packageRoot } from '../../src/config/package-root.js'
import { messageOf } from '../../src/core/errors.js'
import { machineLines, provenance, type Provenance } from './machine.js'
import { benchProgress, type BenchProgress } from './progress.js'

export type Options = NonNullable<ParseArgsConfig['options']>
/** Options whose value is a whole number: the default, the minimum and the maximum. */
type Wholes = Readonly<Record<string, readonly [fallback: number | null, min: number, max: number]>>
type Values<O extends Options, W extends Wholes> = ReturnType<typeof parseArgs<{ options: O }>>['values'] & {
  readonly [K in keyof W]: W[K][0] extends null ? number | null : number
}

/** Error for wrong options. The message names the option, its value and the allowed values. */
export class WrongOption extends Error {}

/**
 * @returns null if help is requested.
 * @throws WrongOption
 */
export function parsed<const O extends Options, const W extends Wholes>(
  argv: readonly string[],
  options: O,
  wholes: W,
): Values<O, W> | null {
  const numbers = Object.fromEntries(Object.keys(wholes).map((name) => [name, { type: 'string' } as const]))
  let values: Readonly<Record<string, unknown>>
  try {
    const help = { type: 'boolean', short: 'h' } as const
    values = parseArgs({ args: [...argv], options: { ...options, ...numbers, help } }).values
  } catch (thrown) {
    throw new WrongOption(messageOf(thrown))
  }
  if (values['help'] === true) return null
  const given = Object.entries(wholes).map(([name, [fallback, min, max]]) => [
    name,
    whole(`--${name}`, values[name] as string | undefined, fallback, min, max),
  ])
  return { ...values, ...Object.fromEntries(given) } as Values<O, W>
}

function whole(name: string, text: string | undefined, fallback: number | null, min: number, max: number) {
  if (text === undefined) return fallback
  const value = Number(text)
  if (!/^\d{1,7}$/.test(text) || value < min || value > max)
    throw new WrongOption(`${name} is '${text}'; allowed is a whole number from ${min} to ${max}`)
  return value
}

/** @throws WrongOption */
export function oneOf<T extends string>(name: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text)
  if (found === undefined) throw new WrongOption(`${name} is '${text}'; allowed: ${allowed.join(', ')}`)
  return found
}

/**
 * @param run  resolves to null if help is requested.
 * @returns the exit code of `run`; 2 for wrong options
 */
export async function exitCodeOf(help: string, run: () => Promise<number | null>): Promise<number> {
  try {
    const code = await run()
    if (code === null) console.log(help)
    return code ?? 0
  } catch (thrown) {
    if (!(thrown instanceof WrongOption)) throw thrown
    console.error(`bench: ${thrown.message}`)
    return 2
  }
}

/**
 * A bench with its own options.
 * @returns a function that runs the bench. It returns the exit code of `run`, or 2 for wrong options
 */
export function command<const O extends Options, const W extends Wholes>(
  help: string,
  options: O,
  wholes: W,
  run: (values: Values<O, W>, argv: readonly string[]) => Promise<number>,
): (argv: readonly string[]) => Promise<number> {
  return (argv) =>
    exitCodeOf(help, async () => {
      const values = parsed(argv, options, wholes)
      return values === null ? null : run(values, argv)
    })
}

/** Results of a bench with targets. */
interface Judged {
  /** All targets were met. */
  readonly ok: boolean
  /** Lines of the report, printed below the lines about the machine. */
  readonly lines: readonly string[]
  /** Results that are written as JSON. */
  readonly results: object
}

/**
 * A bench with targets, and with the options `--NAME` and `--json`.
 * @returns a function like the result of `command`. Its exit code is 0 if all targets were met, otherwise 1
 */
export function judged<const O extends Options, const W extends Wholes>(
  name: string,
  help: string,
  options: O,
  wholes: W,
  measure: (values: Values<O, W>, progress: Omit<BenchProgress, 'end'>) => Promise<Judged>,
): (argv: readonly string[]) => Promise<number> {
  const own = { [name]: { type: 'boolean' }, json: { type: 'string' } } as const
  return command(help, { ...own, ...options }, wholes, async (values, argv) => {
    const facts = await provenance(`npm run bench -- ${argv.join(' ')}`)
    const progress = benchProgress()
    const { ok, lines, results } = await measure(values, progress).finally(() => progress.end())
    for (const line of [...machineLines(facts), ...lines]) console.log(line)
    const { json } = values as { readonly json?: string }
    writeReport(
      json,
      `${name}-`,
      'json',
      facts,
      `${JSON.stringify({ version: 1, provenance: facts, ...results }, null, 1)}\n`,
    )
    return ok ? 0 : 1
  })
}

/** @param path undefined for a file in bench/results/ whose name contains the time of the run */
export function writeReport(
  path: string | undefined,
  prefix: string,
  ending: string,
  { at }: Provenance,
  text: string,
): void {
  const usual = join(packageRoot(), 'bench/results', `${prefix}${at.replace(/[:.]/g, '-')}.${ending}`)
  const file = resolve(path ?? usual)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  console.log(`written: ${file}`)
}
