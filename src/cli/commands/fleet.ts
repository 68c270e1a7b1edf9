import { withExitCodes } from '../exit-codes.js'
import type { FleetOptions, NodeCommand } from '../fleet.js'
import { configOption, jsonOption, opsUrlOption, valued, whole } from '../options.js'
import type { TopOptions } from '../top.js'
import type { Define } from './define.js'

const FAILED = 'refused, or a node does not answer'

export const defineFleet: Define = (program, terminal, ends) => {
  const fleet = program
    .command('fleet')
    .description('show the nodes of a fleet, and the store that they share')
    .addOption(jsonOption())
    .addOption(opsUrlOption())
    .addOption(configOption())
  withExitCodes(fleet, 'done', FAILED).action(async (options: FleetOptions) => {
    ends(await (await import('../fleet.js')).fleet(options, terminal))
  })

  const verbs: Readonly<Record<NodeCommand, string>> = {
    drain: 'let a node finish its calls (DRAIN_TIMEOUT) and end; it takes no new ones',
    cordon: 'let a node take no new calls; live ones go on, and its process stays',
    uncordon: 'let a cordoned node take calls again',
  }
  for (const [verb, description] of Object.entries(verbs) as [NodeCommand, string][]) {
    const command = program
      .command(verb)
      .description(description)
      .argument('[node]', 'name of a node (mkondo fleet); without one, the node behind --ops-url')
      .addOption(jsonOption())
      .addOption(opsUrlOption())
      .addOption(configOption())
    withExitCodes(command, 'done', FAILED).action(async (node: string | undefined, options: FleetOptions) => {
      ends(await (await import('../fleet.js')).nodeCommand(verb, node ?? null, options, terminal))
    })
  }
}

export const defineTop: Define = (program, terminal, ends) => {
  const command = program
    .command('top')
    .description('watch the live calls of all nodes, as a table that is drawn again and again')
    .addOption(valued('--interval <seconds>', 'time between two looks', whole(1, 60)).default(2))
    .addOption(jsonOption())
    .addOption(opsUrlOption())
    .addOption(configOption())
    .addHelpText(
      'after',
      '\nq or Ctrl-C ends it. Where standard output is no terminal, and with --json, it looks once.',
    )
  withExitCodes(command, 'done', FAILED).action(async (options: TopOptions) => {
    ends(await (await import('../top.js')).top(options, terminal))
  })
}
