import type { BundleOptions } from '../bundle.js'
import { withExitCodes } from '../exit-codes.js'
import { callSid, configOption, jsonOption, opsUrlOption } from '../options.js'
import type { Define } from './define.js'

export const defineBundle: Define = (program, terminal, ends) => {
  const command = program
    .command('bundle')
    .description('collect what support needs of a call, redacted, in one file')
    .argument('<sid>', 'call SID', callSid)
    .option('--with-words', 'leaves what was said, without phone numbers; only where the caller agrees')
    .option('--to <folder>', 'where the file is written', '.')
    .addOption(jsonOption())
    .addOption(opsUrlOption())
    .addOption(configOption())
    .addHelpText(
      'after',
      `
In mkondo-bundle-SID.tar.gz are:
  record.json     the call record: times, figures, decisions, errors
  timeline.json   its timeline, as mkondo calls timeline shows it
  journal.jsonl   its journal where one was kept (JOURNAL_CALLS): mkondo replay runs it again
  settings.json   settings of the gateway; of secrets only whether they are set
  node.json       backends, recent refusals and nodes
  README.txt      what was redacted, and what is missing and why

Every letter of what anybody said is an x, every digit a 0; phone numbers, keys and addresses are masked; audio is left
out. Read it before you send it.`,
    )
  withExitCodes(command, 'written', 'there is no such call, or the file cannot be written').action(
    async (sid: string, options: BundleOptions) => {
      ends(await (await import('../bundle.js')).bundle(sid, options, terminal))
    },
  )
}
