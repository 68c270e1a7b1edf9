import { createHmac } from 'node:crypto'
import type { LockRule, SharedAttempt, SharedAttempts, Verdict } from '../../agents/identity/verification-lock.js'
import { messageOf } from '../../core/errors.js'
import { digitsOf } from '../../sautikit/phone.js'
import type { Log } from '../../telemetry/log.js'
import { GONE_MS } from './call-store.js'
import type { CallStore } from './call-store.js'
import { derivedKey } from '../secrets.js'

/**
 * How long an attempt stays reserved without a verdict: more than the look-up of an account may take. It is not longer,
 * because a store that answers late may reserve one that nobody knows of.
 */
const RESERVED_MS = 120_000

interface StoredAttemptsOptions {
  readonly store: Pick<CallStore, 'once' | 'settle'>
  /** The values of TOKEN_SECRET: one, or two while one is replaced. */
  readonly secrets: readonly string[]
  readonly log: Log
}

/**
 * Verification attempts in the call store, so that a number has no more of them at many nodes than at one. The attempts
 * of a number are places, `failures` of them; each is a value that is written once, so that two nodes never have the same
 * one. A reserved place is `open`, a wrong answer makes it `wrong` for the rule's time, any other verdict frees it. The
 * store has neither numbers nor answers.
 *
 * While TOKEN_SECRET is replaced there is a place for each of the two secrets, so that a node that has only one of them
 * finds it.
 */
export class StoredAttempts implements SharedAttempts {
  /** Attempts and verdicts of which the store did not learn. Plain field, copied at each scrape. */
  unshared = 0
  readonly #options: StoredAttemptsOptions
  readonly #keys: readonly Buffer[]

  constructor(options: StoredAttemptsOptions) {
    this.#options = options
    this.#keys = options.secrets.map((secret) => derivedKey(secret, 'verification'))
  }

  async take(number: string, rule: LockRule): Promise<SharedAttempt | null> {
    try {
      const place = await this.#reserve(number, rule)
      return {
        left: place === null ? 0 : rule.failures - place,
        judged: (verdict) => {
          if (place !== null) this.#attempt(this.#judge(number, place, verdict, rule))
        },
      }
    } catch (thrown) {
      this.#lost(thrown)
      return null
    }
  }

  wrong(number: string, rule: LockRule): void {
    const work = async (): Promise<void> => {
      const place = await this.#reserve(number, rule)
      if (place !== null) await this.#judge(number, place, 'wrong', rule)
    }
    this.#attempt(work())
  }

  /** @returns the place; null when there is none left */
  async #reserve(number: string, { failures }: LockRule): Promise<number | null> {
    const { store } = this.#options
    for (let place = 0; place < failures; place++) {
      const names = this.#names(number, place)
      const standing = await Promise.all(names.map((name) => store.once(name, 'open', RESERVED_MS)))
      if (standing.every((value) => value === null)) return place
      // Known under one secret only: what was written under the other is not kept.
      await Promise.all(names.filter((_, i) => standing[i] === null).map((name) => store.settle(name, '', GONE_MS)))
    }
    return null
  }

  async #judge(number: string, place: number, verdict: Verdict, { failures, minutes }: LockRule): Promise<void> {
    const { store } = this.#options
    const places = verdict === 'verified' ? Array.from({ length: failures }, (_, i) => i) : [place]
    const names = places.flatMap((each) => this.#names(number, each))
    await Promise.all(
      names.map((name) =>
        verdict === 'wrong' ? store.settle(name, 'wrong', minutes * 60_000) : store.settle(name, '', GONE_MS),
      ),
    )
  }

  /** Digits only: nodes may have the number in different spellings. */
  #names(number: string, place: number): string[] {
    return this.#keys.map(
      (key) => `attempt:${createHmac('sha256', key).update(digitsOf(number)).digest('base64url')}:${place}`,
    )
  }

  #attempt(work: Promise<void>): void {
    work.catch((thrown: unknown) => this.#lost(thrown))
  }

  #lost(thrown: unknown): void {
    this.unshared++
    this.#options.log.warn(
      { reason: messageOf(thrown) },
      'a verification attempt is not known to the other nodes: the memory of this one decides',
    )
  }
}
