import { perMinute } from '../core/rate-limit.js'
import type { RateLimit } from '../core/rate-limit.js'
import { partyKey } from '../sautikit/phone.js'

/**
 * Maximum number of humans' phone numbers. An agent's file has at most 10 numbers, so a gateway stays below this limit.
 */
const NUMBERS_MAX = 10_000

interface HumanCallsOptions {
  /** Maximum number of calls in a minute to one phone number, by escalations and fallbacks together. */
  readonly perNumberPerMinute: number
  /** Maximum number of fallback documents in a minute that call humans, over all phone numbers. */
  readonly fallbacksPerMinute: number
}

/**
 * Limits how often the humans behind the agents are called. Each call is a paid leg, and a person talks to one caller
 * at a time. Without limits, a failed model or one caller with many calls would cause too many calls to these humans at
 * once.
 *
 * All calls of a minute may start simultaneously.
 */
export class HumanCalls {
  /** Number of calls to humans that were refused. */
  readonly refused = { escalation: 0, fallback: 0 }
  readonly #numbers: RateLimit
  readonly #fallbacks: RateLimit

  constructor({ perNumberPerMinute, fallbacksPerMinute }: HumanCallsOptions) {
    this.#numbers = perMinute(perNumberPerMinute, NUMBERS_MAX)
    this.#fallbacks = perMinute(fallbacksPerMinute)
  }

  /**
   * Checks if an escalation may call this phone number now, and counts the call.
   * @returns false if the number must not be called
   */
  escalation(number: string, nowMs: number): boolean {
    const may = this.#take(number, nowMs)
    if (!may) this.refused.escalation++
    return may
  }

  /** Selects the phone numbers that a fallback may call now, and counts the calls. @returns the selected numbers */
  fallback(numbers: readonly string[], nowMs: number): readonly string[] {
    const full = this.#fallbacks.waitS('', nowMs) > 0
    const may = full ? [] : numbers.filter((number) => this.#take(number, nowMs))
    if (may.length === 0) this.refused.fallback++
    else this.#fallbacks.take('', nowMs)
    return may
  }

  #take(number: string, nowMs: number): boolean {
    return this.#numbers.take(partyKey(number), nowMs) === 0
  }
}
