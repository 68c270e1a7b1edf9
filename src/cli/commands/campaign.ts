import type { CreateOptions } from '../campaign.js'
import type { OpsOptions } from '../ops-client.js'
import { withExitCodes } from '../exit-codes.js'
import {
  agentName,
  configOption,
  jsonOption,
  oneOf,
  opsUrlOption,
  phoneNumber,
  text,
  valued,
  whole,
} from '../options.js'
import type { Define } from './define.js'

interface Given<Options = OpsOptions> {
  optsWithGlobals(): Options
}

export const defineCampaign: Define = (program, terminal, ends) => {
  const campaign = program
    .command('campaign')
    .description('call the numbers of a list, each once')
    .helpCommand(false)
    .addOption(jsonOption())
    .addOption(opsUrlOption())
    .addOption(configOption())
    .addHelpText('after', '\ndocs/CAMPAIGNS.md explains the file, the states and the results.')
  const verb = (usage: string, description: string) =>
    withExitCodes(campaign.command(usage).description(description), 'done', 'refused, or the file has faults')

  verb('create', 'check a CSV file as a whole, and make a draft of it; again: add the rows that are new')
    .argument('<file>', 'CSV with a header: a column for the number, perhaps id and time_zone, others are variables')
    .addOption(valued('--agent <name>', 'the agent that talks to them', agentName).makeOptionMandatory())
    .addOption(
      valued(
        '--window <days and hours>',
        "when they may be called, such as 'Mon-Sat 09:00-18:00'",
        text,
      ).makeOptionMandatory(),
    )
    .addOption(valued('--time-zone <zone>', 'whose clock the window has', text).default('Africa/Nairobi'))
    .addOption(valued('--name <name>', "name of the campaign (default: the file's)", text))
    .addOption(
      valued('--from <number>', 'a number of your workspace (default: outbound.from of the agent)', phoneNumber),
    )
    .addOption(valued('--at-once <calls>', 'calls at once (default: 10)', whole(1, 1000)))
    .addOption(valued('--per-minute <calls>', 'calls begun in a minute (default: 30)', whole(1, 6000)))
    .addOption(valued('--tries <times>', 'how often a number is tried (default: 3)', whole(1, 5)))
    .addOption(valued('--start-at <time>', 'not before, such as 2026-11-27T09:00:00+03:00', text))
    .addOption(valued('--end-at <time>', 'not after', text))
    .addOption(
      valued('--voicemail <policy>', 'message, later or done (default: done)', oneOf(['message', 'later', 'done'])),
    )
    .addOption(valued('--error-percent <percent>', 'pause when so many fail (default: 30)', whole(1, 100)))
    .addOption(valued('--wallet-below-minor <cents>', 'wait when the wallet has less (default: 10000)', whole(0, 1e12)))
    .addOption(valued('--keep-free-percent <percent>', 'call slots for calls that come in (default: 20)', whole(0, 99)))
    .option('--dry-run', 'only check the file')
    .option('--start', 'and start it')
    .action(async (file: string, _: unknown, command: Given<CreateOptions>) => {
      ends(await (await import('../campaign.js')).createCampaign(file, command.optsWithGlobals(), terminal))
    })
  verb('list', 'all campaigns').action(async (_: unknown, command: Given) => {
    ends(await (await import('../campaign.js')).listCampaigns(command.optsWithGlobals(), terminal))
  })
  verb('show', 'how one stands')
    .argument('<id>', 'from the list')
    .action(async (id: string, _: unknown, command: Given) => {
      ends(await (await import('../campaign.js')).showCampaign(id, command.optsWithGlobals(), terminal))
    })
  verb('report', 'its rows with their results, as CSV; of call-backs the promised call backs')
    .argument('<id>', 'from the list')
    .action(async (id: string, _: unknown, command: Given) => {
      ends(await (await import('../campaign.js')).reportCampaign(id, command.optsWithGlobals(), terminal))
    })
  for (const [name, description] of [
    ['start', 'call its rows'],
    ['pause', 'begin no more calls'],
    ['resume', 'go on'],
    ['stop', 'call nobody any more; this is for good'],
  ] as const)
    verb(name, description)
      .argument('<id>', 'from the list')
      .action(async (id: string, _: unknown, command: Given) => {
        ends(await (await import('../campaign.js')).commandCampaign(id, name, command.optsWithGlobals(), terminal))
      })
  verb('remove', 'forget one that is over, or was never started, with all its rows')
    .argument('<id>', 'from the list')
    .action(async (id: string, _: unknown, command: Given) => {
      ends(await (await import('../campaign.js')).removeCampaign(id, command.optsWithGlobals(), terminal))
    })
}

export const defineDoNotCall: Define = (program, terminal, ends) => {
  const list = program
    .command('do-not-call')
    .description('who wants no calls from us')
    .helpCommand(false)
    .addOption(jsonOption())
    .addOption(opsUrlOption())
    .addOption(configOption())
  const verb = (usage: string, description: string) =>
    withExitCodes(list.command(usage).description(description), 'done', 'refused, or it was not on the list')

  verb('list', 'the numbers, masked').action(async (_: unknown, command: Given) => {
    ends(await (await import('../campaign.js')).listDoNotCall(command.optsWithGlobals(), terminal))
  })
  for (const [name, remove, description] of [
    ['add', false, 'never call a number'],
    ['remove', true, 'take a number off, because its owner wants it'],
  ] as const)
    verb(name, description)
      .argument('<number>', 'such as +254712345678')
      .action(async (number: string, _: unknown, command: Given) => {
        ends(
          await (await import('../campaign.js')).changeDoNotCall(number, remove, command.optsWithGlobals(), terminal),
        )
      })
}
