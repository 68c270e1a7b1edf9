import { withExitCodes } from '../exit-codes.js'
import type { OpsOptions } from '../ops-client.js'
import { configOption, jsonOption, opsUrlOption } from '../options.js'
import type { Define } from './define.js'

interface Given {
  optsWithGlobals(): OpsOptions
}

export const defineMessages: Define = (program, terminal, ends) => {
  const messages = program
    .command('messages')
    .description('list messages to receivers that were not taken, and try them again')
    .helpCommand(false)
    .addOption(jsonOption())
    .addOption(opsUrlOption())
    .addOption(configOption())
    .addHelpText('after', '\nThose of the process at --ops-url. What a message says is not shown: docs/MESSAGES.md.')
  const verb = (usage: string, description: string) =>
    withExitCodes(messages.command(usage).description(description), 'done', 'refused, or there is no such message')

  verb('list', 'messages that wait, and those that are tried no more').action(async (_: unknown, command: Given) => {
    ends(await (await import('../messages.js')).listMessages(command.optsWithGlobals(), terminal))
  })
  verb('show', 'one of them')
    .argument('<key>', 'from the list')
    .action(async (key: string, _: unknown, command: Given) => {
      ends(await (await import('../messages.js')).showMessage(key, command.optsWithGlobals(), terminal))
    })
  verb('retry', 'try one again, now')
    .argument('<key>', 'from the list')
    .action(async (key: string, _: unknown, command: Given) => {
      ends(await (await import('../messages.js')).retryMessage(key, command.optsWithGlobals(), terminal))
    })
}
