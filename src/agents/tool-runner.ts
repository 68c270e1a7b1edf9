import type { ErrorCode } from '../core/errors.js'
import { GatewayError, messageOf } from '../core/errors.js'
import type { AgentDefinition } from './definition.js'
import { HttpTool, ToolStatusError } from './http-tool.js'
import type { HttpTransport } from './http-transport.js'
import type { Environment } from './loader.js'
import type { CheckedArguments } from './parameters.js'
import { argumentChecker } from './parameters.js'
import type { Template } from './template.js'
import { fillTemplate, parseTemplate } from './template.js'
import type { Tool, ToolContext, ToolOutcome } from './tool.js'

interface Entry {
  readonly tool: Tool
  readonly check: (args: Readonly<Record<string, unknown>>) => CheckedArguments
  readonly bind: readonly (readonly [name: string, template: Template])[]
}

/** Counts since the start; read by telemetry. */
export interface ToolCounters {
  runs: number
  failed: number
  timedOut: number
  cancelled: number
  refused: number
}

/**
 * Runs the tools of one agent, off the audio path. One runner serves all calls of that agent in one worker.
 * It logs nothing: arguments and answers are what callers said.
 */
export class ToolRunner {
  readonly counters: ToolCounters = { runs: 0, failed: 0, timedOut: 0, cancelled: 0, refused: 0 }
  readonly #entries = new Map<string, Entry>()

  /** @param transport shared by all runners of a worker; its owner closes it */
  constructor(agent: AgentDefinition, env: Environment, transport: HttpTransport) {
    for (const definition of agent.tools) {
      this.#entries.set(definition.name, {
        tool: new HttpTool(definition, env, transport),
        check: argumentChecker(definition.parameters),
        bind: Object.entries(definition.bind).map(([name, text]) => [name, parseTemplate(text)] as const),
      })
    }
  }

  has(name: string): boolean {
    return this.#entries.has(name)
  }

  /**
   * Runs a tool within its deadline. Always resolves, and with nothing left running that anyone waits for.
   * @param args as the model gave them; checked here
   */
  async run(name: string, args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<ToolOutcome> {
    this.counters.runs += 1
    const entry = this.#entries.get(name)
    if (entry === undefined) {
      return this.#refuse('TOOL_UNKNOWN', 'there is no such tool', [...this.#entries.keys()].join(', '))
    }
    const checked = entry.check(bound(entry, args, context))
    if (!checked.ok) return this.#refuse('TOOL_ARGUMENTS', 'the arguments are not usable', checked.why)
    try {
      return { ok: true, value: await withDeadline(entry.tool, checked.args, context) }
    } catch (error) {
      return this.#failure(error)
    }
  }

  #refuse(code: ErrorCode, what: string, why: string): ToolOutcome {
    this.counters.refused += 1
    return { ok: false, code, error: what, value: { error: `${what}: ${why}` } }
  }

  #failure(error: unknown): ToolOutcome {
    if (!(error instanceof GatewayError)) {
      this.counters.failed += 1
      return {
        ok: false,
        code: 'CALL_FAULT',
        error: `the tool failed: ${error instanceof Error ? error.name : typeof error}`,
        value: { error: 'the tool failed' },
      }
    }
    const { code } = error
    if (code === 'TOOL_CANCELLED') this.counters.cancelled += 1
    else if (code === 'TOOL_TIMEOUT') this.counters.timedOut += 1
    else if (code === 'TOOL_ARGUMENTS' || code === 'TOOL_FORBIDDEN_HOST') this.counters.refused += 1
    else this.counters.failed += 1
    return { ok: false, code, error: error.message, value: answerFor(error) }
  }
}

/** The arguments with those that the gateway sets by itself; what the model put there is gone. */
function bound(entry: Entry, args: Readonly<Record<string, unknown>>, context: ToolContext): Record<string, unknown> {
  const given: Record<string, unknown> = { ...args }
  const call = { from: context.from, to: context.to, sid: context.callSid, agent: context.agent }
  for (const [name, template] of entry.bind) given[name] = fillTemplate(template, { args: {}, env: {}, call })
  return given
}

/** Ends at the deadline or when the call ends, also if the tool ignores its signal. */
async function withDeadline(
  tool: Tool, args: Readonly<Record<string, unknown>>, context: ToolContext,
): Promise<unknown> {
  const own = new AbortController()
  const cancel = (): void => { own.abort(new GatewayError('TOOL_CANCELLED', 'cancelled: the call went on without it')) }
  const timer = setTimeout(() => {
    own.abort(new GatewayError('TOOL_TIMEOUT', `no answer in ${tool.timeoutMs} ms`, { retryable: true }))
  }, tool.timeoutMs)
  context.signal.addEventListener('abort', cancel, { once: true })
  if (context.signal.aborted) cancel()
  try {
    own.signal.throwIfAborted()
    const aborted = new Promise<never>((_, reject) => {
      own.signal.addEventListener(
        'abort', () => { reject(own.signal.reason as Error) }, { once: true },
      ) // our own reasons above
    })
    const run = tool.run(args, { ...context, signal: own.signal })
    return await Promise.race([run, aborted])
  } finally {
    clearTimeout(timer)
    context.signal.removeEventListener('abort', cancel)
  }
}

/** What the model is told: what happened in words, so that it can say something true to the caller. */
function answerFor(error: GatewayError): Record<string, unknown> {
  if (error instanceof ToolStatusError) {
    return {
      error: 'the system answered with an error',
      status: error.status,
      ...(error.detail === null ? {} : { detail: error.detail }),
    }
  }
  switch (error.code) {
    case 'TOOL_TIMEOUT': return { error: 'the system did not answer in time' }
    case 'TOOL_CANCELLED': return { error: 'cancelled' }
    case 'TOOL_ARGUMENTS': return { error: messageOf(error) }
    case 'TOOL_RESPONSE': return { error: 'the system gave an answer that cannot be used' }
    default: return { error: 'the system cannot be reached' }
  }
}
