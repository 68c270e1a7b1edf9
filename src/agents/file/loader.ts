import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { GatewayError, messageOf } from '../../core/errors.js'
import { isAgentName } from '../../core/ids.js'
import { AGENT_FILE_BYTES_MAX } from '../../core/limits.js'
import { omitNullish } from '../../core/omit-nullish.js'
import type { FolderVersion } from './agent-view.js'
import { importFile, loadAssets } from './assets.js'
import type { AgentAssets } from './assets.js'
import { factsReadBy } from './business.js'
import { callerFaults, callerFields } from '../identity/caller-check.js'
import { isCodeTool } from '../tools/code-tool.js'
import type { AgentDefinition } from './definition.js'
import { agentJsonSchema, agentSchema, handoversOf } from './definition.js'
import type { Environment } from './template.js'
import type { SourcePosition, YamlSource } from './yaml-source.js'
import { allowedNames, cutFaults, faultsOf, isSpared, pathText } from './faults.js'
import type { Fault } from './faults.js'
import { digitFaults } from '../tools/digits.js'
import { mcpTemplates } from '../tools/mcp-definition.js'
import { callableTools, offeredTools } from '../tools/offered-tools.js'
import { stageFaults } from './stage-check.js'
import { offlineFaults } from '../offline/offline-check.js'
import type { CallableTool, OfflineSpeech } from '../offline/offline-check.js'
import { offlineShape } from '../offline/offline.js'
import { findOwnBackends, isOwnModule } from './own-backends.js'
import { sourcesOf } from './template.js'
import { templatesOf } from '../tools/tool-definition.js'
import { parseYaml } from './yaml-source.js'

/** Agent files that are read. */
const AGENTS_MAX = 200
/** Mistakes that are reported of one folder before the rest is only counted. */
const AGENT_ERRORS_MAX = 100

/** One fault in an agent file. */
export interface AgentFault extends SourcePosition {
  readonly file: string
  /** The fault, and the allowed values. */
  readonly what: string
  /** As in `Fault`. */
  readonly spared?: boolean
}

/** All agents of a folder. */
interface AgentSet {
  readonly agents: ReadonlyMap<string, AgentDefinition>
  /** The assets of each agent. */
  readonly assets: ReadonlyMap<string, AgentAssets>
  /** The file of each agent. */
  readonly files: ReadonlyMap<string, string>
  /** Second versions, by the names of their agents. */
  readonly canaries: ReadonlyMap<string, FolderVersion>
  /** The agent of a path without a name: the only one; null when there are several. */
  readonly defaultAgent: string | null
}

/**
 * Vocabulary for the check of offline dialogues, loaded when an agent has one. Without it, or where it is not installed
 * (null), their words are not checked.
 */
export type SpeechSource = () => Promise<OfflineSpeech | null>

let schema: Readonly<Record<string, unknown>> | null = null

function checkValue(
  value: unknown,
): { readonly ok: true; readonly agent: AgentDefinition } | { readonly ok: false; readonly faults: readonly Fault[] } {
  const parsed = agentSchema.safeParse(value)
  if (parsed.success) return { ok: true, agent: parsed.data }
  schema ??= agentJsonSchema()
  return { ok: false, faults: faultsOf(parsed.error.issues, schema, value) }
}

/** In the order of the file. */
function placed(faults: readonly Fault[], source: YamlSource, file: string): AgentFault[] {
  return faults
    .map(({ path, key, what, spared }) => ({ file, ...source.locate(path, key), what, ...omitNullish({ spared }) }))
    .sort((a, b) => a.line - b.line || a.col - b.col)
}

/** Checks an agent and the files that it names; reports all faults together. */
async function examine(
  value: unknown,
  dir: string,
  own: string | null,
  env: Environment,
  speech: SpeechSource | null,
): Promise<
  | {
      readonly ok: true
      readonly agent: AgentDefinition
      readonly assets: AgentAssets
      /** All of them `spared`. */
      readonly faults: readonly Fault[]
    }
  | { readonly ok: false; readonly faults: readonly Fault[] }
> {
  const checked = checkValue(value)
  if (!checked.ok) {
    // Faults of the dialogue are reported together with those of the rest of the file.
    const offline = typeof value === 'object' && value !== null && 'offline' in value ? value.offline : null
    return { ok: false, faults: [...checked.faults, ...(await dialogueFaults(offline, null, speech))] }
  }
  const { agent, faults: missing } = await findOwnBackends(checked.agent, dir)
  const loaded = await loadAssets(agent, dir, own, value)
  const tools = loaded.ok ? callableTools(agent, loaded.assets) : null
  const faults: Fault[] = [
    ...missing.map(({ path, what }) => faultAt(path, `: ${what}`)),
    ...environmentFaults(agent, env),
    ...loaded.faults.map((fault) => ({ ...fault, ...faultAt(fault.path, `: ${fault.what}`) })),
    ...(tools === null ? [] : claimFaults(agent, tools)),
    ...(tools === null ? [] : digitFaults(agent.digits, tools)).map(({ path, what }) =>
      faultAt(['digits', ...path], ` is ${what}`),
    ),
    ...(loaded.ok ? stageFaults(agent, offeredTools(agent, loaded.assets)) : []),
    ...(loaded.ok ? callerFaults(agent, loaded.assets) : []),
    ...(await dialogueFaults(agent.offline, tools, speech, loaded.ok ? ofCallerIn(agent, loaded.assets) : null)),
  ]
  return loaded.ok && faults.every(isSpared)
    ? { ok: true, agent, assets: loaded.assets, faults }
    : { ok: false, faults }
}

/** Fields that a dialogue may read; null: any. What a file lacks is no fault of the dialogue: it is left out. */
function ofCallerIn(agent: AgentDefinition, assets: AgentAssets): readonly string[] | null {
  return agent.caller?.file === undefined ? callerFields(agent, assets) : null
}

/** A fault whose sentence begins with its place. @param what  with what stands behind the place */
function faultAt(path: readonly PropertyKey[], what: string): Fault {
  return { path, what: `${pathText(path)}${what}` }
}

/** Tools that a claim names and that the agent does not have. */
function claimFaults({ claims }: AgentDefinition, tools: ReadonlyMap<string, unknown>): Fault[] {
  return (claims?.rules ?? []).flatMap((rule, index) =>
    rule.tools.flatMap((tool, at) => {
      if (tools.has(tool)) return []
      const what = ` is ${tool}, which is not a tool of this agent; ${allowedNames(tool, [...tools.keys()])}`
      return [faultAt(['claims', 'rules', index, 'tools', at], what)]
    }),
  )
}

async function dialogueFaults(
  block: unknown,
  tools: ReadonlyMap<string, CallableTool> | null,
  speech: SpeechSource | null,
  ofCaller: readonly string[] | null = null,
): Promise<Fault[]> {
  const parsed = offlineShape.safeParse(block)
  if (!parsed.success) return [] // none, or its shape was reported by the agent's schema
  const faults = offlineFaults(parsed.data, tools, speech === null ? null : await speech(), ofCaller)
  return faults.map(({ path, key, what }) => ({ ...faultAt(path, ` ${what}`), key }))
}

/**
 * Every unset `{{env.NAME}}` of a tool, and every base URL that is not a valid URL. The values are not
 * kept: they are read again when a tool runs.
 */
function environmentFaults(agent: AgentDefinition, env: Environment): Fault[] {
  const requests: { path: PropertyKey[]; tool: Parameters<typeof templatesOf>[0] }[] = agent.tools.map(
    (tool, index) => ({ path: ['tools', index], tool }),
  )
  if (agent.verification !== null)
    requests.push({ path: ['verification', 'account'], tool: agent.verification.account })
  const placed = [
    ...requests.flatMap((request) => templatesOf(request.tool).map((one) => ({ ...one, at: request.path }))),
    ...agent.mcp.flatMap((server, index) => mcpTemplates(server).map((one) => ({ ...one, at: ['mcp', index] }))),
  ]
  return placed.flatMap(({ path, template, at: begin }) => {
    const at = [...begin, ...path]
    const isUrl = ['http.url', 'url'].includes(pathText(path))
    return sourcesOf(template)
      .filter((source) => source.scope === 'env')
      .flatMap((source) => {
        if (Object.hasOwn(env, source.name) && env[source.name] === undefined)
          return [
            faultAt(
              at,
              ` reads {{env.${source.name}}}, a secret of the gateway itself, of a cloud, or of NUMBERS_FILE or MESSAGES_FILE, which no agent is given`,
            ),
          ]
        const value = env[source.name] ?? ''
        if (value === '') return [faultAt(at, ` needs the environment variable ${source.name}, which is not set`)]
        if (!isUrl || template[0] !== source || isBaseUrl(value)) return []
        const variable = `the environment variable ${source.name}`
        return [faultAt(at, `: ${variable} must hold an http(s) URL without query, fragment and user name`)]
      })
  })
}

function isBaseUrl(text: string): boolean {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return false
  const url = new URL(text)
  return url.search === '' && url.hash === '' && url.username === '' && url.password === ''
}

/** One agent with its assets, or its faults. */
type AgentFile =
  | {
      readonly ok: true
      readonly agent: AgentDefinition
      readonly assets: AgentAssets
      readonly file: string
      readonly line: number
      /** All of them `spared`. */
      readonly faults: readonly AgentFault[]
    }
  | { readonly ok: false; readonly faults: readonly AgentFault[]; readonly file: string }

/**
 * Reads every agent of `dir`: `*.yaml` and `*.yml` files, and `*.js` and `*.mjs` modules.
 * @throws GatewayError AGENT_INVALID when the folder itself cannot be read, or has too many agents
 */
export async function readAgents(
  dir: string,
  env: Environment,
  speech: SpeechSource | null = null,
): Promise<readonly AgentFile[]> {
  return together(await readEach(dir, env, speech))
}

/** A text that is to take the place of a file. */
export interface AgentDraft {
  /** Name of a file of the folder that holds an agent as YAML. */
  readonly file: string
  readonly text: string
}

/**
 * Checks a text as the folder would be checked with it in the place of a file; writes nothing.
 * @returns `read`: the text as an agent, or its faults. `broken`: faults that other files would have by it
 * @throws GatewayError AGENT_INVALID when the folder cannot be read
 */
export async function examineDraft(
  { file: name, text }: AgentDraft,
  dir: string,
  env: Environment,
  speech: SpeechSource | null = null,
): Promise<{ readonly read: AgentFile; readonly broken: readonly AgentFault[] }> {
  const file = join(dir, name)
  const each = await readEach(dir, env, speech)
  const draft = withItsName(
    await readText(text, dir, name, env, speech),
    each.find((one) => one.file === file),
  )
  const usable = new Set(together(each).flatMap((one) => (one.ok ? [one.file] : [])))
  const after = together([...each.filter((one) => one.file !== file), draft])
  return {
    read: after.find((one) => one.file === file) ?? draft,
    broken: after.flatMap((one) => (one.ok || one.file === file || !usable.has(one.file) ? [] : one.faults)),
  }
}

/** Numbers, paths and other agents lead to a name, so an edit keeps it. @param now  the file as it is */
function withItsName(draft: ReadFile, now: ReadFile | undefined): ReadFile {
  if (!draft.ok || now?.ok !== true || draft.agent.name === now.agent.name) return draft
  const { file, line, col } = draft
  const what = `name is ${draft.agent.name}; allowed: ${now.agent.name}, by which calls reach the agent of this file`
  return { ok: false, file, faults: [{ file, line, col, what }] }
}

/** Each file by itself. */
async function readEach(dir: string, env: Environment, speech: SpeechSource | null): Promise<readonly ReadFile[]> {
  const read: ReadFile[] = []
  for (const name of await agentFiles(dir)) {
    const one = isModule(name) ? await loadModule(dir, name, env, speech) : await loadFile(dir, name, env, speech)
    if (one !== null) read.push(one)
  }
  return read
}

/** Refuses files that cannot be beside each other in one folder. */
function together(each: readonly ReadFile[]): readonly AgentFile[] {
  const read: AgentFile[] = []
  const places = new Map<string, string>()
  for (const one of each) {
    const { file } = one
    const key = one.ok ? `${one.agent.name} ${one.agent.canary === undefined ? '' : 'canary'}` : ''
    const earlier = places.get(key)
    if (!one.ok || earlier === undefined) {
      read.push(one)
      if (one.ok) places.set(key, `${file}:${one.line}`)
      continue
    }
    const what =
      one.agent.canary === undefined
        ? `name ${one.agent.name} is already used by ${earlier}; names must be unique`
        : `${earlier} is a canary of ${one.agent.name} already; an agent has one at most`
    read.push({ ok: false, file, faults: [{ file, line: one.line, col: one.col, what }] })
  }
  return withoutStrayCanaries(withoutStrangers(read))
}

/** Keys of an agent that the gateway reads before it knows which version has a call, or after the call. */
const SAME_IN_CANARIES: readonly (keyof AgentDefinition)[] = [
  ...(['stream', 'say', 'outbound', 'maxCalls', 'afterCall', 'escalation', 'verification'] as const),
  ...(['analysis', 'callbacks', 'recovery', 'retention'] as const),
]

/** The reason why this cannot be a canary of `of`; null: it can. @param of  undefined: none can be used */
export function canaryFault(agent: AgentDefinition, of: AgentDefinition | undefined): string | null {
  if (of === undefined)
    return `canary: this folder has no agent ${agent.name} that can be used, of which this is a second version`
  const other = SAME_IN_CANARIES.filter((key) => !isDeepStrictEqual(agent[key], of[key]))
  if (other.length > 0)
    return `canary: ${other.join(', ')} must be as in the agent itself: they hold for all of its calls`
  const known = factsReadBy(of)
  const facts = [...factsReadBy(agent)].flatMap((name) => (known.has(name) ? [] : [`{{business.${name}}}`]))
  return facts.length === 0
    ? null
    : `canary: reads ${facts.join(', ')}, which the agent itself does not: its numbers are checked for what that one reads`
}

/** A canary whose agent cannot be used, or that differs in what must be the same, cannot be used. */
function withoutStrayCanaries(read: readonly AgentFile[]): readonly AgentFile[] {
  const agents = new Map(
    read.flatMap((one) => (one.ok && one.agent.canary === undefined ? [[one.agent.name, one.agent]] : [])),
  )
  return read.map((one): AgentFile => {
    if (!one.ok || one.agent.canary === undefined) return one
    const { file, line, agent } = one
    const what = canaryFault(agent, agents.get(agent.name))
    return what === null ? one : { ok: false, file, faults: [{ file, line, col: 1, what }] }
  })
}

/** An agent that hands over to one that cannot be used cannot be used either. */
function withoutStrangers(read: readonly AgentFile[]): readonly AgentFile[] {
  const known = read.flatMap((one) => (one.ok && one.agent.canary === undefined ? [one.agent.name] : []))
  const left = read.map((one): AgentFile => {
    const strangers = one.ok ? handoversOf(one.agent).filter((agent) => !known.includes(agent)) : []
    if (strangers.length === 0) return one
    const { file } = one
    const faults = strangers.map((agent) => ({
      file,
      line: 1,
      col: 1,
      what: `hands over to ${agent}, which is no agent of this folder; ${allowedNames(agent, known)}`,
    }))
    return { ok: false, file, faults }
  })
  return left.every((one, at) => one === read[at]) ? left : withoutStrangers(left)
}

/**
 * Loads the agents of `dir` that can be used, and names the faults of all.
 * @throws GatewayError AGENT_INVALID where no agent can be used, with every fault
 */
export async function loadUsableAgents(
  dir: string,
  env: Environment,
  speech: SpeechSource | null = null,
): Promise<AgentSet & { readonly faults: readonly AgentFault[] }> {
  const read = await readAgents(dir, env, speech)
  const versions = read.flatMap((one) => (one.ok ? [one] : []))
  const usable = versions.filter(({ agent }) => agent.canary === undefined)
  const faults = read.flatMap((one) => one.faults)
  if (usable.length === 0)
    throw new GatewayError(
      'AGENT_INVALID',
      faults.length > 0 ? faultsText(faults) : `${dir} has no agent; put a .yaml file there (docs/AGENTS.md)`,
    )
  const [only] = usable
  return {
    agents: new Map(usable.map(({ agent }) => [agent.name, agent])),
    assets: new Map(usable.map(({ agent, assets }) => [agent.name, assets])),
    files: new Map(versions.map(({ agent, file }) => [versionName(agent), file])),
    canaries: canariesOf(versions),
    defaultAgent: read.length === 1 + versions.length - usable.length && only !== undefined ? only.agent.name : null,
    faults,
  }
}

/**
 * Loads every agent of `dir`.
 * @throws GatewayError AGENT_INVALID with every fault of every file, one a line, as `file:line:col: what`
 */
export async function loadAgents(dir: string, env: Environment, speech: SpeechSource | null = null): Promise<AgentSet> {
  const { faults, ...set } = await loadUsableAgents(dir, env, speech)
  if (faults.length > 0) throw new GatewayError('AGENT_INVALID', faultsText(faults))
  return set
}

/**
 * Names of the agents of `dir`, including those that cannot be loaded here, because only the gateway that runs them has
 * their files and variables.
 * @throws GatewayError AGENT_INVALID when the folder itself cannot be read, or has too many agents
 */
export async function agentNames(dir: string): Promise<readonly string[]> {
  const names = await Promise.all(
    (await agentFiles(dir)).map(async (name): Promise<unknown> => {
      const file = join(dir, name)
      try {
        if (isModule(name))
          return ((await importFile(file, dir)).exports['default'] as { readonly name?: unknown } | undefined)?.name
        if ((await stat(file)).size > AGENT_FILE_BYTES_MAX) return null
        const source = parseYaml(await readFile(file, 'utf8'))
        return 'value' in source ? (source.value as { readonly name?: unknown } | null)?.name : null
      } catch {
        return null // no name can be read from it
      }
    }),
  )
  return [...new Set(names.filter(isAgentName))]
}

/** The name of an agent's version in faults and in `AgentSet.files`. */
export function versionName({ name, canary }: Pick<AgentDefinition, 'name' | 'canary'>): string {
  return canary === undefined ? name : `${name} (canary)`
}

/** Second versions, by the names of their agents. */
export function canariesOf(versions: Iterable<FolderVersion>): ReadonlyMap<string, FolderVersion> {
  return new Map(
    [...versions].flatMap(({ agent, assets }) => (agent.canary === undefined ? [] : [[agent.name, { agent, assets }]])),
  )
}

/** True for an agent in code. */
export function isModule(file: string): boolean {
  return /\.m?js$/.test(file)
}

/**
 * Names of the files of `dir` that may hold an agent, in order.
 * @throws GatewayError AGENT_INVALID when the folder cannot be read, or has too many of them
 */
export async function agentFiles(dir: string): Promise<readonly string[]> {
  let entries: readonly string[]
  try {
    entries = await readdir(dir)
  } catch (error) {
    throw new GatewayError(
      'AGENT_INVALID',
      `cannot read the agents folder ${dir} (AGENTS_DIR, or --agents): ${messageOf(error)}`,
      {
        cause: error,
      },
    )
  }
  const names = entries.filter((name) => /\.(ya?ml|m?js)$/.test(name) && !name.startsWith('.')).sort()
  if (names.length > AGENTS_MAX) {
    throw new GatewayError('AGENT_INVALID', `${dir} has ${names.length} agent files; at most ${AGENTS_MAX} are allowed`)
  }
  return names
}

type ReadFile = (AgentFile & { readonly ok: true; readonly col: number }) | (AgentFile & { readonly ok: false })

async function loadFile(dir: string, name: string, env: Environment, speech: SpeechSource | null): Promise<ReadFile> {
  const file = join(dir, name)
  const refuse = (what: string): ReadFile => ({ ok: false, file, faults: [{ file, line: 1, col: 1, what }] })
  try {
    const { size } = await stat(file)
    if (size > AGENT_FILE_BYTES_MAX) return refuse(`has ${size} bytes; at most ${AGENT_FILE_BYTES_MAX} are allowed`)
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file))
    return await readText(text, dir, name, env, speech)
  } catch (error) {
    return refuse(error instanceof TypeError ? 'is not UTF-8 text' : `cannot be read: ${messageOf(error)}`)
  }
}

async function readText(
  text: string,
  dir: string,
  name: string,
  env: Environment,
  speech: SpeechSource | null,
): Promise<ReadFile> {
  const file = join(dir, name)
  const source = parseYaml(text)
  if (!('value' in source)) return { ok: false, file, faults: source.map((fault) => ({ file, ...fault })) }
  const found = await examine(source.value, dir, null, env, speech)
  const cuts = cutFaults(source, () => (schema ??= agentJsonSchema())).map(({ line, col, what }) => ({
    file,
    line,
    col,
    what,
    spared: true,
  }))
  const faults = [...placed(found.faults, source, file), ...cuts].sort((a, b) => a.line - b.line || a.col - b.col)
  if (!found.ok) return { ok: false, file, faults }
  return { ok: true, file, agent: found.agent, assets: found.assets, ...source.locate(['name']), faults }
}

/**
 * An agent in code: the default export of a module. Its tools in code are its own.
 * @returns null for a module with a backend or a service of the cascade, which lies beside the agents that name it
 */
async function loadModule(
  dir: string,
  name: string,
  env: Environment,
  speech: SpeechSource | null,
): Promise<ReadFile | null> {
  const file = join(dir, name)
  const refuse = (what: string): ReadFile => ({ ok: false, file, faults: [{ file, line: 1, col: 1, what }] })
  try {
    const { exports } = await importFile(file, dir)
    const written = exports['default']
    if (written === undefined && isOwnModule(exports)) return null
    if (typeof written !== 'object' || written === null || isCodeTool(written)) {
      return refuse('has no default export made by defineAgent; move a module that only has tools to a subfolder')
    }
    const { tools } = written as { readonly tools?: unknown }
    const http: unknown = Array.isArray(tools) ? (tools as unknown[]).filter((tool) => !isCodeTool(tool)) : tools
    const value: unknown = http === undefined ? written : { ...written, tools: http }
    const found = await examine(value, dir, name, env, speech)
    const at = { file, line: 1, col: 1 }
    const faults = found.faults.map(({ what, spared }) => ({ ...at, what, ...omitNullish({ spared }) }))
    return found.ok
      ? { ok: true, ...at, agent: found.agent, assets: found.assets, faults }
      : { ok: false, file, faults }
  } catch (error) {
    return refuse(`cannot be imported: ${messageOf(error).split('\n')[0] ?? ''}`)
  }
}

/** One fault a line, as compilers print them. */
export function faultsText(faults: readonly AgentFault[]): string {
  const lines = faults
    .slice(0, AGENT_ERRORS_MAX)
    .map((fault) => `${fault.file}:${fault.line}:${fault.col}: ${fault.what}`)
  if (faults.length > AGENT_ERRORS_MAX) lines.push(`and ${faults.length - AGENT_ERRORS_MAX} more`)
  return lines.join('\n')
}
