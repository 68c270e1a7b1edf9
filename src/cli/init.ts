import { codeOf } from '../call/spoken/localized-text.js'
import { existsSync, realpathSync } from 'node:fs'
import { cp, mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises'
import { basename, join, relative, resolve } from 'node:path'
import { packageRoot } from '../config/package-root.js'
import { GatewayError } from '../core/errors.js'
import { isAgentName } from '../core/ids.js'
import { whySpeechIsMissing } from '../speech/speech-packages.js'
import { AUTO, REALTIME } from '../vendors/list.js'
import { UsageError } from './exit-codes.js'
import type { Terminal } from './terminal.js'

/** Templates of `mkondo init` (the folders of templates/), with the purpose of each. */
export const TEMPLATES = {
  'order-status': 'says where an order is',
  support: 'answers from a knowledge file and opens tickets',
  appointments: 'offers free times and books one',
  survey: 'asks three questions and keeps the answers',
  receptionist: 'says the hours and takes messages',
} as const
export type TemplateName = keyof typeof TEMPLATES

/**
 * Settings of each backend, by the backend's name: the settings that the backend needs, or the settings that select it.
 */
const SETTINGS_OF: ReadonlyMap<string, readonly string[]> = new Map([
  ['embedded', []],
  ...[...REALTIME].map(([name, { asks }]) => [name, asks] as const),
  ['cascade', ['STT', 'LLM', 'TTS'].flatMap((part) => [`${part}_URL`, `${part}_API_KEY`, `${part}_MODEL`])],
])
export const BACKEND_NAMES: readonly string[] = [...SETTINGS_OF.keys()]

/** Settings that the `.env.example` of every new folder contains. */
const COMMON_SETTINGS = [
  'PUBLIC_URL',
  'SAUTIKIT_WEBHOOK_SECRETS',
  'SAUTIKIT_API_KEY',
  'TOKEN_SECRET',
  'OPS_TOKEN',
  'AGENT_ENV',
]

/**
 * The options of `mkondo init`. For a missing option, `mkondo init` asks on a terminal, and otherwise uses a default.
 */
export interface InitOptions {
  readonly template?: TemplateName
  readonly language?: string
  readonly backend?: string
  readonly tools?: 'code' | 'http'
  readonly yes?: true
}

const LANGUAGE = /^[a-z]{2,3}(-[A-Z]{2})?$/

/** Reads the option for a language. @throws UsageError */
export function languageOf(text: string): string {
  if (LANGUAGE.test(text)) return text
  throw new UsageError(`the language is ${JSON.stringify(text.slice(0, 40))}; allowed: a code such as en, sw or en-KE`)
}

/** `mkondo init`: creates a folder with one agent, its tools, a scenario and all other files that it needs. */
export async function init(folder: string, options: InitOptions, terminal: Terminal): Promise<number> {
  const target = resolve(folder)
  const name = basename(target)
  if (!isAgentName(name))
    throw new GatewayError(
      'CONFIG_INVALID',
      `the folder's name is '${basename(target)}'; allowed, as the name of an agent: 1 to 40 characters of a-z 0-9 -, beginning with a letter`,
    )
  if (existsSync(target) && (await readdir(target)).length > 0)
    throw new GatewayError('CONFIG_INVALID', `${folder} exists and is not empty; choose another name`)
  const chosen = await answers(options, terminal)
  const written = await writeFolder(target, name, chosen)
  const inFolder = relative(process.cwd(), target) || '.'
  const unspoken = whySpeechIsMissing()
  terminal.out(
    [
      ...written.map((file) => `  ${join(inFolder, file)}`),
      '',
      'Next:',
      `  cd ${inFolder}`,
      '  npx mkondo check                  # checks settings, agent, keys and ports',
      '  npx mkondo simulate               # runs simulated calls as text; --mode audio: as speech',
      '  npx mkondo serve                  # takes calls until Ctrl-C',
      '',
      `The sound of calls is not kept. To hear a call later, set recording.enabled in agents/${name}.yaml before the call.`,
      `README.md has the next steps${AUTO.includes(chosen.backend) ? '' : `, and how to switch to ${chosen.backend}`}.`,
      ...(unspoken === null ? [] : ['', `For spoken calls: ${unspoken}`]),
      '',
    ].join('\n'),
  )
  return 0
}

type Answers = Required<Omit<InitOptions, 'yes'>>

async function answers(options: InitOptions, { ask, out }: Terminal): Promise<Answers> {
  const question = options.yes === true || ask === null ? null : ask
  const choose = async <T extends string>(what: string, allowed: readonly T[], fallback: T): Promise<T> => {
    for (;;) {
      const text = (await question?.(`${what} (${allowed.join(', ')}) [${fallback}] `))?.trim() ?? ''
      const found = text === '' ? fallback : allowed.find((one) => one === text)
      if (found !== undefined) return found
      out(`Allowed: ${allowed.join(', ')}.\n`)
    }
  }
  const language = async (): Promise<string> => {
    for (;;) {
      const text = (await question?.('Language of the conversation [en] '))?.trim() ?? ''
      if (text === '' || LANGUAGE.test(text)) return text || 'en'
      out('Allowed: a code such as en, sw or en-KE.\n')
    }
  }
  return {
    template: options.template ?? (await choose('Template', Object.keys(TEMPLATES) as TemplateName[], 'order-status')),
    language: options.language ?? (await language()),
    backend: options.backend ?? (await choose('Backend', BACKEND_NAMES, 'embedded')),
    tools:
      options.tools ??
      (await choose('Tools: code in the folder, or also an example of an HTTP API', ['code', 'http'], 'code')),
  }
}

/** Scenario files of the templates, each with its name in the new folder. Not every template has all of these files. */
const SCENARIOS = [
  ['scenario.yaml', 'first-call.yaml'],
  ['scenario-sw.yaml', 'simu-ya-kwanza.yaml'],
  ['scenario-second.yaml', 'second-of-two-times.yaml'],
  ['scenario-second-sw.yaml', 'saa-ya-pili.yaml'],
  ['scenario-judged.yaml', 'judged-by-a-model.yaml'],
  ['scenario-placed.yaml', 'reminder.yaml'],
  ['scenario-placed-sw.yaml', 'ukumbusho.yaml'],
] as const

/** @returns the files, relative to the folder */
async function writeFolder(target: string, name: string, chosen: Answers): Promise<readonly string[]> {
  const root = packageRoot()
  const from = join(root, 'templates', chosen.template)
  const agentsDir = join(target, 'agents')
  const schema = (folder: string, file: string): string => relative(folder, join(root, 'schema', file))
  const written: string[] = []
  const write = async (file: string, text: string): Promise<void> => {
    await mkdir(join(target, file, '..'), { recursive: true })
    await writeFile(join(target, file), text, { flag: 'wx' })
    written.push(file)
  }
  const agent = agentText(await readFile(join(from, 'agent.yaml'), 'utf8'), name, chosen).replace(
    '$schema=SCHEMA',
    `$schema=${schema(agentsDir, 'agent.schema.json')}`,
  )
  await write(join('agents', `${name}.yaml`), agent)
  await write(join('agents', 'tools', `${name}.mjs`), await readFile(join(from, 'tools.mjs'), 'utf8'))
  if (existsSync(join(from, 'knowledge.md'))) {
    await mkdir(join(agentsDir, 'knowledge'))
    await cp(join(from, 'knowledge.md'), join(agentsDir, 'knowledge', `${name}.md`))
    written.push(join('agents', 'knowledge', `${name}.md`))
  }
  for (const [file, call] of SCENARIOS.filter(([one]) => existsSync(join(from, one)))) {
    const scenario = (await readFile(join(from, file), 'utf8'))
      .replace('$schema=SCHEMA', `$schema=${schema(join(target, 'scenarios'), 'scenario.schema.json')}`)
      .replace(/^agent: .*$/m, `agent: ${name}`)
    await write(join('scenarios', call), scenario)
  }
  await write(
    'mkondo.yaml',
    '# Settings of this folder: mkondo help settings. Environment variables take precedence.\nagentsDir: agents\n',
  )
  // Imported here, because this command's definition must not load the settings.
  const { envExample } = await import('../config/env-example.js')
  const chosenOnes = AUTO.includes(chosen.backend) ? [] : ['AUTO_BACKEND']
  const needed = [...new Set<string>([...chosenOnes, ...(SETTINGS_OF.get(chosen.backend) ?? []), ...COMMON_SETTINGS])]
  await write('.env.example', envExample(needed).replace('# AUTO_BACKEND=', `AUTO_BACKEND=${chosen.backend}`))
  await write('.gitignore', '.env\n.data/\nnode_modules/\n')
  const copy = realpathSync(root)
  await write('package.json', `${JSON.stringify(manifest(name, target, copy), null, 2)}\n`)
  await linkCommand(target, copy)
  await write('README.md', readme(name, chosen))
  return written
}

/**
 * The folder's package.json. Without it, `npx mkondo` would run a package `mkondo` from the registry, which anyone
 * could publish.
 */
function manifest(name: string, target: string, root: string): object {
  const mkondo = `file:${relative(realpathSync(target), root)}`
  return { name, private: true, dependencies: { mkondo } }
}

/**
 * Links the command, so that `npx mkondo` runs this copy at once. Only the command is linked, because npm would resolve
 * the dependencies of a linked package again. npm later replaces the link.
 */
async function linkCommand(target: string, root: string): Promise<void> {
  const commands = join(target, 'node_modules', '.bin')
  await mkdir(commands, { recursive: true })
  await symlink(relative(realpathSync(commands), join(root, 'dist/src/cli/main.js')), join(commands, 'mkondo'))
}

/** Languages that the templates speak. */
const SPOKEN: readonly string[] = ['en', 'sw']

function agentText(template: string, name: string, { template: of, language, tools }: Answers): string {
  // If the templates have no texts in the chosen language, the agent has only this language. `mkondo check` then names
  // the missing texts.
  const known = SPOKEN.includes(codeOf(language))
  const spoken = known ? [language, ...SPOKEN.filter((code) => code !== codeOf(language))] : [language]
  const text = template
    .replace(/^name: .*$/m, `name: ${name}`)
    .replace(/^languages: .*$/m, `languages: [${spoken.join(', ')}]`)
    .replaceAll(`tools/${of}.mjs`, `tools/${name}.mjs`)
    .replaceAll(`knowledge/${of}.md`, `knowledge/${name}.md`)
    .replaceAll(`--agent ${of}`, `--agent ${name}`)
  return tools === 'code' ? text : text.replace(/^modules: .*$/m, (modules) => `${modules}\n${HTTP_EXAMPLE}`)
}

/** Example of a tool that the scripted dialogue does not use, but a model may use. */
const HTTP_EXAMPLE = `tools:
  - name: get_item
    description: An example of a tool that asks an HTTP API. Say here when the model is to use it.
    parameters:
      properties:
        id: { type: string, pattern: '^[A-Z0-9-]{1,40}$' }
      required: [id]
    http:
      url: 'https://api.example.com/v1/items/{{args.id}}'
    result:
      notFound: { found: false }`

function readme(name: string, { template, backend }: Answers): string {
  const vendor = AUTO.includes(backend)
    ? `Without a key the agent runs on the embedded backend: it follows the \`offline:\` part of its file. With ${AUTO.flatMap(
        (name) => REALTIME.get(name)?.needs ?? [],
      )
        .map((setting) => `\`${setting}\``)
        .join('\nor ')} it runs on that model and follows its \`instructions\`.`
    : `Without variables the agent runs on the embedded backend: it follows the \`offline:\` part of its file. With the variables in
\`.env.example\` it runs on ${backend} and follows its \`instructions\`.`
  return `# ${name}

A voice agent for phone calls on mkondo, created from the template \`${template}\`. It ${TEMPLATES[template]}.

| file | what it is |
|---|---|
| \`agents/${name}.yaml\` | the agent: instructions, tools, and the dialogue for running without a model |
| \`agents/tools/${name}.mjs\` | its tools as code |
| \`scenarios/first-call.yaml\`, \`simu-ya-kwanza.yaml\` | a simulated caller in English and one in Swahili, and the expected results of their calls |
| \`mkondo.yaml\` | settings; \`.env.example\` lists the ones for your keys and secrets |
| \`package.json\` | names the copy of mkondo that \`npx mkondo\` runs; on another machine: \`npm install PATH\`, with a clone or an archive of a release |

\`\`\`sh
npx mkondo check       # checks settings, agent, keys and ports
npx mkondo simulate    # runs the scenarios as text, much faster than speech
npx mkondo simulate --mode audio   # runs them as spoken calls
npx mkondo serve       # takes calls until Ctrl-C; with your variables: npx mkondo serve --env-file .env
\`\`\`

While \`serve\` runs, the next call uses your edits in \`agents/\`.

The console at <http://127.0.0.1:9464/> shows each call. The sound of a call is kept only if \`recording.enabled\` was set in
\`agents/${name}.yaml\` before the call began. Callers then hear \`recording.consent\` first.

${vendor}

For real calls set \`PUBLIC_URL\`, \`SAUTIKIT_WEBHOOK_SECRETS\` and \`SAUTIKIT_API_KEY\`, and route a number here:

    npx mkondo numbers route NUMBER --agent ${name}
`
}
