/** How one language says what is written in figures and marks. A new language is one file like `swahili.ts`, and its line in `spoken-form.ts`. */
export interface SpokenLanguage {
  /** Locale of `Intl`, for the names of months and weekdays. */
  readonly locale: string
  /** The digits 0 to 9. */
  readonly digits: readonly string[]
  /** A whole number, 0 to `CARDINAL_MAX`. */
  cardinal(value: number): string
  /** From 1 on: `twenty first`. */
  ordinal(value: number): string
  /** 1000 to 2999. */
  year(value: number): string
  /** @param amount  in words */
  percent(amount: string): string
  /** @param unit  of `units` */
  quantity(amount: string, unit: readonly [one: string, many: string], isOne: boolean): string
  money(currency: Currency, amount: Money): string
  time(time: ClockTime): string
  /** @param joiner  `to`, or the word that is written */
  timeRange(from: ClockTime, to: ClockTime, joiner: string): string
  date(date: CalendarDate): string
  readonly currencies: Readonly<Record<Currency, CurrencyNames>>
  readonly words: Words
  /** By unit as it is written, in lower case where case tells nothing. */
  readonly units: Readonly<Record<string, readonly [one: string, many: string]>>
  /** Before a street's, a building's or a person's name, or after it. */
  readonly beforeNames: Readonly<Record<string, string>>
  readonly afterNames: Readonly<Record<string, string>>
  /** Anywhere, with or without their full stop. */
  readonly abbreviations: Readonly<Record<string, string>>
  /** A number of four digits after one of these is read digit by digit: an order, an account. */
  readonly codeWords: readonly string[]
  /** A number of five digits and more after one of these is read digit by digit, even if it is a round one. */
  readonly numberWords: readonly string[]
  /** A number of four digits after one of these is a year. */
  readonly yearWords: readonly string[]
  /** Other words after which a number is read in a way of its own: ghorofa ya 2. */
  readonly otherWords: readonly string[]
  /** A number before one of these counts something. */
  readonly countedWords: readonly string[]
  /** Rules for forms that only this language writes: tried first. */
  readonly rules?: readonly SpokenRule[]
}

type SpokenRule = readonly [pattern: RegExp, spoken: (groups: readonly (string | undefined)[]) => string | null]

/** Larger numbers are read digit by digit. */
export const CARDINAL_MAX = 999_999_999_999

interface Words {
  readonly point: string
  readonly minus: string
  readonly plus: string
  readonly and: string
  readonly or: string
  readonly to: string
  readonly at: string
  readonly dot: string
  readonly dash: string
  readonly slash: string
  readonly underscore: string
  readonly star: string
  readonly hash: string
  readonly number: string
  readonly about: string
  /** `#` is how often. */
  readonly times: string
  readonly by: string
  /** For each: per kilometre. */
  readonly per: string
  readonly allDay: string
  readonly million: string
  readonly billion: string
  /** By `1/2`. */
  readonly fractions: Readonly<Record<string, string>>
  /** Behind a whole number: 1½. */
  readonly andHalf: string
}

export type Currency = 'KES' | 'TZS' | 'UGX' | 'RWF' | 'ETB' | 'NGN' | 'GHS' | 'ZAR' | 'USD' | 'EUR' | 'GBP' | 'INR'

interface CurrencyNames {
  readonly one: string
  readonly many: string
  readonly cent: string
  readonly cents: string
}

/** An amount, or from one to another. */
export interface Money {
  readonly whole: number
  /** Hundredths; 0: none. */
  readonly cents: number
  /** In place of both: an amount in words, as of "1.5 million". */
  readonly inWords?: string
  /** The other end of a range. */
  readonly to?: Money
}

export interface ClockTime {
  /** 0 to 24. */
  readonly hour: number
  readonly minute: number
  /** Half of the day written behind it; null: none, and the hour implies the half only from 13 on. */
  readonly half: 'a' | 'p' | null
}

export interface CalendarDate {
  readonly day: number
  /** Its name. */
  readonly month: string
  readonly year: number | null
  /** Its name, where it is written. */
  readonly weekday: string | null
  /** The last day of several in one month. */
  readonly toDay?: number
  /** The month stood before the day. */
  readonly monthFirst?: boolean
}

/** The words of a table of numbers, smallest first: the first word for a value is the one that is said. */
export function wordOf(numbers: Readonly<Record<string, number>>, value: number): string {
  for (const [word, of] of Object.entries(numbers)) if (of === value) return word
  throw new RangeError(`no word for ${value}`)
}
