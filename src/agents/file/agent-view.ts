import { createHash } from 'node:crypto'
import { maskNumbersIn } from '../../sautikit/phone.js'
import { maskText } from '../../telemetry/redact.js'
import { passagesOf } from './assets.js'
import type { AgentAssets } from './assets.js'
import type { AgentDefinition } from './definition.js'
import { propertiesOf, resolved, typesOf } from '../tools/json-schema.js'
import type { JsonSchema } from '../tools/json-schema.js'
import { mcpToolOf } from '../tools/mcp-definition.js'
import { addedTools, getsDigits } from '../tools/offered-tools.js'
import { SEARCH_TOOL } from '../../call/tools/gateway-tools.js'
import type { GatewayTool } from '../../call/tools/gateway-tools.js'

/** An argument as a form asks for it. */
interface ArgumentView {
  readonly description: string
  /** Its JSON type, null left out; null for one of several types. */
  readonly type: string | null
  readonly enum: readonly unknown[] | null
  readonly pattern: string | null
}

/** A tool that an operator can try. */
interface ToolView {
  readonly name: string
  readonly description: string
  /** JSON Schema of the arguments. */
  readonly parameters: Readonly<Record<string, unknown>>
  readonly arguments: Readonly<Record<string, ArgumentView>>
  /** Arguments that the gateway sets. */
  readonly bound: readonly string[]
  readonly verifiedOnly: boolean
  /** It may change something, so it is sent only where an operator says so. */
  readonly changes: boolean
  /** Method and redacted address; null for a tool that is no request. */
  readonly request: string | null
  /** Arguments for a first try. */
  readonly sample: Readonly<Record<string, unknown>>
}

/** An agent as an operator may see it. */
interface AgentView {
  readonly name: string
  /** `agentVersion` in the records of its calls. */
  readonly version: string
  /** Its second version, and the share of the calls that gets it; null: there is none. */
  readonly canary: { readonly version: string; readonly percent: number } | null
  readonly description: string
  readonly languages: readonly string[]
  /** With defaults; numbers masked, secrets and literals of requests left out. */
  readonly definition: unknown
  readonly tools: readonly ToolView[]
  readonly knowledgePassages: number
  /** It has a `sample.identity`, as which a tool for verified callers can be tried. */
  readonly hasSampleIdentity: boolean
}

/** A version of an agent, with the files that it names. */
export interface FolderVersion {
  readonly agent: AgentDefinition
  readonly assets: AgentAssets
}

/** A file of the agents folder as it is now. */
export interface AgentFileView {
  readonly file: string
  readonly agent: string | null
  /** `unused`: it is valid, and new calls get another version of it, or none. A valid one has faults where it lacks a sound. */
  readonly state: 'used' | 'unused' | 'faulty'
  readonly faults: readonly { readonly line: number; readonly col: number; readonly what: string }[]
}

/** `GET /api/agents` */
export interface AgentsView {
  readonly watched: boolean
  readonly files: readonly AgentFileView[]
  /** Why the folder cannot be read; null when it can. */
  readonly folderFault: string | null
  /** `modelEnds`: sentences about models that its vendors switch off soon, or have switched off. */
  readonly agents: readonly (AgentView & {
    readonly backends: readonly string[]
    readonly modelEnds: readonly string[]
  })[]
}

/** @param fromServers  tools of its MCP servers that are up */
export function agentView(
  agent: AgentDefinition,
  assets: AgentAssets,
  canary: FolderVersion | undefined,
  fromServers: readonly GatewayTool[] = [],
): AgentView {
  return {
    name: agent.name,
    version: agentVersion(agent, assets),
    canary:
      canary === undefined
        ? null
        : { version: agentVersion(canary.agent, canary.assets), percent: canary.agent.canary?.percent ?? 0 },
    description: masked(agent.description),
    languages: agent.languages,
    definition: redacted(agent, ''),
    tools: toolViews(agent, assets, fromServers),
    knowledgePassages: passagesOf(assets).length,
    hasSampleIdentity: Object.keys(agent.sample.identity).length > 0,
  }
}

/** Equal for two agents that do the same. */
export function contentOf(agent: Omit<AgentDefinition, 'canary'>, { version }: AgentAssets): string {
  return JSON.stringify([agent, version])
}

const versions = new WeakMap<AgentDefinition, string>()

/**
 * A hash that names this version of an agent: another one if the author's files differ, and never by an upgrade.
 * @param agent  as its file defines it
 * @param assets  those that were read with it
 */
export function agentVersion(agent: AgentDefinition, assets: AgentAssets): string {
  let version = versions.get(agent)
  if (version === undefined) {
    // An agent without a file is only what this build makes of it.
    version = assets.written ?? createHash('sha256').update(contentOf(agent, assets)).digest('hex').slice(0, 16)
    versions.set(agent, version)
  }
  return version
}

function toolViews(agent: AgentDefinition, assets: AgentAssets, fromServers: readonly GatewayTool[]): ToolView[] {
  return [...triable(agent, assets), ...fromServers].map(({ name, description, parameters }): ToolView => {
    const http = agent.tools.find((tool) => tool.name === name)
    const code = assets.codeTools.find((tool) => tool.name === name)
    const { bind = {}, requires } = http ?? code ?? mcpToolOf(agent.mcp, name) ?? {}
    const { sample = {} } = http ?? code ?? {}
    return {
      name,
      description: masked(description),
      parameters,
      arguments: Object.fromEntries(
        Object.entries(propertiesOf(parameters) ?? {}).map(([key, schema]) => [key, argumentView(schema, parameters)]),
      ),
      bound: Object.keys(bind),
      verifiedOnly: requires === 'verified',
      changes: mayChange(agent, assets, name),
      request: http === undefined ? null : `${http.http.method} ${masked(http.http.url)}`,
      sample: redacted(sample, '') as ToolView['sample'],
    }
  })
}

function argumentView(schema: JsonSchema, root: JsonSchema): ArgumentView {
  const { anyOf, oneOf, ...own } = resolved(schema, root)
  const variants = [anyOf, oneOf].flatMap((list) => (Array.isArray(list) ? list.map((one) => resolved(one, root)) : []))
  const valued = [own, ...variants].filter((one) => typesOf(one)?.some((type) => type !== 'null') === true)
  const [type, ...others] = new Set(valued.flatMap((one) => typesOf(one) ?? []).filter((one) => one !== 'null'))
  const [only = {}] = valued
  return {
    description: typeof own['description'] === 'string' ? masked(own['description']) : '',
    type: others.length === 0 ? (type ?? null) : null,
    enum: valued.length === 1 && Array.isArray(only['enum']) ? only['enum'].filter((one) => one !== null) : null,
    pattern: valued.length === 1 && typeof only['pattern'] === 'string' ? only['pattern'] : null,
  }
}

/**
 * Own tools, that which looks callers up too, those in code, and the search; the other tools of the gateway do nothing outside of a
 * call, and what a caller keys in is for nobody to type.
 */
export function triable(agent: AgentDefinition, assets: AgentAssets): GatewayTool[] {
  const own = [...agent.tools, ...assets.codeTools].filter(({ name }) => !getsDigits(agent, name))
  return [...own, ...addedTools(agent, assets).filter(({ name }) => name === SEARCH_TOOL)]
}

/** True if a tool may change something. Nobody can know it of one in code, or of one of an MCP server. */
export function mayChange(agent: AgentDefinition, assets: AgentAssets, name: string): boolean {
  const http = agent.tools.find((tool) => tool.name === name)
  if (http !== undefined) return http.http.method !== 'GET'
  return assets.codeTools.some((tool) => tool.name === name) || mcpToolOf(agent.mcp, name) !== undefined
}

const HIDDEN = '…'
/** Texts of these keys, and everything below: what an author wrote out there may be a key or a person's data. */
export const REQUEST_PARTS: readonly PropertyKey[] = [
  'headers',
  'query',
  'body',
  'headerMetadata',
  'openMetadata',
  'identity',
  'env',
  'command',
]
/** Addresses whose path may be a key. */
const HOOKS: readonly string[] = ['webhook', 'statusCallback']
/** Ends of words: `keyword` and `author` name no secrets. */
const SECRET_NAME = /(?:(?:key|secret|cookie|credential|signature)s?|token|auth)(?![a-z])|passw|authenti|authori[sz]/i

/** True for the name of a value that is a secret: `apiKey`, `access_token`, `X-Auth`. */
export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name.replaceAll(/([a-z\d])([A-Z])/g, '$1-$2'))
}

function redacted(value: unknown, name: string, hides = false): unknown {
  if (typeof value === 'string') {
    if (hides) return placeholdersOf(value)
    if (isSecretName(name)) return HIDDEN
    return HOOKS.includes(name) && URL.canParse(value) ? `${new URL(value).origin}/${HIDDEN}` : masked(value)
  }
  if (Array.isArray(value)) return value.map((entry) => redacted(entry, name, hides))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, redacted(entry, key, hides || REQUEST_PARTS.includes(key))]),
  )
}

/** `Bearer {{env.KEY}}` becomes `…{{env.KEY}}`. */
function placeholdersOf(text: string): string {
  return text.replaceAll(/(\{\{[^{}]*\}\}|\$\{\w+\})|(?:(?!\{\{|\$\{)[^])+/g, (_, placeholder?: string) =>
    placeholder === undefined ? HIDDEN : placeholder,
  )
}

/** Line by line, because `maskText` cuts a text at the length of a log line, and a prompt may be longer. */
export function masked(text: string): string {
  return text
    .split('\n')
    .map((line) => maskText(maskNumbersIn(line)))
    .join('\n')
}
