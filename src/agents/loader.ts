import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError, messageOf } from '../core/errors.js'
import { AGENT_ERRORS_MAX, AGENT_FILE_BYTES_MAX, AGENTS_MAX } from '../core/limits.js'
import type { AgentDefinition } from './definition.js'
import { agentJsonSchema, agentSchema } from './definition.js'
import type { SourcePosition } from './yaml-source.js'
import { faultsOf, pathText } from './faults.js'
import { sourcesOf } from './template.js'
import { templatesOf } from './tool-definition.js'
import { parseYaml } from './yaml-source.js'

/** Environment as the gateway was started with it; only names are looked at while loading. */
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
  return agent.tools.flatMap((tool, index) => templatesOf(tool).flatMap(({ path, template }) => {
    const at = ['tools', index, ...path]
    const isUrl = pathText(path) === 'http.url'
    return sourcesOf(template).filter((source) => source.scope === 'env').flatMap((source) => {
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

/**
 * Loads every `*.yaml` and `*.yml` file of `dir`, each one agent.
 * @throws GatewayError AGENT_INVALID with every fault of every file, one a line, as `file:line:col: what`
 */
export async function loadAgents(dir: string, env: Environment): Promise<AgentSet> {
  const agents = new Map<string, AgentDefinition>()
  const places = new Map<string, string>()
  const faults: AgentFault[] = []
  const names = await filesOf(dir)
  if (names.length > AGENTS_MAX) {
    throw new GatewayError('AGENT_INVALID', `${dir} has ${names.length} agent files; at most ${AGENTS_MAX} are allowed`)
  }
  for (const name of names) {
    const file = join(dir, name)
    const loaded = await loadFile(file, env)
    if (!loaded.ok) {
      faults.push(...loaded.faults)
      continue
    }
    const { agent, nameAt } = loaded
    const earlier = places.get(agent.name)
    if (earlier !== undefined) {
      faults.push({
        file, ...nameAt, what: `name ${agent.name} is already taken by ${earlier}; each agent needs its own`,
      })
      continue
    }
    places.set(agent.name, `${file}:${nameAt.line}`)
    agents.set(agent.name, agent)
  }
  if (faults.length > 0) throw new GatewayError('AGENT_INVALID', faultsText(faults))
  if (agents.size === 0) {
    throw new GatewayError('AGENT_INVALID', `${dir} has no agent; put a .yaml file there (docs/AGENTS.md)`)
  }
  const [only] = agents.keys()
  return { agents, defaultAgent: agents.size === 1 && only !== undefined ? only : null }
}

async function filesOf(dir: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(dir)
    return entries.filter((name) => /\.ya?ml$/.test(name) && !name.startsWith('.')).sort()
  } catch (error) {
    throw new GatewayError(
      'AGENT_INVALID', `cannot read the agents folder ${dir}: ${messageOf(error)}`, { cause: error },
    )
  }
}

async function loadFile(file: string, env: Environment): Promise<LoadedAgent> {
  const refuse = (what: string): LoadedAgent => ({ ok: false, faults: [{ file, line: 1, col: 1, what }] })
  try {
    const { size } = await stat(file)
    if (size > AGENT_FILE_BYTES_MAX) return refuse(`has ${size} bytes; at most ${AGENT_FILE_BYTES_MAX} are allowed`)
    const bytes = await readFile(file)
    return parseAgent(new TextDecoder('utf-8', { fatal: true }).decode(bytes), file, env)
  } catch (error) {
    return refuse(error instanceof TypeError ? 'is not UTF-8 text' : `cannot be read: ${messageOf(error)}`)
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
