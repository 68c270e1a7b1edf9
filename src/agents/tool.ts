import type { ErrorCode } from '../core/errors.js'
import type { CallerIdentity } from './caller-identity.js'

/** What a tool knows of the call that it runs for. */
export interface ToolContext {
  readonly callSid: string
  /** The caller's number in E.164, or empty when withheld. Never logged. */
  readonly from: string
  readonly to: string
  readonly agent: string
  /** The same for every try of one tool call, also after the call changed its worker. */
  readonly idempotencyKey: string
  /** Who the caller has proved to be; the call's own, changed by `verify_caller` alone. */
  readonly caller: CallerIdentity
  /** Aborts when the caller hangs up or the backend takes the tool call back. */
  readonly signal: AbortSignal
}

/**
 * What a tool run came to; never an exception, for a tool that fails is an answer for the model. It is a `ToolReply`
 * of the backends with two more fields for the record.
 */
export interface ToolOutcome {
  readonly ok: boolean
  /** The tool's answer, or `{ error }` in words that the model can use. JSON-safe. */
  readonly value: unknown
  /** For the call record and the log: says nothing of arguments and answers. Only when not `ok`. */
  readonly error?: string
  readonly code?: ErrorCode
}

/** Something that a model can call. Arguments were checked and bound before `run`. */
export interface Tool {
  readonly name: string
  /** Deadline of one run; `ToolContext.signal` aborts then. */
  readonly timeoutMs: number
  /**
   * @returns the answer, JSON-safe
   * @throws GatewayError TOOL_* for what the model should be told; anything else counts as a fault of the tool
   */
  run(args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<unknown>
}
