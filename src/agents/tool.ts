import type { ToolCheckpoint } from '../call/checkpoint.js'
import { VERIFY_TOOL } from '../call/gateway-tools.js'
import type { ErrorCode } from '../core/errors.js'
import { OPEN_GATE } from './verification-lock.js'
import type { AttemptGate } from './verification-lock.js'

/** What `verify_caller` answers; also what a call that changed its worker is restored from. */
export interface VerificationAnswer {
  readonly verified: boolean
  /** Questions that were answered rightly so far. */
  readonly answered: readonly string[]
  /** Wrong answers that the caller still has. */
  readonly attemptsLeft: number
  /** Questions whose right answer would still prove something; empty when none is left or the caller is verified. */
  readonly questionsLeft: readonly string[]
  readonly error?: string
  readonly hint?: string
  /** It was an answer, and not the right one. */
  readonly wrong?: boolean
}

/**
 * What one call knows of who the caller is. The fields of `verified` are the only ones that templates and records see;
 * the right answers stay in `account`, on the call's worker, and are forgotten when they are not needed any more.
 *
 *     unverified --enough right answers--> verified
 *     unverified --too many wrong answers--> locked, for the rest of the call
 *
 * `gate` knows the wrong answers of the same number's other calls.
 */
export class CallerIdentity {
  verified: Readonly<Record<string, unknown>> | null
  readonly right: Set<string>
  wrong: number
  readonly gate: AttemptGate
  /** The record that answers are compared with: undefined before it was fetched, null when there is none. */
  account: unknown = undefined
  /** Answers are judged one after the other, or two at once would be one attempt. */
  turn: Promise<unknown> = Promise.resolve()

  constructor(
    verified: Readonly<Record<string, unknown>> | null = null, right: readonly string[] = [], wrong = 0, gate: AttemptGate = OPEN_GATE,
  ) {
    this.verified = verified
    this.right = new Set(right)
    this.wrong = wrong
    this.gate = gate
  }

  /** As it was when the call's worker died; a caller gets no new attempts by that. */
  static restored(
    identity: Readonly<Record<string, unknown>> | null, tools: readonly ToolCheckpoint[], gate: AttemptGate = OPEN_GATE,
  ): CallerIdentity {
    let right: readonly string[] = []
    let wrong = 0
    for (const { name, state, ok, result } of tools) {
      if (name !== VERIFY_TOOL || state !== 'answered' || typeof result !== 'object' || result === null) continue
      const { answered } = result as Partial<VerificationAnswer> // our own answer, or an error without it
      if (Array.isArray(answered)) right = answered.filter((id) => typeof id === 'string')
      if (!ok && 'wrong' in result) wrong++
    }
    return new CallerIdentity(identity, right, wrong, gate)
  }
}

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
