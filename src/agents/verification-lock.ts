import { LRUCache } from 'lru-cache'
import type { Clock } from '../core/clock.js'
import { VERIFICATION_NUMBERS_MAX } from '../core/limits.js'

/** How many wrong answers a number may give over all its calls, and how long after the last one they are forgotten. */
export interface LockRule {
  readonly failures: number
  readonly minutes: number
}

/** The verdict on one attempt. `unjudged`: nothing could be compared, so it does not count. */
export type Verdict = 'right' | 'wrong' | 'unjudged' | 'verified'

/** Decides for `verify_caller` whether an answer may be compared, given the other calls of the number. */
export interface AttemptGate {
  /**
   * Reserves one attempt. @returns attempts that the number has, this one included; 0: it is locked, nothing is
   * reserved
   */
  take(): Promise<number>
  /** The verdict on the attempt that was reserved last. */
  judged(verdict: Verdict): void
}

/** No limit across calls: for `mkondo check` and text scenarios, which have only one call. */
export const OPEN_GATE: AttemptGate = { take: () => Promise.resolve(Infinity), judged: () => undefined }

interface Attempts {
  wrong: number
  /** Attempts without a verdict; each counts as wrong until its verdict comes. */
  pending: number
  /** When the wrong answers are forgotten, on the clock. */
  forgottenAtMs: number
}

/**
 * Wrong answers by the number that calls, over all calls of this process, so that hanging up and calling again gives no
 * new attempts. The main thread owns it, because calls of one number run on different media workers. Each answer is
 * reserved here before it is compared, so that many simultaneous calls have no more attempts than one.
 *
 * Bounded to `VERIFICATION_NUMBERS_MAX` numbers; beyond that the least recently used number is dropped. It is in
 * memory, so a restart clears it.
 */
export class VerificationLocks {
  readonly #clock: Clock
  readonly #numbers: LRUCache<string, Attempts>

  /** @param evicted  called for each number that is forgotten early, because too many are kept */
  constructor(clock: Clock, evicted: () => void = () => undefined, max = VERIFICATION_NUMBERS_MAX) {
    this.#clock = clock
    this.#numbers = new LRUCache({
      max,
      disposeAfter: (_attempts, _number, reason) => {
        if (reason === 'evict') evicted()
      },
    })
  }

  /**
   * Reserves one attempt. @returns attempts that the number has, this one included; 0: it is locked, nothing is
   * reserved
   */
  take(number: string, { failures }: LockRule): number {
    const attempts = this.#of(number)
    const left = Math.max(0, failures - attempts.wrong - attempts.pending)
    if (left > 0) attempts.pending++
    return left
  }

  /**
   * The verdict on a reserved attempt.
   * @returns true when this wrong answer used up the number's attempts: the number is now locked
   */
  judged(number: string, verdict: Verdict, { failures, minutes }: LockRule): boolean {
    const attempts = this.#of(number)
    attempts.pending = Math.max(0, attempts.pending - 1)
    if (verdict === 'verified') attempts.wrong = 0
    if (verdict === 'wrong') {
      attempts.wrong++
      attempts.forgottenAtMs = this.#clock() + minutes * 60_000
    }
    if (attempts.wrong === 0 && attempts.pending === 0) this.#numbers.delete(number)
    return verdict === 'wrong' && attempts.wrong === failures
  }

  /** Wrong answers of a number that still count. */
  wrong(number: string): number {
    return this.#numbers.has(number) ? this.#of(number).wrong : 0
  }

  /** Wrong answers that another node counted during a call that goes on here; the higher count holds. */
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
