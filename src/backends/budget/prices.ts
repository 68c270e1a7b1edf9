import type { BackendUsage } from '../backend.js'

/** What one backend's use costs, in the currency of the list. What is not given costs nothing. */
export interface BackendPrices {
  readonly inputPerMillionTokens?: number
  readonly outputPerMillionTokens?: number
  /** For services that charge by time. */
  readonly audioInPerMinute?: number
  readonly audioOutPerMinute?: number
}

/** An installation's prices: vendors change theirs, and nobody's contract is the list. */
export interface Prices {
  /** Such as `USD`. */
  readonly currency: string
  /** By the name of the backend. */
  readonly backends: Readonly<Record<string, BackendPrices>>
}

const MILLION = 1_000_000
const MINUTE_MS = 60_000

/** An estimate: vendors count cached and spoken tokens apart. Null when something was used that has no price. */
export function costOf(prices: Prices, usage: ReadonlyMap<string, BackendUsage>): number | null {
  let sum = 0
  for (const [name, used] of usage) {
    const price = prices.backends[name]
    if (price === undefined) return null
    sum += (used.inputTokens * (price.inputPerMillionTokens ?? 0) + used.outputTokens * (price.outputPerMillionTokens ?? 0)) / MILLION
    sum += (used.audioInMs * (price.audioInPerMinute ?? 0) + used.audioOutMs * (price.audioOutPerMinute ?? 0)) / MINUTE_MS
  }
  return sum
}
