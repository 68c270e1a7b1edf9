import { withExitCodes } from '../exit-codes.js'
import type { NodeCommand } from '../fleet.js'
import type { OpsOptions } from '../ops-client.js'
import { valued, whole } from '../options.js'
import type { TopOptions } from '../top.js'
import { actionsWith, asksGateway, type Define } from './define.js'

const FAILED = 'refused, or a node does not answer'

export const defineFleet: Define = (program, terminal, ends) => {
  const run = actionsWith(() => import('../fleet.js'), ends)
  const fleet = asksGateway(program.command('fleet').description('show the nodes of a fleet and their call store'))
  withExitCodes(fleet, 'done', FAILED).action(run((it, options: OpsOptions) => it.fleet(options, terminal)))

  const verbs: Readonly<Record<NodeCommand, string>> = {
    drain: 'stop a node: it accepts no new calls, finishes its calls (DRAIN_TIMEOUT) and ends',
    cordon: 'send a node no new calls; live calls and the process continue',
    uncordon: 'send a cordoned node new calls again',
  }
  for (const [verb, description] of Object.entries(verbs) as [NodeCommand, string][]) {
    const command = asksGateway(program.command(verb).description(description)).argument(
      '[node]',
      'name of a node, from mkondo fleet (default: the node at --ops-url)',
    )
    withExitCodes(command, 'done', FAILED).action(
      run((it, options: OpsOptions, node?: string) => it.nodeCommand(verb, node ?? null, options, terminal)),
    )
  }
}

export const defineTop: Define = (program, terminal, ends) => {
  const command = program
    .command('top')
    .description('watch the live calls of all nodes in a table')
    .addOption(valued('--interval <seconds>', 'time between two updates', whole(1, 60)).default(2))
    .addHelpText(
      'after',
      '\nq or Ctrl-C ends it. With --json, or if standard output is not a terminal, it prints once and ends.',
    )
  withExitCodes(asksGateway(command), 'done', FAILED).action(async (options: TopOptions) => {
    ends(await (await import('../top.js')).top(options, terminal))
  })
}
