import { z } from 'zod'

const amount = z.number().min(0).max(1_000_000).exactOptional()

/**
 * What a model charges. It is charged in the units that are named here: a model by tokens needs no price for minutes.
 * Prices are for a million tokens or characters, or for a minute, in the currency of the list.
 */
const modelPrice = z.strictObject({
  inputPerMillionTokens: amount.describe('Of text, and of each kind of token without a price of its own.'),
  inputAudioPerMillionTokens: amount,
  cachedPerMillionTokens: amount,
  cachedAudioPerMillionTokens: amount,
  cacheWritePerMillionTokens: amount.describe('Of text that is written to the cache, where that costs more.'),
  outputPerMillionTokens: amount.describe('Of text, and of audio without a price of its own.'),
  outputAudioPerMillionTokens: amount,
  perMinute: amount.describe('Of a connected session, or of audio transcribed.'),
  audioInPerMinute: amount.describe('Of caller audio sent.'),
  audioOutPerMinute: amount.describe('Of agent audio received.'),
  perMillionCharacters: amount.describe('Of text that is synthesised.'),
})

export type ModelPrice = Readonly<z.infer<typeof modelPrice>>

/** Prices of one's own: an agent's `budget.prices`, and the file of PRICES_FILE. */
export const pricesSchema = z.strictObject({
  currency: z.string().regex(/^[A-Z]{3}$/, { error: 'must be three letters, such as USD' }),
  backends: z.record(z.string(), modelPrice).default({}).describe('By backend: for all that it uses.'),
  models: z.record(z.string(), modelPrice).default({}).describe('By model; before the price of its backend.'),
})

export type Prices = z.infer<typeof pricesSchema>
