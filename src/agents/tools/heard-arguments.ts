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

/** A caller's words as the value of a tool: the value, or the candidates with the question for each. */
type HeardValue = { readonly value: unknown } | { readonly choices: readonly string[] }

/** Longer texts are nothing that was said for one value. */
const HEARD_CHARS_MAX = 200

/**
 * The value that a model passed on in the caller's words, where its schema wants another form: "saa nne asubuhi" for
 * `^\d\d:\d\d$`, "kesho" for `format: date`, "nne moja mbili saba" for `^\d{4}$`, "kumi na tano" for a whole number.
 * @param today  where the caller is, as `2026-11-25`
 * @returns null where the text fits already, or is none of these
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

/** Digits that a pattern asks for: of `^\d{4}$` 4; 0 where it does not say. */
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

/** `10:00`. */
export function clockText(minutes: number): string {
  return [Math.floor(minutes / 60), minutes % 60].map((part) => String(part).padStart(2, '0')).join(':')
}

/** As it is read back: saa nne asubuhi, ten A M. */
export function bothClocks(minutes: number): string {
  const hour = Math.floor(minutes / 60)
  const time = { hour: hour % 12 === 0 ? 12 : hour % 12, minute: minutes % 60, half: hour < 12 ? 'a' : 'p' } as const
  return `${swahili.time(time)}, ${english.time(time)}`
}

function weekdayOf(date: string): string {
  return dateFormat('en', { weekday: 'long', timeZone: 'UTC' }).format(Date.parse(date))
}

/** True if a text is nothing but number words and money: figures with marks in them are of no certain value. */
function isAmountInWords(text: string): boolean {
  const { money, parts, and } = SPOKEN
  return plainWords(text).every((word) => isNumberWord(word) || money.has(word) || parts.has(word) || and.has(word))
}
