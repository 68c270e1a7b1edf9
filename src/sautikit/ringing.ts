import { getCountries, getCountryCallingCode, Metadata, parsePhoneNumberFromString } from 'libphonenumber-js/max'
import type { PhoneNumber } from 'libphonenumber-js/max'
import { digitsOf, homeCountry } from './phone.js'

/**
 * Number types of libphonenumber that are rung. All other numbers may cost more than a normal call: premium rate, shared
 * cost, pagers, personal numbers, and numbers in such a range without a type, because the types include only assigned
 * numbers (+254 900 223344, but not +254 900 123456).
 */
const ORDINARY_TYPES: readonly string[] = ['FIXED_LINE', 'MOBILE', 'FIXED_LINE_OR_MOBILE']

/**
 * Country codes that several countries share. A call between these countries is billed as an international call. Any
 * other code belongs to one country and its islands.
 */
const CODES_OF_MANY: readonly string[] = ['1', '7']

/**
 * Judges a number that someone else than the operator chose: of an order, a campaign's row, or a call back. All calls to
 * such numbers go through this check. Other modules decide how often and when. The numbers of humans are not checked,
 * because the operator configures them.
 * @param to E.164, as returned by `numberToCall`
 * @param ours  the gateway's number that calls; if it is not a number, the country of `useCountry` is used
 * @param prefixes OUTBOUND_PREFIXES; they replace the check of the country
 * @returns the fault, to be read after "a number that"; null if the number may be rung
 */
export function ringFault(to: string, ours: string, prefixes: readonly string[]): string | null {
  const digits = digitsOf(to)
  const number = parsePhoneNumberFromString(`+${digits}`)
  const named = prefixes.map(digitsOf).filter((prefix) => digits.startsWith(prefix))
  // An ordinary prefix such as `+44` does not allow the range `+44 9`; the prefixes `+449` and `+44909` do.
  if (!isOrdinary(digits, number) && !named.some((prefix) => prefix === digits || beginsNoOrdinary(prefix)))
    return 'is not known as a fixed line or a mobile, and is never rung; allowed: fixed lines and mobiles, or a range that OUTBOUND_PREFIXES names in full'
  if (prefixes.length > 0)
    return named.length > 0
      ? null
      : `begins as none that may be called; allowed: ${prefixes.join(', ')} (OUTBOUND_PREFIXES)`
  if (isOfOneCountry(number, parsePhoneNumberFromString(ours))) return null
  return 'is in another country than the number that calls; allowed: one of the same country, or of OUTBOUND_PREFIXES'
}

/**
 * True for a fixed line or a mobile of a country. Satellites and international networks have the type of a mobile, but
 * no country. The digits are compared, because the parser drops a national prefix inside them.
 */
function isOrdinary(digits: string, number: PhoneNumber | undefined): boolean {
  if (number?.country === undefined || number.number !== `+${digits}`) return false
  return ORDINARY_TYPES.includes(number.getType() ?? '')
}

/** The method that gives a plan's numbers of one type, which the declarations of libphonenumber-js lack. */
interface TypedPlan {
  readonly type: (name: 'FIXED_LINE' | 'MOBILE') => { readonly pattern: () => string | undefined } | undefined
}

/** Calling code of each country, and the possible beginnings of its fixed lines or mobiles. Made when first needed. */
let beginnings: readonly (readonly [code: string, beginning: RegExp])[] | null = null

/** True if no fixed line or mobile of any country begins with these digits: they name a special range in full. */
function beginsNoOrdinary(prefix: string): boolean {
  beginnings ??= getCountries().flatMap((country) => {
    const plan = new Metadata()
    plan.selectNumberingPlan(country)
    const patterns = (['FIXED_LINE', 'MOBILE'] as const).map((name) =>
      (plan as unknown as TypedPlan).type(name)?.pattern(),
    )
    return patterns.flatMap((pattern = '') =>
      pattern === '' ? [] : [[getCountryCallingCode(country), beginningOf(pattern)] as const],
    )
  })
  return !beginnings.some(([code, beginning]) =>
    prefix.startsWith(code) ? beginning.test(prefix.slice(code.length)) : code.startsWith(prefix),
  )
}

/**
 * Returns an expression that matches all beginnings of the numbers of a plan's pattern: the text may end before each
 * digit. Patterns consist of digits, classes, groups, alternatives and counts.
 */
function beginningOf(pattern: string): RegExp {
  const endable = pattern.replace(/\{[^}]*\}|\\d|\[[^\]]*\]|\d/g, (part) =>
    part.startsWith('{') ? part : `(?:${part}|$)`,
  )
  return new RegExp(`^(?:${endable})$`)
}

function isOfOneCountry(number: PhoneNumber | undefined, ours: PhoneNumber | undefined): boolean {
  if (number === undefined) return false
  const country = ours?.country ?? homeCountry()
  if (number.country === country) return true
  const code = ours?.country === undefined ? null : ours.countryCallingCode
  return number.countryCallingCode === code && !CODES_OF_MANY.includes(code)
}
