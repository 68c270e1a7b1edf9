import type { CarrierRates, PriceFile } from '../agents/file/prices.js'
import { CARRIER_RATES, exchangeRate } from '../backends/prices.js'
import type { CallRecord, CostPart, WholeCost } from '../call/documents/record.js'
import type { CounterOf } from '../telemetry/metric-families.js'
import type { Metrics } from '../telemetry/metrics.js'
import { ownDurationMs } from '../workers/main/kept-call.js'
import type { Spending } from '../workers/main/live-call.js'

const MINUTE_S = 60
const MINOR_PER_UNIT = 100

interface CallCostsOptions {
  /** CURRENCY. */
  readonly currency: string
  /** Content of PRICES_FILE; null: none is set. */
  readonly prices: PriceFile | null
  readonly metrics: Metrics
  /** A known part of the cost of a call of one of our numbers, which is over. */
  readonly spent: (number: string, amount: number, callSid: string) => void
}

type Part = 'carrier' | 'models' | 'analysis'

/** An amount in the currency that it is charged in; null: unknown. */
interface Charge {
  readonly currency: string
  readonly amount: number | null
  /** At least this much is known. */
  readonly known: number
  readonly unknown: string | null
}

/**
 * Whole cost of a call: the carrier, the models and the analysis after it, in one currency. An unknown part makes the
 * whole unknown, and never counts as 0.
 */
export class CallCosts {
  readonly #currency: string
  readonly #prices: PriceFile | null
  readonly #rates: CarrierRates
  readonly #known: CounterOf<'agent' | 'part' | 'currency'>
  readonly #unknown: CounterOf<'agent' | 'part'>
  readonly #spent: CallCostsOptions['spent']

  constructor({ currency, prices, metrics, spent }: CallCostsOptions) {
    this.#currency = currency
    this.#spent = spent
    this.#prices = prices
    this.#rates = prices?.carrier ?? CARRIER_RATES
    this.#known = metrics.defineCounter(
      'call_cost',
      'Known whole cost of ended calls: the carrier by its rates, the models, and the analysis',
      ['agent', 'part', 'currency'],
    )
    this.#unknown = metrics.defineCounter('call_cost_unknown', 'Ended calls of which a part of the cost is unknown', [
      'agent',
      'part',
    ])
  }

  /** The record with its `wholeCost`, of what the record has now. */
  readonly withCost = (record: CallRecord): CallRecord => {
    const { by, charges } = this.#carrier(record)
    const carrier = { ...sumOf(charges.map((charge) => this.#converted(charge))), by }
    const models = this.#converted(modelsOf(record))
    const cost = record.analysis?.cost ?? null
    const analysis = cost === null ? null : this.#converted(cost)
    const parts = analysis === null ? [carrier, models] : [carrier, models, analysis]
    const wholeCost: WholeCost = { currency: this.#currency, ...sumOf(parts), carrier, models, analysis }
    return { ...record, wholeCost }
  }

  /** Counts a call that has ended. To be called once, before its analysis. */
  count(record: CallRecord): void {
    const { wholeCost, outcome } = record
    if (wholeCost === null || outcome === 'refused') return
    this.#count(record, 'carrier', wholeCost.carrier)
    this.#count(record, 'models', wholeCost.models)
  }

  /** Counts the analysis of a call. To be called once. */
  countAnalysis(record: CallRecord): void {
    if (record.wholeCost?.analysis != null) this.#count(record, 'analysis', record.wholeCost.analysis)
  }

  /** Known cost of a live call until now: no more than its cost in the end. */
  soFar({ direction, durationMs, models }: Omit<Spending, 'number'>): number {
    const { charges } = this.#carrier({ direction, durationMs, carrier: null, escalation: null, resumed: [] })
    return sumOf(
      [...charges, ...(models === null ? [] : [charge(models.currency, models.known)])].map((each) =>
        this.#converted(each),
      ),
    ).known
  }

  #count({ callSid, agent, number }: CallRecord, part: Part, { known, unknown }: CostPart): void {
    this.#known({ agent, part, currency: this.#currency }).inc(known, callSid)
    if (unknown !== null) this.#unknown({ agent, part }).inc(1, callSid)
    if (number !== undefined) this.#spent(number, known, callSid)
  }

  /** The call itself, its stream, and the people whom it was given to. */
  #carrier(record: Pick<CallRecord, 'carrier' | 'direction' | 'durationMs' | 'escalation' | 'resumed'>): {
    readonly by: 'carrier' | 'rates'
    readonly charges: readonly Charge[]
  } {
    const { currency, inboundPerMinute, outboundPerMinute, streamPerMinute, blockS } = this.#rates
    const { carrier, direction, durationMs, escalation, resumed } = record
    const minutes = (Math.ceil(ownDurationMs(durationMs, resumed) / 1000 / blockS) * blockS) / MINUTE_S
    const charges = [charge(currency, minutes * streamPerMinute)]
    const toHuman = escalation?.attempts.some(({ outcome }) => outcome === 'answered') === true
    if (toHuman) charges.push(notKnown(currency, 'how long a human spoke with the caller, and at what price'))
    if (carrier?.costMinor != null && carrier.costCurrency !== null)
      return { by: 'carrier', charges: [...charges, charge(carrier.costCurrency, carrier.costMinor / MINOR_PER_UNIT)] }
    const perMinute = direction === 'inbound' ? inboundPerMinute : outboundPerMinute
    charges.push(charge(currency, minutes * perMinute))
    return { by: 'rates', charges }
  }

  #converted({ currency, amount, known, unknown }: Charge): CostPart {
    const rate = exchangeRate(this.#prices, currency, this.#currency)
    if (rate !== null) return { amount: amount === null ? null : amount * rate, known: known * rate, unknown }
    if (known === 0) return { amount, known, unknown }
    return {
      amount: null,
      known: 0,
      unknown: `no exchange rate from ${currency} to ${this.#currency} in PRICES_FILE`,
    }
  }
}

function modelsOf({ cost, durationMs }: CallRecord): Charge {
  if (cost !== null) return cost
  return durationMs === 0 ? charge('', 0) : notKnown('', 'what the models used was lost')
}

function charge(currency: string, amount: number): Charge {
  return { currency, amount, known: amount, unknown: null }
}

function notKnown(currency: string, unknown: string): Charge {
  return { currency, amount: null, known: 0, unknown }
}

function sumOf(parts: readonly CostPart[]): CostPart {
  const known = parts.reduce((sum, part) => sum + part.known, 0)
  const unknown = parts.find((part) => part.unknown !== null)?.unknown ?? null
  return { amount: unknown === null ? known : null, known, unknown }
}
