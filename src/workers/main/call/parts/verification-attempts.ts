import type { Attempt, LockRule, Verdict } from '../../../../agents/identity/verification-lock.js'
import type { KeptState } from '../../../../call/documents/kept-call.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import type { MainDoor } from '../main-door.js'
import type { MainPart, MainThings } from '../main-part.js'

type Of = Pick<MainThings, 'origin' | 'agent' | 'log' | 'context'>

/**
 * The attempts of one call to verify its caller: at most one waits for its verdict. The number's lock is kept over all
 * its calls.
 */
export class VerificationAttempts implements MainPart {
  readonly #door: Pick<MainDoor, 'mark' | 'send'>
  readonly #of: Of
  /** The attempt that has no verdict yet. */
  #attempt: Attempt | null = null
  /** Counts the attempts that were asked for. */
  #asked = 0

  constructor(door: Pick<MainDoor, 'mark' | 'send'>, of: Of) {
    this.#door = door
    this.#of = of
  }

  readonly messages = {
    'verification-attempt': () => void this.take(),
    'verification-verdict': ({ verdict }) => this.judge(verdict),
  } satisfies Handlers<FromCall>

  get #rule(): LockRule | null {
    const { verification } = this.#of.agent.definition
    return verification === null
      ? null
      : { failures: verification.lock.failures ?? verification.attempts, minutes: verification.lock.minutes }
  }

  /** Wrong answers of the caller's number so far. */
  get wrong(): number {
    return this.#rule === null ? 0 : this.#of.context.locks.wrong(this.#of.origin.number)
  }

  keeps(): { readonly wrongAnswers: number } {
    return { wrongAnswers: this.wrong }
  }

  /** Wrong answers that a lost node had counted. */
  resume({ kept }: KeptState): void {
    const rule = this.#rule
    const { origin, context } = this.#of
    if (rule !== null && origin.number !== '') context.locks.restore(origin.number, kept.wrongAnswers, rule)
  }

  /** Tells the worker how many attempts the caller's number still has. */
  async take(): Promise<void> {
    const rule = this.#rule
    const { origin, context } = this.#of
    const { mark, send } = this.#door
    const { number, call } = origin
    if (rule === null || number === '') return send({ type: 'verification-attempts', left: 0 })
    this.judge('unjudged')
    const asked = ++this.#asked
    const attempt = await context.locks.take(number, rule)
    // Meanwhile the call may have ended, or its new worker may have asked again.
    if (asked !== this.#asked) return void attempt.judged('unjudged')
    if (attempt.left > 0) {
      this.#attempt = attempt
    } else {
      mark('verification-refused', 'too many wrong answers from this number')
      context.metrics.verificationLocks({ agent: call.agent, event: 'refused' }).inc(1, call.callSid)
    }
    send({ type: 'verification-attempts', left: attempt.left })
  }

  /** Nobody waits for an attempt any more. */
  lost(): void {
    this.#asked++
    this.judge('unjudged')
  }

  /** Result of the last attempt. An attempt whose worker died is not counted. */
  judge(verdict: Verdict): void {
    const rule = this.#rule
    const attempt = this.#attempt
    this.#attempt = null
    if (rule === null || attempt?.judged(verdict) !== true) return
    const { origin, log, context } = this.#of
    const { callSid, agent } = origin.call
    this.#door.mark('verification-locked', `no answer of this number is taken for ${rule.minutes} minutes`)
    context.metrics.verificationLocks({ agent, event: 'locked' }).inc(1, callSid)
    log.warn({ wrong_answers: rule.failures, minutes: rule.minutes }, 'verification of this number is locked')
  }
}
