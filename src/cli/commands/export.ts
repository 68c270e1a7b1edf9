import { withExitCodes } from '../exit-codes.js'
import type { ExportOptions } from '../records/export.js'
import { asksGateway, type Define } from './define.js'

export const defineExport: Define = (program, terminal, ends) => {
  const command = program
    .command('export')
    .description('copy the stored data of all calls of a number into one file')
    .argument('<number>', 'the caller (E.164); with - it is read from standard input')
    .option(
      '--masked',
      'also calls with a masked number that may be this one. Without it the carrier is asked about each of them (SAUTIKIT_API_KEY); calls that stay uncertain are counted and left out',
    )
    .option('--to <folder>', 'where to write the file', '.')
    .addHelpText(
      'after',
      `
Contents of mkondo-export-TIME.tar.gz, from all nodes:
  SID/record.json     the record of an ended call, with its transcript
  SID/handoff.json    what a colleague got, if there was an escalation
  SID/recording.wav   both voices, if the call was recorded
  SID/recording.1.wav  the part before the line was cut off, if the call went on
  SID/carrier-recording.mp3  the carrier's recording (CARRIER_RECORDINGS)
  SID/journal.jsonl   its journal, if one was kept (JOURNAL_CALLS)
  messages.json       messages about these calls that no receiver has taken yet
  campaigns.json      the number's rows of campaigns and call backs
  README.txt          what is in it, and what is missing and why

The file holds what a person said: give it to nobody else, and delete it. mkondo erase deletes what was exported.`,
    )
  withExitCodes(
    asksGateway(command),
    'written, and nothing is missing',
    'refused, or written and something is missing',
  ).action(async (number: string, options: ExportOptions) => {
    ends(await (await import('../records/export.js')).exportCaller(number, options, terminal))
  })
}
