import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import type { Clock } from '../../core/clock.js'

/** Maximum number of phone numbers whose wrong answers are stored: about 10 MB when full. */
const VERIFICATION_NUMBERS_MAX = 50_000

/**
 * Maximum number of wrong answers of a phone number in all its calls; and time in minutes after which wrong answers no
 * longer count.
 */
export interface LockRule {
  readonly failures: number
  readonly minutes: number
}

/** Result of one attempt. `unjudged` means that the answer could not be compared; the attempt then does not count. */
export type Verdict = 'right' | 'wrong' | 'unjudged' | 'verified'

/**
 * Gate without a limit for several calls of a phone number. `mkondo check` and text scenarios use this gate, because
 * they have only one call.
 */
export const OPEN_GATE: AttemptGate = { take: () => Promise.resolve(Infinity), judged: () => undefined }

/** An attempt that was reserved or refused. */
export interface Attempt {
  /** Number of attempts left, including this one. 0 if the phone number is locked, so that no attempt was reserved. */
  readonly left: number
  /**
   * Reports the result of the attempt; called once.
   * @returns true if this wrong answer was the last attempt, so that the phone number is locked now
   */
  judged(verdict: Verdict): boolean
}

/** Attempts of a phone number, shared by all nodes of a fleet. */
export interface SharedAttempts {
  /**
   * Reserves one attempt.
   * @returns the attempt; null if the store cannot answer now
   */
  take(number: string, rule: LockRule): Promise<SharedAttempt | null>
  /** Counts a wrong answer for which no attempt was reserved. */
  wrong(number: string, rule: LockRule): void
}

/** A reserved attempt; `left` has the same meaning as in `Attempt`. */
export interface SharedAttempt {
  readonly left: number
  judged(verdict: Verdict): void
}

const REFUSED: Attempt = { left: 0, judged: () => false }

/**
 * Counts wrong answers by phone number, over all calls of the number. So a second call does not bring new attempts. The
 * main thread owns the counts, because calls of one number run on different media workers. Each attempt is reserved
 * before its answer is compared. So several calls at one time have together as many attempts as one call.
 *
 * An answer is compared only if both this process and the fleet's store (`shared`) have an attempt left. If the store
 * does not answer, this process decides alone. At most `VERIFICATION_NUMBERS_MAX` numbers are stored; above this limit
 * the least recently used number is dropped. A restart deletes all counts.
 */
export class VerificationLocks {
  readonly #clock: Clock
  readonly #shared: SharedAttempts | null
  readonly #numbers: LRUCache<string, Attempts>

  /**
   * @param evicted  called for each number that is dropped early because the limit of stored numbers is reached
   * @param shared  attempts in the fleet's store; null if there are no other nodes
   */
  constructor(
    clock: Clock,
    evicted: () => void = () => undefined,
    shared: SharedAttempts | null = null,
    max = VERIFICATION_NUMBERS_MAX,
  ) {
    this.#clock = clock
    this.#shared = shared
    this.#numbers = new LRUCache({
      ...atMost(max),
      disposeAfter: (_attempts, _number, reason) => {
        if (reason === 'evict') evicted()
      },
    })
  }

  /** Reserves one attempt. */
  async take(number: string, rule: LockRule): Promise<Attempt> {
    const attempts = this.#of(number)
    const left = Math.max(0, rule.failures - attempts.wrong - attempts.pending)
    if (left === 0) return REFUSED
    attempts.pending++
    const shared = (await this.#shared?.take(number, rule)) ?? null
    if (shared?.left === 0) {
      this.#judged(number, 'unjudged', rule)
      return REFUSED
    }
    return {
      left: Math.min(left, shared?.left ?? left),
      judged: (verdict) => {
        if (shared !== null) shared.judged(verdict)
        else if (verdict === 'wrong') this.#shared?.wrong(number, rule)
        const wrong = this.#judged(number, verdict, rule)
        return verdict === 'wrong' && (wrong === rule.failures || shared?.left === 1)
      },
    }
  }

  /** @returns number of wrong answers that now count for the phone number */
  #judged(number: string, verdict: Verdict, { minutes }: LockRule): number {
    const attempts = this.#of(number)
    attempts.pending = Math.max(0, attempts.pending - 1)
    if (verdict === 'verified') attempts.wrong = 0
    if (verdict === 'wrong') {
      attempts.wrong++
      attempts.forgottenAtMs = this.#clock() + minutes * 60_000
    }
    if (attempts.wrong === 0 && attempts.pending === 0) this.#numbers.delete(number)
    return attempts.wrong
  }

  /** Returns the number of wrong answers that still count for a phone number. */
  wrong(number: string): number {
    return this.#numbers.has(number) ? this.#of(number).wrong : 0
  }

  /**
   * Adopts the count of wrong answers from another node, for a call that continues at this node. The higher count of
   * the two nodes is used.
   */
  restore(number: string, wrong: number, { minutes }: LockRule): void {
    if (wrong === 0) return
    const attempts = this.#of(number)
    attempts.wrong = Math.max(attempts.wrong, wrong)
    attempts.forgottenAtMs = this.#clock() + minutes * 60_000
  }

  #of(number: string): Attempts {
    let attempts = this.#numbers.get(number)
    if (attempts === undefined) {
      attempts = { wrong: 0, pending: 0, forgottenAtMs: 0 }
      this.#numbers.set(number, attempts)
    }
    if (attempts.wrong > 0 && this.#clock() >= attempts.forgottenAtMs) attempts.wrong = 0
    return attempts
  }
}

/** Decides if `verify_caller` may compare an answer. Answers in other calls of the phone number count too. */
export interface AttemptGate {
  /**
   * Reserves one attempt.
   * @returns number of attempts left, including this one; 0 if the phone number is locked, so that no attempt was
   * reserved
   */
  take(): Promise<number>
  /** Reports the result of the attempt that was reserved last. */
  judged(verdict: Verdict): void
}

interface Attempts {
  wrong: number
  /** Number of attempts whose result is not known yet. Until then, each of them counts as wrong. */
  pending: number
  /** Time after which the wrong answers no longer count, in milliseconds on the monotonic clock. */
  forgottenAtMs: number
}
