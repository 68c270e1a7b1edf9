import { join } from 'node:path'
import type { ReplayOptions } from '../replay.js'
import { withExitCodes } from '../exit-codes.js'
import { jsonOption, repeated, text } from '../options.js'
import type { Define } from './define.js'

export const defineReplay: Define = (program, terminal, ends) => {
  const command = program
    .command('replay')
    .description('run recorded calls again, and say what differs')
    .argument('<journal...>', 'files (DATA_DIR/journals/SID.jsonl, also .gz) or folders of them')
    .option('--diff', 'where this version decides otherwise: what is gone (-), new (+) or at another time (~)')
    .addOption(
      repeated('--set <key=value>', 'another setting of the call, such as bargeIn.commitMs=400; implies --diff', text),
    )
    .option('--no-audio', "leave the caller's audio out, also where the journal holds it")
    .addOption(jsonOption())
    .optionsGroup('To keep a call as a test:')
    .option(
      '--cut <name>',
      'write the call to FOLDER/NAME.jsonl.gz: without phone numbers and the SID, and unless asked for without words and audio',
    )
    .option('--to <folder>', 'folder of the test', join('test', 'journals'))
    .option('--until <seconds>', 'only the beginning of the call')
    .option('--with-words', 'what was said stays readable')
    .option('--with-audio', "the caller's audio stays, with its words")
    .addHelpText(
      'after',
      `
Runs recorded calls again through the code of this version, on the clock of the recording and without waiting.
JOURNAL_CALLS makes the gateway write journals: decisions, or audio, with which the caller's audio goes through jitter
buffer, voice and digit detection again. 'mkondo replay FOLDER' runs the tests that --cut wrote (docs/REPLAY.md).`,
    )
  withExitCodes(
    command,
    'each call ran as it was recorded (with --set: ran)',
    'one did not',
    'a journal or an option is wrong',
  ).action(async (journals: string[], options: ReplayOptions) => {
    ends(await (await import('../replay.js')).replay(journals, options, terminal))
  })
}
