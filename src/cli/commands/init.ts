import { BACKEND_NAMES, TEMPLATES, init, languageOf, type InitOptions } from '../init.js'
import { withExitCodes } from '../exit-codes.js'
import { chosen, valued } from '../options.js'
import type { Define } from './define.js'

export const defineInit: Define = (program, terminal, ends) => {
  const command = program
    .command('init')
    .description('begin an agent: a folder with its file, a tool, a scenario and a README')
    .argument('<name>', 'the folder; its last part is the name of the agent')
    .addOption(chosen('--template <name>', 'what to begin with', Object.keys(TEMPLATES)))
    .addOption(valued('--language <code>', 'language of the conversation, such as en or sw', languageOf))
    .addOption(chosen('--backend <name>', 'what the agent is to run on', BACKEND_NAMES))
    .addOption(
      chosen('--tools <kind>', 'tools as code in the folder, or also an example of an HTTP API', ['code', 'http']),
    )
    .option('-y, --yes', 'ask nothing: order-status, en, embedded, code')
    .addHelpText(
      'after',
      `
What is not given is asked for on a terminal, and has a default elsewhere. In the new folder 'mkondo check' and
'mkondo simulate' pass at once, with no variable set.

Templates:
${Object.entries(TEMPLATES)
  .map(([name, what]) => `  ${name.padEnd(14)}${what}`)
  .join('\n')}`,
    )
  withExitCodes(
    command,
    'written',
    'it could not be written',
    'a name or an option is wrong, or the folder is there',
  ).action(async (folder: string, options: InitOptions) => {
    ends(await init(folder, options, terminal))
  })
}
