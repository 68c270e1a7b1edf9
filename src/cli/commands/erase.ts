import { withExitCodes } from '../exit-codes.js'
import type { EraseOptions } from '../erase.js'
import { configOption, jsonOption, opsUrlOption } from '../options.js'
import type { Define } from './define.js'

export const defineErase: Define = (program, terminal, ends) => {
  const command = program
    .command('erase')
    .description('delete what is kept of a call, or of all calls of a number')
    .option('--sid <sid>', 'one call')
    .option('--number <number>', 'all calls of a caller (E.164); with - the number is read from standard input')
    .option(
      '--masked',
      'with --number: also calls whose record has its number masked and looks like this one. Without it the carrier is asked about each (SAUTIKIT_API_KEY); those that stay uncertain are counted and left',
    )
    .option('--offline', "no gateway runs: erases from DATA_DIR of the settings, and not from the fleet's store")
    .addOption(jsonOption())
    .addOption(opsUrlOption())
    .addOption(configOption())
    .addHelpText(
      'after',
      `
Deletes what the gateway keeps of ended calls, at all nodes: record and transcript, recordings (ours and the carrier's
copy), handoff packet, journal, and the state in the fleet's store. It says how much was erased, not what.

A call that is live is refused, and nothing is erased. Log lines, metrics, traces and what was posted to others (handoff
webhooks) are outside of the gateway: docs/OPERATIONS.md says how they are found.`,
    )
  withExitCodes(command, 'erased', 'refused, uncertain, or a node does not answer').action(
    async (options: EraseOptions) => {
      ends(await (await import('../erase.js')).erase(options, terminal))
    },
  )
}
