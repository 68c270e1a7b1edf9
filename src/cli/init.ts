import { codeOf } from '../call/spoken/localized-text.js'
import { existsSync } from 'node:fs'
import { cp, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { basename, join, relative, resolve } from 'node:path'
import { packageRoot } from '../config/package-root.js'
import { GatewayError } from '../core/errors.js'
import { isAgentName } from '../core/ids.js'
import { whySpeechIsMissing } from '../speech/speech-packages.js'
import { UsageError } from './exit-codes.js'
import type { Terminal } from './terminal.js'

/** Templates of `mkondo init`, with their purpose: the folders of templates/. */
export const TEMPLATES = {
  'order-status': 'says where an order is',
  support: 'answers from a knowledge file and opens tickets',
  appointments: 'offers free times and books one',
  survey: 'asks three questions and keeps the answers',
  receptionist: 'says the hours and takes messages',
} as const
export type TemplateName = keyof typeof TEMPLATES

/** Backends by name, with the settings that each needs or is chosen by. */
const BACKENDS = {
  embedded: [],
  openai: ['OPENAI_API_KEY', 'OPENAI_MODEL'],
  'openai-live': ['OPENAI_API_KEY', 'OPENAI_LIVE_MODEL'],
  gemini: ['GEMINI_API_KEY', 'GEMINI_MODEL'],
  'azure-voice-live': ['AZURE_VOICE_LIVE_URL', 'AZURE_VOICE_LIVE_KEY', 'AZURE_VOICE_LIVE_MODEL'],
  'self-hosted': ['REALTIME_URL', 'REALTIME_API_KEY', 'REALTIME_MODEL'],
  cascade: [
    'STT_URL',
    'STT_API_KEY',
    'STT_MODEL',
    'LLM_URL',
    'LLM_API_KEY',
    'LLM_MODEL',
    'TTS_URL',
    'TTS_API_KEY',
    'TTS_MODEL',
  ],
} as const
export type BackendName = keyof typeof BACKENDS
export const BACKEND_NAMES = Object.keys(BACKENDS) as readonly BackendName[]

/** Backends that `backend: auto` takes as soon as their key is set. */
const AUTOMATIC: readonly BackendName[] = ['embedded', 'openai', 'gemini']

/** Settings that every agent's folder is begun with. */
const COMMON_SETTINGS = ['PUBLIC_URL', 'SAUTIKIT_WEBHOOK_SECRETS', 'SAUTIKIT_API_KEY', 'TOKEN_SECRET', 'OPS_TOKEN']

/** The options of `mkondo init`; what is not given is asked for on a terminal, and has a default elsewhere. */
export interface InitOptions {
  readonly template?: TemplateName
  readonly language?: string
  readonly backend?: BackendName
  readonly tools?: 'code' | 'http'
  readonly yes?: true
}

const LANGUAGE = /^[a-z]{2,3}(-[A-Z]{2})?$/

/** An option of the command line that says which language. @throws UsageError */
export function languageOf(text: string): string {
  if (LANGUAGE.test(text)) return text
  throw new UsageError(`the language is ${JSON.stringify(text.slice(0, 40))}; allowed: a code such as en, sw or en-KE`)
}

/** `mkondo init`: a folder with one agent, its tools, a scenario and what else is needed to go on. */
export async function init(folder: string, options: InitOptions, terminal: Terminal): Promise<number> {
  const target = resolve(folder)
  const name = basename(target)
  if (!isAgentName(name))
    throw new GatewayError(
      'CONFIG_INVALID',
      `the folder's name is '${basename(target)}'; allowed, as the name of an agent: 1 to 40 of a-z 0-9 -, beginning with a letter`,
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
      '  npx mkondo check                  # finds mistakes before a start',
      '  npx mkondo simulate               # a simulated caller calls it; with --mode audio, spoken',
      '  npx mkondo serve                  # takes calls until Ctrl-C',
      '',
      `README.md has the next steps${AUTOMATIC.includes(chosen.backend) ? '' : `, and how to switch to ${chosen.backend}`}.`,
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

/** Calls of a template, in English and in Swahili, and their files in the folder; and others, where it has them. */
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
  // Imported here: the definition of the command needs no settings.
  const { envExample } = await import('../config/env-example.js')
  const chosenOnes = AUTOMATIC.includes(chosen.backend) ? [] : ['AUTO_BACKEND']
  const needed = [...new Set<string>([...chosenOnes, ...BACKENDS[chosen.backend], ...COMMON_SETTINGS])]
  await write('.env.example', envExample(needed).replace('# AUTO_BACKEND=', `AUTO_BACKEND=${chosen.backend}`))
  await write('.gitignore', '.env\ndata/\n')
  await write('README.md', readme(name, chosen))
  return written
}

/** Languages that the templates speak. */
const SPOKEN: readonly string[] = ['en', 'sw']

function agentText(template: string, name: string, { template: of, language, tools }: Answers): string {
  // One that they do not speak stays alone: `mkondo check` names the texts that it lacks.
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

/** A tool that the scripted dialogue does not use; a model may. */
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
  const vendor = AUTOMATIC.includes(backend)
    ? `Without a key the agent runs on the embedded backend: it follows the \`offline:\` part of its file. With \`OPENAI_API_KEY\`
or \`GEMINI_API_KEY\` it runs on that model and follows its \`instructions\`.`
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

\`\`\`sh
npx mkondo check       # finds mistakes before a start: settings, agent, keys, ports
npx mkondo simulate    # runs the scenarios as text, much faster than speech
npx mkondo simulate --mode audio   # runs them as spoken calls
npx mkondo serve       # takes calls until Ctrl-C; with your variables: npx mkondo serve --env-file .env
\`\`\`

While \`serve\` runs, the next call uses your edits in \`agents/\`.

${vendor}

For real calls set \`PUBLIC_URL\`, \`SAUTIKIT_WEBHOOK_SECRETS\` and \`SAUTIKIT_API_KEY\`, and route a number here:

    npx mkondo numbers route NUMBER --agent ${name}
`
}
