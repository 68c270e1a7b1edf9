import type { DemoOptions } from '../demo/demo-gateway.js'
import { withExitCodes } from '../exit-codes.js'
import { chosen, jsonFileOption, jsonTarget } from '../options.js'
import type { Define } from './define.js'

export const defineDemo: Define = (program, terminal, ends) => {
  const command = program
    .command('demo')
    .description('start a gateway, place three spoken calls, check what the callers were told')
    .addOption(
      chosen(
        '--agent <name>',
        'the agent to call: three callers of order-status, or one of support with a question, an account and a fault, who is escalated to a human',
        ['order-status', 'support'],
      ).default('order-status'),
    )
    .option(
      '--failover',
      'place only one call; its model (a local double) is killed in mid-sentence and replaced by another',
    )
    .option(
      '--cascade',
      'place the three calls on a cascade of local doubles with real speech; a voice breaks off in mid-sentence',
    )
    .option(
      '--after',
      'place only one call, then show its analysis by a text model (a local double), and the messages that a receiver verifies',
    )
    .option(
      '--pay',
      'place only one call; the caller pays by M-Pesa during the call (docs/WAITING.md), with a double of the API',
    )
    .option(
      '--languages',
      'place only one call, on a cascade of local doubles; the caller changes from Swahili to English (docs/LANGUAGES.md)',
    )
    .option('--known-caller', 'place only one call; the agent greets the customer by name (docs/CALLERS.md)')
    .option('--timeline', 'also draw each call as a waterfall: what happened when, and how long it took')
    .option(
      '--record <file>',
      'with --failover and support: keep the recording; left: the caller, right: what the caller heard',
    )
    .addOption(jsonFileOption())
    .addHelpText(
      'after',
      `
Starts the gateway and the demo's orders API, places three spoken calls through webhook, XML and audio socket, and
prints each conversation.`,
    )
  withExitCodes(command, 'every caller was told the right answer', 'a caller was not').action(
    async ({ json, ...options }: Omit<DemoOptions, 'json'> & { readonly json?: string | true }) => {
      ends(await (await import('../demo/demo.js')).demo({ ...options, json: jsonTarget(json) }, terminal))
    },
  )
}
