/** Which Markdown of the repository is on the site, where, and in which group of the sidebar. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Absolute path of the repository. */
export const repository = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

/** Folders whose Markdown is on the site, and single files. Paths are from the repository. */
const FOLDERS = [
  'docs',
  'docs/adr',
  'docs/closures',
  'docs/runbooks',
  ...['', '/api', '/api/backends'].map((at) => `docs/site/reference${at}`),
]
const FILES = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'deploy/README.md',
  'bench/README.md',
  'bench/endpointing/README.md',
  'bench/interaction/README.md',
  'bench/peers/README.md',
  'bench/recognition/README.md',
  'bench/vad/README.md',
  ...readdirSync(join(repository, 'examples'))
    .sort()
    .map((name) => `examples/${name}/README.md`),
  'src/vendors/README.md',
  ...readdirSync(join(repository, 'src/vendors'))
    .sort()
    .map((name) => `src/vendors/${name}/README.md`),
]

/** Where a file is on the site: `README.md` is its folder's page, docs/ and src/ are the root. */
function addressOf(file) {
  return file
    .replace(/^docs\/site\//, '')
    .replace(/^(docs|src)\//, '')
    .replace(/README\.md$/, 'index.md')
}

/** Address on the site, with `.md`, of each file. */
export const addresses = new Map(
  [
    ...FILES.filter((file) => existsSync(join(repository, file))),
    ...FOLDERS.flatMap((folder) =>
      existsSync(join(repository, folder))
        ? readdirSync(join(repository, folder))
            .filter((name) => name.endsWith('.md'))
            .sort()
            .map((name) => `${folder}/${name}`)
        : [],
    ),
  ].map((file) => [file, addressOf(file)]),
)

/** The first heading of a page. */
export function titleOf(file) {
  const [, title] = /^# (.+)$/m.exec(readFileSync(join(repository, file), 'utf8')) ?? []
  if (title === undefined) throw new Error(`${file} has no first heading, which is its title`)
  return title.replaceAll('`', '')
}

/** Groups of the sidebar. What none of them names is in the last one, so that no page is without a way to it. */
const GROUPS = [
  ['Start', ['README.md', 'docs/QUICKSTART.md', 'docs/CONSOLE.md', 'docs/DOCTOR.md', 'docs/CONFIGURATION.md']],
  [
    'Build an agent',
    [
      'docs/AGENTS.md',
      'docs/AGENT-FILE.md',
      'docs/CALLERS.md',
      'docs/NUMBERS.md',
      'docs/OFFLINE-AGENT.md',
      'docs/BACKENDS.md',
      'docs/COST.md',
      'docs/MODELS.md',
      'docs/CASCADE.md',
      'docs/VENDORS.md',
      'docs/LANGUAGES.md',
      'docs/KEYPAD.md',
      'docs/MCP.md',
      'docs/STAGES.md',
      'docs/COMPATIBILITY.md',
      'docs/OWN-BACKEND.md',
      'examples/own-backend/README.md',
      'docs/SIMULATOR.md',
      'docs/REPLAY.md',
    ],
  ],
  [
    'Operate',
    [
      'deploy/README.md',
      'docs/OPERATIONS.md',
      'docs/ASTERISK.md',
      'docs/WAITING.md',
      'docs/MESSAGES.md',
      'docs/STORAGE.md',
      'docs/ANALYSIS.md',
      'docs/ASSISTANT.md',
      'docs/METRICS.md',
      'docs/ERRORS.md',
      'docs/RELEASES.md',
      'SECURITY.md',
      'CHANGELOG.md',
    ],
  ],
  ['Vendors', (file) => file.startsWith('src/vendors/')],
  ['Closures', (file) => file === 'docs/CLOSURES.md' || file.startsWith('docs/closures/')],
  ['Runbooks', (file) => file.startsWith('docs/runbooks/')],
  ['Reference', (file) => file.startsWith('docs/site/reference/')],
  ['Decisions', (file) => file.startsWith('docs/adr/')],
  ['How it works', () => true],
]

/** Pages by group, in the order of the sidebar: `[title, files]`. */
export function groups() {
  const left = new Set(addresses.keys())
  const found = GROUPS.map(([title, which]) => {
    const files = Array.isArray(which)
      ? which.filter((file) => left.has(file))
      : [...left].filter((file) => which(file))
    for (const file of files) left.delete(file)
    return [title, files]
  })
  return found.filter(([, files]) => files.length > 0)
}
