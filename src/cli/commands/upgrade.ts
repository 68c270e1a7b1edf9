import type { UpgradeOptions } from '../upgrade/check.js'
import { UsageError, withExitCodes } from '../exit-codes.js'
import { configOption, jsonOption, text, valued, whole } from '../options.js'
import type { Define } from './define.js'

/** Maximum number of recorded calls that one check replays. */
const JOURNALS_MAX = 10_000

export const defineUpgrade: Define = (program, terminal, ends) => {
  const command = program
    .command('upgrade')
    .description('show the changes of an upgrade to this version, before the upgrade')
    .option('--check', 'only check; required')
    .addOption(
      valued(
        '--from <version>',
        'version that runs now (default: the version of the nodes, or of the newest journal)',
        text,
      ),
    )
    .addOption(valued('--journals <n>', 'newest recorded calls that are replayed', whole(0, JOURNALS_MAX)).default(20))
    .option('--env-file <file>', 'file with the variables of the running gateway, such as the file for systemd')
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Run it from the new version with the settings of the old one, also while the old one takes calls. It reads settings, agents,
numbers, stored records, campaigns and messages, replays recorded calls, and asks Redis for the nodes. It writes nothing:
the last line compares the data folder before and after. Files that are sealed are not opened (docs/RELEASES.md).`,
    )
  withExitCodes(
    command,
    'nothing changes',
    'check the result: a setting changes its meaning, or a recorded call has other decisions',
    'something must change first',
  ).action(async (options: UpgradeOptions) => {
    if (options.check !== true)
      throw new UsageError('needs --check; packages are installed by npm or the image (docs/RELEASES.md)')
    const { checkUpgrade } = await import('../upgrade/check.js')
    ends(await checkUpgrade(options, terminal))
  })
}
