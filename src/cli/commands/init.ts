import { BACKEND_NAMES, TEMPLATES, init, languageOf, type InitOptions } from '../init.js'
import { withExitCodes } from '../exit-codes.js'
import { chosen, valued } from '../options.js'
import type { Define } from './define.js'

export const defineInit: Define = (program, terminal, ends) => {
  const command = program
    .command('init')
    .description('create an agent: a folder with its file, a tool, a scenario and a README')
    .argument('<name>', 'the folder; its last part is the name of the agent')
    .addOption(chosen('--template <name>', 'template to start from', Object.keys(TEMPLATES)))
    .addOption(valued('--language <code>', 'language of the conversation, such as en or sw', languageOf))
    .addOption(chosen('--backend <name>', 'backend of the agent', BACKEND_NAMES))
    .addOption(
      chosen('--tools <kind>', 'code: tools as code in the folder; http: also an example of a tool for an HTTP API', [
        'code',
        'http',
      ]),
    )
    .option('-y, --yes', 'no questions, use the defaults: order-status, en, embedded, code')
    .addHelpText(
      'after',
      `
On a terminal the command asks for options that are not set; otherwise it uses defaults. In the new folder 'mkondo check'
and 'mkondo simulate' pass at once, without any variable.

Templates:
${Object.entries(TEMPLATES)
  .map(([name, what]) => `  ${name.padEnd(14)}${what}`)
  .join('\n')}`,
    )
  withExitCodes(
    command,
    'written',
    'the folder could not be written',
    'a name or an option is wrong, or the folder exists',
  ).action(async (folder: string, options: InitOptions) => {
    ends(await init(folder, options, terminal))
  })
}
