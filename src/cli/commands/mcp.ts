import { withExitCodes } from '../exit-codes.js'
import type { McpOptions } from '../mcp/mcp.js'
import { configOption, opsUrlOption } from '../options.js'
import { untilSignal } from '../terminal.js'
import type { Define } from './define.js'

export const defineMcp: Define = (program, terminal, ends) => {
  const command = program
    .command('mcp')
    .description('a server of the Model Context Protocol for an assistant on this machine (stdio)')
    .option(
      '--agents <folder>',
      'folder of agent files that are checked and tried (default: AGENTS_DIR, or the shipped ones)',
    )
    .option(
      '--allow-publish',
      'also gives the assistant the tool that publishes an agent; the token must have the right to publish',
    )
    .addOption(opsUrlOption())
    .addOption(configOption())
    .addHelpText(
      'after',
      `
The assistant's program starts it and speaks to it over standard input and output; docs/ASSISTANT.md has its tools and
an example. Tools for files need no gateway. Those for calls and agents ask the ops port with OPS_TOKEN, which may be a
token that NUMBERS_FILE limits to some numbers. Numbers are masked, and the words of callers are marked as material.`,
    )
  withExitCodes(command, 'the assistant closed it', null, 'wrong usage, or packages that are not installed').action(
    async (options: McpOptions) => {
      const { serveMcp } = await import('../mcp/mcp.js')
      ends(await untilSignal(terminal, (signal) => serveMcp(options, terminal, signal)))
    },
  )
}
