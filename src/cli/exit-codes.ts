import type { Command } from 'commander'
import { ERRORS } from '../core/error-codes.js'
import { GatewayError } from '../core/errors.js'

/** Error for a command line that cannot be understood. Its message is one line that names the option. */
export class UsageError extends Error {}

/**
 * Exit code of an error: 2 if the operator must change something before the command can work, 1 if the command failed.
 */
export function exitCodeOf(thrown: unknown): 1 | 2 {
  const usage =
    thrown instanceof UsageError || (thrown instanceof GatewayError && Object.hasOwn(ERRORS.usage, thrown.code))
  return usage ? 2 : 1
}

/**
 * Adds the exit codes to a command's help.
 * @param failed meaning of exit code 1; null if the command never ends with 1
 */
export function withExitCodes(command: Command, done: string, failed: string | null, usage = 'wrong usage'): Command {
  const lines = [`  0  ${done}`, ...(failed === null ? [] : [`  1  ${failed}`]), `  2  ${usage}`]
  return command.addHelpText('after', `\nExit codes:\n${lines.join('\n')}`)
}
