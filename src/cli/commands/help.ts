import type { Command } from 'commander'
import { packageVersion } from '../../config/package-root.js'
import type { Setting } from '../../core/setting.js'
import { UsageError } from '../exit-codes.js'
import { filledHelp, helpColumns } from '../terminal.js'
import type { Define } from './define.js'

export const defineHelp: Define = (program, terminal) => {
  program
    .command('help')
    .description('show help for a command, or all settings')
    .argument('[topic...]', 'a command such as `calls list`, or `settings`')
    .action(async (topic: readonly string[]) => {
      if (topic.length === 1 && topic[0] === 'settings') {
        terminal.out(filledHelp(await settingsHelp(), helpColumns(terminal)))
        return
      }
      let command: Command = program
      for (const word of topic) {
        const found = command.commands.find((one) => one.name() === word)
        if (found === undefined) {
          const names = [...(command === program ? ['settings'] : []), ...command.commands.map((one) => one.name())]
          const { nearest } = await import('../../agents/file/faults.js')
          const near = nearest(word, names)
          throw new UsageError(
            `there is no command '${topic.join(' ').slice(0, 60)}'; ${near === null ? `allowed: ${names.join(', ')}` : `did you mean ${near}?`}`,
          )
        }
        command = found
      }
      command.outputHelp()
    })
  program
    .command('version')
    .description('print the version')
    .action(() => {
      terminal.out(`${packageVersion()}\n`)
    })
}

async function settingsHelp(): Promise<string> {
  const { SETTINGS } = await import('../../config/settings.js')
  const { defaultOf } = await import('../../core/setting.js')
  const rows = Object.values(SETTINGS).map((setting: Setting<unknown>) => {
    const value = defaultOf(setting)
    const about = [...(setting.secret === true ? ['secret'] : []), ...(value === null ? [] : [`default ${value}`])]
    const shown = about.length === 0 ? '' : ` (${about.join(', ')})`
    return `  ${setting.env.padEnd(29)}  ${setting.help}${shown}\n${' '.repeat(33)}${setting.kind.allowed}\n`
  })
  return `Settings are read from the environment, then from mkondo.yaml (keys in camelCase):\n\n${rows.join('')}`
}
