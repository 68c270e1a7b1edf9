/**
 * Phone numbers as the carrier writes them: with or without `+`, with separators, inside a SIP URI, or withheld.
 */

/** Words that a carrier writes in place of a withheld number, without separators. */
const WITHHELD = new Set([
  '',
  'anonymous',
  'withheld',
  'restricted',
  'private',
  'unavailable',
  'unknown',
  'null',
  'undefined',
  'none',
])

/**
 * Digits of E.164: 15 at most. Below 11 an international number cannot be distinguished from a national one or a short
 * code.
 */
const INTERNATIONAL_DIGITS_MIN = 11
const INTERNATIONAL_DIGITS_MAX = 15

/** Longest name of a party that is kept when it is no number (`agent.alice` on a browser call). */
const PARTY_CHARS_MAX = 64

/** Fewer digits than this are not a subscriber's number: they are hidden whole, and not searched for in texts. */
const PERSONAL_DIGITS_MIN = 7

/** The ASCII digits of `value`, in order. */
export function digitsOf(value: string): string {
  return value.replace(/[^0-9]/g, '')
}

/** Digits without the international prefix `00`, so that `00254…`, `+254…` and `254…` are one number. */
function comparable(value: string): string {
  const digits = digitsOf(value)
  return digits.startsWith('00') ? digits.slice(2) : digits
}

/** True when both are the same number, compared by digits only. A withheld number equals no number. */
export function sameNumber(a: string, b: string): boolean {
  const digits = comparable(a)
  return digits !== '' && digits === comparable(b)
}

/**
 * One spelling for a party of a call: `+254700000001` for whatever is recognisably international, digits as they
 * are for short codes and national numbers, empty for a withheld number. A name that is no number (a browser's
 * user) stays, without control characters and cut to 64.
 */
export function normaliseNumber(raw: string): string {
  let text = raw
    .slice(0, 4 * PARTY_CHARS_MAX)
    .replace(/[\u0000-\u001f\u007f]/g, '')
    .trim()
  // sip:+254700000001@host;user=phone and tel:+254700000001
  const uri = /^(?:sips?|tel):([^@;>]*)/i.exec(text.replace(/^[^<]*</, ''))
  if (uri !== null) text = (uri[1] ?? '').trim()
  if (WITHHELD.has(text.toLowerCase())) return ''
  const digits = digitsOf(text)
  if (!/^\+?[0-9][0-9 ().-]*$/.test(text) || digits.length > PARTY_CHARS_MAX) {
    return text.slice(0, PARTY_CHARS_MAX).trim()
  }
  if (text.startsWith('+')) return `+${digits}`
  if (digits.startsWith('00')) return `+${digits.slice(2)}`
  const international =
    !digits.startsWith('0') && digits.length >= INTERNATIONAL_DIGITS_MIN && digits.length <= INTERNATIONAL_DIGITS_MAX
  return international ? `+${digits}` : digits
}

/**
 * What all calls of one party have in common: the digits of its number, or its name where it has no number. Empty for a
 * withheld number: its callers cannot be told apart.
 */
export function partyKey(raw: string): string {
  const party = normaliseNumber(raw)
  return /^\+?[0-9]+$/.test(party) ? comparable(party) : party.toLowerCase()
}

/** The one spelling of a subscriber's number; null for a short code, a name or a withheld number. */
export function subscriberNumber(raw: string): string | null {
  const number = normaliseNumber(raw)
  const digits = digitsOf(number).length
  return digits < PERSONAL_DIGITS_MIN || !/^\+?[0-9]+$/.test(number) ? null : number
}

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

/** Hides every number inside a text of the carrier (an error sentence), so that the text may be logged. */
export function maskNumbersIn(text: string): string {
  return text.replace(/\+?[0-9](?:[ ().-]{0,2}[0-9]){6,}/g, (number) => maskNumber(number))
}
