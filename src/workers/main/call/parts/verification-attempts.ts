import type { Attempt, LockRule, Verdict } from '../../../../agents/identity/verification-lock.js'
import type { KeptState } from '../../../../call/documents/kept-call.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import type { MainDoor } from '../main-door.js'
import type { MainPart, MainThings } from '../main-part.js'

type Of = Pick<MainThings, 'origin' | 'agent' | 'log' | 'context'>

/**
 * Attempts of one call to verify its caller. At most one attempt waits for its verdict. The number's lock counts wrong
 * answers over all calls of the number.
 */
export class VerificationAttempts implements MainPart {
  readonly #door: Pick<MainDoor, 'mark' | 'send'>
  readonly #of: Of
  /** Attempt whose verdict has not come yet; null if there is none. */
  #attempt: Attempt | null = null
  /** Number of requested attempts. */
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

  /** Number of wrong answers from the caller's phone number so far, over all calls. */
  get wrong(): number {
    return this.#rule === null ? 0 : this.#of.context.locks.wrong(this.#of.origin.number)
  }

  keeps(): { readonly wrongAnswers: number } {
    return { wrongAnswers: this.wrong }
  }

  /** Restores the count of wrong answers from the state that a lost node left. */
  resume({ kept }: KeptState): void {
    const rule = this.#rule
    const { origin, context } = this.#of
    if (rule !== null && origin.number !== '') context.locks.restore(origin.number, kept.wrongAnswers, rule)
  }

  /** Reserves an attempt, and sends the worker the number of attempts that remain for the caller's phone number. */
  async take(): Promise<void> {
    const rule = this.#rule
    const { origin, context } = this.#of
    const { mark, send } = this.#door
    const { number, call } = origin
    if (rule === null || number === '') return send({ type: 'verification-attempts', left: 0 })
    this.judge('unjudged')
    const asked = ++this.#asked
    const attempt = await context.locks.take(number, rule)
    // Meanwhile the call may have ended, or its new worker may have requested another attempt.
    if (asked !== this.#asked) return void attempt.judged('unjudged')
    if (attempt.left > 0) {
      this.#attempt = attempt
    } else {
      mark('verification-refused', 'too many wrong answers from this number')
      context.metrics.verificationLocks({ agent: call.agent, event: 'refused' }).inc(1, call.callSid)
    }
    send({ type: 'verification-attempts', left: attempt.left })
  }

  /** Notes that the worker that waited for an attempt no longer exists. */
  lost(): void {
    this.#asked++
    this.judge('unjudged')
  }

  /** Takes the verdict of the last attempt. An attempt whose worker died is not counted. */
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
