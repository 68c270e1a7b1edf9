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

/** Maximum number of agent files. */
const AGENTS_MAX = 200
/** Maximum number of reported faults in one folder; further faults are only counted. */
const AGENT_ERRORS_MAX = 100

/** A fault in an agent file. */
export interface AgentFault extends SourcePosition {
  readonly file: string
  /** Description of the fault, including the allowed values. */
  readonly what: string
  /** Value of `spared` in `Fault`. */
  readonly spared?: boolean
}

/** All agents of a folder. */
interface AgentSet {
  readonly agents: ReadonlyMap<string, AgentDefinition>
  /** Assets by agent name. */
  readonly assets: ReadonlyMap<string, AgentAssets>
  /** File by agent name. */
  readonly files: ReadonlyMap<string, string>
  /** Canaries by agent name. */
  readonly canaries: ReadonlyMap<string, FolderVersion>
  /** Agent for a request path without an agent's name: the only agent; null if there are several agents. */
  readonly defaultAgent: string | null
}

/**
 * Loads the vocabulary with which offline dialogues are checked. Called only if an agent has such a dialogue. The
 * result is null if the vocabulary is not installed; words are then not checked.
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

/** Adds the positions in the file to faults, and sorts them by position. */
function placed(faults: readonly Fault[], source: YamlSource, file: string): AgentFault[] {
  return faults
    .map(({ path, key, what, spared }) => ({ file, ...source.locate(path, key), what, ...omitNullish({ spared }) }))
    .sort((a, b) => a.line - b.line || a.col - b.col)
}

/** Checks an agent and the files that it names, and reports all faults together. */
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
      /** Faults, each of which is `spared`. */
      readonly faults: readonly Fault[]
    }
  | { readonly ok: false; readonly faults: readonly Fault[] }
> {
  const checked = checkValue(value)
  if (!checked.ok) {
    // The dialogue is checked too, so that its faults are reported together with all other faults of the file.
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

/**
 * Returns the fields of a caller that a dialogue may read; null if the dialogue may read any field. A field that is
 * missing in the file of callers is not a fault, because the dialogue's text is then spoken without the value.
 */
function ofCallerIn(agent: AgentDefinition, assets: AgentAssets): readonly string[] | null {
  return agent.caller?.file === undefined ? callerFields(agent, assets) : null
}

/**
 * Returns a fault whose text begins with the fault's position.
 * @param what  text after the position
 */
function faultAt(path: readonly PropertyKey[], what: string): Fault {
  return { path, what: `${pathText(path)}${what}` }
}

/** Returns a fault for each tool in a claim that the agent does not have. */
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
  if (!parsed.success) return [] // the section is missing, or the agent's schema reports its fault
  const faults = offlineFaults(parsed.data, tools, speech === null ? null : await speech(), ofCaller)
  return faults.map(({ path, key, what }) => ({ ...faultAt(path, ` ${what}`), key }))
}

/**
 * Returns a fault for each variable in `{{env.NAME}}` that is not listed or not set, and for each invalid base URL. The values are
 * not stored, because each run of a tool reads them again.
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
        if (!Object.hasOwn(env, source.name)) {
          const listed = Object.keys(env).join(', ')
          return [
            faultAt(at, ` reads {{env.${source.name}}}, which AGENT_ENV does not list; listed: ${listed || 'none'}`),
          ]
        }
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

/** Result of reading an agent's file: the agent with its assets, or the faults. */
type AgentFile =
  | {
      readonly ok: true
      readonly agent: AgentDefinition
      readonly assets: AgentAssets
      readonly file: string
      readonly line: number
      /** Faults, each of which is `spared`. */
      readonly faults: readonly AgentFault[]
    }
  | { readonly ok: false; readonly faults: readonly AgentFault[]; readonly file: string }

/**
 * Reads every agent of `dir`: `*.yaml` and `*.yml` files, and `*.js` and `*.mjs` modules.
 * @throws GatewayError AGENT_INVALID if the folder cannot be read, or has too many agents
 */
export async function readAgents(
  dir: string,
  env: Environment,
  speech: SpeechSource | null = null,
): Promise<readonly AgentFile[]> {
  return together(await readEach(dir, env, speech))
}

/** Text that replaces a file in a check. */
export interface AgentDraft {
  /** Name of the replaced file in the folder; it contains an agent in YAML. */
  readonly file: string
  readonly text: string
}

/**
 * Checks the folder as if a file had another text. The folder does not change.
 * @returns `read`: the agent in the text, or its faults. `broken`: faults that the text causes in other files
 * @throws GatewayError AGENT_INVALID if the folder cannot be read
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

/**
 * Refuses a draft that changes the agent's name, because phone numbers, paths and other agents refer to this name.
 * @param now  the current file
 */
function withItsName(draft: ReadFile, now: ReadFile | undefined): ReadFile {
  if (!draft.ok || now?.ok !== true || draft.agent.name === now.agent.name) return draft
  const { file, line, col } = draft
  const what = `name is ${draft.agent.name}; allowed: ${now.agent.name}, because calls reach the agent of this file by this name`
  return { ok: false, file, faults: [{ file, line, col, what }] }
}

/** Reads each file independently of the others. */
async function readEach(dir: string, env: Environment, speech: SpeechSource | null): Promise<readonly ReadFile[]> {
  const read: ReadFile[] = []
  for (const name of await agentFiles(dir)) {
    const one = isModule(name) ? await loadModule(dir, name, env, speech) : await loadFile(dir, name, env, speech)
    if (one !== null) read.push(one)
  }
  return read
}

/** Refuses files that must not be together in one folder. */
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
        : `${earlier} is already a canary of ${one.agent.name}; an agent has at most one canary`
    read.push({ ok: false, file, faults: [{ file, line: one.line, col: one.col, what }] })
  }
  return withoutStrayCanaries(withoutStrangers(read))
}

/**
 * Keys of an agent that the gateway reads before it chooses a version for a call, or after the call. These keys must
 * have equal values in a canary and in the main version.
 */
const SAME_IN_CANARIES: readonly (keyof AgentDefinition)[] = [
  ...(['stream', 'say', 'outbound', 'maxCalls', 'afterCall', 'escalation', 'verification'] as const),
  ...(['analysis', 'callbacks', 'recovery', 'retention'] as const),
]

/**
 * Returns the reason why a version cannot be a canary of `of`; null if it can be a canary.
 * @param of  the main version; undefined if it cannot be used
 */
export function canaryFault(agent: AgentDefinition, of: AgentDefinition | undefined): string | null {
  if (of === undefined)
    return `canary: this file is a second version of ${agent.name}, but this folder has no agent ${agent.name} that can be used`
  const other = SAME_IN_CANARIES.filter((key) => !isDeepStrictEqual(agent[key], of[key]))
  if (other.length > 0)
    return `canary: ${other.join(', ')} must be the same as in the agent itself, because they apply to all of its calls`
  const known = factsReadBy(of)
  const facts = [...factsReadBy(agent)].flatMap((name) => (known.has(name) ? [] : [`{{business.${name}}}`]))
  return facts.length === 0
    ? null
    : `canary: reads ${facts.join(', ')}, which the agent itself does not read; numbers are checked only for the facts that the agent itself reads`
}

/** Removes a canary if its main version cannot be used, or if the two versions differ in a key that must be equal. */
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

/** Removes agents that hand over to an agent that cannot be used. */
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
      what: `hands over to ${agent}, which is not an agent of this folder; ${allowedNames(agent, known)}`,
    }))
    return { ok: false, file, faults }
  })
  return left.every((one, at) => one === read[at]) ? left : withoutStrangers(left)
}

/**
 * Loads the usable agents of `dir`, and reports the faults of all agents.
 * @throws GatewayError AGENT_INVALID with every fault if no agent can be used
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
 * @throws GatewayError AGENT_INVALID with every fault of every file, one per line, as `file:line:col: what`
 */
export async function loadAgents(dir: string, env: Environment, speech: SpeechSource | null = null): Promise<AgentSet> {
  const { faults, ...set } = await loadUsableAgents(dir, env, speech)
  if (faults.length > 0) throw new GatewayError('AGENT_INVALID', faultsText(faults))
  return set
}

/**
 * Returns the names of all agents of `dir`. The agents are not loaded, because their files and variables may exist only
 * at the gateway that runs them.
 * @throws GatewayError AGENT_INVALID if the folder cannot be read, or has too many agents
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
        return null // the agent's name cannot be read
      }
    }),
  )
  return [...new Set(names.filter(isAgentName))]
}

/** Returns the name of an agent's version, as used in faults and in `AgentSet.files`. */
export function versionName({ name, canary }: Pick<AgentDefinition, 'name' | 'canary'>): string {
  return canary === undefined ? name : `${name} (canary)`
}

/** Returns the canaries, by the names of their agents. */
export function canariesOf(versions: Iterable<FolderVersion>): ReadonlyMap<string, FolderVersion> {
  return new Map(
    [...versions].flatMap(({ agent, assets }) => (agent.canary === undefined ? [] : [[agent.name, { agent, assets }]])),
  )
}

/** True for an agent that is written in code. */
export function isModule(file: string): boolean {
  return /\.m?js$/.test(file)
}

/**
 * Returns the sorted names of the files of `dir` that may contain an agent.
 * @throws GatewayError AGENT_INVALID if the folder cannot be read, or has too many such files
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
 * Loads an agent that is written in code: the default export of a module, with the tools of the same module.
 * @returns null if the module is a backend or a service of the cascade. Such modules may be in the same folder as the
 * agents that name them
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

/** Returns the faults as a compiler prints errors, one line for each fault. */
export function faultsText(faults: readonly AgentFault[]): string {
  const lines = faults
    .slice(0, AGENT_ERRORS_MAX)
    .map((fault) => `${fault.file}:${fault.line}:${fault.col}: ${fault.what}`)
  if (faults.length > AGENT_ERRORS_MAX) lines.push(`and ${faults.length - AGENT_ERRORS_MAX} more`)
  return lines.join('\n')
}
