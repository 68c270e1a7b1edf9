import type { EstimateOptions } from '../money/estimate.js'
import type { ReconcileOptions } from '../money/reconcile.js'
import { UsageError, withExitCodes } from '../exit-codes.js'
import { agentName, configOption, jsonOption, valued, whole } from '../options.js'
import type { Define } from './define.js'

const MINUTES_MAX = 24 * 60

export const defineCost: Define = (program, terminal, ends) => {
  const cost = program
    .command('cost')
    .description("estimate the cost of an agent's calls, or compare a vendor's bill to the records")
    .helpCommand(false)
    .addOption(valued('--agent <name>', 'the agent that takes or places the calls', agentName))
    .addOption(valued('--calls <n>', 'how many calls', whole(1, 1_000_000_000)))
    .addOption(valued('--minutes <m>', 'length of one call, such as 2.5', minutes))
    .option('--outbound', 'the gateway places the calls (default: they come in)')
    .option('--assumed', 'use assumptions, even if calls of the agent are recorded')
    .option('--carrier-prices', "fetch and use the carrier's public price list")
    .addOption(jsonOption())
    .addOption(configOption())
    .addHelpText(
      'after',
      `
The units of models come from the agent's last 1,000 recorded calls in DATA_DIR if there are 20 of them, else from
assumptions that the result names. Prices come from the agent's budget.prices, PRICES_FILE and the vendors' lists, each
with its date (docs/COST.md).`,
    )
  withExitCodes(cost, 'every part is known', 'a part is unknown: the sum has only the known parts').action(
    async (options: Partial<EstimateOptions>) => {
      const { agent, calls, minutes } = options
      if (agent === undefined || calls === undefined || minutes === undefined)
        throw new UsageError('needs --agent, --calls and --minutes, or a command; allowed: reconcile')
      const { estimate } = await import('../money/estimate.js')
      ends(await estimate({ ...options, agent, calls, minutes }, terminal))
    },
  )
  const reconcile = cost
    .command('reconcile')
    // Help of `reconcile` does not show the options of its parent `cost`.
    .configureHelp({ showGlobalOptions: false })
    .description("compare a vendor's usage file to the call records, by model and day")
    .argument('<file>', 'CSV that the vendor exports')
    .option(
      '--map <name>',
      'form of the file, by its name in docs/COST.md, or a YAML file with the names of its columns (default: found by its columns)',
    )
    .addOption(valued('--over <percent>', 'differences above it are reported', percent).default(5))
    .addOption(jsonOption())
    .addOption(configOption())
    .addHelpText(
      'after',
      `
Reads the records below DATA_DIR. Days are days in UTC. A call belongs to the day on which it began. A
difference that calls over midnight may explain is not reported. Usage without a call is reported, such as the usage of
another program with the same key.`,
    )
  withExitCodes(
    reconcile,
    'no difference is larger',
    'a difference is larger',
    'the file, its columns or the map are wrong',
  ).action(async (file: string) => {
    const module = await import('../money/reconcile.js')
    // `cost` and `reconcile` both have `--json` and `--config`. commander gives their values to the parent `cost`, so
    // the parent's options are read here too.
    ends(await module.reconcile(file, reconcile.optsWithGlobals<ReconcileOptions>(), terminal))
  })
}

function minutes(value: string, name: string): number {
  const number = Number(value)
  if (/^\d+(\.\d+)?$/.test(value) && number > 0 && number <= MINUTES_MAX) return number
  throw new UsageError(`${name} is not a length; allowed: minutes above 0 and up to ${MINUTES_MAX}, such as 2.5`)
}

function percent(value: string, name: string): number {
  const number = Number(value)
  if (/^\d+(\.\d+)?$/.test(value) && number <= 1000) return number
  throw new UsageError(`${name} is not a percentage; allowed: 0 to 1000, such as 5`)
}
