import type { BundleOptions } from '../records/bundle.js'
import { withExitCodes } from '../exit-codes.js'
import { callSid } from '../options.js'
import { asksGateway, type Define } from './define.js'

export const defineBundle: Define = (program, terminal, ends) => {
  const command = program
    .command('bundle')
    .description('collect the data of a call that support needs, redacted, in one file')
    .argument('<sid>', 'call SID', callSid)
    .option('--with-words', 'keep the words of the call, without phone numbers; only if the caller agrees')
    .option('--to <folder>', 'where to write the file', '.')
    .addHelpText(
      'after',
      `
Contents of mkondo-bundle-SID.tar.gz:
  record.json     the call record: times, figures, decisions, errors
  timeline.json   its timeline, as mkondo calls timeline shows it
  journal.jsonl   its journal, if one was kept (JOURNAL_CALLS), for mkondo replay
  settings.json   settings of the gateway; secrets only as set or not set
  node.json       backends, recent refusals and nodes
  README.txt      what was redacted, and what is missing and why

In the words of the call every letter is an x and every digit a 0. Phone numbers, keys and addresses are masked. Audio is left
out. Read the file before you send it.`,
    )
  withExitCodes(asksGateway(command), 'written', 'there is no such call, or the file could not be written').action(
    async (sid: string, options: BundleOptions) => {
      ends(await (await import('../records/bundle.js')).bundle(sid, options, terminal))
    },
  )
}
