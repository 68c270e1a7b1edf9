import { Argument, Option } from 'commander'
import { isAgentName, isCallSid } from '../core/ids.js'
import { UsageError } from './exit-codes.js'

/**
 * Reads the text of an option.
 * @throws UsageError with the option, its value and the allowed values
 */
type Parse<T> = (value: string, name: string) => T

/** An option whose value is checked by `parse`. */
export function valued(flags: string, description: string, parse: Parse<unknown>): Option {
  const option = new Option(flags, description)
  return option.argParser((value) => parse(value, option.long ?? flags))
}

/** An option that may be given several times. Its values keep their order. */
export function repeated<T>(
  flags: string,
  description: string,
  parse: Parse<T>,
  choices: readonly string[] | null = null,
): Option {
  const option = new Option(flags, description).choices(choices ?? [])
  if (choices === null) delete option.argChoices
  return option.argParser((value, earlier: readonly T[] | undefined) => [
    ...(earlier ?? []),
    parse(value, option.long ?? flags),
  ])
}

/** An option whose value is one of these. Help and completion show these values. */
export function chosen(flags: string, description: string, allowed: readonly string[]): Option {
  const option = new Option(flags, description).choices(allowed)
  return option.argParser((value) => oneOf(allowed)(value, option.long ?? flags))
}

/** An argument whose value is one of these. Help and completion show these values. */
export function chosenArgument(name: string, description: string, allowed: readonly string[]): Argument {
  const argument = new Argument(name, description).choices(allowed)
  return argument.argParser((value) => oneOf(allowed)(value, description))
}

/** Checks a text. @throws UsageError */
export function checked(name: string, value: string, isRight: (value: string) => boolean, allowed: string): string {
  if (isRight(value)) return value
  throw new UsageError(`${name} is ${JSON.stringify(value.slice(0, 200))}; allowed: ${allowed}`)
}

export const text: Parse<string> = (value) => value

export function oneOf<const T extends string>(allowed: readonly T[]): Parse<T> {
  return (value, name) => {
    checked(name, value, (given) => allowed.some((one) => one === given), `one of ${allowed.join(', ')}`)
    return value as T // checked just now
  }
}

export function whole(least: number, most: number): Parse<number> {
  return (value, name) => {
    checked(
      name,
      value,
      (digits) => /^\d{1,15}$/.test(digits) && Number(digits) >= least && Number(digits) <= most,
      `a whole number from ${least} to ${most}`,
    )
    return Number(value)
  }
}

export const webAddress: Parse<string> = (value, name) =>
  checked(
    name,
    value,
    (url) => URL.canParse(url) && /^https?:$/.test(new URL(url).protocol),
    'an http or https address',
  )

/** An http or https address without a slash at the end. */
export const origin: Parse<string> = (value, name) => webAddress(value, name).replace(/\/+$/, '')

/** The error text does not contain the number, which may belong to a real person. */
export const phoneNumber: Parse<string> = (value, name) => {
  if (/^\+?[0-9]{3,15}$/.test(value)) return value
  throw new UsageError(`${name} is not a phone number; allowed: 3 to 15 digits, such as +254700000001`)
}

export function callSid(value: string): string {
  if (isCallSid(value)) return value
  throw new UsageError('the SID is not valid; allowed: 1 to 64 characters of A-Z a-z 0-9 _ -')
}

export const agentName: Parse<string> = (value, name) => checked(name, value, isAgentName, 'a name of a-z 0-9 -')

// --- options of several commands ----------------------------------------------------------------------------

export function configOption(): Option {
  return new Option('--config <file>', 'settings file (default: mkondo.yaml, if it exists)')
}

export function opsUrlOption(): Option {
  return valued('--ops-url <url>', 'ops port of a node (default: http://127.0.0.1:9464; token in OPS_TOKEN)', origin)
}

/** Makes `--json` for commands that answer at once. */
export function jsonOption(): Option {
  return new Option('--json', 'the result as JSON on standard output')
}

/**
 * Makes `--json` for commands that also print their progress: `--json` writes the JSON to a file or to standard output.
 */
export function jsonFileOption(): Option {
  return new Option(
    '--json [file]',
    'the result as JSON on standard output, or in a file; the text for people then goes to standard error',
  ).argParser((value) => value)
}

/** Target of a `jsonFileOption`: a file, `-` for standard output, or null for no JSON. */
export function jsonTarget(given: string | true | undefined): string | null {
  return given === undefined ? null : given === true ? '-' : given
}

/** Default secret to sign webhooks: the first secret in `SAUTIKIT_WEBHOOK_SECRETS`. */
export function firstSecret(env: Readonly<Record<string, string | undefined>>): string | null {
  return env['SAUTIKIT_WEBHOOK_SECRETS']?.split(',')[0]?.trim() ?? null
}
