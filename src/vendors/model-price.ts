import { z } from 'zod'

const amount = z.number().min(0).max(1_000_000).exactOptional()

/**
 * Prices of a model per million tokens or characters, or per minute, in the list's currency. Only units with a price
 * are charged.
 */
export const modelPrice = z.strictObject({
  inputPerMillionTokens: amount.describe('Price of input text, and of each kind of token without its own price.'),
  inputAudioPerMillionTokens: amount.describe('Price of input audio.'),
  cachedPerMillionTokens: amount.describe('Price of input text from the cache.'),
  cachedAudioPerMillionTokens: amount.describe('Price of input audio from the cache.'),
  cacheWritePerMillionTokens: amount.describe(
    'Price of text that is written to the cache, if such text has its own price.',
  ),
  outputPerMillionTokens: amount.describe(
    'Price of output text. It is also the price of output audio if no price for audio is set.',
  ),
  outputAudioPerMillionTokens: amount.describe('Price of output audio.'),
  perMinute: amount.describe('Price of one minute of a connected session, or of transcribed audio.'),
  audioInPerMinute: amount.describe('Price of one minute of caller audio that is sent.'),
  audioOutPerMinute: amount.describe('Price of one minute of agent audio that is received.'),
  perMillionCharacters: amount.describe('Price of text that is synthesised.'),
})

export type ModelPrice = Readonly<z.infer<typeof modelPrice>>
