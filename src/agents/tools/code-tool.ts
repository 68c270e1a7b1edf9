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
  /** The caller's number, or empty when withheld. */
  readonly from: string
  readonly to: string
  readonly agent: string
  /** Tag of the language that the call is in, as in the agent's file: `sw`. */
  readonly language: string
  /** The verified identity (`verification.identity`); null until the caller has proved it. */
  readonly identity: Readonly<Record<string, unknown>> | null
  /** The same for every attempt of one tool call, also on another worker or node. */
  readonly idempotencyKey: string
  /** Aborts at the deadline, and when the caller hangs up. */
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
    /** True: it may run twice for one call of the model; it has no effect, or recognises `idempotencyKey`. */
    idempotent: z.boolean().default(false),
    blocking: blockingSchema,
    scheduling: schedulingSchema,
    sample: z.record(z.string(), z.unknown()).default({}),
  })
  .superRefine((tool, context) => {
    for (const [name, message] of bindFaults(tool)) context.addIssue({ code: 'custom', path: ['bind', name], message })
  })

/** A code tool without its code: plain data, so that it crosses threads. */
export type CodeToolSpec = z.output<typeof codeToolSchema>

type Run = (args: Readonly<Record<string, unknown>>, context: CodeToolContext) => unknown

/** A tool written in code, as `defineTool` takes it. */
export type CodeToolInput = z.input<typeof codeToolSchema> & {
  /**
   * Runs on a media worker, so it must not block. The model gets its return value as JSON.
   * When it throws, the model gets "the tool failed" without the message.
   */
  readonly run: Run
}

/** An agent in code: what a YAML file says, and tools of both kinds. */
export type AgentModuleInput = Omit<AgentInput, 'tools'> & {
  readonly tools?: readonly (NonNullable<AgentInput['tools']>[number] | CodeToolInput)[]
}

/** A tool in code, for the default export or a named one of a module. Checked when the agent is loaded. */
export function defineTool(tool: CodeToolInput): CodeToolInput {
  return tool
}

/** An agent in code: the default export of a `.js` or `.mjs` file in the agents folder. Checked when it is loaded. */
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
 * The code tools of a module: its default export if it is one, those of the agent that it exports, and named exports.
 * @throws SyntaxError that says which tool is wrong, and how
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
