import type { LearnOptions } from '../records/learn.js'
import { withExitCodes } from '../exit-codes.js'
import { agentName, configOption, jsonOption, valued } from '../options.js'
import type { Define } from './define.js'

export const defineLearn: Define = (program, terminal, ends) => {
  const command = program
    .command('learn')
    .description('learn the end of a turn from recorded calls: one file for the option turn.learned of agents')
    .argument('[folder...]', 'data folders with journals and records (default: DATA_DIR)')
    .requiredOption('--out <file>', 'file for the result; an existing file is replaced')
    .addOption(valued('--agent <name>', 'only calls of this agent (default: of all agents)', agentName))
    .option(
      '--unannounced',
      'also use calls without a notice of the recording. Their callers must have been informed in another way',
    )
    .option('--shipped', 'learn nothing, and write the file that ships with mkondo')
    .addOption(jsonOption())
    .addOption(configOption())
    .addHelpText(
      'after',
      `
Reads journals (JOURNAL_CALLS) of calls whose record says that the caller was informed. The caller's own behaviour is the
label. If the caller continues within 1.5 s after the agent began, the answer came too early. If the end of the turn is
detected after more than 700 ms, it comes too late. A quarter of the callers is used only for the evaluation. If the
result is not better than the rules, no file is written. The file contains numbers, but no words, phone numbers or SIDs
(docs/VAD.md, "Learned from calls").`,
    )
  withExitCodes(
    command,
    'written',
    'nothing written: too few calls, or the rules are as good',
    'a folder or an option is wrong',
  ).action(async (folders: string[], options: LearnOptions) => {
    ends(await (await import('../records/learn.js')).learn(folders, options, terminal))
  })
}
