import type { DemoOptions } from '../demo/demo-gateway.js'
import { withExitCodes } from '../exit-codes.js'
import { chosen, jsonFileOption, jsonTarget } from '../options.js'
import type { Define } from './define.js'

export const defineDemo: Define = (program, terminal, ends) => {
  const command = program
    .command('demo')
    .description('start a gateway, place three spoken calls, check what the callers heard')
    .addOption(
      chosen(
        '--agent <name>',
        'the agent to call: three callers of order-status, or one of support with a question, an account and a fault, who is escalated to a human',
        ['order-status', 'support'],
      ).default('order-status'),
    )
    .option(
      '--failover',
      'one call instead, whose model (a local double) is killed in mid-sentence and replaced by another',
    )
    .option(
      '--cascade',
      'the three calls on a cascade of local doubles with real speech, whose voice breaks off in mid-sentence',
    )
    .option(
      '--after',
      'one call instead, then what a text model (a local double) says it was about, and the messages that a receiver verifies',
    )
    .option('--pay', 'one call of a caller who pays by M-Pesa meanwhile (docs/WAITING.md), with a double of its API')
    .option(
      '--languages',
      'one call instead, of a caller who goes from Swahili to English, on a cascade of local doubles (docs/LANGUAGES.md)',
    )
    .option('--known-caller', 'one call instead, of a customer who is greeted by name (docs/CALLERS.md)')
    .option('--timeline', 'also draw each call as a waterfall: what happened when, and how long it took')
    .option(
      '--record <file>',
      'with --failover and support: keep the recording, caller left, what the caller heard right',
    )
    .addOption(jsonFileOption())
    .addHelpText(
      'after',
      `
Starts the gateway and the demo's orders API, places three spoken calls through webhook, XML and audio socket, and
prints each conversation.`,
    )
  withExitCodes(command, 'every caller heard the right answer', 'a caller did not').action(
    async ({ json, ...options }: Omit<DemoOptions, 'json'> & { readonly json?: string | true }) => {
      ends(await (await import('../demo/demo.js')).demo({ ...options, json: jsonTarget(json) }, terminal))
    },
  )
}
