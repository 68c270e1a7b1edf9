import { createHmac, randomBytes } from 'node:crypto'
import type { ToolOutcome } from '../../agents/tools/tool.js'
import { messageOf } from '../../core/errors.js'
import type { Log } from '../../telemetry/log.js'
import type { EffectGate } from '../../workers/shared/effects.js'
import type { CallStore } from './call-store.js'
import { derivedKey, openedWith, sealedWith } from '../secrets.js'

/** How long the store keeps the key of an effect. */
export const EFFECT_TTL_MS = 24 * 3_600_000

const INTENT = 'intent '
const INTENT_BYTES = 12

interface StoredEffectsOptions {
  readonly store: Pick<CallStore, 'once' | 'settle'>
  /** The values of TOKEN_SECRET: one, or two while one is replaced. */
  readonly secrets: readonly string[]
  readonly log: Log
}

/**
 * The intents and results of effects in the call store, for EFFECT_TTL_MS: `intent <random>` before the effect, its
 * encrypted result after it. The store has neither arguments nor results in clear, and no key of an effect.
 *
 * While TOKEN_SECRET is replaced there is an entry for each of the two secrets, so that a node that has only one of them
 * finds it.
 */
export class StoredEffects implements Omit<EffectGate, 'mayAct'> {
  /** Results that could not be stored: their intents stay uncertain. Plain field, copied at each scrape. */
  resultsLost = 0
  readonly #options: StoredEffectsOptions
  readonly #keys: readonly Buffer[]

  constructor(options: StoredEffectsOptions) {
    this.#options = options
    this.#keys = options.secrets.map((secret) => derivedKey(secret, 'effects'))
  }

  async intend(key: string): Promise<'new' | { readonly result: ToolOutcome } | 'uncertain' | 'store-down'> {
    // Random, so that a request that reached the store twice recognises its own value.
    const intent = INTENT + randomBytes(INTENT_BYTES).toString('base64')
    const { store, log } = this.#options
    let uncertain = false
    try {
      const standing = await Promise.all(
        this.#keys.map((secret) => store.once(nameOf(key, secret), intent, EFFECT_TTL_MS)),
      )
      for (const [i, value] of standing.entries()) {
        if (value === null || value === intent) continue
        uncertain = true
        const secret = this.#keys[i]
        if (secret === undefined || value.startsWith(INTENT)) continue
        const result = openedWith(secret, nameOf(key, secret), Buffer.from(value, 'base64'))
        if (result !== null) return { result: JSON.parse(result) as ToolOutcome } // it was sealed by `settle`
        log.error({}, 'the stored result of an action cannot be read: the action counts as uncertain')
      }
    } catch (thrown) {
      log.warn({ reason: messageOf(thrown) }, 'the intent of an action could not be stored')
      return 'store-down'
    }
    return uncertain ? 'uncertain' : 'new'
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

/** The store's key: arguments have so few values that a plain hash could be guessed. */
function nameOf(key: string, secret: Buffer): string {
  return `effect:${createHmac('sha256', secret).update(key).digest('base64url')}`
}
