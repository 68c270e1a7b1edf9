import { createHmac } from 'node:crypto'
import type { LockRule, SharedAttempt, SharedAttempts, Verdict } from '../../agents/identity/verification-lock.js'
import { messageOf } from '../../core/errors.js'
import { digitsOf } from '../../sautikit/phone.js'
import type { Log } from '../../telemetry/log.js'
import { GONE_MS } from './call-store.js'
import type { CallStore } from './call-store.js'
import { derivedKey } from '../secrets.js'

/**
 * Time in ms for which an attempt without a verdict stays reserved. It is longer than the look-up of an account. It is
 * not much longer, because a slow store may leave an unused attempt reserved.
 */
const RESERVED_MS = 120_000

interface StoredAttemptsOptions {
  readonly store: Pick<CallStore, 'once' | 'settle'>
  /** Values of TOKEN_SECRET: one, or two while the secret is being replaced. */
  readonly secrets: readonly string[]
  readonly log: Log
}

/**
 * Verification attempts in the call store, so that a number cannot get more attempts by calling several nodes. A number
 * has `failures` slots. Each slot is a value that is written once, so two nodes can never reserve the same slot. A
 * reserved slot is `open`. A wrong answer changes it to `wrong` for the time in the rule; any other verdict frees it.
 * The store contains neither numbers nor answers in plain text.
 *
 * While TOKEN_SECRET is being replaced, there are slots for each of the two secrets, so that a node that has only one
 * secret finds them.
 */
export class StoredAttempts implements SharedAttempts {
  /** Number of attempts and verdicts that could not be stored. Plain field, copied at each scrape. */
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

  /** @returns the reserved slot; null if all slots are in use */
  async #reserve(number: string, { failures }: LockRule): Promise<number | null> {
    const { store } = this.#options
    for (let place = 0; place < failures; place++) {
      const names = this.#names(number, place)
      const standing = await Promise.all(names.map((name) => store.once(name, 'open', RESERVED_MS)))
      if (standing.every((value) => value === null)) return place
      // If the slot is in use under one secret, the value that was just written under the other secret is removed.
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

  /**
   * Names of a slot, one for each secret. Only the number's digits are hashed, because nodes may spell the number
   * differently.
   */
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
      'a verification attempt is not known to the other nodes: this node decides from its own memory',
    )
  }
}
