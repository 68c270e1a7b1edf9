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

/** True if national numbers of this country can be completed. @param code ISO 3166-1 alpha-2, such as `KE` */
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
  const ends = [a, b].map((raw) => digitsOf(bareText(raw)).slice(-E164_DIGITS_MIN + 1))
  if (ends[0] !== ends[1]) return false
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
 * A text as it is meant: without marks that nobody sees, without the quotes, the apostrophe and the `.0` of a spreadsheet,
 * with common digits for full-width ones, and of a URI (sip:+254700000001@host;user=phone, tel:+254700000001) its number.
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
 * True if digits stand behind a number that are not of it: `0712345678 (2)`, `071234567/8`. The last group of a number is no
 * bracket, and has two digits or more; three where it is one of two.
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

/** No digits, a withheld word on a keypad, or one digit over and over: 0 in any length, others from a number's length on. */
function isPlaceholder(digits: string): boolean {
  if (WITHHELD_DIGITS.has(digits) || /^0*$/.test(digits)) return true
  return digits.length >= E164_DIGITS_MIN && /^(\d)\1*$/.test(digits)
}

/**
 * Kenya, Tanzania and Uganda dial each other by a code of their own, from the plan that they shared until 1999; 000 is the
 * prefix of all other countries (numbering plans of TCRA and UCC, wtng.info for Kenya). libphonenumber lists the codes as
 * international prefixes, without their countries.
 */
const NEIGHBOURS: ReadonlyMap<CountryCode, string> = new Map([
  ['KE', '005'],
  ['UG', '006'],
  ['TZ', '007'],
])

/**
 * The numbers that a text can mean, the likeliest first.
 * @param signed  there was a `+`. Some senders put it before a national number: no country code begins with 0
 */
function readings(digits: string, signed: boolean): readonly PhoneNumber[] {
  const found = (...numbers: readonly (PhoneNumber | null)[]): readonly PhoneNumber[] =>
    numbers.filter((number) => number !== null)
  if (digits.startsWith('00')) {
    // 00 is what most of the world dials, and what people write; Kenya dials 000.
    const [, abroad = ''] = /^00?0([1-9].*)$/.exec(digits) ?? []
    return found(ofNeighbour(digits), parsed(`+${abroad}`), parsed(digits))
  }
  if (digits.startsWith('0')) return found(parsed(digits))
  if (signed) return found(parsed(`+${digits}`))
  const international = digits.length >= INTERNATIONAL_DIGITS_MIN ? parsed(`+${digits}`) : null
  if (digits.startsWith(getCountryCallingCode(country)) && international !== null) return [international]
  return international?.isValid() === true ? found(international, parsed(digits)) : found(parsed(digits), international)
}

/** The number of Kenya, Uganda or Tanzania that these digits dial where the home country is one of them; null for none. */
function ofNeighbour(digits: string): PhoneNumber | null {
  const [neighbour] = [...NEIGHBOURS].find(([, prefix]) => digits.startsWith(prefix)) ?? []
  if (neighbour === undefined || !NEIGHBOURS.has(country)) return null
  const number = parsed(`+${getCountryCallingCode(neighbour)}${digits.slice(3)}`)
  return number?.isValid() === true ? number : null
}

function bestOf(numbers: readonly PhoneNumber[]): PhoneNumber | null {
  return numbers.find((number) => number.isValid()) ?? numbers[0] ?? null
}

/** Null for what is too short, or is in no country. Too long is left to E.164: numbering plans grow. */
function parsed(text: string): PhoneNumber | null {
  const number = parsePhoneNumberFromString(text, country)
  if (number === undefined || number.number.length - 1 < E164_DIGITS_MIN) return null
  if (number.isPossible()) return number
  return text.startsWith('+') && validatePhoneNumberLength(text, country) !== 'TOO_SHORT' ? number : null
}

/**
 * Common key of all calls of one party: the digits of its number, or its name where it has no number. Empty for a
 * withheld number: its callers look alike.
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

/** The form of the number is what a spreadsheet makes of a long one: 2.54712E+11. Its last digits are lost. */
const SHORTENED = /^[0-9](?:[.,][0-9]+)?e\+?[0-9]+$/i

/**
 * The number that a text means, as somebody may be called at it; or what is wrong, to be read after "a number that".
 *
 * Stricter than `normaliseNumber`, which names a caller who is there anyway: the number exists in the plan of its country,
 * the text means no other one, and nothing stands beside it. A plan is the general pattern of libphonenumber's `min`
 * metadata: how many digits, and which may be first. Its `max` metadata also knows ranges that are handed out, as of its
 * release; a range that is newer would be refused there, and one that nobody has rings nobody.
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
  // Where it dials a neighbour, what follows 00 is no country code.
  const dialsNeighbour = NEIGHBOURS.has(country) && [...NEIGHBOURS.values()].some((code) => digits.startsWith(code))
  if (valid.size > 1 || (number !== undefined && dialsNeighbour && ofNeighbour(digits) === null))
    return { fault: 'can be read as two numbers; write it with + and its country code' }
  if (number === undefined)
    return { fault: 'does not exist in its country; allowed: such as +254712345678 or 0712345678, with all its digits' }
  return { number }
}

/** True if somebody may be called at this number of theirs: it is neither withheld nor a short code or a name. */
export function canBeCalled(raw: string): boolean {
  return 'number' in numberToCall(raw)
}

/** True if a number of its own, such as that of a list, stands before one of the home country: `4. 0712345678`. */
function hasSomethingBefore(text: string): boolean {
  if (/^[0-9]{1,4}[.)] /.test(text)) return true
  const [, before, number = ''] = /^([1-9][0-9]{0,3})[^0-9]+(.*)$/.exec(text) ?? []
  if (before === undefined || before === getCountryCallingCode(country)) return false
  return number.startsWith('0') && parsed(digitsOf(number))?.isValid() === true
}

/**
 * A number of the home country as it is dialled there, `0712345678`; null for any other, and for digits without a leading 0
 * or the country's code, which may be anything.
 */
export function dialledAtHome(raw: string): string | null {
  const digits = digitsOf(raw)
  if (!digits.startsWith('0') && !digits.startsWith(getCountryCallingCode(country))) return null
  const number = bestOf(readings(digits, raw.startsWith('+')))
  return number?.country === country && number.isValid() ? `0${number.nationalNumber}` : null
}

/** How landlines begin in countries that distinguish mobile numbers and landlines by prefix. */
const LANDLINES: Readonly<Partial<Record<CountryCode, RegExp>>> = { KE: /^0[2456]/, TZ: /^02/ }

/** True if a number of `dialledAtHome` has an area code of three digits; false in countries where this is not known. */
export function isLandlineAtHome(dialled: string): boolean {
  return LANDLINES[country]?.test(dialled) ?? false
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
