import { z } from 'zod'
import { modelPrice } from '../../vendors/model-price.js'

const currency = z.string().regex(/^[A-Z]{3}$/, { error: 'must be three letters, such as USD' })

/** Prices that an operator sets: `budget.prices` of an agent, and the file in PRICES_FILE. */
export const pricesSchema = z.strictObject({
  currency: currency.describe('Currency of all these prices, such as USD.'),
  backends: z
    .record(z.string(), modelPrice)
    .default({})
    .describe('Prices by backend, for all of its units. A missing price is unknown.'),
  models: z
    .record(z.string(), modelPrice)
    .default({})
    .describe("Prices by model. They take precedence over the prices of the model's backend."),
})

export type Prices = z.infer<typeof pricesSchema>

/** Prices of the carrier, and their currency. */
const carrierRates = z.strictObject({
  currency,
  inboundPerMinute: z.number().min(0).max(1_000_000).describe('Price per minute of an inbound call.'),
  outboundPerMinute: z
    .number()
    .min(0)
    .max(1_000_000)
    .describe('Price per minute of an answered call that the gateway placed.'),
  streamPerMinute: z.number().min(0).max(1_000_000).describe('Price per minute of an open stream, besides its call.'),
  blockS: z
    .int()
    .min(1)
    .max(3600)
    .describe('Length in seconds of a charged block. The carrier charges a started block in full.'),
  readOn: z.iso.date().describe('Day on which these rates were read.'),
})

export type CarrierRates = Readonly<z.infer<typeof carrierRates>>

/**
 * The file in PRICES_FILE: prices of models and of the carrier, and exchange rates. The gateway does not fetch prices
 * or rates from a network.
 */
export const priceFileSchema = pricesSchema.extend({
  carrier: carrierRates.exactOptional(),
  exchange: z
    .strictObject({
      readOn: z.iso.date().describe('Day on which the rates were read.'),
      rates: z
        .record(currency, z.number().positive())
        .describe('Amount of each currency that one unit of `currency` buys.'),
    })
    .exactOptional(),
})

export type PriceFile = z.infer<typeof priceFileSchema>
