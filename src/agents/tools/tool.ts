import type { LoggedToolCall } from '../../call/documents/log-entry.js'
import { VERIFY_TOOL } from '../../call/tools/gateway-tools.js'
import type { ErrorCode } from '../../core/errors.js'
import type { BusinessValues, CallVariables, TemplateValues } from '../file/template.js'
import { OPEN_GATE } from '../identity/verification-lock.js'
import type { AttemptGate } from '../identity/verification-lock.js'

/**
 * Result of `verify_caller`. After a call has moved to another worker, the caller's verification is restored from these
 * results.
 */
export interface VerificationAnswer {
  readonly verified: boolean
  /** Questions whose answers were correct so far. */
  readonly answered: readonly string[]
  /** Number of wrong answers that the caller may still give. */
  readonly attemptsLeft: number
  /**
   * Questions for which a correct answer would be a further proof; empty if there are no such questions or if the
   * caller is verified.
   */
  readonly questionsLeft: readonly string[]
  readonly error?: string
  readonly hint?: string
  /** True if the newest answer was wrong. */
  readonly wrong?: boolean
}

/**
 * Verification of one call's caller. Templates and records get only the fields of `verified`. The expected answers are
 * stored only in `account`, on the call's worker, and are deleted when they are no longer needed.
 *
 *     unverified --enough right answers--> verified
 *     unverified --too many wrong answers--> locked, for the rest of the call
 *
 * `gate` counts the wrong answers of the phone number over all its calls.
 */
export class CallerIdentity {
  verified: Readonly<Record<string, unknown>> | null
  readonly right: Set<string>
  wrong: number
  readonly gate: AttemptGate
  /** Account with the expected answers: undefined before it is fetched, null if the account is missing. */
  account: unknown = undefined
  /**
   * Queue of answers. Answers are compared one after another, because two answers at one time would count as one
   * attempt.
   */
  turn: Promise<unknown> = Promise.resolve()

  constructor(
    verified: Readonly<Record<string, unknown>> | null = null,
    right: readonly string[] = [],
    wrong = 0,
    gate: AttemptGate = OPEN_GATE,
  ) {
    this.verified = verified
    this.right = new Set(right)
    this.wrong = wrong
    this.gate = gate
  }

  /**
   * Restores the state after the death of the call's worker, so that the caller does not get new attempts.
   * @param handedAtMs  time of the handover to this agent. Earlier answers do not count
   */
  static restored(
    identity: Readonly<Record<string, unknown>> | null,
    tools: readonly LoggedToolCall[],
    gate: AttemptGate = OPEN_GATE,
    handedAtMs = -Infinity,
  ): CallerIdentity {
    let right: readonly string[] = []
    let wrong = 0
    for (const {
      record: { name, ok, startMs },
      result,
    } of tools) {
      if (name !== VERIFY_TOOL || typeof result !== 'object' || result === null) continue
      const { answered } = result as Partial<VerificationAnswer> // the result is an answer of `verify_caller`, or an error without `answered`
      if (Array.isArray(answered) && startMs > handedAtMs) right = answered.filter((id) => typeof id === 'string')
      if (!ok && 'wrong' in result) wrong++
    }
    return new CallerIdentity(identity, right, wrong, gate)
  }
}

/** Answer of the gate about a tool with an effect: the tool may run, or it must not run for this reason. */
export type EffectAnswer =
  /** `continueUrl`: address for the outcome of a tool that waits; absent for other tools. */
  | { readonly type: 'run'; readonly continueUrl?: string }
  /** The tool has already run with this key, with this outcome. */
  | { readonly type: 'done'; readonly outcome: ToolOutcome }
  /** The tool may have run before with this key, and its outcome is unknown. */
  | { readonly type: 'uncertain' }
  /** The tool must not run, because another node owns the call. */
  | { readonly type: 'not-owner' }
  /**
   * The tool must not run, because the intent to run it could not be stored. Without a stored intent, another node
   * might run the tool again.
   */
  | { readonly type: 'store-down' }

/** Gate that is asked before a tool with an effect runs, so that the tool does not run twice with one key. */
export interface ToolGate {
  /** Stores the intent to run a tool. The promise never rejects, and settles before the phone call ends. */
  readonly intend: (key: string, tool: string) => Promise<EffectAnswer>
  /**
   * Stores the outcome. If the outcome is not known, this method is not called. The intent then remains stored, and the
   * effect is uncertain.
   */
  readonly settle: (key: string, outcome: ToolOutcome) => void
}

/** The call for which a tool runs. */
export interface ToolContext {
  readonly callSid: string
  /** Phone number of the caller in E.164; empty if withheld. It is never logged. */
  readonly from: string
  readonly to: string
  readonly agent: string
  /** Tag of the call's current language, as in the agent's file. */
  readonly language: string
  /** Calendar time of the run, in ms since 1970. @defaultValue the machine's time */
  readonly wallMs?: number
  /** Variables of an outbound call; absent for all other calls. */
  readonly variables?: CallVariables | undefined
  /** Facts of the number's business; absent for a number without a business. */
  readonly business?: BusinessValues | undefined
  /** Idempotency key of the effect. All attempts of one tool call have this key, on every worker and node. */
  readonly idempotencyKey: string
  /** Called if the arguments had to be converted to fit the tool's schema. */
  readonly coerced?: () => void
  /** Gate for tools with an effect; absent in a rehearsal, because a rehearsal does not need permission. */
  readonly gate?: ToolGate
  /** Verification of the caller; only `verify_caller` changes it. */
  readonly caller: CallerIdentity
  /** Address that receives the outcome of a pending tool. */
  readonly continueUrl?: string | undefined
  /** Id of the pending result at the API, for a polling request. */
  readonly pendingId?: string | undefined
  /** W3C trace context of the tool call; absent if traces are not exported. */
  readonly traceparent?: string | undefined
  /** Signal that is aborted if the caller hangs up or the backend withdraws the tool call. */
  readonly signal: AbortSignal
}

/** Facts of the call, as values for templates. */
export function callFacts({ from, to, callSid, agent, language }: ToolContext): TemplateValues['call'] {
  return { from, to, sid: callSid, agent, language }
}

/** Result of a tool whose outcome arrives later. */
export class PendingAnswer {
  /** Id from the API; empty if the API sent none. */
  readonly id: string
  /** Maximum time to wait according to the API, in milliseconds; null if the API does not state a maximum. */
  readonly expiresInMs: number | null

  constructor(id: string, expiresInMs: number | null) {
    this.id = id
    this.expiresInMs = expiresInMs
  }
}

/**
 * Result of a tool run. A failure is a result too, not an exception, because the model must react to it. This is a
 * `ToolReply` of the backends, with further fields for the record.
 */
export interface ToolOutcome {
  readonly ok: boolean
  /** Result of the tool, or `{ error }` in words for the model. It can be written as JSON. */
  readonly value: unknown
  /** Error for the call record and the log, without arguments and results. Set only if `ok` is false. */
  readonly error?: string
  readonly code?: ErrorCode
  /** Set if the result arrives later. The other fields are then not valid yet. */
  readonly pending?: PendingAnswer
}

/** A tool that a model can call. The arguments are checked and bound before `run`. */
export interface Tool {
  readonly name: string
  /** Deadline of one run, in milliseconds. `ToolContext.signal` is aborted at the deadline. */
  readonly timeoutMs: number
  /**
   * @returns a result that can be written as JSON, or a `PendingAnswer`
   * @throws GatewayError TOOL_* for errors for the model; other errors are faults of the tool
   */
  run(args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<unknown>
}
