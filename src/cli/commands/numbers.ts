import type { ClaimOptions, ListNumbersOptions, RouteOptions } from '../numbers.js'
import { withExitCodes } from '../exit-codes.js'
import { agentName, configOption, jsonOption, valued, webAddress } from '../options.js'
import { actionsWith, type Define } from './define.js'

export const defineNumbers: Define = (program, terminal, ends) => {
  const numbers = program
    .command('numbers')
    .description('list, claim and route phone numbers')
    .helpCommand(false)
    .addOption(jsonOption())
    .addOption(configOption())
    .addHelpText('after', "\nThe phone numbers of your workspace, through the carrier's API (SAUTIKIT_API_KEY).")
  const verb = (usage: string, description: string) =>
    withExitCodes(
      numbers.command(usage).description(description),
      'done',
      'refused by the carrier, or there is no such number',
    )
  const run = actionsWith(() => import('../numbers.js'), ends)

  verb('list', 'your numbers and their routes')
    .option('--available', 'list numbers that you can claim, instead of your own numbers')
    .action(run((it, options: ListNumbersOptions) => it.listNumbers(options, terminal)))
  verb('claim', 'claim one of the available numbers')
    .argument('<number>', 'the number, or its id')
    .option('--key <text>', 'idempotency key: the same key never claims twice (default: a new one each time)')
    .action(run((it, options: ClaimOptions, number: string) => it.claimNumber(number, options, terminal)))
  verb('route', 'route the calls of a number to an agent of this gateway (PUBLIC_URL), or to a URL')
    .argument('<number>', 'the number, or its id')
    .addOption(
      valued(
        '--agent <name>',
        'an agent in AGENTS_DIR of this machine; for another gateway use --url',
        agentName,
      ).conflicts('url'),
    )
    .addOption(valued('--url <url>', 'the voice webhook', webAddress))
    .addOption(
      valued(
        '--events-url <url>',
        'the events webhook (default with --agent: the events webhook of this gateway)',
        webAddress,
      ),
    )
    .action(run((it, options: RouteOptions, number: string) => it.routeNumber(number, options, terminal)))
}
