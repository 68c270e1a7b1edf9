import { VERIFY_TOOL } from '../call/gateway-tools.js'
import type { LoggedToolCall } from '../call/call-log.js'
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
    identity: Readonly<Record<string, unknown>> | null, tools: readonly LoggedToolCall[], gate: AttemptGate = OPEN_GATE,
  ): CallerIdentity {
    let right: readonly string[] = []
    let wrong = 0
    for (const { record: { name, ok }, result } of tools) {
      if (name !== VERIFY_TOOL || typeof result !== 'object' || result === null) continue
      const { answered } = result as Partial<VerificationAnswer> // our own answer, or an error without it
      if (Array.isArray(answered)) right = answered.filter((id) => typeof id === 'string')
      if (!ok && 'wrong' in result) wrong++
    }
    return new CallerIdentity(identity, right, wrong, gate)
  }
}
