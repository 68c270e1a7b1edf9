import { SETTINGS } from '../../src/config/settings.js'
import { defaultOf } from '../../src/core/setting.js'
import type { Setting } from '../../src/core/setting.js'
import { VENDOR_SETTINGS } from '../../src/vendors/list.js'

/** Headings of docs/CONFIGURATION.md, each with the setting that begins its table. */
const SECTIONS: readonly (readonly [heading: string, first: keyof typeof SETTINGS])[] = [
  ['Ports and access', 'port'],
  ['Nodes and processes', 'nodeUrl'],
  ['Agents', 'agentsDir'],
  ['Stored data of calls', 'dataDir'],
  ["The carrier's API and outbound calls", 'apiKey'],
  ['Webhooks and tokens', 'webhookSecrets'],
  ['Models and their keys', 'autoBackend'],
  ['Prices and messages', 'pricesFile'],
  ['Capacity', 'mediaWorkers'],
  ['Other services and logs', 'shopApiUrl'],
]

const HEAD = `# Configuration

A setting comes from the environment or from \`mkondo.yaml\` in the working folder. \`--config FILE\` reads another file. The environment takes precedence,
and an empty variable counts as unset. In the file a setting has the key of its row, and a list may be a YAML list:

\`\`\`yaml file=settings
port: 8080
agentsDir: agents
outboundPrefixes: ['+254', '+255']
\`\`\`

- \`serve\` and \`check\` read variables from a file with \`--env-file FILE\`. \`.env.example\` has all settings.
- \`mkondo check\` names all mistakes together, with the allowed values. \`mkondo help settings\` prints all settings.
- Keys and other secrets (marked) are never shown or logged.
- Keys, addresses and models of services are settings too. They are on the page of each vendor ([VENDORS.md](VENDORS.md)), and \`mkondo help settings soniox\` prints the settings of one vendor.
- An agent has its own settings in its file ([AGENTS.md](AGENTS.md)).

\`npm run documents\` writes this page from the table in \`src/config/settings.ts\`.
`

/** The page of all settings: docs/CONFIGURATION.md. */
export function configurationPage(): string {
  const all = (Object.entries(SETTINGS) as readonly (readonly [string, Setting<unknown>])[]).filter(
    ([name]) => !(name in VENDOR_SETTINGS),
  )
  const starts = SECTIONS.map(([, first]) => all.findIndex(([name]) => name === first))
  const sections = SECTIONS.map(([heading], i) => {
    const rows = all.slice(starts[i], starts[i + 1]).map(([, setting]) => setting)
    return `
## ${heading}

${settingsTable(rows)}`
  })
  return `${HEAD}${sections.join('')}`
}

/** A table of settings, as both pages that have some show it. */
export function settingsTable(settings: readonly Setting<unknown>[]): string {
  return `| variable | key | allowed | default | meaning |
|---|---|---|---|---|
${settings.map(row).join('\n')}
`
}

function row(setting: Setting<unknown>): string {
  const { env, key, kind, help, secret, defaultText } = setting
  const shown = defaultOf(setting)
  const code = defaultText === undefined || (secret !== true && kind.parse(defaultText) !== undefined)
  const fallbackText = shown === null ? 'none' : code ? `\`${shown}\`` : shown
  const meaning = secret === true ? `${help} Secret.` : help
  return `| ${[`\`${env}\``, `\`${key}\``, kind.allowedInDocuments ?? kind.allowed, fallbackText, meaning].map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}
