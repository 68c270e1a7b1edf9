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

/** An argument of a tool, with the data that an input form needs. */
interface ArgumentView {
  readonly description: string
  /** JSON type of the argument, apart from `null`; null if several types are allowed. */
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
  /** Names of arguments that the gateway sets. */
  readonly bound: readonly string[]
  readonly verifiedOnly: boolean
  /** True if the tool may change data. Its request is then sent only after an operator has confirmed. */
  readonly changes: boolean
  /** Method and redacted address of the tool's request; null if the tool does not send a request. */
  readonly request: string | null
  /** Proposed arguments for a first test. */
  readonly sample: Readonly<Record<string, unknown>>
}

/** Data of an agent that an operator may see. */
interface AgentView {
  readonly name: string
  /** Version of the agent; `agentVersion` in the records of its calls. */
  readonly version: string
  /**
   * The canary and its share of the calls in percent; null if there is no canary. `stopped`: reason why the canary does
   * not get its share; null if it gets its share.
   */
  readonly canary: { readonly version: string; readonly percent: number; readonly stopped: string | null } | null
  readonly description: string
  readonly languages: readonly string[]
  /**
   * Definition of the agent, including default values. Phone numbers are masked; secrets and literal values of requests
   * are left out.
   */
  readonly definition: unknown
  readonly tools: readonly ToolView[]
  readonly knowledgePassages: number
  /** True if the agent has a `sample.identity`, with which a tool for verified callers can be tested. */
  readonly hasSampleIdentity: boolean
}

/** A version of an agent, with the contents of the files that the agent names. */
export interface FolderVersion {
  readonly agent: AgentDefinition
  readonly assets: AgentAssets
}

/** A file of the agents folder in its current state. */
export interface AgentFileView {
  readonly file: string
  readonly agent: string | null
  /**
   * State of the file. `unused`: the file is valid, but new calls do not use this version or this agent. A valid file
   * may still have faults, such as a missing sound.
   */
  readonly state: 'used' | 'unused' | 'faulty'
  readonly faults: readonly { readonly line: number; readonly col: number; readonly what: string }[]
}

/** `GET /api/agents` */
export interface AgentsView {
  readonly watched: boolean
  readonly files: readonly AgentFileView[]
  /** Reason why the folder cannot be read; null if it can be read. */
  readonly folderFault: string | null
  /**
   * Result of reading the folder. `modelEnds` contains sentences about models that the vendors have switched off or
   * will switch off soon.
   */
  readonly agents: readonly (AgentView & {
    readonly backends: readonly string[]
    readonly modelEnds: readonly string[]
  })[]
}

/** @param fromServers tools of the agent's MCP servers that are connected */
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
        : {
            version: agentVersion(canary.agent, canary.assets),
            percent: canary.agent.canary?.percent ?? 0,
            stopped: null,
          },
    description: masked(agent.description),
    languages: agent.languages,
    definition: redacted(agent, ''),
    tools: toolViews(agent, assets, fromServers),
    knowledgePassages: passagesOf(assets).length,
    hasSampleIdentity: Object.keys(agent.sample.identity).length > 0,
  }
}

/** Returns a text about the agent. Two agents with equal behaviour have equal texts. */
export function contentOf(agent: Omit<AgentDefinition, 'canary'>, { version }: AgentAssets): string {
  return JSON.stringify([agent, version])
}

const versions = new WeakMap<AgentDefinition, string>()

/**
 * Returns a hash that names this version of an agent. It changes only if the author's files change, not with an
 * upgrade.
 * @param agent  the agent as defined in its file
 * @param assets  the assets that were read together with the agent
 */
export function agentVersion(agent: AgentDefinition, assets: AgentAssets): string {
  let version = versions.get(agent)
  if (version === undefined) {
    // An agent without a file has no text, so the hash is made from its definition in this version of the gateway.
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
 * Returns the tools that can be tested outside of a call: HTTP and code tools, the look-up of callers, and the search
 * of knowledge. The gateway's other tools act only within a call. Tools that need a caller's secret digits are left
 * out, because only the caller may enter these digits.
 */
export function triable(agent: AgentDefinition, assets: AgentAssets): GatewayTool[] {
  const own = [...agent.tools, ...assets.codeTools].filter(({ name }) => !getsDigits(agent, name))
  return [...own, ...addedTools(agent, assets).filter(({ name }) => name === SEARCH_TOOL)]
}

/** True if a tool may change data. For code tools and tools of MCP servers this is not known, so the result is true. */
export function mayChange(agent: AgentDefinition, assets: AgentAssets, name: string): boolean {
  const http = agent.tools.find((tool) => tool.name === name)
  if (http !== undefined) return http.http.method !== 'GET'
  return assets.codeTools.some((tool) => tool.name === name) || mcpToolOf(agent.mcp, name) !== undefined
}

const HIDDEN = '…'
/**
 * Keys whose texts are not shown, at any depth below the key, because a literal text may be a secret or personal data.
 */
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
/** Keys whose values are addresses; the path of such an address may be a secret. */
const HOOKS: readonly string[] = ['webhook', 'statusCallback']
/** Matches the name of a secret. The name must end a word, because `keyword` and `author` do not name secrets. */
const SECRET_NAME = /(?:(?:key|secret|cookie|credential|signature)s?|token|auth)(?![a-z])|passw|authenti|authori[sz]/i

/** True for the name of a secret value, such as `apiKey`, `access_token` or `X-Auth`. */
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

/** Removes all of a text except its placeholders. For example, `Bearer {{env.KEY}}` becomes `…{{env.KEY}}`. */
function placeholdersOf(text: string): string {
  return text.replaceAll(/(\{\{[^{}]*\}\}|\$\{\w+\})|(?:(?!\{\{|\$\{)[^])+/g, (_, placeholder?: string) =>
    placeholder === undefined ? HIDDEN : placeholder,
  )
}

/**
 * Masks a text line by line, because `maskText` shortens a text to the length of a log line, and a prompt may be
 * longer.
 */
export function masked(text: string): string {
  return text
    .split('\n')
    .map((line) => maskText(maskNumbersIn(line)))
    .join('\n')
}
