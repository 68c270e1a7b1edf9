import { withExitCodes } from '../exit-codes.js'
import type { OpsOptions } from '../ops-client.js'
import { actionsWith, asksGateway, type Define } from './define.js'

export const defineMessages: Define = (program, terminal, ends) => {
  const messages = asksGateway(program.command('messages').helpCommand(false))
    .description('list undelivered messages to receivers, and send them again')
    .addHelpText('after', '\nMessages of the process at --ops-url. Their content is not shown: docs/MESSAGES.md.')
  const verb = (usage: string, description: string) =>
    withExitCodes(messages.command(usage).description(description), 'done', 'refused, or there is no such message')

  const run = actionsWith(() => import('../messages.js'), ends)

  verb('list', 'messages that wait, and messages that are not tried again').action(
    run((it, options: OpsOptions) => it.listMessages(options, terminal)),
  )
  verb('show', 'one of them')
    .argument('<key>', 'from the list')
    .action(run((it, options: OpsOptions, key: string) => it.showMessage(key, options, terminal)))
  verb('retry', 'try one again, now')
    .argument('<key>', 'from the list')
    .action(run((it, options: OpsOptions, key: string) => it.retryMessage(key, options, terminal)))
}
