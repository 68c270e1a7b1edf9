import {
  getCountryCallingCode,
  isSupportedCountry,
  parsePhoneNumberFromString,
  validatePhoneNumberLength,
} from 'libphonenumber-js/min'
import type { CountryCode, PhoneNumber } from 'libphonenumber-js/min'

/**
 * Phone numbers as carriers and people write them: with or without `+`, national, with separators, inside a SIP URI, or
 * withheld. They become E.164; `useCountry` sets the national country.
 */

/** Words that replace a withheld number. Some carriers send such a word as keypad digits, one for each letter. */
const WITHHELD_WORDS = ['anonymous', 'withheld', 'restricted', 'private', 'unavailable', 'unknown', 'blocked', 'hidden']
const KEYPAD_LETTERS = ['', '', 'abc', 'def', 'ghi', 'jkl', 'mno', 'pqrs', 'tuv', 'wxyz']
const WITHHELD_DIGITS: ReadonlySet<string> = new Set(
  WITHHELD_WORDS.map((word) =>
    [...word].map((letter) => KEYPAD_LETTERS.findIndex((letters) => letters.includes(letter))).join(''),
  ),
)
/** Form of a browser's user (`agent.alice`). Only this kind of party has a name instead of a number. */
const BROWSER_USER = /^[a-z][\w-]*(?:\.[\w-]+)+$/i

/** Minimum number of digits of E.164, including the country code. Shorter numbers are a short code or an extension. */
const E164_DIGITS_MIN = 7
const E164_DIGITS_MAX = 15
/** Minimum number of digits of a number without `+` and without a leading 0 that may contain its country code. */
const INTERNATIONAL_DIGITS_MIN = 11

/** Maximum length of the name of a party without a number (`agent.alice` on a browser call), in characters. */
const PARTY_CHARS_MAX = 64

/** Default country: Sautikit's numbers are Kenyan. */
export const COUNTRY_DEFAULT = 'KE'

let country: CountryCode = COUNTRY_DEFAULT

/** True if national numbers of this country can be completed. @param code ISO 3166-1 alpha-2, such as `KE` */
export function isCountry(code: string): boolean {
  return isSupportedCountry(code)
}

/**
 * Sets the country of numbers without a country code, for this thread. Called when the thread starts, before any number
 * is read.
 * @throws RangeError for a code that `isCountry` refuses
 */
export function useCountry(code: string): void {
  if (!isSupportedCountry(code)) throw new RangeError(`'${code}' is not a country; allowed: such as KE`)
  country = code
}

/** The country set by `useCountry`; `COUNTRY_DEFAULT` if none was set. */
export function homeCountry(): string {
  return country
}

/** The ASCII digits of `value`, in order. */
export function digitsOf(value: string): string {
  return value.replace(/[^0-9]/g, '')
}

/**
 * True if both texts are the number of one subscriber, in any spelling. A withheld number is not equal to any number.
 */
export function sameNumber(a: string, b: string): boolean {
  // Completing a number does not change its last digits. So for most pairs this check avoids the slow parser.
  const ends = [a, b].map((raw) => digitsOf(bareText(raw)).slice(-E164_DIGITS_MIN + 1))
  if (ends[0] !== ends[1]) return false
  const number = normaliseNumber(a)
  return isDigits(number) && number === normaliseNumber(b)
}

function isDigits(party: string): boolean {
  return /^\+?[0-9]+$/.test(party)
}

/**
 * @returns one spelling for a party of a call. A possible subscriber's number becomes `+254700000001`; a short code or
 * an extension its digits; a browser's user its name. Everything else becomes empty, like a withheld number. This
 * includes numbers that E.164 does not allow: an unassigned country code, too few or too many digits, one repeated
 * digit
 */
export function normaliseNumber(raw: string): string {
  const text = bareText(raw)
  if (!NUMBER_TEXT.test(text)) return browserUser(text)
  if (hasSomethingBehind(text)) return ''
  const digits = digitsOf(text)
  if (isPlaceholder(digits)) return ''
  const signed = text.startsWith('+')
  if (!signed && digits.length < E164_DIGITS_MIN) return digits
  const number = bestOf(readings(digits, signed))
  if (number === null || isPlaceholder(number.nationalNumber)) return ''
  return number.number.length - 1 <= E164_DIGITS_MAX ? number.number : ''
}

/** Characters with which a number is written. */
const NUMBER_TEXT = /^\+?[0-9 ().\/\u2010-\u2015\u2212-]*$/

/**
 * Cleans a text. Removes invisible characters and a spreadsheet's quotes, apostrophe and `.0`, and converts full-width
 * digits. A URI (sip:+254700000001@host;user=phone, tel:+254700000001) becomes its number.
 */
function bareText(raw: string): string {
  const text = raw
    .slice(0, 4 * PARTY_CHARS_MAX)
    .replace(/[\uff01-\uff5e]/g, (wide) => String.fromCharCode(wide.charCodeAt(0) - 0xfee0))
    .replace(/\p{Cf}/gu, '')
    .replace(/[\p{Z}\p{Cc}]+/gu, ' ')
    .replace(/^ ?=?["'`´‘’“” ]+|["'`´‘’“” ]+$/g, '')
    .trim()
  const uri = /^(?:sips?|tel):([^@;>]*)/i.exec(text.replace(/^[^<]*</, ''))
  return (uri?.[1] ?? text).trim().replace(/^(\+?[0-9][0-9 ]*)[.,]0{1,2}$/, '$1')
}

/**
 * True if other digits follow the number: `0712345678 (2)`, `071234567/8`. A number's last group has no brackets and at
 * least two digits; three if there are only two groups.
 */
function hasSomethingBehind(text: string): boolean {
  if (/\)$/.test(text) || /[()]/.test(text.replace(/\([^()]*\)/g, ''))) return true
  const groups = text.match(/[0-9]+/g) ?? []
  return groups.length > 1 && (groups.at(-1)?.length ?? 0) < (groups.length > 2 ? 2 : 3)
}

function browserUser(text: string): string {
  const isUser = BROWSER_USER.test(text) && !text.split('.').some((part) => WITHHELD_WORDS.includes(part.toLowerCase()))
  return isUser ? text.slice(0, PARTY_CHARS_MAX) : ''
}

/**
 * True for an empty text, a word for withheld numbers in keypad digits, or one repeated digit. A repeated zero counts
 * in any length, any other repeated digit only from a number's length.
 */
function isPlaceholder(digits: string): boolean {
  if (WITHHELD_DIGITS.has(digits) || /^0*$/.test(digits)) return true
  return digits.length >= E164_DIGITS_MIN && /^(\d)\1*$/.test(digits)
}

/**
 * Codes by which Kenya, Tanzania and Uganda dial each other. They come from the numbering plan that these countries
 * shared until 1999. To other countries, they dial 000. Sources: numbering plans of TCRA and UCC, wtng.info for Kenya.
 * libphonenumber lists the codes as international prefixes, without their countries.
 */
const NEIGHBOURS: ReadonlyMap<CountryCode, string> = new Map([
  ['KE', '005'],
  ['UG', '006'],
  ['TZ', '007'],
])

/**
 * @returns the possible numbers of a text, likeliest first
 * @param signed  true if the text had a `+`. Some senders put `+` before a national number. Such a number is recognised
 * by its 0, because no country code begins with 0
 */
function readings(digits: string, signed: boolean): readonly PhoneNumber[] {
  const found = (...numbers: readonly (PhoneNumber | null)[]): readonly PhoneNumber[] =>
    numbers.filter((number) => number !== null)
  if (digits.startsWith('00')) {
    // Most of the world dials 00, and people write 00; Kenya dials 000.
    const [, abroad = ''] = /^00?0([1-9].*)$/.exec(digits) ?? []
    return found(ofNeighbour(digits), parsed(`+${abroad}`), parsed(digits))
  }
  if (digits.startsWith('0')) return found(parsed(digits))
  if (signed) return found(parsed(`+${digits}`))
  const international = digits.length >= INTERNATIONAL_DIGITS_MIN ? parsed(`+${digits}`) : null
  if (digits.startsWith(getCountryCallingCode(country)) && international !== null) return [international]
  return international?.isValid() === true ? found(international, parsed(digits)) : found(parsed(digits), international)
}

/**
 * @returns the number in Kenya, Uganda or Tanzania that these digits dial. Null for other digits, and if the home
 * country is not one of these three
 */
function ofNeighbour(digits: string): PhoneNumber | null {
  const [neighbour] = [...NEIGHBOURS].find(([, prefix]) => digits.startsWith(prefix)) ?? []
  if (neighbour === undefined || !NEIGHBOURS.has(country)) return null
  const number = parsed(`+${getCountryCallingCode(neighbour)}${digits.slice(3)}`)
  return number?.isValid() === true ? number : null
}

function bestOf(numbers: readonly PhoneNumber[]): PhoneNumber | null {
  return numbers.find((number) => number.isValid()) ?? numbers[0] ?? null
}

/**
 * @returns null for a number that is too short or belongs to no country. Numbers up to the E.164 limit are accepted,
 * because numbering plans grow
 */
function parsed(text: string): PhoneNumber | null {
  const number = parsePhoneNumberFromString(text, country)
  if (number === undefined || number.number.length - 1 < E164_DIGITS_MIN) return null
  if (number.isPossible()) return number
  return text.startsWith('+') && validatePhoneNumberLength(text, country) !== 'TOO_SHORT' ? number : null
}

/**
 * @returns the key of all calls of one party: the digits of its number, or its name without a number. Empty for a
 * withheld number: such callers cannot be distinguished
 */
export function partyKey(raw: string): string {
  const party = normaliseNumber(raw)
  return isDigits(party) ? digitsOf(party) : party.toLowerCase()
}

/** @returns a subscriber's number in one spelling; null for a short code, a name or a withheld number */
export function subscriberNumber(raw: string): string | null {
  const number = normaliseNumber(raw)
  return number.startsWith('+') ? number : null
}

/** Form in which a spreadsheet shows a long number: 2.54712E+11. Such a text has lost the last digits. */
const SHORTENED = /^[0-9](?:[.,][0-9]+)?e\+?[0-9]+$/i

/**
 * Reads a number that may be called. This function is stricter than `normaliseNumber`, which identifies the caller of a
 * running call. The number must exist in its country's plan. The text must be readable as only one number, and must not
 * contain other digits. A plan is the general pattern of libphonenumber's `min` metadata: the number of digits and the
 * possible first digits. The `max` metadata also contains the ranges that were assigned at its release. With that
 * metadata, numbers of newer ranges would be refused. A call to an unassigned number does no harm, because it does not
 * reach a phone.
 * @returns the number, or its fault, to be read after "a number that"
 */
export function numberToCall(raw: string): { readonly number: string } | { readonly fault: string } {
  const text = bareText(raw)
  if (SHORTENED.test(text))
    return { fault: 'a spreadsheet has shortened; format the column as text before it is saved' }
  if (raw.length > 4 * PARTY_CHARS_MAX || !NUMBER_TEXT.test(text) || !/[0-9]/.test(text))
    return { fault: 'is none; allowed: such as +254712345678 or 0712345678' }
  const digits = digitsOf(text)
  if (hasSomethingBehind(text) || hasSomethingBefore(text))
    return { fault: 'has something else beside it; allowed: the number alone, such as +254712345678' }
  const numbers = digits.length < E164_DIGITS_MIN || isPlaceholder(digits) ? [] : readings(digits, text.startsWith('+'))
  const valid = new Set(numbers.filter((number) => number.isValid()).map(({ number }) => number))
  const [number] = valid
  // In a country that dials its neighbours by a code, the digits after 00 are not a country code.
  const dialsNeighbour = NEIGHBOURS.has(country) && [...NEIGHBOURS.values()].some((code) => digits.startsWith(code))
  if (valid.size > 1 || (number !== undefined && dialsNeighbour && ofNeighbour(digits) === null))
    return { fault: 'can be read as two numbers; write it with + and its country code' }
  if (number === undefined)
    return { fault: 'does not exist in its country; allowed: such as +254712345678 or 0712345678, with all its digits' }
  return { number }
}

/** True if the party can be called at this number: the number is not withheld, a short code or a name. */
export function canBeCalled(raw: string): boolean {
  return 'number' in numberToCall(raw)
}

/** True if another number precedes a number of the home country, such as the number of a list item: `4. 0712345678`. */
function hasSomethingBefore(text: string): boolean {
  if (/^[0-9]{1,4}[.)] /.test(text)) return true
  const [, before, number = ''] = /^([1-9][0-9]{0,3})[^0-9]+(.*)$/.exec(text) ?? []
  if (before === undefined || before === getCountryCallingCode(country)) return false
  return number.startsWith('0') && parsed(digitsOf(number))?.isValid() === true
}

/**
 * @returns a number of the home country as dialled in this country, such as `0712345678`. Null for any other number,
 * and for ambiguous digits without a leading 0 or the country's code
 */
export function dialledAtHome(raw: string): string | null {
  const digits = digitsOf(raw)
  if (!digits.startsWith('0') && !digits.startsWith(getCountryCallingCode(country))) return null
  const number = bestOf(readings(digits, raw.startsWith('+')))
  return number?.country === country && number.isValid() ? `0${number.nationalNumber}` : null
}

/** Beginnings of landlines in countries that distinguish mobile numbers and landlines by prefix. */
const LANDLINES: Readonly<Partial<Record<CountryCode, RegExp>>> = { KE: /^0[2456]/, TZ: /^02/ }

/** True if a number of `dialledAtHome` has an area code of three digits; false in countries for which this is not known. */
export function isLandlineAtHome(dialled: string): boolean {
  return LANDLINES[country]?.test(dialled) ?? false
}

/**
 * Minimum number of digits of a subscriber's number: shorter numbers are hidden completely, and not searched for in
 * texts.
 */
const PERSONAL_DIGITS_MIN = 7

/**
 * @returns a number as shown in records, views and logs: `+2547…01`, which shows country and network. Short codes and
 * names are hidden completely; a withheld number stays empty
 */
export function maskNumber(value: string): string {
  if (value === '') return ''
  const digits = digitsOf(value)
  if (digits.length < PERSONAL_DIGITS_MIN || /[^0-9+ ().-]/.test(value)) return '…'
  // At most half of the digits are shown: 6 of 12 for a full number, fewer for a short number.
  const tail = 2
  const head = Math.min(4, Math.floor(digits.length / 2) - tail)
  return `${value.trim().startsWith('+') ? '+' : ''}${digits.slice(0, head)}…${digits.slice(-tail)}`
}

const ISO_DATE = /^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$/

/**
 * Hides every number in a text of the carrier (such as an error message), so that the text may be logged; dates stay.
 */
export function maskNumbersIn(text: string): string {
  return text.replace(/\+?[0-9](?:[ ().-]{0,2}[0-9]){6,}/g, (number) =>
    ISO_DATE.test(number) ? number : maskNumber(number),
  )
}

/** The time zone of a number's country, such as Africa/Nairobi; null if the country is unknown or has several zones. */
export function countryZone(number: string): string | null {
  const code = parsePhoneNumberFromString(number)?.country
  if (code === undefined) return null
  // The list of time zones is a method in newer runtimes and a property in older runtimes.
  const locale = new Intl.Locale('und', { region: code }) as Intl.Locale & {
    readonly timeZones?: readonly string[]
    readonly getTimeZones?: () => readonly string[]
  }
  const zones = locale.getTimeZones?.() ?? locale.timeZones ?? []
  return zones.length === 1 ? (zones[0] ?? null) : null
}
