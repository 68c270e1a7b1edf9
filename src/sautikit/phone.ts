import {
  getCountryCallingCode,
  isSupportedCountry,
  parsePhoneNumberFromString,
  validatePhoneNumberLength,
} from 'libphonenumber-js/min'
import type { CountryCode, PhoneNumber } from 'libphonenumber-js/min'

/**
 * Phone numbers as carriers and people write them: with or without `+`, national, with separators, inside a SIP URI, or
 * withheld. Numbers are compared and kept in E.164 form; `useCountry` says which country's national numbers are meant.
 */

/** Words that stand in place of a withheld number. Some carriers send their letters as keypad digits. */
const WITHHELD_WORDS = ['anonymous', 'withheld', 'restricted', 'private', 'unavailable', 'unknown', 'blocked', 'hidden']
const KEYPAD_LETTERS = ['', '', 'abc', 'def', 'ghi', 'jkl', 'mno', 'pqrs', 'tuv', 'wxyz']
const WITHHELD_DIGITS: ReadonlySet<string> = new Set(
  WITHHELD_WORDS.map((word) =>
    [...word].map((letter) => KEYPAD_LETTERS.findIndex((letters) => letters.includes(letter))).join(''),
  ),
)
/** A browser's user (`agent.alice`): the only party that is no number and keeps its name. */
const BROWSER_USER = /^[a-z][\w-]*(?:\.[\w-]+)+$/i

/** Digits of E.164, country code included. Fewer are a short code or an extension. */
const E164_DIGITS_MIN = 7
const E164_DIGITS_MAX = 15
/** Digits from which a number without `+` and without a leading 0 may have its country code. */
const INTERNATIONAL_DIGITS_MIN = 11

/** Longest name of a party that is kept when it is no number (`agent.alice` on a browser call). */
const PARTY_CHARS_MAX = 64

/** Sautikit's numbers are Kenyan. */
export const COUNTRY_DEFAULT = 'KE'

let country: CountryCode = COUNTRY_DEFAULT

/** Whether national numbers of this country can be completed. @param code ISO 3166-1 alpha-2, such as `KE` */
export function isCountry(code: string): boolean {
  return isSupportedCountry(code)
}

/**
 * Says in which country a number without a country code is, for this thread. Called at its start, before any number is
 * read.
 * @throws RangeError for a code that `isCountry` refuses
 */
export function useCountry(code: string): void {
  if (!isSupportedCountry(code)) throw new RangeError(`'${code}' is not a country; allowed: such as KE`)
  country = code
}

/** The country of `useCountry`; `COUNTRY_DEFAULT` before that. */
export function homeCountry(): string {
  return country
}

/** The ASCII digits of `value`, in order. */
export function digitsOf(value: string): string {
  return value.replace(/[^0-9]/g, '')
}

/** True when both are the same subscriber's number, however each is written. A withheld number equals no number. */
export function sameNumber(a: string, b: string): boolean {
  // Completing a number leaves its end as it is. This spares an archive of other numbers the parser.
  if (digitsOf(a).slice(-E164_DIGITS_MIN + 1) !== digitsOf(b).slice(-E164_DIGITS_MIN + 1)) return false
  const number = normaliseNumber(a)
  return isDigits(number) && number === normaliseNumber(b)
}

function isDigits(party: string): boolean {
  return /^\+?[0-9]+$/.test(party)
}

/**
 * One spelling for a party of a call: `+254700000001` for whatever can be a subscriber's number, the digits of a short
 * code or an extension, the name of a browser's user, and empty for everything else: that is a withheld number. What
 * E.164 does not allow is no number: an unassigned country code, too few or too many digits, one digit over and over.
 */
export function normaliseNumber(raw: string): string {
  let text = raw
    .slice(0, 4 * PARTY_CHARS_MAX)
    .replace(/[\u0000-\u001f\u007f]/g, '')
    .trim()
  // sip:+254700000001@host;user=phone and tel:+254700000001
  const uri = /^(?:sips?|tel):([^@;>]*)/i.exec(text.replace(/^[^<]*</, ''))
  if (uri !== null) text = (uri[1] ?? '').trim()
  if (!/^\+?[0-9 ().\/\u00a0\u2010-\u2015-]*$/.test(text)) return browserUser(text)
  const digits = digitsOf(text)
  if (isPlaceholder(digits)) return ''
  const signed = text.startsWith('+')
  if (!signed && digits.length < E164_DIGITS_MIN) return digits
  const number = completed(digits, signed)
  if (number === null || isPlaceholder(number.nationalNumber)) return ''
  return number.number.length - 1 <= E164_DIGITS_MAX ? number.number : ''
}

function browserUser(text: string): string {
  const isUser = BROWSER_USER.test(text) && !text.split('.').some((part) => WITHHELD_WORDS.includes(part.toLowerCase()))
  return isUser ? text.slice(0, PARTY_CHARS_MAX) : ''
}

/** No digits, a withheld word on a keypad, or one digit over and over: 0 in any length, others from a number's length on. */
function isPlaceholder(digits: string): boolean {
  if (WITHHELD_DIGITS.has(digits) || /^0*$/.test(digits)) return true
  return digits.length >= E164_DIGITS_MIN && /^(\d)\1*$/.test(digits)
}

/** @param signed there was a `+`. Some senders put it before a national number: no country code begins with 0. */
function completed(digits: string, signed: boolean): PhoneNumber | null {
  const bare = digits.replace(/^0+/, '')
  if (digits.startsWith('00')) return parsed(`+${bare}`) ?? parsed(digits)
  if (digits.startsWith('0')) return parsed(digits)
  if (signed) return parsed(`+${digits}`)
  const international = digits.length >= INTERNATIONAL_DIGITS_MIN ? parsed(`+${digits}`) : null
  if (digits.startsWith(getCountryCallingCode(country)) && international !== null) return international
  return international?.isValid() === true ? international : (parsed(digits) ?? international)
}

/** Null for what is too short, or is in no country. Too long is left to E.164: numbering plans grow. */
function parsed(text: string): PhoneNumber | null {
  const number = parsePhoneNumberFromString(text, country)
  if (number === undefined || number.number.length - 1 < E164_DIGITS_MIN) return null
  if (number.isPossible()) return number
  return text.startsWith('+') && validatePhoneNumberLength(text, country) !== 'TOO_SHORT' ? number : null
}

/**
 * What all calls of one party have in common: the digits of its number, or its name where it has no number. Empty for a
 * withheld number: its callers cannot be told apart.
 */
export function partyKey(raw: string): string {
  const party = normaliseNumber(raw)
  return isDigits(party) ? digitsOf(party) : party.toLowerCase()
}

/** The one spelling of a subscriber's number; null for a short code, a name or a withheld number. */
export function subscriberNumber(raw: string): string | null {
  const number = normaliseNumber(raw)
  return number.startsWith('+') ? number : null
}

/**
 * A number of the home country as it is dialled there, `0712345678`; null for any other, and for digits without a leading 0
 * or the country's code, which may be anything.
 */
export function dialledAtHome(raw: string): string | null {
  const digits = digitsOf(raw)
  if (!digits.startsWith('0') && !digits.startsWith(getCountryCallingCode(country))) return null
  const number = completed(digits, raw.startsWith('+'))
  return number?.country === country && number.isValid() ? `0${number.nationalNumber}` : null
}

/** Fewer digits than this are not a subscriber's number: they are hidden whole, and not searched for in texts. */
const PERSONAL_DIGITS_MIN = 7

/**
 * A number as records, views and logs show it: `+2547…01`. It shows country and network, not the
 * subscriber. Short codes and names are hidden whole; a withheld number stays empty.
 */
export function maskNumber(value: string): string {
  if (value === '') return ''
  const digits = digitsOf(value)
  if (digits.length < PERSONAL_DIGITS_MIN || /[^0-9+ ().-]/.test(value)) return '…'
  // Never more than half of the digits: 6 of 12 for a full number, less for a short one.
  const tail = 2
  const head = Math.min(4, Math.floor(digits.length / 2) - tail)
  return `${value.trim().startsWith('+') ? '+' : ''}${digits.slice(0, head)}…${digits.slice(-tail)}`
}

const ISO_DATE = /^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$/

/** Hides every number inside a text of the carrier (an error sentence), so that the text may be logged; dates stay. */
export function maskNumbersIn(text: string): string {
  return text.replace(/\+?[0-9](?:[ ().-]{0,2}[0-9]){6,}/g, (number) =>
    ISO_DATE.test(number) ? number : maskNumber(number),
  )
}

/** The zone of the country of a number, such as Africa/Nairobi; null where the country is not known or has several. */
export function countryZone(number: string): string | null {
  const code = parsePhoneNumberFromString(number)?.country
  if (code === undefined) return null
  // A method in newer runtimes, a property before.
  const locale = new Intl.Locale('und', { region: code }) as Intl.Locale & {
    readonly timeZones?: readonly string[]
    readonly getTimeZones?: () => readonly string[]
  }
  const zones = locale.getTimeZones?.() ?? locale.timeZones ?? []
  return zones.length === 1 ? (zones[0] ?? null) : null
}
