import type { CheckOptions } from '../check.js'
import { withExitCodes } from '../exit-codes.js'
import { configOption, jsonOption } from '../options.js'
import type { Define } from './define.js'

export const defineCheck: Define = (program, terminal, ends) => {
  const command = program
    .command('check')
    .description('check settings, agents, keys, ports and reachability')
    .option('--tools', 'also try each tool of each agent with its sample arguments; only requests that read are sent')
    .option('--with-shop', "as for serve: with the demo's orders API, unless SHOP_API_URL is set")
    .option('--processes <n>', 'as for serve: check the settings and ports of that many processes')
    .addOption(configOption())
    .option(
      '--env-file <file>',
      'as for serve: file with variables (NAME=value lines); the environment takes precedence',
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Checks settings, agent files, DATA_DIR, ports and the APIs that the settings name, opens a session with each backend
that an agent uses (without speech), and prints what it found.`,
    )
  withExitCodes(command, 'a gateway would start', null, 'a gateway would not start, or wrong usage').action(
    async (options: CheckOptions) => {
      ends(await (await import('../check.js')).check(options, terminal))
    },
  )
}
