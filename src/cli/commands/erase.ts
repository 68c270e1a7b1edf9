import { withExitCodes } from '../exit-codes.js'
import type { EraseOptions } from '../records/erase.js'
import { asksGateway, type Define } from './define.js'

export const defineErase: Define = (program, terminal, ends) => {
  const command = program
    .command('erase')
    .description('delete the stored data of a call, or of all calls of a number')
    .option('--sid <sid>', 'one call')
    .option('--number <number>', 'all calls of a caller (E.164); with - the number is read from standard input')
    .option(
      '--masked',
      'with --number: also erase calls with a masked number that may be this one. Without it the carrier is asked about each of them (SAUTIKIT_API_KEY); calls that stay uncertain are counted and kept',
    )
    .option('--offline', "when no gateway runs: erase from DATA_DIR, but not from the fleet's store")
    .addHelpText(
      'after',
      `
Deletes the data of ended calls on all nodes: record and transcript, recordings (ours and the copy of the carrier's),
handoff packet, journal, messages that wait, and the state in the fleet's store. It prints how much was erased, not what.

If the call is live, nothing is erased. Log lines, metrics, traces and messages that were taken are outside
the gateway: docs/OPERATIONS.md says how to find them.`,
    )
  withExitCodes(asksGateway(command), 'erased', 'refused, uncertain, or a node does not answer').action(
    async (options: EraseOptions) => {
      ends(await (await import('../records/erase.js')).erase(options, terminal))
    },
  )
}
