import {
  COLLECT_TOOL,
  NOTE_FIX_TOOL,
  SEARCH_TOOL,
  SEND_DIGITS_TOOL,
  SPEECH_RATE_TOOL_SPEC,
  STAGE_TOOL,
  VERIFY_TOOL,
  sessionTools,
} from '../../call/tools/gateway-tools.js'
import type { GatewayTool } from '../../call/tools/gateway-tools.js'
import { KNOWLEDGE_QUERY_CHARS_MAX } from '../../core/limits.js'
import type { AgentAssets } from '../file/assets.js'
import type { AgentDefinition } from '../file/definition.js'
import { mcpToolNames, mcpToolOf } from './mcp-definition.js'
import type { McpTool } from './mcp-server.js'
import { collectToolSpec } from './digits.js'
import type { CallableTool } from '../offline/offline-check.js'
import type { ToolParameters } from './json-schema.js'
import { verifyToolSpec } from '../identity/verification.js'

/** A tool that the gateway adds to an agent, with the schema of its arguments. */
interface RunnableSpec {
  readonly name: string
  readonly description: string
  readonly parameters: ToolParameters
}

const SEARCH: RunnableSpec = {
  name: SEARCH_TOOL,
  description:
    'Looks something up in what the company has written down. Use it for every question about products, prices, rules and ' +
    'how to do things, and answer from what it finds only.',
  parameters: {
    type: 'object',
    additionalProperties: false,
    required: ['query'],
    properties: {
      query: {
        type: 'string',
        minLength: 1,
        maxLength: KNOWLEDGE_QUERY_CHARS_MAX,
        description: 'What the caller wants to know, in a few telling words.',
      },
    },
  },
}

const NOTE_FIX: RunnableSpec = {
  name: NOTE_FIX_TOOL,
  description:
    'Notes a fix that the caller has tried and whether it helped. Ask before you call it. A colleague who takes over sees it.',
  parameters: {
    type: 'object',
    additionalProperties: false,
    required: ['fix', 'helped'],
    properties: {
      fix: { type: 'string', minLength: 1, maxLength: 200, description: 'What was tried, in a few words.' },
      helped: { type: 'boolean', description: 'Whether the caller says that it helped.' },
    },
  },
}

/** Returns the gateway's tools for an agent that run like the agent's own tools. */
export function addedTools(agent: AgentDefinition, assets: AgentAssets): RunnableSpec[] {
  return [
    ...(assets.knowledge === null ? [] : [SEARCH]),
    ...(agent.verification === null ? [] : [{ name: VERIFY_TOOL, ...verifyToolSpec(agent.verification) }]),
    ...(agent.rules?.failures == null ? [] : [NOTE_FIX]),
  ]
}

/**
 * Returns the tools for a model, without the tools for escalation, the end of the call and the language. Tools that
 * receive secret digits, and tools that look up the caller, are left out, because only the gateway calls these tools.
 */
export function offeredTools(agent: AgentDefinition, assets: AgentAssets): GatewayTool[] {
  const own = [
    ...agent.tools.map((tool) => ({ ...tool, once: hasEffect(tool) })),
    ...assets.codeTools.map((tool) => ({ ...tool, once: !tool.idempotent })),
  ]
  const added = addedTools(agent, assets)
  const offered = own
    .filter(({ name }) => !getsDigits(agent, name) && name !== agent.caller?.tool)
    .map(({ name, description, parameters, blocking, scheduling, once }) => ({
      name,
      description,
      parameters,
      ...(blocking === undefined ? {} : { blocking }),
      ...(scheduling === undefined ? {} : { scheduling }),
      ...(once ? { once } : {}),
    }))
  const digitTools = [...own, ...added.map((tool) => ({ ...tool, bind: {} }))]
  return [
    ...offered,
    ...added.map(({ name, description, parameters }) => ({ name, description, parameters })),
    ...(agent.speechRate ? [SPEECH_RATE_TOOL_SPEC] : []),
    ...(agent.digits.length > 0 ? [collectToolSpec(agent.digits, digitTools)] : []),
  ]
}

/** True if an HTTP tool may change data. The tool may then run only once for one tool call of the model. */
export function hasEffect({
  http,
  waits,
  idempotent = http.method === 'GET',
}: AgentDefinition['tools'][number]): boolean {
  return waits !== undefined || (http.method !== 'GET' && !idempotent)
}

/** Returns the names of the agent's tools that may change data, including tools that receive secret digits. */
export function toolsWithEffect(agent: AgentDefinition, assets: AgentAssets): string[] {
  return [
    ...agent.tools.filter(hasEffect).map(({ name }) => name),
    ...assets.codeTools.flatMap(({ name, idempotent }) => (idempotent ? [] : [name])),
    ...mcpToolNames(agent.mcp).filter((name) => mcpToolOf(agent.mcp, name)?.idempotent !== true),
  ]
}

/**
 * Returns every tool that an offline dialogue of this agent may call, by name. The result includes tools that the call
 * session itself performs.
 */
export function callableTools(agent: AgentDefinition, assets: AgentAssets): ReadonlyMap<string, CallableTool> {
  const tools = new Map<string, CallableTool>()
  for (const { name, parameters, bind, fields } of [
    ...agent.tools.map((tool) => ({ ...tool, fields: fieldsOf(tool.result) })),
    ...assets.codeTools.map((tool) => ({ ...tool, fields: null })),
    ...addedTools(agent, assets).map((tool) => ({ ...tool, bind: {}, fields: null })),
  ]) {
    if (name === agent.caller?.tool) continue
    const required = parameters.required.filter((one) => !Object.hasOwn(bind, one))
    const secret = getsDigits(agent, name) ? { getsDigits: true } : {}
    tools.set(name, { arguments: Object.keys(parameters.properties), required, fields, ...secret })
  }
  for (const name of mcpToolNames(agent.mcp))
    tools.set(name, { arguments: null, required: [], fields: null, getsDigits: getsDigits(agent, name) })
  if (agent.stages !== null) {
    const told = Object.entries(agent.facts).flatMap(([name, { ask }]) => (ask === undefined ? [] : [name]))
    tools.set(STAGE_TOOL, { arguments: ['stage', 'summary', ...told], required: ['stage'], fields: ['stage'] })
  }
  if (agent.digits.length > 0)
    tools.set(COLLECT_TOOL, { arguments: ['name', 'with'], required: ['name'], fields: null })
  const every = {
    ...{ handoverTo: agent.handoverTo, escalation: agent.escalation && { strategies: ['callback'] }, stage: null },
    ...{ sendsDigits: agent.outbound.sendDigits, placed: true, messagesOnly: false, asksToGoOn: false, languages: [] },
  }
  for (const { name, parameters } of sessionTools(every)) {
    const { properties, required = [] } = parameters as {
      readonly properties: object
      readonly required?: readonly string[]
    }
    tools.set(name, {
      arguments: Object.keys(properties),
      required,
      fields: name === SEND_DIGITS_TOOL ? ['sent'] : null,
    })
  }
  return tools
}

/** Returns the fields that the result of an HTTP tool may have; null if the agent's file does not list these fields. */
function fieldsOf({ fields, notFound }: AgentDefinition['tools'][number]['result']): readonly string[] | null {
  if (fields === undefined) return null
  return [...Object.keys(fields), ...(typeof notFound === 'object' && notFound !== null ? Object.keys(notFound) : [])]
}

/**
 * True if a tool receives secret digits, so that only the gateway calls it. Exception: models also call
 * `verify_caller`, for questions without secret digits.
 */
export function getsDigits({ digits }: Pick<AgentDefinition, 'digits'>, name: string): boolean {
  return name !== VERIFY_TOOL && digits.some(({ tool }) => tool === name)
}

/** Returns the tools of connected servers, without the arguments that the gateway sets. */
export function offeredMcpTools(tools: Iterable<McpTool>): GatewayTool[] {
  return [...tools].map(({ tool, definition, description, parameters }) => {
    const { bind, blocking, scheduling, idempotent } = definition
    const free = ([name]: readonly [string, unknown]): boolean => !Object.hasOwn(bind, name)
    return {
      name: tool.name,
      description,
      parameters: {
        ...parameters,
        properties: Object.fromEntries(Object.entries(parameters.properties).filter(free)),
        required: parameters.required.filter((name) => free([name, null])),
      },
      ...(blocking === undefined ? {} : { blocking }),
      ...(scheduling === undefined ? {} : { scheduling }),
      ...(idempotent ? {} : { once: true }),
    }
  })
}
