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
  /** Value of CURRENCY. */
  readonly currency: string
  /** Content of PRICES_FILE; null if PRICES_FILE is not set. */
  readonly prices: PriceFile | null
  readonly metrics: Metrics
  /** Reports a known part of the cost of an ended call. `number` is our number. */
  readonly spent: (number: string, amount: number, callSid: string) => void
}

type Part = 'carrier' | 'models' | 'analysis'

/** Amount in the currency of the charge; null if unknown. */
interface Charge {
  readonly currency: string
  readonly amount: number | null
  /** Known part of the amount. The charge is at least this amount. */
  readonly known: number
  readonly unknown: string | null
}

/**
 * Total cost of a call in one currency: carrier, models, and analysis. If a part is unknown, the total is unknown. An
 * unknown part never counts as 0.
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
      'Known cost of ended calls: the carrier (by its rates), the models and the analysis',
      ['agent', 'part', 'currency'],
    )
    this.#unknown = metrics.defineCounter('call_cost_unknown', 'Ended calls with a part of unknown cost', [
      'agent',
      'part',
    ])
  }

  /** Record with its `wholeCost`, from the parts that the record contains now. */
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

  /** Counts the cost of a call that has ended. Call it once, before the call's analysis. */
  count(record: CallRecord): void {
    const { wholeCost, outcome } = record
    if (wholeCost === null || outcome === 'refused') return
    this.#count(record, 'carrier', wholeCost.carrier)
    this.#count(record, 'models', wholeCost.models)
  }

  /** Counts the cost of a call's analysis. Call it once. */
  countAnalysis(record: CallRecord): void {
    if (record.wholeCost?.analysis != null) this.#count(record, 'analysis', record.wholeCost.analysis)
  }

  /** Known cost of a live call so far. It is never higher than the call's final cost. */
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

  /** The carrier's cost of the call, its stream, and the call legs to people to whom the call was transferred. */
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
  return durationMs === 0 ? charge('', 0) : notKnown('', 'the usage of the models was lost')
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
