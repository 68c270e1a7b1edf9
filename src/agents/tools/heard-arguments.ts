import { dateFormat } from '../../core/date-format.js'
import { SPOKEN, amountIn, digitsIn, isNumberWord, plainWords } from '../../call/spoken/spoken-numbers.js'
import { datesIn, timesIn } from '../../call/spoken/spoken-time.js'
import { subscriberNumber } from '../../sautikit/phone.js'
import { english } from '../../speech/spoken/english.js'
import { swahili } from '../../speech/spoken/swahili.js'
import type { JsonSchema } from './json-schema.js'
import { typesOf } from './json-schema.js'
import { patternOf } from './patterns.js'
import type { Pattern } from './patterns.js'

/**
 * Meaning of a caller's words as an argument of a tool: the value, or texts of several possible values for a question
 * to the caller.
 */
type HeardValue = { readonly value: unknown } | { readonly choices: readonly string[] }

/** Maximum number of characters of a text. A longer text contains more than one value. */
const HEARD_CHARS_MAX = 200

/**
 * Converts an argument in the caller's words to the form of its schema. Examples: "saa nne asubuhi" for `^\d\d:\d\d$`,
 * "kesho" for `format: date`, "nne moja mbili saba" for `^\d{4}$`.
 * @param today  date in the caller's time zone, as `2026-11-25`
 * @returns the meaning; null if the text already fits, or if the schema does not have such a form
 */
export function heardValue(schema: JsonSchema, text: string, today: string): HeardValue | null {
  if (text.length > HEARD_CHARS_MAX) return null
  const types = typesOf(schema) ?? []
  if (types.includes('string')) {
    const { pattern, format } = schema
    const form = typeof pattern === 'string' ? patternOf(pattern) : format === 'date' ? /^\d{4}-\d\d-\d\d$/ : null
    return form === null || 'fault' in form || form.test(text) ? null : heardText(text, form, today)
  }
  const whole = types.includes('integer')
  if ((!whole && !types.includes('number')) || !isAmountInWords(text)) return null
  const amount = amountIn(text)
  return amount === null || (whole && !Number.isInteger(amount)) ? null : { value: amount }
}

/**
 * Returns the number of digits that a pattern requires, such as 4 for `^\d{4}$`; 0 if the pattern has no fixed number
 * of digits.
 */
function digitsOf({ source }: Pick<Pattern, 'source'>): number {
  return Number(/^\^(?:\\d|\[0-9\])\{(\d+)\}\$$/.exec(source)?.[1] ?? 0)
}

function heardText(text: string, form: Pick<Pattern, 'source' | 'test'>, today: string): HeardValue | null {
  const digits = digitsIn(plainWords(text), digitsOf(form))
  const choices = [
    ...[digits, subscriberNumber(digits) ?? ''].map((value) => [value, value] as const),
    ...timesIn(text).map((minutes) => [clockText(minutes), `${clockText(minutes)} (${bothClocks(minutes)})`] as const),
    ...datesIn(text, today).map((date) => [date, `${date} (${weekdayOf(date)})`] as const),
  ].filter(([value]) => value !== '' && form.test(value))
  const [first] = choices
  if (first === undefined) return null
  return choices.length === 1 ? { value: first[0] } : { choices: choices.map(([, asked]) => asked) }
}

/** Returns a time in the form `10:00`. */
export function clockText(minutes: number): string {
  return [Math.floor(minutes / 60), minutes % 60].map((part) => String(part).padStart(2, '0')).join(':')
}

/** Returns the time as it is read back to the caller, such as "saa nne asubuhi" or "ten A M". */
export function bothClocks(minutes: number): string {
  const hour = Math.floor(minutes / 60)
  const time = { hour: hour % 12 === 0 ? 12 : hour % 12, minute: minutes % 60, half: hour < 12 ? 'a' : 'p' } as const
  return `${swahili.time(time)}, ${english.time(time)}`
}

function weekdayOf(date: string): string {
  return dateFormat('en', { weekday: 'long', timeZone: 'UTC' }).format(Date.parse(date))
}

/** True if a text has only number words and money. Text with figures and other signs is ambiguous. */
function isAmountInWords(text: string): boolean {
  const { money, parts, and } = SPOKEN
  return plainWords(text).every((word) => isNumberWord(word) || money.has(word) || parts.has(word) || and.has(word))
}
