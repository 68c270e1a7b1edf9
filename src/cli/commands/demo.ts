import type { DemoOptions } from '../demo.js'
import { withExitCodes } from '../exit-codes.js'
import { chosen, jsonFileOption, jsonTarget } from '../options.js'
import type { Define } from './define.js'

export const defineDemo: Define = (program, terminal, ends) => {
  const command = program
    .command('demo')
    .description('start everything, place three spoken calls, check what the callers heard')
    .addOption(
      chosen(
        '--agent <name>',
        'who is called: the order line by three callers, or support by one with a question, an account and a fault, who ends with a human',
        ['order-status', 'support'],
      ).default('order-status'),
    )
    .option(
      '--failover',
      'instead: one call whose model (a local double) is killed in mid-sentence, and another takes over',
    )
    .option(
      '--shadow',
      'instead: one call that a second backend (a local double) listens to, and what that one would have done',
    )
    .option('--timeline', 'and draw each call as a waterfall: what happened when, and what took how long')
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
  withExitCodes(command, 'every caller heard the right status of the right order', 'one did not').action(
    async ({ json, ...options }: Omit<DemoOptions, 'json'> & { readonly json?: string | true }) => {
      ends(await (await import('../demo.js')).demo({ ...options, json: jsonTarget(json) }, terminal))
    },
  )
}
