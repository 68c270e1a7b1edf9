import type { AgentDefinition } from '../../agents/file/definition.js'
import type { Attempt, LockRule, Verdict } from '../../agents/identity/verification-lock.js'
import type { CallLogRecords, LoggedToolCall } from '../../call/documents/log-entry.js'
import { VERIFY_TOOL } from '../../call/gateway-tools.js'
import type { CallSid } from '../../core/ids.js'
import { hasFields } from '../../core/json.js'
import type { Log } from '../../telemetry/log.js'
import type { ToCall } from '../shared/call-messages.js'
import type { MainThreadContext } from './main-thread-context.js'

/**
 * The attempts of one call to verify its caller: at most one waits for its verdict. The number's lock is kept over all
 * its calls.
 */
export class VerificationAttempts {
  readonly #call: VerifiedCall
  readonly #context: Pick<MainThreadContext, 'locks' | 'metrics'>
  /** The attempt that has no verdict yet. */
  #attempt: Attempt | null = null
  /** Counts the attempts that were asked for. */
  #asked = 0

  constructor(call: VerifiedCall, context: Pick<MainThreadContext, 'locks' | 'metrics'>) {
    this.#call = call
    this.#context = context
  }

  get #rule(): LockRule | null {
    const { verification } = this.#call.definition()
    return verification === null
      ? null
      : { failures: verification.lock.failures ?? verification.attempts, minutes: verification.lock.minutes }
  }

  /** Wrong answers of the caller's number so far. */
  get wrong(): number {
    return this.#rule === null ? 0 : this.#context.locks.wrong(this.#call.caller)
  }

  /** Wrong answers that a lost node had counted. */
  restore(wrong: number): void {
    const rule = this.#rule
    if (rule !== null && this.#call.caller !== '') this.#context.locks.restore(this.#call.caller, wrong, rule)
  }

  /** Tells the worker how many attempts the caller's number still has. */
  async take(): Promise<void> {
    const rule = this.#rule
    const { caller, callSid, agent, mark, send } = this.#call
    if (rule === null || caller === '') return send({ type: 'verification-attempts', left: 0 })
    this.judge('unjudged')
    const asked = ++this.#asked
    const attempt = await this.#context.locks.take(caller, rule)
    // Meanwhile the call may have ended, or its new worker may have asked again.
    if (asked !== this.#asked) return void attempt.judged('unjudged')
    if (attempt.left > 0) {
      this.#attempt = attempt
    } else {
      mark('verification-refused', 'too many wrong answers from this number')
      this.#context.metrics.verificationLocks({ agent, event: 'refused' }).inc(1, callSid)
    }
    send({ type: 'verification-attempts', left: attempt.left })
  }

  /** Nobody waits for an attempt any more. */
  drop(): void {
    this.#asked++
    this.judge('unjudged')
  }

  /** Result of the last attempt. An attempt whose worker died is not counted. */
  judge(verdict: Verdict): void {
    const rule = this.#rule
    const attempt = this.#attempt
    this.#attempt = null
    if (rule === null || attempt?.judged(verdict) !== true) return
    const { callSid, agent, log, mark } = this.#call
    mark('verification-locked', `no answer of this number is taken for ${rule.minutes} minutes`)
    this.#context.metrics.verificationLocks({ agent, event: 'locked' }).inc(1, callSid)
    log.warn({ wrong_answers: rule.failures, minutes: rule.minutes }, 'verification of this number is locked')
  }
}

/**
 * True if the identity that was proven in a call counts for its present agent: it asks the same as the agent
 * before it, or has verified the caller itself.
 * @param before  the agent that had the call before it; undefined: it is gone, or there is none
 */
export function identityKept(
  { handovers, toolCalls }: Pick<CallLogRecords, 'handovers' | 'toolCalls'>,
  before: AgentDefinition | undefined,
  now: AgentDefinition,
): boolean {
  const last = handovers.at(-1)
  if (last === undefined) return true
  const verifiedHere = ({ record, result }: LoggedToolCall): boolean =>
    record.name === VERIFY_TOOL && record.startMs > last.atMs && hasFields(result, { verified: true })
  if (toolCalls.some(verifiedHere)) return true
  return JSON.stringify(before?.verification) === JSON.stringify(now.verification)
}

interface VerifiedCall {
  readonly callSid: CallSid
  readonly agent: string
  /** Definition of the agent that has the call now. */
  readonly definition: () => AgentDefinition
  /** Number of the person on the line, E.164; empty when withheld. */
  readonly caller: string
  readonly log: Log
  readonly mark: (name: string, detail: string) => void
  readonly send: (message: ToCall) => void
}
