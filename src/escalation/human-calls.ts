import { perMinute } from '../core/rate-limit.js'
import type { RateLimit } from '../core/rate-limit.js'
import { partyKey } from '../sautikit/phone.js'

/** Numbers of humans stand in agents' files, 10 for an agent at most: more than a gateway has. */
const NUMBERS_MAX = 10_000

interface HumanCallsOptions {
  /** True if a number may be rung at all: `ringFault` of the way `human`. */
  readonly mayRing: (number: string) => boolean
  /** Calls to one number that are begun in a minute, by escalations and fallbacks together. */
  readonly perNumberPerMinute: number
  /** Fallback documents that ring humans, in a minute, to whichever numbers. */
  readonly fallbacksPerMinute: number
}

/**
 * How often the humans behind the agents are rung. Each call to them is a paid leg, and a person can talk to one caller
 * at a time: when a model fails, or one caller fills the line, all callers would be sent to them at once.
 *
 * A minute's worth may come at once.
 */
export class HumanCalls {
  /** Calls to a human that were not begun. */
  readonly refused = { escalation: 0, fallback: 0 }
  readonly #mayRing: (number: string) => boolean
  readonly #numbers: RateLimit
  readonly #fallbacks: RateLimit

  constructor({ mayRing, perNumberPerMinute, fallbacksPerMinute }: HumanCallsOptions) {
    this.#mayRing = mayRing
    this.#numbers = perMinute(perNumberPerMinute, NUMBERS_MAX)
    this.#fallbacks = perMinute(fallbacksPerMinute)
  }

  /** An escalation is about to ring this number. @returns false when it must not be rung now */
  escalation(number: string, nowMs: number): boolean {
    const may = this.#take(number, nowMs)
    if (!may) this.refused.escalation++
    return may
  }

  /** A fallback is about to ring these numbers. @returns those that may be rung now; empty for none */
  fallback(numbers: readonly string[], nowMs: number): readonly string[] {
    const full = this.#fallbacks.waitS('', nowMs) > 0
    const may = full ? [] : numbers.filter((number) => this.#take(number, nowMs))
    if (may.length === 0) this.refused.fallback++
    else this.#fallbacks.take('', nowMs)
    return may
  }

  #take(number: string, nowMs: number): boolean {
    return this.#mayRing(number) && this.#numbers.take(partyKey(number), nowMs) === 0
  }
}
