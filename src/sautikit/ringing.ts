import { parsePhoneNumberFromString } from 'libphonenumber-js/max'
import type { PhoneNumber } from 'libphonenumber-js/max'
import { digitsOf, homeCountry } from './phone.js'

/**
 * The ways by which this gateway rings a number; nothing rings one without naming its way. `country`: without
 * OUTBOUND_PREFIXES only numbers in the country of the number that calls. The numbers of humans are written out by
 * whoever runs the gateway, so they may be abroad.
 */
export const RING_WAYS = {
  /** `POST /api/calls`, `mkondo call-out`. */
  order: { country: true },
  /** A row of a campaign. */
  campaign: { country: true },
  /** A call back that a caller was promised. */
  'call-back': { country: true },
  /** A caller whose call was cut off. */
  'ring-back': { country: true },
  /** A human of an agent's file or of NUMBERS_FILE. */
  human: { country: false },
} as const satisfies Readonly<Record<string, { readonly country: boolean }>>

export type RingWay = keyof typeof RING_WAYS

/**
 * Beginnings of numbers that cost more than a call, without their `+`: satellites and networks without a country, premium
 * rate, shared cost, and personal numbers, which are billed like them. libphonenumber's types know only the numbers
 * that are handed out (+254 900 223344, and not +254 900 123456), and not all of these codes.
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

/** Types of libphonenumber's that cost more than a call. */
const COSTLY_TYPES: readonly string[] = ['PREMIUM_RATE', 'SHARED_COST', 'PERSONAL_NUMBER']

/** Codes whose countries are billed as countries abroad by each other; elsewhere a code is one country's and its islands'. */
const CODES_OF_MANY: readonly string[] = ['1', '7']

/**
 * Says whether a number may be rung in this way, whoever asks and whenever: its range and its country. How often, and when,
 * is decided where the call is promised or placed.
 * @param to  E.164, as `numberToCall` reads it
 * @param ours  our number that calls; where it is no number, its country is that of `useCountry`
 * @param prefixes  OUTBOUND_PREFIXES; they take the place of the country
 * @returns why not, to be read after "a number that"; null: it may
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

/** @param named  the beginnings that the operator allows and that this number has */
function isCostly(digits: string, number: PhoneNumber | undefined, named: readonly string[]): boolean {
  const range = COSTLY_RANGES.find((prefix) => digits.startsWith(prefix))
  // `+44` does not name `+44 9`; `+449` does, and `+44909`.
  if (range !== undefined) return !named.some((prefix) => prefix.startsWith(range))
  // How far the range of such a number goes is not known: it is named by all of its digits.
  return COSTLY_TYPES.includes(number?.getType() ?? '') && !named.includes(digits)
}

function isOfOneCountry(number: PhoneNumber | undefined, ours: PhoneNumber | undefined): boolean {
  if (number === undefined) return false
  const country = ours?.country ?? homeCountry()
  if (number.country === country) return true
  const code = ours?.country === undefined ? null : ours.countryCallingCode
  return number.countryCallingCode === code && !CODES_OF_MANY.includes(code)
}
