import type { OpsOptions } from '../ops-client.js'
import { withExitCodes } from '../exit-codes.js'
import { callSid } from '../options.js'
import { actionsWith, asksGateway, type Define } from './define.js'

export const defineWhy: Define = (program, terminal, ends) => {
  const run = actionsWith(() => import('../why.js'), ends)
  withExitCodes(
    asksGateway(program.command('why'))
      .description('explain an ended call on one page: its cause, waits of the caller, unusual values and decisions')
      .argument('<sid>', 'call SID', callSid)
      .addHelpText(
        'after',
        `
The first sentence is the cause, with the setting, the key of the agent's file or the runbook that concerns it. Times
are compared with up to 1,000 earlier calls of the agent, if records are kept (KEEP_CALLS).`,
      ),
    'printed',
    'there is no such call, or it is live',
  ).action(run((it, options: OpsOptions, sid: string) => it.why(sid, options, terminal)))
}
