import type { CreateOptions } from '../campaign.js'
import type { OpsOptions } from '../ops-client.js'
import { withExitCodes } from '../exit-codes.js'
import { agentName, oneOf, phoneNumber, text, valued, whole } from '../options.js'
import { actionsWith, asksGateway, type Define } from './define.js'

export const defineCampaign: Define = (program, terminal, ends) => {
  const campaign = asksGateway(program.command('campaign').helpCommand(false))
    .description('call the numbers of a list, each once')
    .addHelpText('after', '\ndocs/CAMPAIGNS.md explains the file, the states and the results.')
  const verb = (usage: string, description: string) =>
    withExitCodes(campaign.command(usage).description(description), 'done', 'refused, or the file has faults')
  const run = actionsWith(() => import('../campaign.js'), ends)

  verb('create', 'check a whole CSV file, and make a draft campaign from it; run it again to add new rows')
    .argument(
      '<file>',
      'CSV with a header: a column for the number, optional columns id and time_zone; all other columns are variables',
    )
    .addOption(valued('--agent <name>', 'agent of the calls', agentName).makeOptionMandatory())
    .addOption(
      valued(
        '--window <days and hours>',
        "when they may be called, such as 'Mon-Sat 09:00-18:00'",
        text,
      ).makeOptionMandatory(),
    )
    .addOption(valued('--time-zone <zone>', 'time zone of the window', text).default('Africa/Nairobi'))
    .addOption(valued('--name <name>', "name of the campaign (default: the file's)", text))
    .addOption(
      valued('--from <number>', 'a number of your workspace (default: outbound.from of the agent)', phoneNumber),
    )
    .addOption(valued('--at-once <calls>', 'calls at once (default: 10)', whole(1, 1000)))
    .addOption(valued('--per-minute <calls>', 'calls begun in a minute (default: 30)', whole(1, 6000)))
    .addOption(valued('--tries <times>', 'maximum number of tries of a number (default: 3)', whole(1, 5)))
    .addOption(valued('--start-at <time>', 'time of the first calls, such as 2026-11-27T09:00:00+03:00', text))
    .addOption(valued('--end-at <time>', 'not after', text))
    .addOption(
      valued('--voicemail <policy>', 'message, later or done (default: done)', oneOf(['message', 'later', 'done'])),
    )
    .addOption(
      valued(
        '--error-percent <percent>',
        'percentage of failed calls that pauses the campaign (default: 30)',
        whole(1, 100),
      ),
    )
    .addOption(
      valued(
        '--wallet-below-minor <cents>',
        'minimum balance of the wallet for new calls (default: 10000)',
        whole(0, 1e12),
      ),
    )
    .addOption(
      valued(
        '--keep-free-percent <percent>',
        'percentage of call slots kept free for inbound calls (default: 20)',
        whole(0, 99),
      ),
    )
    .option('--dry-run', 'only check the file')
    .option('--start', 'and start it')
    .action(run((it, options: CreateOptions, file: string) => it.createCampaign(file, options, terminal)))
  verb('list', 'all campaigns').action(run((it, options: OpsOptions) => it.listCampaigns(options, terminal)))
  verb('show', 'the state of a campaign')
    .argument('<id>', 'from the list')
    .action(run((it, options: OpsOptions, id: string) => it.showCampaign(id, options, terminal)))
  verb('report', 'the rows of a campaign with their results, as CSV; the id call-backs gives the promised call backs')
    .argument('<id>', 'from the list')
    .action(run((it, options: OpsOptions, id: string) => it.reportCampaign(id, options, terminal)))
  for (const [name, description] of [
    ['start', 'start the calls of a campaign'],
    ['pause', 'place no new calls until resume'],
    ['resume', 'continue a paused campaign'],
    ['stop', 'place no more calls; this is final'],
  ] as const)
    verb(name, description)
      .argument('<id>', 'from the list')
      .action(run((it, options: OpsOptions, id: string) => it.commandCampaign(id, name, options, terminal)))
  verb('remove', 'delete a campaign that has ended or was never started, with all its rows')
    .argument('<id>', 'from the list')
    .action(run((it, options: OpsOptions, id: string) => it.removeCampaign(id, options, terminal)))
}

export const defineDoNotCall: Define = (program, terminal, ends) => {
  const list = asksGateway(program.command('do-not-call').helpCommand(false)).description(
    'numbers that must not be called',
  )
  const verb = (usage: string, description: string) =>
    withExitCodes(list.command(usage).description(description), 'done', 'refused, or it was not on the list')
  const run = actionsWith(() => import('../campaign.js'), ends)

  verb('list', 'the numbers, masked').action(run((it, options: OpsOptions) => it.listDoNotCall(options, terminal)))
  for (const [name, remove, description] of [
    ['add', false, 'never call a number'],
    ['remove', true, 'remove a number, because its owner wants calls again'],
  ] as const)
    verb(name, description)
      .argument('<number>', 'such as +254712345678')
      .action(run((it, options: OpsOptions, number: string) => it.changeDoNotCall(number, remove, options, terminal)))
}
