import type { Command } from 'commander'
import { ERRORS } from '../core/error-codes.js'
import { GatewayError } from '../core/errors.js'

/** A command line that cannot be understood. The message is one line and names the option. */
export class UsageError extends Error {}

/** 2 for what the operator has to change before the command can do anything, 1 for a command that failed. */
export function exitCodeOf(thrown: unknown): 1 | 2 {
  const usage =
    thrown instanceof UsageError || (thrown instanceof GatewayError && Object.hasOwn(ERRORS.usage, thrown.code))
  return usage ? 2 : 1
}

/** Adds the exit codes to a command's help. @param failed  what 1 means; null where the command has no such end */
export function withExitCodes(command: Command, done: string, failed: string | null, usage = 'wrong usage'): Command {
  const lines = [`  0  ${done}`, ...(failed === null ? [] : [`  1  ${failed}`]), `  2  ${usage}`]
  return command.addHelpText('after', `\nExit codes:\n${lines.join('\n')}`)
}
