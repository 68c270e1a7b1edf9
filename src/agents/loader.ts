import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError, messageOf } from '../core/errors.js'
import { isAgentName } from '../core/ids.js'
import { AGENT_ERRORS_MAX, AGENT_FILE_BYTES_MAX, AGENTS_MAX } from '../core/limits.js'
import { importFile, loadAssets } from './assets.js'
import type { AgentAssets } from './assets.js'
import { isCodeTool } from './code-tool.js'
import type { AgentDefinition } from './definition.js'
import { agentJsonSchema, agentSchema } from './definition.js'
import type { SourcePosition } from './yaml-source.js'
import { faultsOf, pathText } from './faults.js'
import { sourcesOf } from './template.js'
import { templatesOf } from './tool-definition.js'
import { parseYaml } from './yaml-source.js'

/**
 * The variables that templates may read; only names are looked at while loading. A name that is there without a value is withheld:
 * a secret of the gateway itself.
 */
export type Environment = Readonly<Record<string, string | undefined>>

/** One thing wrong with an agent file. */
export interface AgentFault extends SourcePosition {
  readonly file: string
  /** What is wrong, and what is allowed. */
  readonly what: string
}

/** All agents of a folder. */
export interface AgentSet {
  readonly agents: ReadonlyMap<string, AgentDefinition>
  /** Of each agent, what its file names besides. */
  readonly assets: ReadonlyMap<string, AgentAssets>
  /** The agent that a path without a name means: the only one; null when there are several. */
  readonly defaultAgent: string | null
}

/** What became of one file. */
export type LoadedAgent =
  | { readonly ok: true; readonly agent: AgentDefinition; readonly nameAt: SourcePosition }
  | { readonly ok: false; readonly faults: readonly AgentFault[] }

let schema: Readonly<Record<string, unknown>> | null = null

/**
 * Reads one agent file's text.
 * @param file its name, for the faults
 */
export function parseAgent(text: string, file: string, env: Environment): LoadedAgent {
  const source = parseYaml(text)
  if (!('value' in source)) return { ok: false, faults: source.map((fault) => ({ file, ...fault })) }
  const parsed = agentSchema.safeParse(source.value)
  if (!parsed.success) {
    schema ??= agentJsonSchema()
    const faults = faultsOf(parsed.error.issues, schema, source.value)
      .map((fault) => ({ file, ...source.locate(fault.path, fault.key), what: fault.what }))
    return { ok: false, faults: [...faults].sort((a, b) => a.line - b.line || a.col - b.col) }
  }
  const faults = environmentFaults(parsed.data, env)
    .map(({ path, what }) => ({ file, ...source.locate(path), what }))
  if (faults.length > 0) return { ok: false, faults }
  return { ok: true, agent: parsed.data, nameAt: source.locate(['name']) }
}

/**
 * Every `{{env.NAME}}` of a tool that the environment lacks, and every base URL in it that is none. Their values go
 * nowhere: they are read again when a tool runs.
 */
function environmentFaults(agent: AgentDefinition, env: Environment): { path: PropertyKey[]; what: string }[] {
  const requests: { path: PropertyKey[]; tool: Parameters<typeof templatesOf>[0] }[] = agent.tools.map(
    (tool, index) => ({ path: ['tools', index], tool }),
  )
  if (agent.verification !== null) requests.push({ path: ['verification', 'account'], tool: agent.verification.account })
  return requests.flatMap((request) => templatesOf(request.tool).flatMap(({ path, template }) => {
    const at = [...request.path, ...path]
    const isUrl = pathText(path) === 'http.url'
    return sourcesOf(template).filter((source) => source.scope === 'env').flatMap((source) => {
      if (Object.hasOwn(env, source.name) && env[source.name] === undefined) {
        return [{ path: at, what: `${pathText(at)} reads {{env.${source.name}}}, a secret of the gateway itself, which no agent is given` }]
      }
      const value = env[source.name] ?? ''
      if (value === '') {
        return [{ path: at, what: `${pathText(at)} needs the environment variable ${source.name}, which is not set` }]
      }
      if (!isUrl || template[0] !== source || isBaseUrl(value)) return []
      return [{
        path: at,
        what: `${pathText(at)}: the environment variable ${source.name} must hold an http(s) URL without query, `
          + 'fragment and user name',
      }]
    })
  }))
}

function isBaseUrl(text: string): boolean {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return false
  const url = new URL(text)
  return url.search === '' && url.hash === '' && url.username === '' && url.password === ''
}

/** One agent with all that belongs to it, or what is wrong with it. */
export type AgentFile =
  | { readonly ok: true; readonly agent: AgentDefinition; readonly assets: AgentAssets; readonly file: string; readonly line: number }
  | { readonly ok: false; readonly faults: readonly AgentFault[]; readonly file: string }

/**
 * Reads every agent of `dir`: `*.yaml` and `*.yml` files, and `*.js` and `*.mjs` modules.
 * @throws GatewayError AGENT_INVALID when the folder itself cannot be read, or has too many agents
 */
export async function readAgents(dir: string, env: Environment): Promise<readonly AgentFile[]> {
  const names = await filesOf(dir)
  const read: AgentFile[] = []
  const places = new Map<string, string>()
  for (const name of names) {
    const file = join(dir, name)
    const one = /\.m?js$/.test(name) ? await loadModule(dir, name, env) : await loadFile(dir, name, env)
    const earlier = one.ok ? places.get(one.agent.name) : undefined
    if (!one.ok || earlier === undefined) {
      read.push(one)
      if (one.ok) places.set(one.agent.name, `${file}:${one.line}`)
      continue
    }
    const what = `name ${one.agent.name} is already taken by ${earlier}; each agent needs its own`
    read.push({ ok: false, file, faults: [{ file, line: one.line, col: one.col, what }] })
  }
  return read
}

/**
 * Loads every agent of `dir`.
 * @throws GatewayError AGENT_INVALID with every fault of every file, one a line, as `file:line:col: what`
 */
export async function loadAgents(dir: string, env: Environment): Promise<AgentSet> {
  const agents = new Map<string, AgentDefinition>()
  const assets = new Map<string, AgentAssets>()
  const faults: AgentFault[] = []
  for (const one of await readAgents(dir, env)) {
    if (!one.ok) {
      faults.push(...one.faults)
      continue
    }
    agents.set(one.agent.name, one.agent)
    assets.set(one.agent.name, one.assets)
  }
  if (faults.length > 0) throw new GatewayError('AGENT_INVALID', faultsText(faults))
  if (agents.size === 0) {
    throw new GatewayError('AGENT_INVALID', `${dir} has no agent; put a .yaml file there (docs/AGENTS.md)`)
  }
  const [only] = agents.keys()
  return { agents, assets, defaultAgent: agents.size === 1 && only !== undefined ? only : null }
}

/**
 * Names of the agents of `dir`, also of those that could not be loaded here: whether their files are sound, and their variables set, is
 * the gateway's matter that runs them.
 * @throws GatewayError AGENT_INVALID when the folder itself cannot be read, or has too many agents
 */
export async function agentNames(dir: string): Promise<readonly string[]> {
  const names = await Promise.all((await filesOf(dir)).map(async (name): Promise<unknown> => {
    const file = join(dir, name)
    try {
      if (/\.m?js$/.test(name)) return ((await importFile(file)).exports['default'] as { readonly name?: unknown } | undefined)?.name
      if ((await stat(file)).size > AGENT_FILE_BYTES_MAX) return null
      const source = parseYaml(await readFile(file, 'utf8'))
      return 'value' in source ? (source.value as { readonly name?: unknown } | null)?.name : null
    } catch {
      return null // has no name to be found
    }
  }))
  return names.filter(isAgentName)
}

async function filesOf(dir: string): Promise<readonly string[]> {
  let entries: readonly string[]
  try {
    entries = await readdir(dir)
  } catch (error) {
    throw new GatewayError(
      'AGENT_INVALID', `cannot read the agents folder ${dir}: ${messageOf(error)}`, { cause: error },
    )
  }
  const names = entries.filter((name) => /\.(ya?ml|m?js)$/.test(name) && !name.startsWith('.')).sort()
  if (names.length > AGENTS_MAX) {
    throw new GatewayError('AGENT_INVALID', `${dir} has ${names.length} agent files; at most ${AGENTS_MAX} are allowed`)
  }
  return names
}

type ReadFile = (AgentFile & { readonly ok: true; readonly col: number }) | (AgentFile & { readonly ok: false })

async function loadFile(dir: string, name: string, env: Environment): Promise<ReadFile> {
  const file = join(dir, name)
  const refuse = (what: string): ReadFile => ({ ok: false, file, faults: [{ file, line: 1, col: 1, what }] })
  try {
    const { size } = await stat(file)
    if (size > AGENT_FILE_BYTES_MAX) return refuse(`has ${size} bytes; at most ${AGENT_FILE_BYTES_MAX} are allowed`)
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file))
    const parsed = parseAgent(text, file, env)
    if (!parsed.ok) return { ok: false, file, faults: parsed.faults }
    const loaded = await loadAssets(parsed.agent, dir, null)
    if (loaded.ok) return { ok: true, file, agent: parsed.agent, assets: loaded.assets, ...parsed.nameAt }
    const source = parseYaml(text)
    const placed = loaded.faults.map(({ path, what }) => ({ file, ...('locate' in source ? source.locate(path) : { line: 1, col: 1 }), what: `${pathText(path)}: ${what}` }))
    return { ok: false, file, faults: placed }
  } catch (error) {
    return refuse(error instanceof TypeError ? 'is not UTF-8 text' : `cannot be read: ${messageOf(error)}`)
  }
}

/** An agent in code: the default export of a module. Its tools in code are its own. */
async function loadModule(dir: string, name: string, env: Environment): Promise<ReadFile> {
  const file = join(dir, name)
  const refuse = (what: string): ReadFile => ({ ok: false, file, faults: [{ file, line: 1, col: 1, what }] })
  try {
    const { exports } = await importFile(file)
    const written = exports['default']
    if (typeof written !== 'object' || written === null || isCodeTool(written)) {
      return refuse('has no agent as its default export (defineAgent); modules with tools only belong into a folder below')
    }
    const { tools } = written as { readonly tools?: unknown }
    const http: unknown = Array.isArray(tools) ? (tools as unknown[]).filter((tool) => !isCodeTool(tool)) : tools
    const value: unknown = http === undefined ? written : { ...written, tools: http }
    const parsed = agentSchema.safeParse(value)
    if (!parsed.success) {
      schema ??= agentJsonSchema()
      const faults = faultsOf(parsed.error.issues, schema, value)
      return { ok: false, file, faults: faults.map(({ what }) => ({ file, line: 1, col: 1, what })) }
    }
    const faults = environmentFaults(parsed.data, env)
    if (faults.length > 0) return { ok: false, file, faults: faults.map(({ what }) => ({ file, line: 1, col: 1, what })) }
    const loaded = await loadAssets(parsed.data, dir, name)
    if (loaded.ok) return { ok: true, file, agent: parsed.data, assets: loaded.assets, line: 1, col: 1 }
    return { ok: false, file, faults: loaded.faults.map(({ path, what }) => ({ file, line: 1, col: 1, what: `${pathText(path)}: ${what}` })) }
  } catch (error) {
    return refuse(`cannot be imported: ${messageOf(error).split('\n')[0] ?? ''}`)
  }
}

/** One fault a line, as compilers print them. */
export function faultsText(faults: readonly AgentFault[]): string {
  const lines = faults.slice(0, AGENT_ERRORS_MAX).map(
    (fault) => `${fault.file}:${fault.line}:${fault.col}: ${fault.what}`,
  )
  if (faults.length > AGENT_ERRORS_MAX) lines.push(`and ${faults.length - AGENT_ERRORS_MAX} more`)
  return lines.join('\n')
}
