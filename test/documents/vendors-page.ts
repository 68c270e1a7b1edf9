import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'
import { SETTINGS } from '../../src/config/settings.js'
import type { Setting } from '../../src/core/setting.js'
import { SERVICES, VENDORS } from '../../src/vendors/list.js'
import { PARTS, seenModels } from '../../src/vendors/vendor.js'
import type { ListedPrice, PartName, Recogniser, Vendor } from '../../src/vendors/vendor.js'
import { agentKeys, keysTable, vendorsOf } from './agent-keys.js'
import { settingsTable } from './configuration-page.js'
import { filledSection, madeSection, tableRow } from './made-section.js'

const SECTION = 'facts'
/** docs/ as the page of a vendor links to it. */
const DOCS = '../../../docs/'

/** The pages of all vendors, by file: src/vendors/NAME/README.md. What is written by hand in them stays. */
export function vendorPages(): Readonly<Record<string, string>> {
  return Object.fromEntries(
    VENDORS.map((vendor) => {
      const file = `src/vendors/${vendor.folder}/README.md`
      const path = join(packageRoot(), file)
      const page = existsSync(path) ? readFileSync(path, 'utf8') : `# ${titleOf(vendor)}\n\n${madeSection(SECTION, '')}`
      if (!page.toLowerCase().startsWith(`# ${vendor.title.toLowerCase()}\n`))
        throw new Error(`${file} has not the title '${titleOf(vendor)}'`)
      return [file, filledSection(page, file, SECTION, factsOf(vendor))]
    }),
  )
}

function titleOf({ title }: Vendor): string {
  return `${title.slice(0, 1).toUpperCase()}${title.slice(1)}`
}

function factsOf(vendor: Vendor): string {
  const sections = [
    ['Realtime services', realtimeTable(vendor)],
    ['Services of a cascade', partsTables(vendor)],
    ['Options', optionsTable(vendor)],
    ['Settings', settings(vendor)],
    ['Models', modelsTable(vendor)],
    ['Doubles', doublesTable(vendor)],
  ] as const
  return sections.flatMap(([heading, text]) => (text === '' ? [] : [`## ${heading}\n\n${text}`])).join('\n')
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return ''
  return `${tableRow(head)}\n|${'---|'.repeat(head.length)}\n${rows.map(tableRow).join('\n')}\n`
}

const code = (words: readonly string[]): string => words.map((word) => `\`${word}\``).join(', ')

const NOUNS: Readonly<Record<PartName, string>> = { stt: 'recogniser', llm: 'language model', tts: 'voice' }

function realtimeTable({ backends }: Vendor): string {
  return table(
    ['backend', 'what it is', 'needs', '`backend: auto` takes it', 'works at 8 kHz'],
    Object.entries(backends).map(([name, { about, needs, automatic, usesLegRate }]) => [
      `\`${name}\``,
      about,
      `\`${needs}\``,
      automatic === true ? 'yes' : 'no',
      usesLegRate?.({}) === true ? 'yes, by default' : 'no',
    ]),
  )
}

/** Services, and changes that recognisers make of the caller's words. */
function partsTables({ folder }: Vendor): string {
  const services = PARTS.flatMap((part) =>
    [...SERVICES[part].values()].filter(({ vendor }) => vendor.folder === folder).map((one) => ({ part, ...one })),
  )
  const rows = services.map(({ part, name, about, lacks = '', needs, own = {}, options, speeds }) => {
    const shown = Object.keys(options).map((option) =>
      option === 'speed' && speeds !== undefined ? `\`speed\` (${speeds[0]} to ${speeds[1]})` : `\`${option}\``,
    )
    const usual = [own.baseUrl, own.model].filter((word) => word !== undefined)
    return [NOUNS[part], `\`${name}\``, about, lacks, `\`${needs}\``, code(usual), shown.join(', ') || 'none']
  })
  const head = [
    'part',
    'service',
    'what it is',
    'what callers miss',
    'needs',
    'address and model, unless set',
    'options',
  ]
  const recognisers = services.filter(
    ({ part }) => part === 'stt',
  ) as readonly unknown[] as readonly (Recogniser<object> & {
    readonly name: string
  })[]
  const words = table(
    ['recogniser', "what it makes of the caller's words"],
    recognisers.map(({ name, changes }) => [`\`${name}\``, changes]),
  )
  return [table(head, rows), words].filter((text) => text !== '').join('\n')
}

const KEYS = agentKeys()

function optionsTable(vendor: Vendor): string {
  const keys = KEYS.filter(({ path }) => vendorsOf(path)?.includes(vendor) === true)
  return keys.length === 0 ? '' : keysTable(keys, DOCS)
}

function settings(vendor: Vendor): string {
  const own = Object.keys(vendor.settings).map((name) => SETTINGS[name as keyof typeof SETTINGS] as Setting<unknown>)
  return own.length === 0 ? '' : settingsTable(own)
}

function doublesTable({ doubles = {} }: Vendor): string {
  const rows = Object.entries(doubles).map(([name, { what, port }]) => [
    `\`mkondo double ${name}\``,
    String(port),
    what,
  ])
  if (rows.length === 0) return ''
  return `Each stands in for its service on loopback, without a key. What else it runs takes the next ports.

${table(['double', 'port', 'stands in for'], rows)}`
}

/** Units of prices, each with its words. */
const UNITS: readonly (readonly [unit: keyof ListedPrice, words: string])[] = [
  ['inputPerMillionTokens', 'in'],
  ['inputAudioPerMillionTokens', 'audio in'],
  ['cachedPerMillionTokens', 'cached'],
  ['cachedAudioPerMillionTokens', 'cached audio'],
  ['cacheWritePerMillionTokens', 'written to the cache'],
  ['outputPerMillionTokens', 'out'],
  ['outputAudioPerMillionTokens', 'audio out'],
  ['perMinute', 'a minute'],
  ['perMillionCharacters', 'a million characters'],
]

function modelsTable(vendor: Vendor): string {
  const { prices = {}, ends = {} } = vendor
  const seen = seenModels(vendor)
  const models = [...new Set([...Object.keys(prices), ...Object.keys(ends), ...seen.keys()])]
  const rows = models.map((model) => {
    const first = seen.get(model)
    const price = prices[model]
    const end = ends[model]
    const shown = UNITS.flatMap(([unit, words]) => {
      const value = price?.[unit]
      return typeof value === 'number' ? [`${String(Math.round(value * 1e6) / 1e6)} ${words}`] : []
    })
    return [
      `\`${model}\``,
      first === undefined ? '' : `[${first.on}](${first.source})`,
      price === undefined ? '' : `${shown.join(', ')} (${read(price)})`,
      end === undefined ? '' : `${end.endsOn} (${read(end)})`,
      end === undefined || end.successor === null ? '' : `\`${end.successor}\``,
    ]
  })
  if (rows.length === 0) return ''
  return `Prices are in US dollars, those of tokens for a million. A model is first seen on its release date where a page tells it, else on the day on which its page was read for this table.

${table(['model', 'first seen', 'price', 'ends on', 'successor'], rows)}`
}

function read({ source, readOn }: { readonly source: string; readonly readOn: string }): string {
  return `[read on ${readOn}](${source})`
}
