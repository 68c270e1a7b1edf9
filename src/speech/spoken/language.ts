/**
 * The spoken form of figures and signs in one language. A new language needs one file like `swahili.ts`, and a line in
 * `spoken-form.ts`.
 */
export interface SpokenLanguage {
  /** Locale of `Intl`, for the names of months and weekdays. */
  readonly locale: string
  /** The digits 0 to 9. */
  readonly digits: readonly string[]
  /** @returns a whole number in words, 0 to `CARDINAL_MAX` */
  cardinal(value: number): string
  /** @returns the ordinal of a number from 1, such as `twenty first` */
  ordinal(value: number): string
  /** Words for a year, 1000 to 2999. */
  year(value: number): string
  /** @param amount  the number, already in words */
  percent(amount: string): string
  /** @param unit  a value of `units`: the word for one, and the word for more */
  quantity(amount: string, unit: readonly [one: string, many: string], isOne: boolean): string
  money(currency: Currency, amount: Money): string
  time(time: ClockTime): string
  /** @param joiner  the word `to` of this language, or the word that the text has between the times */
  timeRange(from: ClockTime, to: ClockTime, joiner: string): string
  date(date: CalendarDate): string
  readonly currencies: Readonly<Record<Currency, CurrencyNames>>
  readonly words: Words
  /** Words for a unit, by its written form. The written form is in lower case if its case does not matter. */
  readonly units: Readonly<Record<string, readonly [one: string, many: string]>>
  /** Short forms before or after the name of a street, a building or a person. */
  readonly beforeNames: Readonly<Record<string, string>>
  readonly afterNames: Readonly<Record<string, string>>
  /** Short forms at any position, with or without their full stop. */
  readonly abbreviations: Readonly<Record<string, string>>
  /**
   * Words before a code, such as an order or an account. A number of four digits after such a word is read digit by
   * digit.
   */
  readonly codeWords: readonly string[]
  /**
   * Words before a long number. If the number has five or more digits, it is read digit by digit, even if it is round.
   */
  readonly numberWords: readonly string[]
  /** Words before a year. A number of four digits after such a word is a year. */
  readonly yearWords: readonly string[]
  /** Other words that change the reading of the number after them, for example "ghorofa ya" in "ghorofa ya 2". */
  readonly otherWords: readonly string[]
  /** Nouns that a number before them counts. */
  readonly countedWords: readonly string[]
  /** Rules for forms that exist only in this language. They are tried first. */
  readonly rules?: readonly SpokenRule[]
}

type SpokenRule = readonly [pattern: RegExp, spoken: (groups: readonly (string | undefined)[]) => string | null]

/** Maximum number that is spoken as one number. A larger number is spoken digit by digit. */
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
  /** Word for "times"; `#` is replaced by the number of times. */
  readonly times: string
  readonly by: string
  /** "per" before a unit: per kilometre. */
  readonly per: string
  readonly allDay: string
  readonly million: string
  readonly billion: string
  /** Words for fractions, by their written form, such as `1/2`. */
  readonly fractions: Readonly<Record<string, string>>
  /** Words for half after a whole number: 1½. */
  readonly andHalf: string
}

export type Currency = 'KES' | 'TZS' | 'UGX' | 'RWF' | 'ETB' | 'NGN' | 'GHS' | 'ZAR' | 'USD' | 'EUR' | 'GBP' | 'INR'

interface CurrencyNames {
  readonly one: string
  readonly many: string
  readonly cent: string
  readonly cents: string
}

/** Amount of money, or the first amount of a range. */
export interface Money {
  readonly whole: number
  /** Hundredths of the unit; 0 if there are none. */
  readonly cents: number
  /** Amount in words, such as "1.5 million". If present, it replaces `whole` and `cents`. */
  readonly inWords?: string
  /** End of a range. */
  readonly to?: Money
}

export interface ClockTime {
  /** Hour from 0 to 24. */
  readonly hour: number
  readonly minute: number
  /** Half of the day; null if it is not written. If the hour is 13 or more, it shows the half. */
  readonly half: 'a' | 'p' | null
}

export interface CalendarDate {
  readonly day: number
  /** Name of the month. */
  readonly month: string
  readonly year: number | null
  /** Name of the weekday; null if it is not written. */
  readonly weekday: string | null
  /** Last day, if the date names several days of one month. */
  readonly toDay?: number
  /** True if the month was written before the day. */
  readonly monthFirst?: boolean
}

/**
 * @returns the word for a value in a table of numbers. If several words have this value, the first one; the table
 * begins with the smallest numbers
 */
export function wordOf(numbers: Readonly<Record<string, number>>, value: number): string {
  for (const [word, of] of Object.entries(numbers)) if (of === value) return word
  throw new RangeError(`no word for ${value}`)
}
