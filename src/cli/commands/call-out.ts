import type { CallOutOptions } from '../call-out.js'
import { withExitCodes } from '../exit-codes.js'
import { agentName, configOption, jsonOption, opsUrlOption, phoneNumber, valued, whole } from '../options.js'
import type { Define } from './define.js'

const WAIT_S_DEFAULT = 900
const WAIT_S_MAX = 7200

export const defineCallOut: Define = (program, terminal, ends) => {
  const command = program
    .command('call-out')
    .description('ring a number and have an agent talk to whoever answers')
    .addOption(valued('--agent <name>', 'the agent', agentName).makeOptionMandatory())
    .addOption(valued('--to <number>', 'the number to ring', phoneNumber).makeOptionMandatory())
    .addOption(
      valued('--from <number>', 'a number of your workspace (default: outbound.from of the agent)', phoneNumber),
    )
    .option('--no-wait', "only place the call; without it the command waits for the call's end")
    .addOption(valued('--timeout <seconds>', 'longest wait', whole(1, WAIT_S_MAX)).default(WAIT_S_DEFAULT))
    .addOption(jsonOption())
    .addOption(opsUrlOption())
    .addOption(configOption())
    .addHelpText(
      'after',
      `
Asks a running gateway to ring a number. The gateway needs SAUTIKIT_API_KEY and PUBLIC_URL. The agent's
outbound.screening tells answering machines from people. --json prints the record of the call, or with --no-wait what
was placed.`,
    )
  withExitCodes(command, 'placed and, unless --no-wait, taken by a person', 'not').action(
    async (options: CallOutOptions) => {
      ends(await (await import('../call-out.js')).callOut(options, terminal))
    },
  )
}
