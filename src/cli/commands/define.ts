import type { Command } from 'commander'
import { configOption, jsonOption, opsUrlOption } from '../options.js'
import type { Terminal } from '../terminal.js'

/**
 * Adds a command to the program: its options, its help and its action. The action's module is imported only when the
 * action runs, so help and completion need no native module.
 * @param ends  called with the exit code of the command
 */
export type Define = (program: Command, terminal: Terminal, ends: (code: number) => void) => void

/** Adds the options that are common to all commands that connect to a running gateway. */
export function asksGateway(command: Command): Command {
  return command.addOption(jsonOption()).addOption(opsUrlOption()).addOption(configOption())
}

/**
 * Makes the actions of the commands of one module. An action imports the module and calls `work` with the module, the
 * options and the arguments. The result of `work` is the exit code.
 */
export function actionsWith<Module>(load: () => Promise<Module>, ends: (code: number) => void) {
  return <Options, Arguments extends unknown[]>(
      work: (module: Module, options: Options, ...given: Arguments) => Promise<number>,
    ) =>
    async (...given: unknown[]): Promise<void> => {
      const command = given.at(-1) as Command // commander passes the command as the last argument
      const args = given.slice(0, -2) as Arguments
      ends(await work(await load(), command.optsWithGlobals() as Options, ...args))
    }
}
