import { z } from 'zod'

const amount = z.number().min(0).max(1_000_000).exactOptional()

/**
 * Prices of a model. It charges for the units that are named here: a model by tokens needs no price for minutes. Prices
 * are for a million tokens or characters, or for a minute, in the currency of the list.
 */
const modelPrice = z.strictObject({
  inputPerMillionTokens: amount.describe('Price of text, and of each kind of token without a price of its own.'),
  inputAudioPerMillionTokens: amount.describe('Price of audio.'),
  cachedPerMillionTokens: amount.describe('Price of text from the cache.'),
  cachedAudioPerMillionTokens: amount.describe('Price of audio from the cache.'),
  cacheWritePerMillionTokens: amount.describe('Price of text that is written to the cache, where that costs more.'),
  outputPerMillionTokens: amount.describe('Price of text, and of audio without a price of its own.'),
  outputAudioPerMillionTokens: amount.describe('Price of audio.'),
  perMinute: amount.describe('Price of a connected session, or of audio transcribed.'),
  audioInPerMinute: amount.describe('Price of caller audio sent.'),
  audioOutPerMinute: amount.describe('Price of agent audio received.'),
  perMillionCharacters: amount.describe('Price of text that is synthesised.'),
})

export type ModelPrice = Readonly<z.infer<typeof modelPrice>>

const currency = z.string().regex(/^[A-Z]{3}$/, { error: 'must be three letters, such as USD' })

/** Prices of one's own: an agent's `budget.prices`, and the file of PRICES_FILE. */
export const pricesSchema = z.strictObject({
  currency: currency.describe('Currency of all these prices, such as USD.'),
  backends: z.record(z.string(), modelPrice).default({}).describe('By backend: for all that it uses.'),
  models: z.record(z.string(), modelPrice).default({}).describe('By model; before the price of its backend.'),
})

export type Prices = z.infer<typeof pricesSchema>

/** Prices of the carrier, and their currency. */
const carrierRates = z.strictObject({
  currency,
  inboundPerMinute: z.number().min(0).max(1_000_000).describe('Price of a call that came in.'),
  outboundPerMinute: z.number().min(0).max(1_000_000).describe('Price of an answered call that the gateway placed.'),
  streamPerMinute: z.number().min(0).max(1_000_000).describe('Price of an open stream, besides its call.'),
  blockS: z.int().min(1).max(3600).describe('Each begun block of this many seconds is charged whole.'),
  readOn: z.iso.date().describe('The day on which these rates were read.'),
})

export type CarrierRates = Readonly<z.infer<typeof carrierRates>>

/** The file of PRICES_FILE: prices of models, what the carrier charges, and exchange rates. Nothing of it is fetched. */
export const priceFileSchema = pricesSchema.extend({
  carrier: carrierRates.exactOptional(),
  exchange: z
    .strictObject({
      readOn: z.iso.date().describe('The day on which the rates were read.'),
      rates: z.record(currency, z.number().positive()).describe('How much of each currency one unit of `currency` is.'),
    })
    .exactOptional(),
})

export type PriceFile = z.infer<typeof priceFileSchema>
