import type { LoggedToolCall } from '../../call/documents/log-entry.js'
import { VERIFY_TOOL } from '../../call/tools/gateway-tools.js'
import type { ErrorCode } from '../../core/errors.js'
import type { BusinessValues, CallVariables, TemplateValues } from '../file/template.js'
import { OPEN_GATE } from '../identity/verification-lock.js'
import type { AttemptGate } from '../identity/verification-lock.js'

/** The answer of `verify_caller`; a call that moved to another worker is restored from it. */
export interface VerificationAnswer {
  readonly verified: boolean
  /** Questions answered correctly so far. */
  readonly answered: readonly string[]
  /** Wrong answers that the caller may still give. */
  readonly attemptsLeft: number
  /** Questions whose correct answer would still count; empty when none is left or the caller is verified. */
  readonly questionsLeft: readonly string[]
  readonly error?: string
  readonly hint?: string
  /** True after a wrong answer. */
  readonly wrong?: boolean
}

/**
 * The verification of one call's caller. Templates and records see only the fields of `verified`;
 * the expected answers stay in `account`, on the call's worker, and are dropped as soon as they are not needed.
 *
 *     unverified --enough right answers--> verified
 *     unverified --too many wrong answers--> locked, for the rest of the call
 *
 * `gate` counts the wrong answers of the same number over all its calls.
 */
export class CallerIdentity {
  verified: Readonly<Record<string, unknown>> | null
  readonly right: Set<string>
  wrong: number
  readonly gate: AttemptGate
  /** The account that answers are compared with: undefined before it is fetched, null when there is none. */
  account: unknown = undefined
  /** Answers are compared one after the other: two at once would count as one attempt. */
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
   * Restores the state after the death of the call's worker, so that the caller gets no new attempts.
   * @param handedAtMs  when another agent handed the call over: what was answered before is no answer to this one's questions
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
      const { answered } = result as Partial<VerificationAnswer> // an answer of `verify_caller`, or an error without `answered`
      if (Array.isArray(answered) && startMs > handedAtMs) right = answered.filter((id) => typeof id === 'string')
      if (!ok && 'wrong' in result) wrong++
    }
    return new CallerIdentity(identity, right, wrong, gate)
  }
}

/** Says whether a tool with an effect may run. */
export type EffectAnswer =
  /** `continueUrl`: where the outcome of a tool that waits is to be sent; absent for any other tool. */
  | { readonly type: 'run'; readonly continueUrl?: string }
  /** It ran before under this key, with this outcome. */
  | { readonly type: 'done'; readonly outcome: ToolOutcome }
  /** It may have run before: nobody knows its outcome. */
  | { readonly type: 'uncertain' }
  /** Another node has the call. */
  | { readonly type: 'not-owner' }

/** Asked before a tool with an effect runs, so that no key of an effect runs twice. */
export interface ToolGate {
  /** Stores the intent. Never rejects; settles once the call is over. */
  readonly intend: (key: string, tool: string) => Promise<EffectAnswer>
  /** Stores the outcome. Not called where the outcome is not known: the intent then stands, and is uncertain. */
  readonly settle: (key: string, outcome: ToolOutcome) => void
}

/** The call for which a tool runs. */
export interface ToolContext {
  readonly callSid: string
  /** The caller's number in E.164, or empty when withheld. Never logged. */
  readonly from: string
  readonly to: string
  readonly agent: string
  /** Tag of the language that the call is in, as in the agent's file. */
  readonly language: string
  /** Calendar time of the run. @defaultValue that of the machine */
  readonly wallMs?: number
  /** Variables of an outbound call; absent: none. */
  readonly variables?: CallVariables | undefined
  /** Facts of the business whose number this is; absent where it has none. */
  readonly business?: BusinessValues | undefined
  /** The key of the effect: the same for every attempt of one tool call, also on another worker or node. */
  readonly idempotencyKey: string
  /** Called when the arguments had to be changed to fit the tool's schema. */
  readonly coerced?: () => void
  /** Absent: nothing is asked. For a rehearsal. */
  readonly gate?: ToolGate
  /** The verification of the caller; only `verify_caller` changes it. */
  readonly caller: CallerIdentity
  /** Address that continues a tool that waits. */
  readonly continueUrl?: string | undefined
  /** Identifier in a poll: the pending answer at the API. */
  readonly pendingId?: string | undefined
  /** The W3C trace context of the tool call; absent where no trace is exported. */
  readonly traceparent?: string | undefined
  /** Aborts when the caller hangs up or the backend takes the tool call back. */
  readonly signal: AbortSignal
}

/** Facts of the call for templates. */
export function callFacts({ from, to, callSid, agent, language }: ToolContext): TemplateValues['call'] {
  return { from, to, sid: callSid, agent, language }
}

/** Result of a tool whose answer comes later. */
export class PendingAnswer {
  /** As the API gave it; empty where it gave none. */
  readonly id: string
  /** How long its API waits itself; null where it does not say. */
  readonly expiresInMs: number | null

  constructor(id: string, expiresInMs: number | null) {
    this.id = id
    this.expiresInMs = expiresInMs
  }
}

/**
 * The result of a tool run; never an exception, because a failed tool is an answer for the model. It is a `ToolReply`
 * of the backends with two more fields for the record.
 */
export interface ToolOutcome {
  readonly ok: boolean
  /** The tool's answer, or `{ error }` in words that the model can use. JSON-safe. */
  readonly value: unknown
  /** For the call record and the log: without arguments and answers. Only when not `ok`. */
  readonly error?: string
  readonly code?: ErrorCode
  /** Set where the answer comes later: the other fields say nothing yet. */
  readonly pending?: PendingAnswer
}

/** Something that a model can call. Arguments were checked and bound before `run`. */
export interface Tool {
  readonly name: string
  /** Deadline of one run; `ToolContext.signal` aborts then. */
  readonly timeoutMs: number
  /**
   * @returns the answer, JSON-safe; or a `PendingAnswer`
   * @throws GatewayError TOOL_* for errors that the model gets; anything else counts as a fault of the tool
   */
  run(args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<unknown>
}
