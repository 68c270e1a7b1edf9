import type { CarrierRates, ModelPrice, PriceFile, Prices } from '../agents/file/prices.js'
import type { BackendUsage } from '../call/backend-events.js'
import { VENDORS } from '../vendors/list.js'
import type { ListedPrice } from '../vendors/vendor.js'

/** The currency of `LIST_PRICES`. */
const LIST_CURRENCY = 'USD'

/**
 * The vendors' public prices by model, in US dollars. A model that is not here, and a unit that a model does not have
 * here, costs an unknown amount.
 */
export const LIST_PRICES: Readonly<Record<string, ListedPrice>> = Object.fromEntries(
  VENDORS.flatMap(({ prices = {} }) => Object.entries(prices)),
)

/** The carrier's published charges: the price of the stream is quoted second-hand from its page of prices. */
export const CARRIER_RATES: CarrierRates & Pick<ListedPrice, 'source'> = {
  currency: 'KES',
  inboundPerMinute: 0,
  outboundPerMinute: 3,
  streamPerMinute: 0.5,
  // Its pages say both by the second and by the begun minute.
  blockS: 60,
  source: 'https://sautikit.com/pricing',
  readOn: '2026-10-09',
}

/** A cost, or why it is not known. */
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
 * Cost of `usage` at `price`. A unit that was used, is charged for and has no price makes the cost unknown, never 0.
 * Tokens that the service counts but reports as neither text nor audio are charged as text.
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

/** Every price that is named is 0. */
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
  // Without a split all tokens are text, as of a language model, where the price knows no other kind.
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
  /** Null: this model of this backend has no price. */
  readonly priceOf: (backend: string, model: string | null) => ModelPrice | null
}

/**
 * The agent's own prices before the operator's, and these before the vendors'. Prices in another currency than the
 * first list that is set do not count, because nothing here converts money.
 * @param own  the agent's, then the operator's
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

/** Value of one unit of `from` in `to`, by the rates of PRICES_FILE; null: there is no rate. */
export function exchangeRate(prices: PriceFile | null, from: string, to: string): number | null {
  if (from === to) return 1
  if (prices?.exchange === undefined) return null
  const { currency: base, exchange } = prices
  const perBase = (currency: string) => (currency === base ? 1 : exchange.rates[currency])
  const [target, source] = [perBase(to), perBase(from)]
  return target === undefined || source === undefined ? null : target / source
}

/** Runs on this machine and sends nothing anywhere. */
const EMBEDDED = 'embedded'
const FREE: ModelPrice = { perMinute: 0 }

/** The row of a model in a list by models. A dated snapshot has the row of its model, unless it has one of its own. */
export function ofModel<Row>(rows: Readonly<Record<string, Row>>, model: string): Row | undefined {
  const name = model.replace(/^models\//, '')
  const family = name.replace(/-\d{4}-?\d{2}-?\d{2}$/, '')
  return Object.hasOwn(rows, name) ? rows[name] : Object.hasOwn(rows, family) ? rows[family] : undefined
}

/**
 * The name under which a service's model is priced: the vendor's list does not hold for a server that only has the
 * vendor's shape, so the model of any other server has its host after it, such as `tts-1@localhost:8000`.
 */
export function pricedModel(model: string, baseUrl: string): string {
  const { host } = new URL(baseUrl)
  return VENDORS.some(({ hosts }) => hosts?.test(host) === true) ? model : `${model}@${host}`
}
