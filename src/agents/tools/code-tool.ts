import { z } from 'zod'
import { TOOL_TIMEOUT_MS } from '../../core/limits.js'
import type { AgentInput } from '../file/definition.js'
import {
  bindFaults,
  bindSchema,
  blockingSchema,
  requiresSchema,
  schedulingSchema,
  toolName,
} from './tool-definition.js'
import { toolParametersSchema } from './json-schema.js'

/** The call for which a code tool runs. */
export interface CodeToolContext {
  readonly callSid: string
  /** Phone number of the caller; empty if withheld. */
  readonly from: string
  readonly to: string
  readonly agent: string
  /** Tag of the call's current language, as in the agent's file: `sw`. */
  readonly language: string
  /** Verified identity (`verification.identity`); null until the caller has proved their identity. */
  readonly identity: Readonly<Record<string, unknown>> | null
  /** Idempotency key of the tool call. All attempts of one tool call have this key, on every worker and node. */
  readonly idempotencyKey: string
  /** Signal that is aborted at the deadline or if the caller hangs up. */
  readonly signal: AbortSignal
}

const codeToolSchema = z
  .strictObject({
    name: toolName,
    description: z.string().min(1).max(4000),
    parameters: toolParametersSchema.prefault({}),
    bind: bindSchema,
    requires: requiresSchema,
    timeoutMs: z.int().min(100).max(15_000).default(TOOL_TIMEOUT_MS),
    /**
     * True if the tool may run twice for one tool call of the model, because it does not change anything or because it
     * recognises a repeated `idempotencyKey`.
     */
    idempotent: z.boolean().default(false),
    blocking: blockingSchema,
    scheduling: schedulingSchema,
    sample: z.record(z.string(), z.unknown()).default({}),
  })
  .superRefine((tool, context) => {
    for (const [name, message] of bindFaults(tool)) context.addIssue({ code: 'custom', path: ['bind', name], message })
  })

/** A code tool without its code, as plain data that can be sent between threads. */
export type CodeToolSpec = z.output<typeof codeToolSchema>

type Run = (args: Readonly<Record<string, unknown>>, context: CodeToolContext) => unknown

/** A code tool, as an argument of `defineTool`. */
export type CodeToolInput = z.input<typeof codeToolSchema> & {
  /**
   * Runs the tool on a media worker, so this function must not block. The model receives the return value as JSON. If
   * the function throws, the model receives only "the tool failed".
   */
  readonly run: Run
}

/** An agent that is written in code: the content of a YAML file, with HTTP tools and code tools. */
export type AgentModuleInput = Omit<AgentInput, 'tools'> & {
  readonly tools?: readonly (NonNullable<AgentInput['tools']>[number] | CodeToolInput)[]
}

/** Declares a code tool, as a default or named export of a module. The tool is checked when the agent is loaded. */
export function defineTool(tool: CodeToolInput): CodeToolInput {
  return tool
}

/**
 * Declares an agent that is written in code, as the default export of a `.js` or `.mjs` file in the agents folder. The
 * agent is checked when it is loaded.
 */
export function defineAgent(agent: AgentModuleInput): AgentModuleInput {
  return agent
}

/** A code tool that was found in a module. */
export interface FoundCodeTool {
  readonly spec: CodeToolSpec
  readonly run: Run
}

export function isCodeTool(value: unknown): value is CodeToolInput {
  return typeof value === 'object' && value !== null && 'run' in value && typeof value.run === 'function'
}

/**
 * Returns a module's code tools: the default export, an exported agent's tools, and the named exports.
 * @throws SyntaxError that names the faulty tool and its fault
 */
export function codeToolsOf(exports: Readonly<Record<string, unknown>>): FoundCodeTool[] {
  const agent = exports['default']
  const listed: unknown = typeof agent === 'object' && agent !== null && 'tools' in agent ? agent.tools : []
  const candidates = new Set<unknown>([
    ...Object.values(exports),
    ...(Array.isArray(listed) ? (listed as unknown[]) : []),
  ])
  return [...candidates].filter(isCodeTool).map(({ run, ...rest }) => {
    const parsed = codeToolSchema.safeParse(rest)
    if (parsed.success) return { spec: parsed.data, run }
    const [issue] = parsed.error.issues
    const name = typeof rest.name === 'string' ? rest.name.slice(0, 64) : 'without a name'
    throw new SyntaxError(`tool ${name}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? 'is wrong'}`)
  })
}
