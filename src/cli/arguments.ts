import { parseArgs } from 'node:util'
import type { ParseArgsConfig } from 'node:util'
import { GatewayError, messageOf } from '../core/errors.js'

/**
 * The options of one command; anything else is refused in one line.
 * @throws GatewayError CONFIG_INVALID naming the command and what was wrong
 */
export function commandOptions<const O extends NonNullable<ParseArgsConfig['options']>>(command: string, argv: readonly string[], options: O) {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: false, strict: true }).values
  } catch (thrown) {
    throw new GatewayError('CONFIG_INVALID', `${command}: ${messageOf(thrown)} (see mkondo ${command} --help)`)
  }
}

/** What every command has. */
export const HELP_OPTION = { type: 'boolean', short: 'h', default: false } as const
