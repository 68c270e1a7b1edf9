import type { BackendUsage } from '../call/backend-events.js'
import type { CallCost, ModelCost } from '../call/documents/record.js'
import { addUsage, noUsage } from '../call/usage.js'
import type { UsageSums } from '../call/usage.js'
import { costOf } from './prices.js'
import type { PriceList } from './prices.js'

/** Usage of one model of one backend. */
export interface ModelUsage {
  readonly backend: string
  /** Name of the model; null if the backend does not name a model. */
  readonly model: string | null
  readonly usage: BackendUsage
}

interface Row extends ModelUsage {
  readonly usage: UsageSums
}

/** Maximum number of models of one call that are counted separately. */
const ROWS_MAX = 16
const OTHER = 'other'

/**
 * Counts the usage of a call by backend and model, and the cost of the usage. Tokens are counted for each model
 * separately, because models have different prices.
 */
export class CostMeter {
  readonly #prices: PriceList
  readonly #modelOf: (backend: string) => string | null
  readonly #rows = new Map<string, Row>()

  /** @param modelOf returns the configured model of a backend, for usage that does not name a model */
  constructor(prices: PriceList, modelOf: (backend: string) => string | null) {
    this.#prices = prices
    this.#modelOf = modelOf
  }

  add(backend: string, usage: BackendUsage): void {
    const row = this.#row(backend, usage.model ?? this.#modelOf(backend))
    addUsage(row.usage, usage)
  }

  /** Adds usage that another worker or node counted. */
  restore(rows: readonly ModelUsage[]): void {
    for (const { backend, model, usage } of rows) addUsage(this.#row(backend, model).usage, usage)
  }

  /** @returns copies of the rows */
  rows(): ModelUsage[] {
    return [...this.#rows.values()].map(({ backend, model, usage }) => ({ backend, model, usage: { ...usage } }))
  }

  total(): UsageSums {
    const total = noUsage()
    for (const { usage } of this.#rows.values()) addUsage(total, usage)
    return total
  }

  cost(): CallCost {
    const models = [...this.#rows.values()].map((row): ModelCost => {
      const { backend, model, usage } = row
      const price = this.#prices.priceOf(backend, model)
      const cost = price === null ? { unknown: noPrice(row) } : costOf(usage, price)
      return 'unknown' in cost
        ? { backend, model, amount: null, unknown: cost.unknown, usage: { ...usage } }
        : { backend, model, amount: cost.amount, unknown: null, usage: { ...usage } }
    })
    const unknown = models.find((model) => model.amount === null)?.unknown ?? null
    const known = models.reduce((sum, model) => sum + (model.amount ?? 0), 0)
    return { currency: this.#prices.currency, amount: unknown === null ? known : null, known, unknown, models }
  }

  #row(backend: string, model: string | null): Row {
    const key = `${backend} ${model ?? ''}`
    const full = this.#rows.size >= ROWS_MAX && !this.#rows.has(key)
    const [at, name] = full ? [OTHER, OTHER] : [key, backend]
    const row = this.#rows.get(at) ?? { backend: name, model: full ? null : model, usage: noUsage() }
    this.#rows.set(at, row)
    return row
  }
}

function noPrice({ backend, model }: ModelUsage): string {
  return model === null ? `${backend} names no model` : `no price for the model ${model}`
}
