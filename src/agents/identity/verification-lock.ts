import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import type { Clock } from '../../core/clock.js'

/** Numbers whose wrong answers to verification questions are remembered: about 10 MB when full. */
const VERIFICATION_NUMBERS_MAX = 50_000

/** How many wrong answers a number may give over all its calls, and how long after the last one they are forgotten. */
export interface LockRule {
  readonly failures: number
  readonly minutes: number
}

/** The verdict on one attempt. `unjudged`: nothing could be compared, so it does not count. */
export type Verdict = 'right' | 'wrong' | 'unjudged' | 'verified'

/** No limit across calls: for `mkondo check` and text scenarios, which have only one call. */
export const OPEN_GATE: AttemptGate = { take: () => Promise.resolve(Infinity), judged: () => undefined }

/** One attempt that was reserved, or refused. */
export interface Attempt {
  /** Attempts that the number has, this one included; 0: it is locked, and nothing is reserved. */
  readonly left: number
  /**
   * The verdict, once.
   * @returns true when this wrong answer used up the number's attempts: the number is now locked
   */
  judged(verdict: Verdict): boolean
}

/** Attempts of a number that all nodes of a fleet share. */
export interface SharedAttempts {
  /** Reserves one attempt. @returns null when they cannot be asked now */
  take(number: string, rule: LockRule): Promise<SharedAttempt | null>
  /** Counts a wrong answer for which nothing was reserved. */
  wrong(number: string, rule: LockRule): void
}

/** `left` as in `Attempt`. */
export interface SharedAttempt {
  readonly left: number
  judged(verdict: Verdict): void
}

const REFUSED: Attempt = { left: 0, judged: () => false }

/**
 * Wrong answers by the number that calls, over all its calls, so that hanging up and calling again gives no new
 * attempts. The main thread owns it, because calls of one number run on different media workers. Each answer is reserved
 * before it is compared, so that many simultaneous calls have no more attempts than one.
 *
 * An answer is compared only if this process and the fleet's store (`shared`) both have an attempt left. When the store
 * does not answer, the memory of this process decides. That memory is bounded to `VERIFICATION_NUMBERS_MAX` numbers;
 * beyond that the least recently used number is dropped. A restart clears it.
 */
export class VerificationLocks {
  readonly #clock: Clock
  readonly #shared: SharedAttempts | null
  readonly #numbers: LRUCache<string, Attempts>

  /**
   * @param evicted  called for each number that is forgotten early, because too many are kept
   * @param shared  null: there are no other nodes
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

  /** @returns the wrong answers that the number has now */
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

interface Attempts {
  wrong: number
  /** Attempts without a verdict; each counts as wrong until its verdict comes. */
  pending: number
  /** When the wrong answers are forgotten, on the clock. */
  forgottenAtMs: number
}
