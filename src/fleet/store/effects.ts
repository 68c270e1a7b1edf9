import { createHmac, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { ToolOutcome } from '../../agents/tools/tool.js'
import { atMost } from '../../core/at-most.js'
import type { Clock } from '../../core/clock.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { STORE_PATIENCE_MS } from '../../core/limits.js'
import type { Log } from '../../telemetry/log.js'
import type { EffectGate } from '../../workers/shared/effects.js'
import type { CallStore } from './call-store.js'
import { derivedKey, openedWith, sealedWith } from '../secrets.js'

/** Time in ms for which the store keeps the key of an effect. */
export const EFFECT_TTL_MS = 24 * 3_600_000

const INTENT = 'intent '
const INTENT_BYTES = 12
/**
 * Pause in ms before an intent is sent to the store again. If the store has not answered after STORE_PATIENCE_MS in
 * total, it counts as down.
 */
const INTENT_AGAIN_MS = 250
/**
 * Maximum number of remembered intents that the store may still accept late. If an intent is dropped, a repeated tool
 * call with its key is uncertain.
 */
const UNTAKEN_INTENTS_MAX = 10_000

interface StoredEffectsOptions {
  /**
   * The store with the longer deadline (STORE_PATIENCE_MS). The wait is acceptable, because the caller hears a filler.
   */
  readonly store: Pick<CallStore, 'once' | 'settle'>
  /** Values of TOKEN_SECRET: one, or two while the secret is being replaced. */
  readonly secrets: readonly string[]
  readonly clock: Clock
  readonly log: Log
}

/**
 * Stores intents and results of effects in the call store for EFFECT_TTL_MS: `intent <random>` before the effect, and
 * the encrypted result after it. Arguments, results and keys of effects never reach the store as plain text.
 *
 * While TOKEN_SECRET is being replaced, there is one entry for each of the two secrets, so that a node with only one
 * secret finds an entry.
 */
export class StoredEffects implements Omit<EffectGate, 'mayAct'> {
  /** Number of results that could not be stored. Their intents stay uncertain. Plain field, copied at each scrape. */
  resultsLost = 0
  readonly #options: StoredEffectsOptions
  readonly #keys: readonly Buffer[]
  /**
   * Intents that the store did not confirm, by the key of their effect. The store may accept such an intent late, and a
   * repeated call must then recognise it as its own.
   */
  readonly #untaken = new LRUCache<string, string>(atMost(UNTAKEN_INTENTS_MAX))

  constructor(options: StoredEffectsOptions) {
    this.#options = options
    this.#keys = options.secrets.map((secret) => derivedKey(secret, 'effects'))
  }

  async intend(key: string): Promise<'new' | { readonly result: ToolOutcome } | 'uncertain' | 'store-down'> {
    // The intent is random, so that a repeated request recognises its own value in the store.
    const intent = this.#untaken.get(key) ?? INTENT + randomBytes(INTENT_BYTES).toString('base64')
    this.#untaken.delete(key)
    const { log } = this.#options
    let uncertain = false
    try {
      const standing = await this.#kept(key, intent)
      for (const [i, value] of standing.entries()) {
        if (value === null || value === intent) continue
        uncertain = true
        const secret = this.#keys[i]
        if (secret === undefined || value.startsWith(INTENT)) continue
        const result = openedWith(secret, nameOf(key, secret), Buffer.from(value, 'base64'))
        if (result !== null) return { result: JSON.parse(result) as ToolOutcome } // the text was sealed by `settle`
        log.error({}, 'the stored result of an action cannot be read: the action counts as uncertain')
      }
    } catch (thrown) {
      this.#untaken.set(key, intent)
      log.warn({ reason: messageOf(thrown) }, 'the intent of an action could not be stored')
      return 'store-down'
    }
    return uncertain ? 'uncertain' : 'new'
  }

  /**
   * Stores the intent under each name of a key. The result has the earlier values; null for a name without a value.
   * @throws errors of the store
   */
  async #kept(key: string, intent: string): Promise<readonly (string | null)[]> {
    const { store, clock } = this.#options
    for (const untilMs = clock() + STORE_PATIENCE_MS; ;) {
      const taking = Promise.all(this.#keys.map((secret) => store.once(nameOf(key, secret), intent, EFFECT_TTL_MS)))
      const settled = new AbortController()
      const late = sleep(untilMs - clock(), null, { signal: settled.signal })
      try {
        const standing = await Promise.race([taking, late])
        if (standing !== null) return standing
      } catch (thrown) {
        if (clock() + INTENT_AGAIN_MS >= untilMs) throw thrown
        await sleep(INTENT_AGAIN_MS)
        continue
      } finally {
        settled.abort()
      }
      throw new GatewayError('STORE_DOWN', `no answer within ${STORE_PATIENCE_MS} ms`, { retryable: true })
    }
  }

  settle(key: string, result: ToolOutcome): void {
    const { store, log } = this.#options
    const settling = this.#keys.map((secret) => {
      const name = nameOf(key, secret)
      const sealed = sealedWith(secret, name, JSON.stringify(result)).toString('base64')
      return store.settle(name, sealed, EFFECT_TTL_MS)
    })
    Promise.all(settling).catch((thrown: unknown) => {
      this.resultsLost++
      log.warn({ reason: messageOf(thrown) }, 'the result of an action could not be stored')
    })
  }
}

/**
 * Name of an effect's key in the store. The hash has a secret key, because anyone could try all likely arguments on a
 * plain hash.
 */
function nameOf(key: string, secret: Buffer): string {
  return `effect:${createHmac('sha256', secret).update(key).digest('base64url')}`
}
