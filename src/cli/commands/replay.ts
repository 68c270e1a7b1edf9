import { join } from 'node:path'
import type { ReplayOptions } from '../records/replay.js'
import { withExitCodes } from '../exit-codes.js'
import { configOption, jsonOption, opsUrlOption, repeated, text } from '../options.js'
import type { Define } from './define.js'

export const defineReplay: Define = (program, terminal, ends) => {
  const command = program
    .command('replay')
    .description('run recorded calls again and report the differences')
    .argument(
      '<journal...>',
      'files (DATA_DIR/journals/SID.jsonl, also .gz), folders of them, or SIDs of calls of a running gateway',
    )
    .option('--diff', 'show where this version decides differently: missing (-), new (+) or at another time (~)')
    .addOption(
      repeated('--set <key=value>', 'change a setting of the call, such as bargeIn.commitMs=400; implies --diff', text),
    )
    .option('--no-audio', "ignore the caller's audio, even if the journal has it")
    .addOption(jsonOption())
    .addOption(opsUrlOption())
    .addOption(configOption())
    .optionsGroup('To keep a call as a test:')
    .option('--cut <name>', 'write the call to FOLDER/NAME.jsonl.gz, without phone numbers, the SID, words and audio')
    .option('--to <folder>', 'folder of the test', join('test', 'journals'))
    .option('--until <seconds>', 'keep only the beginning of the call')
    .option('--with-words', 'keep the words')
    .option('--with-audio', "keep the caller's audio and the words")
    .addHelpText(
      'after',
      `
Runs recorded calls again through the code of this version, faster than real time.
JOURNAL_CALLS makes the gateway write journals: decisions, or audio. With audio, the caller's audio passes through jitter
buffer, voice and digit detection again. 'mkondo replay FOLDER' runs the tests that --cut wrote (docs/REPLAY.md).`,
    )
  withExitCodes(
    command,
    'each call ran as recorded (with --set: each call ran)',
    'one did not',
    'a journal or an option is wrong',
  ).action(async (journals: string[], options: ReplayOptions) => {
    ends(await (await import('../records/replay.js')).replay(journals, options, terminal))
  })
}
