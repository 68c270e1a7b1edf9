import { listIn, numberIn, objectOf, textIn } from './http.js'
import type { CarrierHttp } from './http.js'
import type { CarrierRates } from '../agents/file/prices.js'

/** Maximum difference of prices that count as equal. */
const SAME_PRICE = 1e-6

/** Price of a minute to one kind of destination. */
interface MinutePrice {
  /** The carrier's own name of the destination, such as `KE-mobile`; null: the list has one price for all. */
  readonly destination: string | null
  /** Price in whole units of the list's currency. */
  readonly perMinute: number
}

/** The carrier's public price list, without contracted prices of a workspace. */
export interface PublicPrices {
  readonly currency: string
  /** The prices of this direction; empty if the list contains none. */
  readonly inbound: readonly MinutePrice[]
  readonly outbound: readonly MinutePrice[]
  /** The carrier's own date, ISO 8601; null if the list names none. */
  readonly updatedAt: string | null
}

/**
 * Reads the carrier's public price list, which needs no API key, in both documented formats (docs/CARRIER-API.md).
 * @returns null if the carrier publishes no list, or if the answer contains no price
 * @throws CarrierApiError if the carrier does not answer
 */
export async function publicPrices(http: CarrierHttp, signal?: AbortSignal): Promise<PublicPrices | null> {
  const { status, body } = await http.send({
    method: 'GET',
    path: '/v1/public/pricing',
    accept: [401, 403, 404, 405],
    signal,
  })
  if (status >= 300) return null
  const list = objectOf(body)
  const currency = textIn(list, 'currency')
  const inbound = pricesOf(list, 'inbound')
  const outbound = pricesOf(list, 'outbound')
  if (currency === null || (inbound.length === 0 && outbound.length === 0)) return null
  return {
    currency,
    inbound,
    outbound,
    updatedAt: textIn(list, 'updated_at'),
  }
}

function pricesOf(list: Readonly<Record<string, unknown>>, direction: 'inbound' | 'outbound'): MinutePrice[] {
  const one = numberIn(list, `${direction}_per_min_kes`)
  if (one !== null) return [{ destination: null, perMinute: one }]
  return (listIn(list, 'rates') ?? []).flatMap((rate) => {
    const perMinute = numberIn(rate, 'per_minute')
    if (textIn(rate, 'direction') !== direction || perMinute === null) return []
    return [{ destination: textIn(rate, 'destination'), perMinute }]
  })
}

/** The list in words: `KES 0.00 inbound; 2.50 (KE-mobile), 1.80 (KE-landline) outbound; updated 2026-06-15`. */
export function publicPricesText({ currency, inbound, outbound, updatedAt }: PublicPrices): string {
  const words = (prices: readonly MinutePrice[]): string =>
    prices
      .map(({ destination, perMinute }) => `${perMinute.toFixed(2)}${destination === null ? '' : ` (${destination})`}`)
      .join(', ')
  const parts = [
    ...(inbound.length === 0 ? [] : [`${words(inbound)} inbound`]),
    ...(outbound.length === 0 ? [] : [`${words(outbound)} outbound`]),
    ...(updatedAt === null ? [] : [`updated ${updatedAt.slice(0, 10)}`]),
  ]
  return `${currency} ${parts.join('; ')}`
}

/**
 * The rates that differ from every listed price, in words: `KES 3 a minute outbound`; null if none differs. A direction
 * without a listed price is not compared.
 */
export function ratesUnlike(listed: PublicPrices, rates: CarrierRates): string | null {
  const { currency, inboundPerMinute, outboundPerMinute } = rates
  if (listed.currency !== currency) return `rates in ${currency}`
  const unlike = (prices: readonly MinutePrice[], rate: number): boolean =>
    prices.length > 0 && !prices.some(({ perMinute }) => Math.abs(perMinute - rate) < SAME_PRICE)
  const parts = [
    ...(unlike(listed.inbound, inboundPerMinute) ? [`${inboundPerMinute} a minute inbound`] : []),
    ...(unlike(listed.outbound, outboundPerMinute) ? [`${outboundPerMinute} a minute outbound`] : []),
  ]
  return parts.length === 0 ? null : `${currency} ${parts.join(', ')}`
}

/**
 * @returns `rates` with the list's prices: the highest price of each direction. The price of the open stream stays as
 * in `rates`, because the list does not contain it
 */
export function ratesOf(listed: PublicPrices, rates: CarrierRates, readOn: string): CarrierRates {
  const highest = (prices: readonly MinutePrice[], otherwise: number): number =>
    prices.length === 0 ? otherwise : Math.max(...prices.map(({ perMinute }) => perMinute))
  return {
    ...rates,
    inboundPerMinute: highest(listed.inbound, rates.inboundPerMinute),
    outboundPerMinute: highest(listed.outbound, rates.outboundPerMinute),
    readOn,
  }
}
