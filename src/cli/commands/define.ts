import type { Command } from 'commander'
import { configOption, jsonOption, opsUrlOption } from '../options.js'
import type { Terminal } from '../terminal.js'

/**
 * Adds a command to the program: its options, its help and what runs it. A definition imports what it runs only when
 * it runs, so that help and completion need no native module.
 * @param ends  called with the exit code of the command
 */
export type Define = (program: Command, terminal: Terminal, ends: (code: number) => void) => void

/** Adds the options of every command that asks a running gateway. */
export function asksGateway(command: Command): Command {
  return command.addOption(jsonOption()).addOption(opsUrlOption()).addOption(configOption())
}

/**
 * Makes actions that end with the exit code of their work. It gets the module, which is imported only now, the options
 * with those of the command above, and the arguments.
 */
export function actionsWith<Module>(load: () => Promise<Module>, ends: (code: number) => void) {
  return <Options, Arguments extends unknown[]>(
      work: (module: Module, options: Options, ...given: Arguments) => Promise<number>,
    ) =>
    async (...given: unknown[]): Promise<void> => {
      const command = given.at(-1) as Command // after the options, as commander calls an action
      const args = given.slice(0, -2) as Arguments
      ends(await work(await load(), command.optsWithGlobals() as Options, ...args))
    }
}
