import type { CarrierRates, PriceFile, Prices } from '../agents/file/prices.js'
import type { BackendUsage } from '../call/backend-events.js'
import { VENDORS } from '../vendors/list.js'
import type { ModelPrice } from '../vendors/model-price.js'
import type { ListedPrice } from '../vendors/vendor.js'

/** The currency of `LIST_PRICES`. */
const LIST_CURRENCY = 'USD'

/**
 * The vendors' public prices by model, in US dollars. The cost is unknown for a model or a unit that is not listed here.
 */
export const LIST_PRICES: Readonly<Record<string, ListedPrice>> = Object.fromEntries(
  VENDORS.flatMap(({ prices = {} }) => Object.entries(prices)),
)

/**
 * Published charges of the carrier. The price of the stream is taken from a text that quotes the carrier's price page.
 */
export const CARRIER_RATES: CarrierRates & Pick<ListedPrice, 'source'> = {
  currency: 'KES',
  inboundPerMinute: 0,
  outboundPerMinute: 3,
  streamPerMinute: 0.5,
  // The carrier's pages contradict each other: one gives a price per second, another a price per begun minute. 60 s is
  // the higher estimate.
  blockS: 60,
  source: 'https://sautikit.com/pricing',
  readOn: '2026-10-09',
}

/** A cost, or the reason why it is not known. */
type Cost = { readonly amount: number } | { readonly unknown: string }

const MILLION = 1_000_000
const MINUTE_MS = 60_000
const MINUTE_S = 60

const TOKEN_PRICES = [
  'inputPerMillionTokens',
  'inputAudioPerMillionTokens',
  'cachedPerMillionTokens',
  'cachedAudioPerMillionTokens',
  'cacheWritePerMillionTokens',
  'outputPerMillionTokens',
  'outputAudioPerMillionTokens',
] as const

/**
 * @returns the cost of `usage` at `price`. If a used unit is charged but has no price, the cost is unknown, not 0. All
 * tokens except audio are charged as text.
 */
export function costOf(usage: BackendUsage, price: ModelPrice): Cost {
  const byTokens = TOKEN_PRICES.some((name) => price[name] !== undefined)
  const tokens = byTokens ? tokenCost(usage, price) : { amount: 0 }
  if ('unknown' in tokens) return tokens
  let charged = byTokens && usage.inputTokens + usage.outputTokens > 0
  let amount = tokens.amount
  const add = (units: number, perUnit: number | undefined): void => {
    if (perUnit === undefined || units === 0) return
    charged = true
    amount += units * perUnit
  }
  add((usage.sessionSeconds ?? 0) / MINUTE_S, price.perMinute)
  add(usage.audioInMs / MINUTE_MS, price.audioInPerMinute)
  add(usage.audioOutMs / MINUTE_MS, price.audioOutPerMinute)
  add((usage.speechCharacters ?? 0) / MILLION, price.perMillionCharacters)
  if (charged || free(price) || !used(usage)) return { amount }
  return { unknown: 'what was used has no price' }
}

/** True if every part of the price is 0. */
function free(price: ModelPrice): boolean {
  const named = Object.values(price).filter((value) => typeof value === 'number')
  return named.length > 0 && named.every((value) => value === 0)
}

function used({
  inputTokens,
  outputTokens,
  sessionSeconds = 0,
  speechCharacters = 0,
  ...audio
}: BackendUsage): boolean {
  return inputTokens + outputTokens + sessionSeconds + speechCharacters + audio.audioInMs + audio.audioOutMs > 0
}

function tokenCost(usage: BackendUsage, price: ModelPrice): Cost {
  const { inputTokens, inputAudioTokens, inputTextTokens, inputCachedTokens = 0, outputTokens } = usage
  const audioIn = price.inputAudioPerMillionTokens ?? price.inputPerMillionTokens
  const cachedText = price.cachedPerMillionTokens ?? price.inputPerMillionTokens
  const cachedAudio = price.cachedAudioPerMillionTokens ?? price.cachedPerMillionTokens ?? audioIn
  // Some services, such as language models, do not report text and audio tokens separately. If text and audio have one
  // price, all tokens then count as text.
  const splitIn = inputAudioTokens !== undefined || inputTextTokens !== undefined
  if (inputTokens > 0 && !splitIn && audioIn !== price.inputPerMillionTokens)
    return { unknown: 'the service does not say how many input tokens are audio' }
  const splitOut = usage.outputAudioTokens !== undefined || usage.outputTextTokens !== undefined
  const audioOut = price.outputAudioPerMillionTokens ?? price.outputPerMillionTokens
  if (outputTokens > 0 && !splitOut && audioOut !== price.outputPerMillionTokens)
    return { unknown: 'the service does not say how many output tokens are audio' }
  const audio = inputAudioTokens ?? (inputTextTokens === undefined ? 0 : Math.max(0, inputTokens - inputTextTokens))
  let cachedAudioTokens = usage.inputCachedAudioTokens
  if (cachedAudioTokens === undefined && inputCachedTokens > 0 && audio > 0)
    return { unknown: 'the service does not say how many cached tokens are audio' }
  cachedAudioTokens = Math.min(cachedAudioTokens ?? 0, audio, inputCachedTokens)
  const cachedTextTokens = Math.min(inputCachedTokens - cachedAudioTokens, inputTokens - audio)
  const spoken =
    usage.outputAudioTokens ??
    (usage.outputTextTokens === undefined ? 0 : Math.max(0, outputTokens - usage.outputTextTokens))
  const fresh = Math.max(0, inputTokens - audio - cachedTextTokens)
  const written = Math.min(usage.inputCacheWriteTokens ?? 0, fresh)
  const parts: readonly (readonly [count: number, perMillion: number | undefined, what: string])[] = [
    [fresh - written, price.inputPerMillionTokens, 'text tokens'],
    [written, price.cacheWritePerMillionTokens ?? price.inputPerMillionTokens, 'text tokens written to the cache'],
    [audio - cachedAudioTokens, audioIn, 'input audio tokens'],
    [cachedTextTokens, cachedText, 'cached text tokens'],
    [cachedAudioTokens, cachedAudio, 'cached audio tokens'],
    [Math.max(0, outputTokens - spoken), price.outputPerMillionTokens, 'output text tokens'],
    [spoken, audioOut, 'output audio tokens'],
  ]
  let sum = 0
  for (const [count, perMillion, what] of parts) {
    if (count === 0) continue
    if (perMillion === undefined) return { unknown: `no price for ${what}` }
    sum += count * perMillion
  }
  return { amount: sum / MILLION }
}

/** The price list of one call. */
export interface PriceList {
  readonly currency: string
  /** @returns the price; null if this model of this backend has no price */
  readonly priceOf: (backend: string, model: string | null) => ModelPrice | null
}

/**
 * Merges the price lists. The agent's own prices are used first, then the operator's prices, then the vendors' prices.
 * If a list's currency differs from the first list's currency, the list is ignored, because this code does not convert
 * money.
 * @param own the agent's prices, then the operator's prices
 */
export function priceList(own: readonly (Prices | null)[]): PriceList {
  const set = own.filter((prices) => prices !== null)
  const currency = set[0]?.currency ?? LIST_CURRENCY
  const lists = set.filter((prices) => prices.currency === currency)
  const listed = currency === LIST_CURRENCY ? LIST_PRICES : {}
  return {
    currency,
    priceOf: (backend, model) => {
      if (backend === EMBEDDED) return FREE
      for (const { models, backends } of lists) {
        const price = (model === null ? undefined : ofModel(models, model)) ?? backends[backend]
        if (price !== undefined) return price
      }
      return (model === null ? undefined : ofModel(listed, model)) ?? null
    },
  }
}

/**
 * @returns the value of one unit of currency `from` in currency `to`, by the rates of PRICES_FILE; null if the file has
 * no rate
 */
export function exchangeRate(prices: PriceFile | null, from: string, to: string): number | null {
  if (from === to) return 1
  if (prices?.exchange === undefined) return null
  const { currency: base, exchange } = prices
  const perBase = (currency: string) => (currency === base ? 1 : exchange.rates[currency])
  const [target, source] = [perBase(to), perBase(from)]
  return target === undefined || source === undefined ? null : target / source
}

/** Name of the backend that runs on this machine and sends no data to other machines. */
const EMBEDDED = 'embedded'
const FREE: ModelPrice = { perMinute: 0 }

/**
 * Finds the row of a model in a list by model names. For a dated snapshot of a model, the model's row is used, unless
 * the list has a row for the snapshot.
 */
export function ofModel<Row>(rows: Readonly<Record<string, Row>>, model: string): Row | undefined {
  const name = model.replace(/^models\//, '')
  const family = name.replace(/-\d{4}-?\d{2}-?\d{2}$/, '')
  return Object.hasOwn(rows, name) ? rows[name] : Object.hasOwn(rows, family) ? rows[family] : undefined
}

/**
 * @returns the name of a service's model in the price list. Hosts have different prices, so models on other hosts have
 * the host after the name: `tts-1@localhost:8000`.
 */
export function pricedModel(model: string, baseUrl: string): string {
  const { host } = new URL(baseUrl)
  return VENDORS.some(({ hosts }) => hosts?.test(host) === true) ? model : `${model}@${host}`
}
