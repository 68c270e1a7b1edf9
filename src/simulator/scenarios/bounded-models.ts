import type { BackendOptions } from '../../agents/file/backend-options.js'
import { textModelName } from '../../backends/cascade/service-facts.js'
import { textModelOf } from '../../backends/cascade/services.js'
import { serviceContext } from '../../backends/cascade/service-context.js'
import type { ModelRequest } from '../../backends/cascade/service.js'
import { wholeAnswer } from '../../backends/cascade/transcript-form.js'
import { CostMeter } from '../../backends/cost-meter.js'
import { priceList, type PriceList } from '../../backends/prices.js'
import type { BackendSettings } from '../../backends/registry.js'

const ASK_TIMEOUT_MS = 60_000
/** The backend whose text models and prices are used. */
const CASCADE = 'cascade'

type Llm = NonNullable<BackendOptions['cascade']>['llm']

/** The cost of the models of one run. */
export interface ModelsUsed {
  readonly requests: number
  readonly currency: string
  /** Cost of the models; null if unknown. */
  readonly cost: number | null
  readonly unknown: string | null
}

interface BoundedModelsOptions {
  readonly settings: Pick<BackendSettings, 'cascade' | 'prices'>
  /** Maximum cost in the currency of the prices. 0: only models whose price is 0. */
  readonly costMax: number
  readonly requestsMax: number
  readonly signal: AbortSignal
}

/**
 * The text models of one run, within its bounds. A bound is checked before each request. So requests in progress still
 * cost money after a bound is reached. Once a bound is reached, no more requests start and `stopped` is aborted.
 */
export class BoundedModels {
  readonly #options: BoundedModelsOptions
  readonly #prices: PriceList
  readonly #meter: CostMeter
  readonly #stopped = new AbortController()
  #requests = 0
  /** The limit that was reached; null if no limit was reached. */
  #reached: string | null = null

  constructor(options: BoundedModelsOptions) {
    this.#options = options
    this.#prices = priceList([options.settings.prices])
    this.#meter = new CostMeter(this.#prices, () => null)
  }

  /** Aborted once a bound is reached. */
  get stopped(): AbortSignal {
    return this.#stopped.signal
  }

  get reached(): string | null {
    return this.#reached
  }

  get used(): ModelsUsed {
    const { currency, amount, unknown } = this.#meter.cost()
    return { requests: this.#requests, currency, cost: amount, unknown }
  }

  /** @returns the reason why this model cannot be used within the limits; null if it can be used */
  missing(llm: Llm): { readonly setting: true } | { readonly bound: string } | null {
    const model = this.nameOf(llm)
    if (model === null) return { setting: true }
    const price = this.#prices.priceOf(CASCADE, model)
    if (price === null) return { bound: `the model ${model} has no price, so that --model-cost cannot hold` }
    return this.#options.costMax === 0 &&
      Object.values(price).some((amount) => typeof amount === 'number' && amount > 0)
      ? { bound: `the model ${model} costs money, and --model-cost is 0` }
      : null
  }

  /** The model's name in the price list; null if no model is set. */
  nameOf(llm: Llm): string | null {
    return textModelName(this.#options.settings.cascade, ownModel(llm))
  }

  /** @throws Error; its message does not quote the conversation */
  async ask(llm: Llm, request: ModelRequest): ReturnType<typeof wholeAnswer> {
    const factory = await textModelOf(this.#options.settings.cascade, ownModel(llm))
    if (factory === null) throw new Error('no text model is set')
    this.#keepBounds()
    this.#requests++
    let charged = false
    const signal = AbortSignal.any([this.#options.signal, AbortSignal.timeout(ASK_TIMEOUT_MS)])
    const context = serviceContext('simulate', () => performance.now(), signal, {
      used: (usage) => {
        charged = usage.inputTokens + usage.outputTokens > 0
        this.#meter.add(CASCADE, usage)
      },
    })
    const answer = await wholeAnswer(factory, context, request, signal)
    if (!charged && this.#options.costMax > 0) {
      this.#stop(`${factory.model} did not report what it charges, so that --model-cost cannot hold`)
      throw new Error(this.#reached ?? '')
    }
    return answer
  }

  #keepBounds(): void {
    const { costMax, requestsMax } = this.#options
    const { currency, known, unknown } = this.#meter.cost()
    if (this.#requests >= requestsMax) this.#stop(`--model-requests ${requestsMax} is reached`)
    else if (unknown !== null) this.#stop(`the cost of the models is unknown: ${unknown}`)
    else if (known > costMax || (known === costMax && known > 0))
      this.#stop(`--model-cost ${costMax} ${currency} is reached`)
    if (this.#reached !== null) throw new Error(this.#reached)
  }

  #stop(why: string): void {
    this.#reached ??= why
    this.#stopped.abort()
  }
}

function ownModel(llm: Llm): { readonly llm?: NonNullable<Llm> } {
  return llm === undefined ? {} : { llm }
}
