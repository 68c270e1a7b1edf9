import { Option } from 'commander'
import { CALL_FILTERS, CALL_RANGES } from '../../call/documents/call-search.js'
import { CALL_OUTCOMES, CALL_SERVED } from '../../call/documents/record.js'
import type { CallsOptions, FindOptions, ListOptions } from '../calls.js'
import { withExitCodes } from '../exit-codes.js'
import { callSid, chosen, valued, whole } from '../options.js'
import { actionsWith, asksGateway, type Define } from './define.js'

const LIMIT_DEFAULT = 50
const LIMIT_MAX = 10_000
/** Placeholder for the value of an option of `find`. */
const VALUES: Readonly<Record<string, string>> = {
  ...{ caller: 'number', agentVersion: 'version', field: 'name:value' },
  ...{ text: 'words', minCost: 'amount', maxCost: 'amount' },
}
/** Flag of an option: `--min-cost` for `minCost`. */
const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

export const defineCalls: Define = (program, terminal, ends) => {
  const calls = asksGateway(program.command('calls').helpCommand(false))
    .description('list, show, hang up and escalate calls of all nodes')
    .addHelpText(
      'after',
      `
Calls of all nodes of a running gateway (over the ops port of any node), and the carrier's data on them
(SAUTIKIT_API_KEY).`,
    )
  const verb = (usage: string, description: string) =>
    withExitCodes(calls.command(usage).description(description), 'done', 'refused, or there is no such call')
  const run = actionsWith(() => import('../calls.js'), ends)

  verb('list', 'the newest live and ended calls of all nodes')
    .option('--carrier', "the carrier's list instead")
    .addOption(
      valued('--limit <n>', 'maximum number of calls; at most 500 without --carrier', whole(1, LIMIT_MAX)).default(
        LIMIT_DEFAULT,
      ),
    )
    .addOption(chosen('--outcome <outcome>', 'only ended calls with this outcome', CALL_OUTCOMES))
    .option('--number <number>', 'only calls of this number of ours; the number must be in NUMBERS_FILE')
    .action(run((it, options: ListOptions) => it.listCalls(options, terminal)))
  const find = verb('find', 'search in the stored records of all nodes; a call must match all options')
  for (const [name, { help }] of Object.entries(CALL_FILTERS))
    find.addOption(
      name === 'outcome'
        ? chosen('--outcome <outcome>', help, CALL_OUTCOMES)
        : name === 'served'
          ? chosen('--served <served>', help, CALL_SERVED)
          : new Option(`${flagOf(name)} <${VALUES[name] ?? name}>`, help),
    )
  for (const [name, help] of Object.entries(CALL_RANGES))
    find.option(`${flagOf(name)} <${VALUES[name] ?? 'time'}>`, help)
  find
    .addOption(valued('--limit <n>', 'maximum number of calls', whole(1, LIMIT_MAX)).default(LIMIT_DEFAULT))
    .option('--cursor <cursor>', 'continue after an earlier answer, with the cursor that it printed')
    .action(run((it, options: FindOptions) => it.findCalls(options, terminal)))
  verb('show', "one call: the gateway's record, and the carrier's if SAUTIKIT_API_KEY is set")
    .argument('<sid>', 'call SID', callSid)
    .option('--carrier', "only the carrier's record")
    .action(run((it, options: CallsOptions, sid: string) => it.showCall(sid, options, terminal)))
  verb('timeline', 'the events of a live or ended call with their times, as a waterfall')
    .argument('<sid>', 'call SID', callSid)
    .action(run((it, options: CallsOptions, sid: string) => it.timeline(sid, options, terminal)))
  verb('hangup', 'ask the gateway to end the call')
    .argument('<sid>', 'call SID', callSid)
    .option('--goodbye', 'the agent says goodbye first')
    .option('--carrier', 'end the call at the carrier, even if no gateway has it')
    .action(run((it, options: CallsOptions, sid: string) => it.hangUp(sid, options, terminal)))
  verb('escalate', 'ask the gateway to escalate the call to a human')
    .argument('<sid>', 'call SID', callSid)
    .action(run((it, options: CallsOptions, sid: string) => it.escalate(sid, options, terminal)))
}
