import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { pathToFileURL } from 'node:url'
import { CommanderError } from 'commander'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { agentSchema } from '../../src/agents/file/definition.js'
import { programOf, withCommand } from '../../src/cli/program.js'
import type { Terminal } from '../../src/cli/terminal.js'
import { loadConfig } from '../../src/config/load-config.js'
import { readReceivers } from '../../src/config/messages-file.js'
import { packageRoot } from '../../src/config/package-root.js'
import { readPrices } from '../../src/config/prices-file.js'
import { columnMapSchema } from '../../src/cli/money/usage-exports.js'
import { SETTINGS } from '../../src/config/settings.js'
import type { Setting } from '../../src/core/setting.js'
import { messageOf } from '../../src/core/errors.js'
import { hostedAgents } from '../../src/gateway/agents/hosted-agents.js'
import { Numbers } from '../../src/gateway/agents/numbers.js'
import { DOUBLES } from '../../src/simulator/choices.js'
import { parseScenario } from '../../src/simulator/scenarios/scenario.js'
import { parseScript } from '../../src/simulator/script-file.js'
import { VENDORS, VENDOR_SETTINGS } from '../../src/vendors/list.js'
import { generated } from './generated.js'
import { shellCommands } from './shell-commands.js'

const root = packageRoot()
/** A stranger reads the README in five minutes. */
const README_WORDS_MAX = 900

/** A fenced block of a document. */
interface Block {
  /** `docs/AGENTS.md:14` */
  readonly at: string
  readonly language: string
  /** Mark after the language in the fence: `fragment=offline`. */
  readonly mark: string
  readonly text: string
}

function blocksOf(document: string): Block[] {
  const source = readFileSync(join(root, document), 'utf8')
  return [...source.matchAll(/^( *)```([\w-]*)(?: +([^\n]*))?\n(.*?)^ *```$/gms)].map((found) => {
    const [, indent = '', language = '', mark = '', text = ''] = found
    const line = source.slice(0, found.index).split('\n').length
    return { at: `${document}:${line}`, language, mark, text: text.replaceAll(new RegExp(`^${indent}`, 'gm'), '') }
  })
}

const DOCUMENTS = [
  'README.md',
  'CONTRIBUTING.md',
  'deploy/README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
  ...VENDORS.map(({ folder }) => `src/vendors/${folder}/README.md`),
]
const blocks = DOCUMENTS.flatMap(blocksOf)

// YAML ----------------------------------------------------------------------------------------------------------------

/** A value for each setting of a vendor without which one of its services cannot be used. */
const OF_VENDORS = Object.fromEntries(
  Object.keys(VENDOR_SETTINGS).flatMap((name) => {
    const { env, kind, fallback } = SETTINGS[name as keyof typeof SETTINGS] as Setting<unknown>
    const value = ['key-of-no-account', 'http://127.0.0.1:9'].find((one) => kind.parse(one) !== undefined)
    return fallback !== null || kind.allowed.includes('file') || value === undefined ? [] : [[env, value] as const]
  }),
)

/** Everything that an agent of a document may be connected to. */
const ENVIRONMENT = {
  ...OF_VENDORS,
  REALTIME_URL: 'ws://127.0.0.1:9/v1',
  PAY_API_URL: 'http://127.0.0.1:9',
  SHOP_API_URL: 'http://127.0.0.1:9',
  CRM_TOKEN: 'crm-token-of-no-account',
  FILES_ROOT: '/srv/files',
}

/** A dialogue that only says goodbye. */
const DIALOGUE = {
  version: 1,
  intents: { bye: { phrases: ['goodbye'] } },
  on: { bye: 'end' },
  missed: 'end',
  start: 'greet',
  states: {
    greet: { steps: [{ listen: {} }] },
    end: { steps: [{ call: { tool: 'end_call', failed: 'greet' } }, { stop: true }] },
  },
}

/** An agent with what fragments refer to: tools, questions to callers, humans, a dialogue. */
const AGENT = {
  version: 1,
  name: 'of-a-document',
  instructions: 'Be brief.',
  greeting: 'Hello.',
  tools: ['open_ticket', 'list_orders'].map((name) => ({
    name,
    description: 'Does what it is called.',
    parameters: { properties: {} },
    http: { url: 'https://shop.example/orders' },
    result: { fields: { orders: 'orders' } },
  })),
  verification: {
    account: { http: { url: 'https://shop.example/account', query: { phone: '{{call.from}}' } } },
    questions: [{ id: 'pin', ask: 'What is your PIN?', field: 'pin', kind: 'digits' }],
    required: 1,
    identity: { accountId: 'id' },
  },
  escalation: { numbers: ['+254720000010'] },
  offline: DIALOGUE,
}

type Fields = Readonly<Record<string, unknown>>

/** A whole dialogue around a part of one: everything in it is listened for, and can be reached. */
function dialogueAround(part: Fields): Fields {
  if ('start' in part) return part
  const states = (part['states'] ?? {}) as Fields
  const slots = Object.keys(part['slots'] ?? {})
  const intents = (part['intents'] ?? {}) as Fields
  const toStates = Object.fromEntries(Object.keys(states).map((name) => [`to-${name}`, name]))
  const heard = Object.fromEntries([...slots, ...Object.keys(intents)].map((name) => [name, 'end']))
  const listed = { tool: 'list_orders', save: 'mine' }
  return {
    ...DIALOGUE,
    ...part,
    intents: {
      ...DIALOGUE.intents,
      ...Object.fromEntries(Object.keys(toStates).map((name) => [name, { phrases: [name.replaceAll('-', ' ')] }])),
      ...intents,
    },
    on: { ...DIALOGUE.on, ...toStates },
    states: {
      ...DIALOGUE.states,
      greet: {
        steps: [
          { start: listed },
          { say: 'Hello.', when: { exists: 'mine.orders' } },
          { listen: { slots, on: heard } },
        ],
      },
      ...states,
    },
  }
}

/** Loads an agent as `serve` does. @throws GatewayError with everything that is wrong with it */
async function loadAgent(text: string, folder: string, files: ReadonlyMap<string, string>): Promise<void> {
  const agentsDir = mkdtempSync(join(folder, 'agents-'))
  for (const [path, code] of [...files, ['mine.mjs', 'export const createBackend = () => null\n'] as const]) {
    mkdirSync(dirname(join(agentsDir, path)), { recursive: true })
    writeFileSync(join(agentsDir, path), code)
  }
  writeFileSync(join(agentsDir, 'agent.yaml'), text)
  await hostedAgents({ ...loadConfig(ENVIRONMENT, null), agentsDir }, ENVIRONMENT)
}

const WEBHOOK_SECRET = `whsec_${'a'.repeat(43)}=`

type Load = (text: string, folder: string, files: ReadonlyMap<string, string>) => unknown

/** Loader of a block of YAML, by the mark of its fence. */
const LOADS: Readonly<Record<string, Load>> = {
  '': loadAgent,
  'fragment=agent': (text, folder, files) =>
    loadAgent(stringify({ ...AGENT, ...(parse(text) as Fields) }), folder, files),
  'fragment=offline': (text, folder, files) =>
    loadAgent(stringify({ ...AGENT, offline: dialogueAround(parse(text) as Fields) }), folder, files),
  'file=prices': (text, folder) => {
    const file = join(folder, 'prices.yaml')
    writeFileSync(file, text)
    readPrices(file)
  },
  'file=columns': (text) => columnMapSchema.parse(parse(text)),
  'file=messages': (text, folder) => {
    const file = join(folder, 'messages.yaml')
    writeFileSync(file, text)
    const env: Record<string, string> = { CRM_WEBHOOK_SECRET: WEBHOOK_SECRET }
    for (const [, name = ''] of text.matchAll(/\{\{env\.(\w+)\}\}/g)) env[name] = 'https://example.com/hook'
    readReceivers(file, env, true)
  },
  'file=settings': (text, folder) => {
    const file = join(folder, 'mkondo.yaml')
    writeFileSync(file, text)
    loadConfig({}, file)
  },
  'file=numbers': async (text, folder) => {
    const file = join(folder, 'numbers.yaml')
    writeFileSync(file, text)
    const env = { AMANI_OPS_TOKEN: 'a-token-of-the-tests', AMANI_WEBHOOK_SECRET: WEBHOOK_SECRET }
    const agent = agentSchema.parse({ version: 1, name: 'order-status', instructions: 'x' })
    await Numbers.open(file, env, () => new Map([[agent.name, agent]]))
  },
  'file=script': (text) => parseScript(text, 'script.yaml'),
  'file=scenario': (text) => parseScenario(text, 'scenario.yaml'),
}

/** Fault of a block of YAML; null for none. */
async function yamlFault(block: Pick<Block, 'mark' | 'text'>, folder: string): Promise<string | null> {
  const load = LOADS[block.mark]
  if (load === undefined) return `the fence is marked '${block.mark}'; allowed: ${Object.keys(LOADS).join(', ')}`
  const files = blocks.flatMap(({ language, mark, text }): (readonly [string, string])[] =>
    language === 'ts' && mark.startsWith('file=') ? [[mark.slice('file='.length), text]] : [],
  )
  try {
    await load(block.text, folder, new Map(files))
    return null
  } catch (thrown) {
    return messageOf(thrown)
  }
}

// Shell ---------------------------------------------------------------------------------------------------------------

const SILENT: Terminal = {
  out: () => undefined,
  err: () => undefined,
  env: {},
  colours: false,
  columns: () => null,
  showsProgress: false,
  input: () => Promise.resolve(''),
  ask: null,
  signal: null,
}

/** The part that the command line does not take; null when a command would run now. */
async function usageFault(argv: readonly string[]): Promise<string | null> {
  const parsed = new Error('parsed')
  const program = programOf(SILENT, () => undefined).hook('preAction', () => {
    throw parsed
  })
  try {
    await program.parseAsync(withCommand(argv), { from: 'user' })
    return 'it runs no command'
  } catch (thrown) {
    return thrown === parsed || (thrown instanceof CommanderError && thrown.exitCode === 0) ? null : messageOf(thrown)
  }
}

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Fields }

function npmFault([command = '', name = '', ...rest]: readonly string[]): string | null {
  if (['ci', 'install', 'pack', 'pkg', 'prune', 'root'].includes(command)) return null
  if (['start', 'test'].includes(command)) return command in scripts ? null : `there is no script ${command}`
  if (command !== 'run') return `npm ${command} is not known to this test`
  if (!(name in scripts)) return `there is no script ${name}`
  const missing = name === 'test:one' ? rest.find((file) => !existsSync(join(root, file))) : undefined
  return missing === undefined ? null : `there is no ${missing}`
}

const ALL = Object.values(SETTINGS) as readonly Setting<unknown>[]
/** Variables that are read by others than the gateway. */
const FOREIGN_VARIABLES = ['BUILDAH_ISOLATION', 'MY_AGENTS']

function variableFault(assignment: string): string | null {
  const [, name = '', value = ''] = /^(\w+)=(.*)$/s.exec(assignment) ?? []
  if (FOREIGN_VARIABLES.includes(name)) return null
  const setting = ALL.find(({ env }) => env === name)
  if (setting === undefined) return `${assignment} sets no setting`
  // An ellipsis and a variable stand for what only the reader has.
  return /[…$]/.test(value) || setting.kind.parse(value) !== undefined ? null : `${name} takes ${setting.kind.allowed}`
}

/** Commands that are not ours, in the order in which documents use them. */
const FOREIGN_COMMANDS =
  'cd find docker apt-get mkdir mmdebstrap cp printf b() buildah } b install git sysctl systemctl kubectl'.split(' ')

/** Fault of a command of a document; null for none. */
function commandFault(words: readonly string[]): Promise<string | null> | string | null {
  const [head = '', ...rest] = words
  if (/^[A-Z_][A-Z0-9_]*=/.test(head)) return variableFault(head) ?? (rest.length > 0 ? commandFault(rest) : null)
  if (head === 'export') return rest.map(variableFault).find((fault) => fault !== null) ?? null
  if (head === 'mkondo') return usageFault(rest)
  // A command of ours on another Node.
  if (words.slice(0, 3).join(' ') === 'npx -y -p' && /^node@\d+$/.test(words[3] ?? ''))
    return commandFault(words.slice(4))
  if (head === 'npx') return rest[0] === 'mkondo' ? usageFault(rest.slice(1)) : `npx ${rest[0] ?? ''} is not ours`
  if (head === 'npm') return npmFault(rest)
  if (head === 'node') {
    const [file = ''] = rest
    if (file === 'dist/src/cli/main.js') return usageFault(rest.slice(1))
    return existsSync(join(root, file.replace(/^dist\//, '').replace(/\.js$/, '.ts'))) ? null : `there is no ${file}`
  }
  return FOREIGN_COMMANDS.includes(head) ? null : `${head} is no command that documents use`
}

// ---------------------------------------------------------------------------------------------------------------------

t.test('each YAML block in the documents loads as its kind', async (t) => {
  const folder = t.testdir()
  const found = blocks.filter(({ language }) => language === 'yaml')
  t.ok(found.length >= 20, `${found.length} blocks`)
  for (const block of found) t.equal(await yamlFault(block, folder), null, `${block.at} ${block.mark}`)
})

t.test('each command in the documents exists', async (t) => {
  const found = blocks.filter(({ language }) => language === 'sh')
  t.ok(found.length >= 20, `${found.length} blocks`)
  for (const { at, text } of found) {
    const commands = shellCommands(text)
    t.ok(commands.length > 0, `${at} has commands`)
    for (const words of commands) t.equal(await commandFault(words), null, `${at}: ${words.join(' ')}`)
  }
  for (const { at, language, text } of blocks.filter((block) => block.language !== 'sh'))
    t.notMatch(
      text,
      /^(?:npx |npm |mkondo [a-z]|export [A-Z])/m,
      `${at} (${language}) has commands, and is no block of sh`,
    )
})

t.test('each command named in a sentence has valid options', async (t) => {
  const runbooks = readdirSync(join(root, 'docs/runbooks')).map((name) => `docs/runbooks/${name}`)
  let named = 0
  for (const document of [...DOCUMENTS, ...runbooks]) {
    for (const [, line = ''] of readFileSync(join(root, document), 'utf8').matchAll(
      /(?<!`)`((?:npx )?(?:mkondo|npm run) [^`\n]+)`/g,
    )) {
      for (const words of shellCommands(line)) {
        const fault = await commandFault(words)
        // A sentence may leave out what follows a command or an option.
        const isCut = /missing required argument|required option|argument missing|^\(outputHelp\)$/.test(fault ?? '')
        t.ok(fault === null || isCut, `${document}: ${line}${fault === null || isCut ? '' : `: ${fault}`}`)
        named++
      }
    }
  }
  t.ok(named > 60, `${named} commands`)
})

t.test('the quickstart has the addresses of its doubles', async (t) => {
  const quickstart = blocks.filter(({ at, language }) => at.startsWith('docs/QUICKSTART.md:') && language === 'sh')
  const named = quickstart.flatMap(({ text }) => {
    const [, name] = /^npx mkondo double (\S+) &\n/.exec(text) ?? []
    return name === undefined ? [] : [[name, text] as const]
  })
  t.ok(named.length >= 6, `${named.length} doubles`)
  for (const [name, text] of named)
    t.match(text, new RegExp(`://127\\.0\\.0\\.1:${DOUBLES[name]?.port}(?:/v1)?\\n`), name)
})

t.test('a wrong block in a document is reported', async (t) => {
  const folder = t.testdir()
  for (const [mark, text, fault] of [
    ['', 'version: 1\nname: x\n', /instructions/],
    ['fragment=agent', 'bakend: openai\n', /bakend/],
    ['fragment=agent', 'backends: { openai: { sped: 1 } }\n', /sped/],
    ['fragment=offline', 'states:\n  greet:\n    - say: Hello.\n', /states\.greet/],
    ['fragment=offline', 'intents: { x: { phrases: [kwaheri] } }\n', /kwaheri/],
    ['fragment=online', 'x: 1\n', /the fence is marked 'fragment=online'/],
    ['file=scenario', 'version: 1\nagnet: x\n', /agnet/],
  ] as const)
    t.match(await yamlFault({ mark, text }, folder), fault, text)
  for (const [line, fault] of [
    ['npx mkondo calls lst', /unknown command 'lst'/],
    ['mkondo serve --procesess 4', /unknown option '--procesess'/],
    ['mkondo double opnai', /the service is "opnai"/],
    ['npm run demos', /there is no script demos/],
    ['npm run test:one test/nothing.test.ts', /there is no test\/nothing/],
    ['export OPENAI_MODLE=x', /sets no setting/],
    ['PORT=x mkondo call', /PORT takes/],
    ['frobnicate', /no command/],
  ] as const) {
    const [words = []] = shellCommands(line)
    t.match(await commandFault(words), fault, line)
  }
  t.same(shellCommands(`A=1 b 'c d' "e \\"f\\"" # g\n# h\ni \\\n  j && k > l & m "4#"`), [
    ['A=1', 'b', 'c d', 'e "f"'],
    ['i', 'j'],
    ['k'],
    ['m', '4#'],
  ])
})

t.test('generated documents match their sources', async (t) => {
  for (const [file, text] of Object.entries(generated()))
    t.ok(readFileSync(join(root, file), 'utf8') === text, `${file} is current: npm run documents`)
})

interface Pages {
  readonly addresses: ReadonlyMap<string, string>
  readonly titleOf: (file: string) => string
}
interface Links {
  readonly slugify: (heading: string) => string
}
const siteModule = async (name: string): Promise<unknown> =>
  import(pathToFileURL(join(root, 'docs/site', name)).href) as Promise<unknown>
const { addresses, titleOf } = (await siteModule('pages.mjs')) as Pages
const { slugify } = (await siteModule('links.mjs')) as Links

/** A document without its code, in which nothing is a link. */
const proseOf = (file: string): string =>
  readFileSync(join(root, file), 'utf8')
    .replace(/^( *)```.*?^ *```$/gms, '')
    .replace(/`[^`\n]*`/g, 'code')

const headingsOf = (file: string): readonly string[] =>
  [
    ...readFileSync(join(root, file), 'utf8')
      .replace(/^( *)```.*?^ *```$/gms, '')
      .matchAll(/^#+ (.+)$/gm),
  ].map(([, heading = '']) => slugify(heading.replaceAll('`', '')))

t.test('each Markdown file of the site is a titled page', async (t) => {
  const folders = new Set([...addresses.keys()].map((file) => (file.includes('/') ? (file.split('/')[0] ?? '') : '')))
  const found = [...folders].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: folder !== '' })
      .map((name) => join(folder, String(name)))
      .filter(
        (file) =>
          file.endsWith('.md') &&
          !/node_modules|(^|\/)\.|^docs\/site\/|\/results\/|^src\/(?!vendors\/)|^examples\/vendors\/.+\//.test(file),
      ),
  )
  t.ok(found.length > 40, `${found.length} files`)
  for (const file of found) {
    t.ok(addresses.has(file), `docs/site/pages.mjs has ${file}`)
    if (addresses.has(file)) t.not(titleOf(file), '', file)
  }
})

t.test('each link of the documents leads to an existing heading', async (t) => {
  let links = 0
  const pages = [...addresses.keys()].filter((file) => !file.startsWith('docs/site/'))
  for (const page of pages) {
    for (const [, href = ''] of proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z][a-z+.-]*:/i.test(href)) continue
      links++
      const [path = '', anchor] = href.split('#')
      const file = path === '' ? page : normalize(join(dirname(page), decodeURIComponent(path)))
      if (!t.ok(!file.startsWith('..') && existsSync(join(root, file)), `${page}: ${href}`) || anchor === undefined)
        continue
      const target = statSync(join(root, file)).isDirectory() ? join(file, 'README.md') : file
      t.ok(headingsOf(target).includes(decodeURIComponent(anchor)), `${page}: ${href} (heading)`)
    }
  }
  t.ok(links > 40, `${links} links`)
})

t.test('README is short and names a way for each Node', async (t) => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const words = readme.split(/\s+/).filter((word) => word !== '').length
  t.ok(words <= README_WORDS_MAX, `${words} words`)
  const source = readFileSync(join(root, 'src/edge/http/uws.ts'), 'utf8')
  const [, prefix = 'a command'] = /^const ON_NODE_22 = '(.*) npm start'$/m.exec(source) ?? []
  t.ok(readme.includes(`\`${prefix}\``), `the error of a start names ${prefix}`)
})
