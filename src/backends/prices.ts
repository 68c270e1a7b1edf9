import { VENDOR_URLS } from './vendor-urls.js'
import type { CarrierRates, ModelPrice, PriceFile, Prices } from '../agents/file/prices.js'
import type { BackendUsage } from '../call/backend-events.js'

interface ListedPrice extends ModelPrice {
  /** The page of the vendor that says so. */
  readonly source: string
  /** The day on which it was read. */
  readonly readOn: string
}

/** The currency of `LIST_PRICES`. */
const LIST_CURRENCY = 'USD'

const openAi = (model: string): Pick<ListedPrice, 'source' | 'readOn'> => ({
  source: `https://developers.openai.com/api/docs/models/${model}`,
  readOn: '2026-11-21',
})
/** Prices of Google's paid tier, as several public projects read them there on the day given. */
const GEMINI = { source: 'https://ai.google.dev/gemini-api/docs/pricing', readOn: '2026-09-28' }

/** Pay-as-you-go prices, second-hand for Nova and the multilingual Flux: public pages quote them from Deepgram's. */
const DEEPGRAM = { source: 'https://deepgram.com/pricing', readOn: '2026-11-25' }

/** Second-hand as well. */
const ELEVENLABS = { source: 'https://elevenlabs.io/pricing/api', readOn: '2026-11-25' }

/** Second-hand: several public projects quote them from Azure's page; some say 16 for the voice. Regions may differ. */
const AZURE = {
  source: 'https://azure.microsoft.com/pricing/details/cognitive-services/speech-services/',
  readOn: '2026-11-27',
}

/** Second-hand: several public projects quote them from Google's pages; the recogniser's is that without data logging. */
const GOOGLE_SPEECH = { source: 'https://cloud.google.com/text-to-speech/pricing', readOn: '2026-11-27' }
const GOOGLE_RECOGNISER = {
  perMinute: 0.024,
  source: 'https://cloud.google.com/speech-to-text/pricing',
  readOn: '2026-11-28',
}

/** Prices of prompts up to 100,000 tokens, as several public projects read them on Anthropic's page. */
const anthropic = (input: number, cached: number, output: number): ListedPrice => ({
  inputPerMillionTokens: input,
  cachedPerMillionTokens: cached,
  // Price of the five-minute cache, which requests ask for.
  cacheWritePerMillionTokens: input * 1.25,
  outputPerMillionTokens: output,
  source: 'https://platform.claude.com/docs/en/about-claude/pricing',
  readOn: '2026-10-24',
})

/** The large realtime models of OpenAI. */
const REALTIME = {
  inputPerMillionTokens: 4,
  cachedPerMillionTokens: 0.4,
  outputPerMillionTokens: 24,
  inputAudioPerMillionTokens: 32,
  cachedAudioPerMillionTokens: 0.4,
  outputAudioPerMillionTokens: 64,
}
const REALTIME_MINI = {
  inputPerMillionTokens: 0.6,
  cachedPerMillionTokens: 0.06,
  outputPerMillionTokens: 2.4,
  inputAudioPerMillionTokens: 10,
  cachedAudioPerMillionTokens: 0.3,
  outputAudioPerMillionTokens: 20,
}
const GEMINI_LIVE = {
  inputPerMillionTokens: 0.75,
  outputPerMillionTokens: 4.5,
  inputAudioPerMillionTokens: 3,
  outputAudioPerMillionTokens: 12,
}

/**
 * The vendors' public prices by model, in US dollars. A model that is not here, and a unit that a model does not have
 * here, costs an unknown amount.
 */
export const LIST_PRICES: Readonly<Record<string, ListedPrice>> = {
  'gpt-realtime-2.1': { ...REALTIME, ...openAi('gpt-realtime-2.1') },
  'gpt-realtime-2': { ...REALTIME, ...openAi('gpt-realtime-2') },
  'gpt-realtime-1.5': { ...REALTIME, outputPerMillionTokens: 16, ...openAi('gpt-realtime-1.5') },
  'gpt-realtime-2.1-mini': { ...REALTIME_MINI, ...openAi('gpt-realtime-2.1-mini') },
  'gpt-live-1': { perMinute: 0.05, ...openAi('gpt-live-1') },
  'gpt-live-1.1': { perMinute: 0.05, ...openAi('gpt-live-1.1') },
  // The delegate of GPT-Live unless another is set. Second-hand: public projects quote it, as of June 2026, from OpenAI's
  // page, which was not read for this table; PRICES_FILE overrides it.
  'gpt-5.4-mini': {
    inputPerMillionTokens: 0.75,
    cachedPerMillionTokens: 0.075,
    outputPerMillionTokens: 4.5,
    source: 'https://developers.openai.com/api/docs/pricing',
    readOn: '2026-06-30',
  },
  'claude-haiku-5-5': anthropic(0.1, 0.01, 0.5),
  'claude-haiku-4-5': anthropic(1, 0.1, 5),
  'claude-sonnet-5-5': anthropic(2, 0.1, 10),
  'claude-sonnet-5': anthropic(2, 0.2, 10),
  'claude-sonnet-4-6': anthropic(3, 0.3, 15),
  'claude-opus-5-5': anthropic(4, 0.2, 20),
  'claude-opus-5': anthropic(5, 0.5, 25),
  // Until the end of 2026; what comes from its cache has no price here, and so costs the whole one.
  'gemini-3.8-flash': {
    inputPerMillionTokens: 0.75,
    outputPerMillionTokens: 3.75,
    ...GEMINI,
    readOn: '2026-09-03',
  },
  'gpt-transcribe': { perMinute: 0.0045, ...openAi('gpt-transcribe') },
  'whisper-1': { perMinute: 0.006, ...openAi('whisper-1') },
  'gpt-live-transcribe': { perMinute: 0.017, ...openAi('gpt-live-transcribe') },
  'nova-3': { perMinute: 0.0077, ...DEEPGRAM },
  'flux-general-en': { perMinute: 0.0065, ...DEEPGRAM },
  'flux-general-multi': { perMinute: 0.0078, ...DEEPGRAM },
  'azure-speech-to-text': { perMinute: 1 / 60, ...AZURE },
  'azure-neural-voice': { perMillionCharacters: 15, ...AZURE },
  'google-speech-to-text': GOOGLE_RECOGNISER,
  command_and_search: GOOGLE_RECOGNISER,
  latest_long: GOOGLE_RECOGNISER,
  latest_short: GOOGLE_RECOGNISER,
  telephony: GOOGLE_RECOGNISER,
  'chirp3-hd': { perMillionCharacters: 30, ...GOOGLE_SPEECH },
  eleven_v3_conversational: { perMillionCharacters: 20, ...ELEVENLABS },
  eleven_flash_v2_5: { perMillionCharacters: 20, ...ELEVENLABS },
  eleven_flash_v2: { perMillionCharacters: 20, ...ELEVENLABS },
  'tts-1': { perMillionCharacters: 15, ...openAi('tts-1') },
  'tts-1-hd': { perMillionCharacters: 30, ...openAi('tts-1') },
  'gemini-3.8-live': { ...GEMINI_LIVE, ...GEMINI },
  'gemini-3.1-flash-live-preview': { ...GEMINI_LIVE, ...GEMINI },
  'gemini-2.5-flash-native-audio-preview-12-2025': {
    inputPerMillionTokens: 0.5,
    outputPerMillionTokens: 2,
    inputAudioPerMillionTokens: 3,
    outputAudioPerMillionTokens: 12,
    ...GEMINI,
    readOn: '2026-07-04',
  },
}

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

/** Hosts of vendors whose models are in `LIST_PRICES`. */
const LISTED_HOSTS: readonly string[] = (['openai', 'deepgram', 'anthropic', 'gemini', 'elevenlabs'] as const).map(
  (vendor) => new URL(VENDOR_URLS[vendor]).host,
)

/** Azure's are those of its regions, Google's of the world or of a region. */
const REGIONAL_HOSTS =
  /^(?:[a-z0-9]+\.(?:stt|tts)\.speech\.microsoft\.com|(?:[a-z0-9-]+-)?(?:texttospeech|speech)\.googleapis\.com)$/

/**
 * The name under which a service's model is priced: the vendor's list does not hold for a server that only has the
 * vendor's shape, so the model of any other server has its host after it, such as `tts-1@localhost:8000`.
 */
export function pricedModel(model: string, baseUrl: string): string {
  const { host } = new URL(baseUrl)
  return LISTED_HOSTS.includes(host) || REGIONAL_HOSTS.test(host) ? model : `${model}@${host}`
}
