import type { Command } from 'commander'
import { packageVersion } from '../../config/package-root.js'
import type { Setting } from '../../core/setting.js'
import { UsageError } from '../exit-codes.js'
import { filledHelp, helpColumns } from '../terminal.js'
import type { RealtimeService, Service } from '../../vendors/vendor.js'
import type { Define } from './define.js'

export const defineHelp: Define = (program, terminal) => {
  program
    .command('help')
    .description('show help for a command, all settings, or the services of all vendors')
    .argument(
      '[topic...]',
      'a command such as `calls list`, `settings`, `settings self-hosted` for those of a vendor, or `vendors`',
    )
    .action(async (topic: readonly string[]) => {
      if (topic.length <= 2 && topic[0] === 'settings') {
        terminal.out(filledHelp(await settingsHelp(topic[1]), helpColumns(terminal)))
        return
      }
      if (topic.length === 1 && topic[0] === 'vendors') {
        terminal.out(filledHelp(await vendorsHelp(), helpColumns(terminal)))
        return
      }
      let command: Command = program
      for (const word of topic) {
        const found = command.commands.find((one) => one.name() === word)
        if (found === undefined) {
          const names = [
            ...(command === program ? ['settings', 'vendors'] : []),
            ...command.commands.map((one) => one.name()),
          ]
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

/**
 * @param folder folder of the vendor whose settings are listed. If undefined, all settings are listed, and vendors'
 * settings are grouped by vendor
 */
async function settingsHelp(folder: string | undefined): Promise<string> {
  const { SETTINGS } = await import('../../config/settings.js')
  const { VENDORS, VENDOR_SETTINGS } = await import('../../vendors/list.js')
  const all = Object.entries(SETTINGS) as readonly (readonly [string, Setting<unknown>])[]
  const vendors = VENDORS.filter((vendor) => folder === undefined || vendor.folder === folder)
  if (vendors.length === 0)
    throw new UsageError(
      `there is no vendor '${(folder ?? '').slice(0, 60)}'; allowed: ${VENDORS.map((vendor) => vendor.folder).join(', ')}`,
    )
  const own = all.filter(([name]) => !(name in VENDOR_SETTINGS))
  const rows = await Promise.all([
    ...(folder === undefined ? own : []).map(([, setting]) => settingHelp(setting)),
    ...vendors.flatMap(({ title, settings }) => [
      `\nOf ${title}:\n\n`,
      ...all.filter(([name]) => name in settings).map(([, setting]) => settingHelp(setting)),
    ]),
  ])
  return `Settings are read from the environment, then from mkondo.yaml (keys in camelCase):\n${folder === undefined ? '\n' : ''}${rows.join('')}`
}

async function settingHelp(setting: Setting<unknown>): Promise<string> {
  const { defaultOf } = await import('../../core/setting.js')
  const value = defaultOf(setting)
  const about = [...(setting.secret === true ? ['secret'] : []), ...(value === null ? [] : [`default ${value}`])]
  const shown = about.length === 0 ? '' : ` (${about.join(', ')})`
  return `  ${setting.env.padEnd(29)}  ${setting.help}${shown}\n${' '.repeat(33)}${setting.kind.allowed}\n`
}

/** The fields of a service that help shows. */
type Shown = Pick<Service<object>, 'about' | 'lacks' | 'needs'> & Pick<RealtimeService, 'automatic'>

/**
 * Text that lists the services of all vendors, grouped by part of the cascade. For each service it gives the
 * description, the missing features and the needs.
 */
async function vendorsHelp(): Promise<string> {
  const { REALTIME, SERVICES } = await import('../../vendors/list.js')
  const row = (name: string, { about, lacks, needs, automatic }: Shown): string =>
    `  ${name.padEnd(20)}  ${about}${lacks === undefined ? '' : `; ${lacks}`} (needs ${needs}${automatic === true ? '; backend: auto takes it' : ''})\n`
  const parts = { stt: 'Recognisers', llm: 'Language models', tts: 'Voices' } as const
  return [
    'Realtime services, each a backend:\n',
    ...[...REALTIME].map(([name, service]) => row(name, service)),
    ...(['stt', 'llm', 'tts'] as const).flatMap((part) => [
      `\n${parts[part]} of the backend cascade (${part}):\n`,
      ...[...SERVICES[part]].map(([name, service]) => row(name, service)),
    ]),
    '\nOptions, prices and an example of each are on the page of its vendor (docs/VENDORS.md).\n',
  ].join('')
}
