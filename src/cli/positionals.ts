import { parseArgs } from 'node:util'
import type { ParseArgsConfig } from 'node:util'
import { GatewayError, messageOf } from '../core/errors.js'

/**
 * The words and options of a command that has both; anything else is refused in one line.
 * @throws GatewayError CONFIG_INVALID naming the command and what was wrong
 */
export function wordsAndOptions<const O extends NonNullable<ParseArgsConfig['options']>>(command: string, argv: readonly string[], options: O) {
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

/** @throws GatewayError CONFIG_INVALID unless there are just so many words */
export function exactly(command: string, words: readonly string[], ...names: readonly string[]): readonly string[] {
  if (words.length === names.length) return words
  throw wrongUse(command, names.length === 0 ? 'takes no further words' : `takes ${names.join(' and ')}`)
}
