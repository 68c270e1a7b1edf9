import { parsePhoneNumberFromString } from 'libphonenumber-js/max'
import type { PhoneNumber } from 'libphonenumber-js/max'
import { digitsOf, homeCountry } from './phone.js'

/**
 * The reasons for which this gateway rings a number; every ring has a reason. `country` is true if, without
 * OUTBOUND_PREFIXES, only numbers in the calling number's country may be rung. The operator configures the numbers of
 * humans, so these may be in another country.
 */
export const RING_WAYS = {
  /** Outbound call by `POST /api/calls` or `mkondo call-out`. */
  order: { country: true },
  /** A row of a campaign. */
  campaign: { country: true },
  /** Call back that the agent promised to a caller. */
  'call-back': { country: true },
  /** Call back to a caller whose call was interrupted. */
  'ring-back': { country: true },
  /** A human of an agent's file or of NUMBERS_FILE. */
  human: { country: false },
} as const satisfies Readonly<Record<string, { readonly country: boolean }>>

export type RingWay = keyof typeof RING_WAYS

/**
 * Prefixes, without `+`, of numbers that cost more than a normal call. These are satellites and networks without a
 * country, premium rate, shared cost, and personal numbers, which are billed in the same way. The number types of
 * libphonenumber include only assigned numbers (+254 900 223344, but not +254 900 123456), and do not include all of
 * these codes.
 */
const COSTLY_RANGES: readonly string[] = [
  // Inmarsat, GMSS (Iridium, Globalstar), and the international networks, such as Thuraya and iNum.
  ...['870', '881', '882', '883'],
  // Personal numbers, aid in disasters, shared cost and premium rate of the ITU's own codes.
  ...['878', '888', '808', '979'],
  // North America's premium rate.
  '1900',
  // Great Britain: premium rate, shared cost, personal numbers.
  ...['449', '4484', '4487', '4470'],
  // Kenya, Tanzania (premium rate, shared cost), Uganda, Rwanda.
  ...['254900', '25590', '25584', '25690', '250900'],
]

/** Number types of libphonenumber that cost more than a normal call. */
const COSTLY_TYPES: readonly string[] = ['PREMIUM_RATE', 'SHARED_COST', 'PERSONAL_NUMBER']

/**
 * Country codes that several countries share. A call between these countries is billed as an international call. Any
 * other code belongs to one country and its islands.
 */
const CODES_OF_MANY: readonly string[] = ['1', '7']

/**
 * Checks the range and the country of a number that will be rung for this reason. Other modules decide how often and
 * when.
 * @param to E.164, as returned by `numberToCall`
 * @param ours  the gateway's number that calls; if it is not a number, the country of `useCountry` is used
 * @param prefixes OUTBOUND_PREFIXES; they replace the check of the country
 * @returns the fault, to be read after "a number that"; null if the number may be rung
 */
export function ringFault(way: RingWay, to: string, ours: string, prefixes: readonly string[]): string | null {
  const digits = digitsOf(to)
  const number = parsePhoneNumberFromString(`+${digits}`)
  const named = prefixes.map(digitsOf).filter((prefix) => digits.startsWith(prefix))
  if (isCostly(digits, number, named))
    return 'is of a premium, shared-cost, personal or satellite range, which is never rung; allowed: others, or one that OUTBOUND_PREFIXES names in full'
  if (!RING_WAYS[way].country) return null
  if (prefixes.length > 0)
    return named.length > 0
      ? null
      : `begins as none that may be called; allowed: ${prefixes.join(', ')} (OUTBOUND_PREFIXES)`
  if (isOfOneCountry(number, parsePhoneNumberFromString(ours))) return null
  return 'is in another country than the number that calls; allowed: one of the same country, or of OUTBOUND_PREFIXES'
}

/** @param named  prefixes that the operator allows and that match this number */
function isCostly(digits: string, number: PhoneNumber | undefined, named: readonly string[]): boolean {
  const range = COSTLY_RANGES.find((prefix) => digits.startsWith(prefix))
  // The prefix `+44` does not allow the range `+44 9`; the prefixes `+449` and `+44909` do.
  if (range !== undefined) return !named.some((prefix) => prefix.startsWith(range))
  // The extent of this number's range is not known, so the operator must name all digits.
  return COSTLY_TYPES.includes(number?.getType() ?? '') && !named.includes(digits)
}

function isOfOneCountry(number: PhoneNumber | undefined, ours: PhoneNumber | undefined): boolean {
  if (number === undefined) return false
  const country = ours?.country ?? homeCountry()
  if (number.country === country) return true
  const code = ours?.country === undefined ? null : ours.countryCallingCode
  return number.countryCallingCode === code && !CODES_OF_MANY.includes(code)
}
