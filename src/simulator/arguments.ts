import { parseArgs, type ParseArgsConfig } from 'node:util'
import { messageOf } from '../core/errors.js'

/** The command line is wrong. The message is one line for the user. */
export class UsageError extends Error {}

export const text = { type: 'string' } as const
export const texts = { type: 'string', multiple: true } as const
export const flag = { type: 'boolean' } as const
export const help = { type: 'boolean', short: 'h' } as const

/** Node's `parseArgs` with its errors as UsageError. @throws UsageError */
export function parsed<const T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config)
  } catch (thrown) {
    throw new UsageError(messageOf(thrown).split('\n')[0] ?? 'wrong usage')
  }
}

/** @throws UsageError with the option, its value and what is allowed; so do the functions below */
export function checked(name: string, value: string, isRight: (value: string) => boolean, allowed: string): string {
  if (isRight(value)) return value
  throw new UsageError(`${name} is ${JSON.stringify(value)}; it has to be ${allowed}`)
}

export function oneOf<const T extends string>(name: string, value: string, allowed: readonly T[]): T {
  checked(name, value, (given) => allowed.some((one) => one === given), `one of ${allowed.join(', ')}`)
  return value as T
}

export function whole(name: string, value: string, least: number, most: number): number {
  checked(
    name,
    value,
    (digits) => /^\d+$/.test(digits) && Number(digits) >= least && Number(digits) <= most,
    `a whole number from ${least} to ${most}`,
  )
  return Number(value)
}

/** An http or https address, without a slash at its end. */
export function origin(name: string, value: string): string {
  const isOrigin = (url: string): boolean => URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)
  return checked(name, value, isOrigin, 'an http or https address').replace(/\/+$/, '')
}

/** The default secret for signing webhooks: the first of `SAUTIKIT_WEBHOOK_SECRETS`. */
export function firstSecret(env: Readonly<Record<string, string | undefined>>): string | null {
  return env['SAUTIKIT_WEBHOOK_SECRETS']?.split(',')[0]?.trim() ?? null
}
