import type { CallOutOptions } from '../call-out.js'
import { withExitCodes } from '../exit-codes.js'
import { agentName, phoneNumber, valued, whole } from '../options.js'
import { asksGateway, type Define } from './define.js'

const WAIT_S_DEFAULT = 900
const WAIT_S_MAX = 7200

export const defineCallOut: Define = (program, terminal, ends) => {
  const command = program
    .command('call-out')
    .description('call a number and connect whoever answers to an agent')
    .addOption(valued('--agent <name>', 'the agent', agentName).makeOptionMandatory())
    .addOption(valued('--to <number>', 'the number to call', phoneNumber).makeOptionMandatory())
    .addOption(
      valued('--from <number>', 'a number of your workspace (default: outbound.from of the agent)', phoneNumber),
    )
    .option(
      '--ignore-do-not-call',
      'call the number even if it is on the do-not-call list, because its owner wants this call',
    )
    .option('--no-wait', 'do not wait for the end of the call')
    .addOption(valued('--timeout <seconds>', 'how long to wait', whole(1, WAIT_S_MAX)).default(WAIT_S_DEFAULT))
    .addHelpText(
      'after',
      `
Asks a running gateway to call a number. The gateway needs SAUTIKIT_API_KEY and PUBLIC_URL. The agent's
outbound.amd tells answering machines from people. --json prints the record of the call, or with --no-wait the
placed call.`,
    )
  withExitCodes(
    asksGateway(command),
    'placed and, unless --no-wait, answered by a person',
    'not placed, or not answered by a person',
  ).action(async (options: CallOutOptions) => {
    ends(await (await import('../call-out.js')).callOut(options, terminal))
  })
}
