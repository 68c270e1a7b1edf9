import { SETTINGS } from '../../src/config/settings.js'
import { defaultOf } from '../../src/core/setting.js'
import type { Setting } from '../../src/core/setting.js'

/** Headings of docs/CONFIGURATION.md, each with the setting that begins its table. */
const SECTIONS: readonly (readonly [heading: string, first: keyof typeof SETTINGS])[] = [
  ['Ports and access', 'port'],
  ['Nodes and processes', 'nodeUrl'],
  ['Agents', 'agentsDir'],
  ['What is kept of calls', 'dataDir'],
  ["The carrier's API and outbound calls", 'apiKey'],
  ['Webhooks and tokens', 'webhookSecrets'],
  ['Models and their keys', 'autoBackend'],
  ['Services by vendor', 'sttUrl'],
  ['A realtime server of your own', 'realtimeUrl'],
  ['Prices and messages', 'pricesFile'],
  ['Capacity', 'mediaWorkers'],
  ['Other services and logs', 'shopApiUrl'],
]

const HEAD = `# Configuration

A setting comes from the environment or from \`mkondo.yaml\` in the working folder (\`--config FILE\` for another one); the environment
wins, and an empty variable counts as unset. In the file a setting has the key of its row, and a list may be a YAML list:

\`\`\`yaml file=settings
port: 8080
agentsDir: agents
outboundPrefixes: ['+254', '+255']
\`\`\`

\`serve\` and \`check\` read variables from a file with \`--env-file FILE\`; \`.env.example\` has all of them. \`mkondo check\` names every mistake of both at
once, with what is allowed, and \`mkondo help settings\` prints this page's tables. Keys and other secrets (marked) are never shown or
logged. An agent has settings of its own in its file (docs/AGENTS.md).

\`npm run documents\` writes this page from the tables in \`src/config/settings.ts\` and \`src/vendors\`.
`

/** The page of all settings: docs/CONFIGURATION.md. */
export function configurationPage(): string {
  const all = Object.entries(SETTINGS) as readonly (readonly [string, Setting<unknown>])[]
  const starts = SECTIONS.map(([, first]) => all.findIndex(([name]) => name === first))
  const sections = SECTIONS.map(([heading], i) => {
    const rows = all.slice(starts[i], starts[i + 1]).map(([, setting]) => row(setting))
    return `
## ${heading}

| variable | key | allowed | default | meaning |
|---|---|---|---|---|
${rows.join('\n')}
`
  })
  return `${HEAD}${sections.join('')}`
}

function row(setting: Setting<unknown>): string {
  const { env, key, kind, help, secret, defaultText } = setting
  const shown = defaultOf(setting)
  const code = defaultText === undefined || (secret !== true && kind.parse(defaultText) !== undefined)
  const fallbackText = shown === null ? 'none' : code ? `\`${shown}\`` : shown
  const meaning = secret === true ? `${help} Secret.` : help
  return `| ${[`\`${env}\``, `\`${key}\``, kind.allowed, fallbackText, meaning].map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}
