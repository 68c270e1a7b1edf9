import { dateFormat } from '../../core/date-format.js'
import { english } from './english.js'
import { dialledAtHome, isLandlineAtHome } from '../../sautikit/phone.js'
import { CARDINAL_MAX } from './language.js'
import type { CalendarDate, ClockTime, Currency, Money, SpokenLanguage } from './language.js'
import { swahili } from './swahili.js'
import {
  SIGNS,
  CODES,
  MONEY_BEFORE,
  MONEY_AFTER,
  EMAIL,
  URL,
  ISO_DATE,
  SHORT_DATE,
  PHONE,
  LOCAL_PHONE,
  USSD,
  TIME_RANGE,
  TIME,
  BETWEEN,
  MILITARY,
  PLATE,
  CODE,
  PERCENT,
  SCALED,
  DOTTED,
  PLAIN,
  UNSPEAKABLE,
  patternsOf,
} from './written-forms.js'
import type { Patterns } from './written-forms.js'

/**
 * Text in its spoken form: figures, amounts, times, dates, codes, units, addresses and signs in words. Every voice gets
 * this form; the transcript keeps the written form. docs/LANGUAGES.md has a table of the forms.
 */

const LANGUAGES: Readonly<Record<string, SpokenLanguage>> = { en: english, sw: swahili }

/**
 * Groups of digits in a mobile phone number: 0712, 345, 678. `DIALLED_LANDLINE`: groups in a landline number: 020, 271,
 * 2345.
 */
const DIALLED = /^\d{4}|\d{3}(?!\d$)|\d+$/g
const DIALLED_LANDLINE = /^\d{3}|\d{3}(?!\d{1,2}$)|\d+$/g
/** Minimum number of digits in a number that is spoken in groups of three, with pauses between the groups. */
const GROUPED_DIGITS_MIN = 6
/** Minimum number of digits in a number that is read as a code. */
const CODE_DIGITS = 5

function spellerOf(language: string): Speller | null {
  const code = language.toLowerCase().split(/[-_]/)[0] ?? ''
  const of = Object.hasOwn(LANGUAGES, code) ? LANGUAGES[code] : undefined
  if (of === undefined) return null
  const speller = spellers.get(code) ?? new Speller(of)
  spellers.set(code, speller)
  return speller
}

/**
 * Replaces the figures in a text of one language by words. It handles one kind of figure after another. A replaced part
 * contains no more figures, so later kinds do not change it.
 */
class Speller {
  readonly #of: SpokenLanguage
  readonly #months: ReadonlyMap<string, string>
  readonly #days: ReadonlyMap<string, string>
  readonly #patterns: Patterns

  constructor(of: SpokenLanguage) {
    this.#of = of
    this.#months = monthsOf(of)
    this.#days = daysOf(of)
    this.#patterns = patternsOf(of, [...this.#months.keys()])
  }

  spell(text: string): string {
    const { words } = this.#of
    let said = text
      .replace(EMAIL, (found) => this.#address(found))
      .replace(URL, (found) => this.#address(found))
      .replace(USSD, (found) => (found.length < 3 || /^#\d+$/.test(found) ? found : this.#keypad(found)))
    for (const [pattern, spoken] of this.#of.rules ?? [])
      said = said.replace(pattern, (found: string, ...rest: unknown[]) => spoken(groupsOf(rest)) ?? found)
    // This runs before the dates, because "24/7" looks like a date.
    said = said.replace(/\b(?:(?:ma)?saa\s+)?24\/7\b/gi, words.allDay)
    said = this.#between(said)
    said = this.#dates(said)
    said = this.#money(said)
    said = said.replace(PHONE, (found) => this.#phone(found)).replace(LOCAL_PHONE, (found) => this.#phone(found))
    said = this.#times(said)
    said = this.#codes(said)
    said = this.#bareUnits(this.#quantities(said))
    said = this.#abbreviations(said)
    return this.#numbers(said)
  }

  // --- links, keys -------------------------------------------------------------------------------------------

  #address(written: string): string {
    const { words } = this.#of
    const marks: Readonly<Record<string, string>> = {
      '.': words.dot,
      '@': words.at,
      '-': words.dash,
      _: words.underscore,
      '/': words.slash,
      '+': words.plus,
    }
    const end = /[.?!]+$/.exec(written)?.[0] ?? ''
    const bare = written
      .slice(0, written.length - end.length)
      .replace(/^https?:\/\//i, '')
      .replace(/\/$/, '')
    const spoken = bare.replace(/[?#].*$/, '').replace(/\p{L}+|\d+|[^\p{L}\d]/gu, (part, at: number) => {
      if (/\d/.test(part)) return ` ${this.#digits(part)} `
      if (!/\p{L}/u.test(part)) return ` ${marks[part] ?? ''} `
      // "Co dot K E": a country's two letters are spelt, and so is "www".
      const isCountry = part.length === 2 && bare[at - 1] === '.' && !/^(?:co|or|go|ac|ne|sc|me|io|ai)$/i.test(part)
      return isCountry || /^www$/i.test(part) ? part.toUpperCase().split('').join(' ') : part
    })
    return ` ${spoken.replace(/\s+/g, ' ').trim()}${end}`
  }

  #keypad(written: string): string {
    const { star, hash } = this.#of.words
    return ` ${written
      .replace(/\d+/g, (digits) => ` ${this.#digits(digits)} `)
      .replaceAll('*', ` ${star} `)
      .replaceAll('#', ` ${hash} `)} `
  }

  #phone(written: string): string {
    const digits = written.replace(/\D/g, '')
    const dialled = dialledAtHome(written)
    if (dialled !== null)
      return this.#groups(dialled.match(isLandlineAtHome(dialled) ? DIALLED_LANDLINE : DIALLED) ?? [dialled])
    if (/^\d+$/.test(written)) return written
    const groups = written
      .replace(/^\+/, '')
      .split(/[^\d]+/)
      .filter((group) => group !== '')
    const said = this.#groups(groups.length > 1 ? groups : (digits.match(/\d{3}(?!\d$)|\d+$/g) ?? [digits]))
    return written.startsWith('+') ? `${this.#of.words.plus} ${said}` : said
  }

  #digits(text: string): string {
    return [...text].map((digit) => this.#of.digits[Number(digit)] ?? '').join(' ')
  }

  #groups(groups: readonly string[]): string {
    return groups.map((group) => this.#digits(group)).join(', ')
  }

  /** @returns a code in words. A short code is spoken without pauses */
  #code(digits: string): string {
    return digits.length < GROUPED_DIGITS_MIN
      ? this.#digits(digits)
      : this.#groups(digits.match(/\d{3}(?!\d$)|\d+$/g) ?? [digits])
  }

  /** "Between 4-6 PM": here the dash means "and". */
  #between(text: string): string {
    return text.replace(BETWEEN, (_found, from: string) => `${from} ${this.#of.words.and} `)
  }

  // --- dates and times ---------------------------------------------------------------------------------------

  #dates(text: string): string {
    const { figureDate, dayFirst, monthFirst, monthYear, weekdays, weekday, beside } = this.#patterns
    return text
      .replace(ISO_DATE, (found, year: string, month: string, day: string, hour?: string, minute?: string) => {
        const date = this.#date(Number(day), Number(month), Number(year))
        if (date === null) return found
        if (hour === undefined || Number(hour) > 23) return date
        const time = this.#of.time({ hour: Number(hour), minute: Number(minute), half: null })
        return `${date}, ${time}`
      })
      .replace(figureDate, (found, first: string, _mark, second: string, year: string) => {
        // Day and month, in the order that is usual in Africa. If the second number cannot be a month, the order is
        // month and day.
        const [day, month] = Number(second) > 12 ? [Number(second), Number(first)] : [Number(first), Number(second)]
        const full = year.length === 4 ? Number(year) : Number(year) + (Number(year) > 60 ? 1900 : 2000)
        return this.#date(day, month, full) ?? found
      })
      .replace(SHORT_DATE, (found, first: string, second: string) => {
        const numbers = [Number(first), Number(second)]
        if (Math.max(...numbers) <= 12 && !(first.length === 2 && second.length === 2)) return found
        const [day = 0, month = 0] = Number(second) > 12 ? numbers.toReversed() : numbers
        return this.#date(day, month, 0) ?? found
      })
      .replace(dayFirst, (found, ...[weekday, day, toDay, month, year]: (string | undefined)[]) =>
        this.#named(found, { weekday, day, toDay, month, year }, false),
      )
      .replace(monthFirst, (found, ...[weekday, month, day, toDay, year]: (string | undefined)[]) =>
        this.#named(found, { weekday, day, toDay, month, year }, true),
      )
      .replace(monthYear, (found, month: string, year: string) => {
        const name = this.#monthNamed(month)
        return name === undefined ? found : `${name} ${this.#year(Number(year))}`
      })
      .replace(weekdays, (found, from: string, to: string) => {
        const [first, last] = [this.#day(from), this.#day(to)]
        return first === null || last === null ? found : `${first} ${this.#of.words.to} ${last}`
      })
      .replace(weekday, (found, day: string) => this.#day(day) ?? found)
      .replace(beside, (found) => this.#day(found.replace('.', '')) ?? found)
  }

  #date(day: number, month: number, year: number): string | null {
    const name = month >= 1 && month <= 12 ? nameOf(this.#of.locale, { month: 'long' }, month - 1, 5) : undefined
    if (name === undefined || day < 1 || day > 31) return null
    return this.#of.date({ day, month: name, year: year >= 1000 && year < 3000 ? year : null, weekday: null })
  }

  #named(
    found: string,
    parts: Readonly<Record<'weekday' | 'day' | 'toDay' | 'month' | 'year', string | undefined>>,
    monthFirst: boolean,
  ): string {
    const [day, toDay] = [Number(parts.day), parts.toDay === undefined ? null : Number(parts.toDay)]
    const month = this.#monthNamed(parts.month ?? '')
    if (month === undefined || day < 1 || day > 31 || (toDay !== null && (toDay <= day || toDay > 31))) return found
    const date: CalendarDate = {
      day,
      month,
      year: parts.year === undefined ? null : Number(parts.year),
      weekday: parts.weekday === undefined ? null : this.#day(parts.weekday),
      ...(toDay === null ? {} : { toDay }),
      ...(monthFirst ? { monthFirst } : {}),
    }
    return this.#of.date(date)
  }

  /** Short names of months must begin with a capital, because "I may 5 times" does not name a month. */
  #monthNamed(written: string): string | undefined {
    const plain = written.toLowerCase()
    return plain.length <= 3 && plain === written ? undefined : this.#months.get(plain)
  }

  #day(written: string): string | null {
    const plain = written.toLowerCase()
    if (plain.length <= 4 && plain === written) return null
    return this.#days.get(plain) ?? this.#days.get(plain.slice(0, 3)) ?? null
  }

  #year(year: number): string {
    return year >= 1000 && year < 3000 ? this.#of.year(year) : this.#code(String(year))
  }

  #times(text: string): string {
    const { words } = this.#of
    return text
      .replace(MILITARY, (_found, hour: string, minute: string) =>
        this.#of.time({ hour: Number(hour), minute: Number(minute), half: null }),
      )
      .replace(TIME_RANGE, (found, ...groups: (string | undefined)[]) => {
        const [fromHour, fromMinute, fromHalf, joiner = '-', toHour, toMinute, toHalf] = groups
        const isTime =
          (fromHalf ?? toHalf) !== undefined ||
          (found.includes(':') && fromMinute !== undefined && toMinute !== undefined)
        if (!isTime) return found
        const to = timeOf(toHour, toMinute, toHalf)
        // In "4-6 PM" both hours are in the afternoon. In "9-5 PM" only the second hour is.
        const half =
          fromHalf ??
          (toHalf === undefined ? undefined : Number(fromHour) % 12 <= Number(toHour) % 12 ? toHalf : other(toHalf))
        const from = timeOf(fromHour, fromMinute, half)
        return from === null || to === null ? found : this.#of.timeRange(from, to, joiner === '-' ? words.to : joiner)
      })
      .replace(TIME, (found, hour?: string, minute?: string, half?: string, hours?: string) => {
        const colon = found.includes(':')
        if (half === undefined && !(minute !== undefined && (colon || hours !== undefined))) return found
        const time = timeOf(hour, minute, half)
        return time === null ? found : this.#of.time(time)
      })
  }

  // --- money and quantities ----------------------------------------------------------------------------------

  #money(text: string): string {
    const spoken = (
      currency: Currency | undefined,
      minus: boolean,
      amounts: readonly [string | undefined, string | undefined][],
    ): string | null => {
      const [from, to] = amounts.map(([written, scale]) => this.#amount(written, scale))
      if (currency === undefined || from === undefined || from === null || to === null) return null
      const said = this.#of.money(currency, to === undefined ? from : { ...from, to })
      return ` ${minus ? `${this.#of.words.minus} ` : ''}${said} `
    }
    return text
      .replace(/(?<![\p{L}\d])-(?=(?:us\$|kshs?|kes|[$€£₦])\s?\d)/giu, `${this.#of.words.minus} `)
      .replace(MONEY_BEFORE, (found, ...groups: (string | undefined)[]) => {
        const [code, sign, minus, from, fromScale, , , to, toScale] = groups
        // "Bob" is a name.
        if (code === 'Bob') return found
        const currency = code === undefined ? SIGNS[sign ?? ''] : CODES[code.toLowerCase()]
        // In "500-800k" the scale applies to both numbers.
        const scale = fromScale ?? (to === undefined ? undefined : toScale)
        return (
          spoken(
            currency,
            minus !== undefined,
            to === undefined
              ? [[from, scale]]
              : [
                  [from, scale],
                  [to, toScale],
                ],
          ) ?? found
        )
      })
      .replace(MONEY_AFTER, (found, ...groups: (string | undefined)[]) => {
        const [from, fromScale, to, toScale, currency = ''] = groups
        const code = currency.trim().toLowerCase()
        const scale = fromScale ?? (to === undefined ? undefined : toScale)
        return (
          spoken(
            code.startsWith('/') ? 'KES' : CODES[code],
            false,
            to === undefined
              ? [[from, scale]]
              : [
                  [from, scale],
                  [to, toScale],
                ],
          ) ?? found
        )
      })
  }

  /**
   * @returns the spoken parts of an amount; null if the text cannot be spoken as an amount. If a number is too long for
   * words, its scale is spoken as written: 4127 billion
   */
  #amount(written: string | undefined, scale: string | undefined): Money | null {
    if (written === undefined) return null
    const { words } = this.#of
    const plain = written.replaceAll(',', '')
    const word = scale?.toLowerCase()
    if (word !== undefined) {
      const factor = word === 'k' ? 1e3 : word.startsWith('b') ? 1e9 : 1e6
      const value = Math.round(Number(plain) * factor * 100) / 100
      const isTooLong = value > CARDINAL_MAX
      if (isTooLong && factor === 1e3) return null
      if (isTooLong || (word.length > 2 && plain.includes('.'))) {
        const name = factor === 1e6 ? words.million : words.billion
        const number = this.#number(plain)
        return { whole: value, cents: 0, inWords: this.#of.quantity(number, [name, name], false) }
      }
      return { whole: Math.floor(value), cents: Math.round((value % 1) * 100) }
    }
    const [whole = '0', decimals = ''] = plain.split('.')
    if (Number(whole) > CARDINAL_MAX) return null
    // Number with more than two decimals, such as the rate 129.4567.
    if (decimals.length > 2) return { whole: Number(whole), cents: 0, inWords: this.#number(plain) }
    return { whole: Number(whole), cents: Number(decimals.padEnd(2, '0')) }
  }

  #quantities(text: string): string {
    const { units, words } = this.#of
    const { unit } = this.#patterns
    const minus = (sign: string | undefined): string => (sign === undefined ? '' : `${words.minus} `)
    const span = (from: string, to: string | undefined): string =>
      words.fractions[from] ??
      (to === undefined ? this.#number(from) : `${this.#number(from)} ${words.to} ${this.#number(to)}`)
    return text
      .replace(PERCENT, (_found, sign: string | undefined, from: string, to: string | undefined) =>
        this.#of.percent(minus(sign) + span(from, to)),
      )
      .replace(unit, (found, sign: string | undefined, from: string, to: string | undefined, name: string) => {
        const names = units[name] ?? units[name.toLowerCase()]
        // "4G" is a network, not four grams. Metres are written with a lower-case letter.
        if (names === undefined || (name.length === 1 && name !== name.toLowerCase())) return found
        const end = found.endsWith('.') ? '.' : ''
        return (
          this.#of.quantity(
            minus(sign) + span(from, to),
            names,
            to === undefined && (Number(from) === 1 || from.includes('/')),
          ) + end
        )
      })
  }

  /** Replaces units without a number: "per km", "/km" after an amount, and units that are not words. */
  #bareUnits(text: string): string {
    const { units, words } = this.#of
    const { perUnit, unitAlone } = this.#patterns
    return text
      .replace(perUnit, (_found, name: string) => ` ${words.per} ${units[name.toLowerCase()]?.[0] ?? name}`)
      .replace(unitAlone, (_found, one: string | undefined, name: string) => {
        const [single, many] = units[name] ?? [name, name]
        return one === undefined ? many : `${one}${single}`
      })
  }

  // --- codes and numbers -------------------------------------------------------------------------------------

  #codes(text: string): string {
    return text
      .replace(/(?:\b(?:[Nn]o|Nos|Na)\.|#)\s?(?=\d|[A-Z]{1,3}-?\d)/g, `${this.#of.words.number} `)
      .replace(
        PLATE,
        (_found, letters: string, digits: string, last: string) =>
          `${spaced(letters)}, ${this.#digits(digits)}, ${last}`,
      )
      .replace(DOTTED, (_found, dotted: string) =>
        dotted
          .split('.')
          .map((part) => this.#number(part))
          .join(` ${this.#of.words.dot} `),
      )
      .replace(CODE, (code) => {
        if (/^\d+(?:ST|ND|RD|TH|K|M)$/.test(code)) return code
        const singly = code.replaceAll('-', '').length >= 8
        return code
          .replaceAll('-', ' ')
          .replace(/[A-Z]+/g, (letters) => (singly || letters.length <= 3 ? ` ${spaced(letters)} ` : ` ${letters} `))
          .replace(/\d+/g, (digits) =>
            !singly && digits.length <= 2 && !digits.startsWith('0')
              ? this.#of.cardinal(Number(digits))
              : this.#digits(digits),
          )
          .replace(/\s+/g, ' ')
          .trim()
      })
  }

  #numbers(text: string): string {
    const { words } = this.#of
    return text
      .replace(/\b(\d{1,4})(?:st|nd|rd|th)\b/gi, (_found, value: string) => this.#of.ordinal(Number(value)))
      .replace(/(?<![\d/])(\d)\/(\d)(?![\d/])/g, (found) => words.fractions[found] ?? found)
      .replace(/(\d+)?\s?([½¼¾⅓⅔])/g, (_found, whole: string | undefined, sign: string) => {
        const said = words.fractions[sign.normalize('NFKD').replace('\u2044', '/')] ?? ''
        if (whole === undefined) return said
        return `${this.#number(whole)} ${sign === '½' ? words.andHalf : `${words.and} ${said}`}`
      })
      .replace(SCALED, (found, written: string, scale: string) => {
        const amount = this.#amount(written, scale === 'M' && written.includes('.') ? 'million' : scale)
        return amount === null ? found : (amount.inWords ?? this.#of.cardinal(amount.whole))
      })
      .replace(/(?<=\d)\s*[x×]\s*(?=\d)/gi, ` ${words.by} `)
      .replace(/(\d[\d.,]*)\s?[x×](?!\p{L})/giu, (_found, often: string) => words.times.replace('#', often))
      .replace(/(?<![\p{L}\d.)])(\d{1,6})\s*[-–]\s*(\d{1,6})(?![\d-])/gu, (found, from: string, to: string) =>
        !isSpan(from, to)
          ? found
          : isYear4(from) && isYear4(to)
            ? `${this.#of.year(Number(from))} ${words.to} ${this.#of.year(Number(to))}`
            : `${from} ${words.to} ${to}`,
      )
      .replace(/(?<![\p{L}\d)])~\s?(?=\d)/gu, `${words.about} `)
      .replace(/(?<![\p{L}\d)])-(?=\d)/gu, `${words.minus} `)
      .replace(/(?<![\p{L}\d)])\+(?=\d)/gu, `${words.plus} `)
      .replace(/(?<=\d)\/(?=\d)/g, ` ${words.slash} `)
      .replace(PLAIN, (written, ...rest: unknown[]) => {
        const at = rest.find((part): part is number => typeof part === 'number') ?? 0
        const whole =
          rest.find(
            (part): part is string => typeof part === 'string' && part.length >= written.length && part !== written,
          ) ?? text
        return ` ${this.#bare(written, whole.slice(0, at), whole.slice(at + written.length))} `
      })
      .replace(/\d+/g, (digits) => ` ${this.#digits(digits)} `)
      .replace(/[$€£₦₵₹]/g, ' ')
      .replaceAll('&', ` ${words.and} `)
      .replace(/\s@\s/g, ` ${words.at} `)
      .replace(/(?<=\p{L})\s\+\s(?=\p{L})/gu, ` ${words.plus} `)
  }

  #bare(written: string, before: string, after: string): string {
    const { code, number, year, counted } = this.#patterns
    if (/[,.]/.test(written)) return this.#number(written)
    const { length } = written
    if (length > 1 && written.startsWith('0')) return this.#code(written)
    if (length < 4) return this.#number(written)
    if (counted.test(after)) return this.#number(written)
    if (code.test(before)) return this.#code(written)
    const value = Number(written)
    if (length >= CODE_DIGITS)
      return value % 1000 === 0 && !number.test(before) ? this.#number(written) : this.#code(written)
    if (isYear4(written) && year.test(before)) return this.#of.year(value)
    return value % 100 === 0 ? this.#number(written) : this.#code(written)
  }

  /** @returns a number in words, with its decimals */
  #number(written: string): string {
    const [whole = '', decimals] = written.replaceAll(',', '').split('.')
    if (Number(whole) > CARDINAL_MAX) return this.#code(whole)
    const said = this.#of.cardinal(Number(whole))
    return decimals === undefined ? said : `${said} ${this.#of.words.point} ${this.#digits(decimals)}`
  }

  // --- short forms -------------------------------------------------------------------------------------------

  #abbreviations(text: string): string {
    const { beforeNames, afterNames, abbreviations } = this.#of
    const { after, before, short } = this.#patterns
    return text
      .replace(after, (_found, name: string, stop: string, next: string) => {
        const said = afterNames[name] ?? name
        return stop === '' || next !== '' ? said : `${said}.`
      })
      .replace(before, (_found, name: string) => beforeNames[name] ?? name)
      .replace(short, (found, name: string, _stop, at: number, whole: string) => {
        const said = abbreviations[name] ?? name
        return at + found.length === whole.length && found.endsWith('.') ? `${said}.` : said
      })
  }
}

/**
 * The spoken form of one sentence, or of a part that ends between words.
 * @param language  tag such as `en` or `sw-KE`. If the language has no spoken forms, only signs that cannot be spoken
 * are removed
 */
export function spokenForm(text: string, language = 'en'): string {
  const clean = text
    .normalize('NFC')
    .replace(/(?<=\d)\uFE0F?\u20E3/g, '')
    .replace(/[\u00A0\u2007\u202F\t]/g, ' ')
    .replace(/[\u2010\u2011\u2212]/g, '-')
    .replace(/(?<=[\p{L}\d%])\s*[–—]\s*(?=\d)|(?<=\p{L})–(?=\p{L})/gu, '-')
  return tidy(spellerOf(language)?.spell(clean) ?? clean)
}

const spellers = new Map<string, Speller>()

/** Maximum number of characters that wait at the end of a growing text. */
const OPEN_CHARS_MAX = 80
/**
 * Word whose reading may depend on the next word. It contains a figure or a sign, is a name (Moi Ave) or a currency, or
 * comes before a number.
 */
const OPEN_WORD = /[\d$€£₦₵₹%*#@/~+]|^["'(]?\p{Lu}|^-$|\.$/u

/**
 * Finds the part of a growing text that can be spoken without splitting an amount, time or date.
 * @returns the number of characters that can be spoken. The remaining text waits for more words
 */
export function formsMayGoOn(text: string): number {
  let cut = text.length
  for (const { 0: word, index } of [...text.matchAll(/\S+/gu)].reverse()) {
    if (text.length - index > OPEN_CHARS_MAX || !(OPEN_WORD.test(word) || BEFORE_NUMBERS.has(word.toLowerCase()))) break
    cut = index
  }
  return cut
}

/** Words of all languages that decide how the number after them is read. */
const BEFORE_NUMBERS: ReadonlySet<string> = new Set([
  ...Object.keys(CODES),
  ...Object.values(LANGUAGES).flatMap((of) => [
    ...of.codeWords,
    ...of.numberWords,
    ...of.yearWords,
    ...of.otherWords,
    of.words.to,
    of.words.and,
  ]),
  'saa',
  'tarehe',
  'the',
  'per',
])

/** Word whose spoken form is its written form. Most words are like this, so spoken forms rarely have to be computed. */
const PLAIN_WORD = /^[a-z]+[.,:;!?]?$/i

/**
 * @returns the first word of `text` that the embedded voices cannot speak; null if they can speak all words. These
 * voices read a-z and digits, and ignore accents. A text without words is returned whole
 */
export function unspokenIn(text: string): string | null {
  const words = text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word))
  if (words.length === 0) return text
  return words.find((word) => !PLAIN_WORD.test(word) && !/[a-z0-9]/i.test(spokenForm(word))) ?? null
}

/** Removes signs that remain in the text after the figures have become words. */
function tidy(text: string): string {
  return (
    text
      .replace(UNSPEAKABLE, ' ')
      // A compound name is divided, because separate words are pronounced better.
      .replace(/(\p{Ll}{2})(\p{Lu}\p{Ll})/gu, '$1 $2')
      .replace(/\s*[([{]\s*([^()[\]{}]*?)\s*[)\]}]/g, ', $1')
      .replace(/(?:\s+-+|\s*[–—])(?=\s|\p{L})/gu, ', ')
      .replace(/["“”«»`_*#<>|\\^~=\][{}()]/g, ' ')
      .replace(/(?<=\p{L})\/(?=\p{L})/gu, ' ')
      .replace(/\s\/|\/\s|[•·▪●]/g, ' ')
      .replace(/\s+([.,!?;:])/g, '$1')
      .replace(/,(?:\s*,)+/g, ',')
      .replace(/,\s*([.!?;:])/g, '$1')
      .replace(/^[\s,;:]+/, '')
      .replace(/\s+/g, ' ')
      .trim()
  )
}

function timeOf(hour: string | undefined, minute: string | undefined, half: string | undefined): ClockTime | null {
  const [hours, minutes] = [Number(hour), Number(minute ?? 0)]
  if (!(hours <= 24) || (half !== undefined && (hours > 12 || hours === 0))) return null
  return { hour: hours, minute: minutes, half: half === undefined ? null : half.toLowerCase() === 'p' ? 'p' : 'a' }
}

function other(half: string): string {
  return half.toLowerCase() === 'p' ? 'a' : 'p'
}

function isYear4(written: string): boolean {
  return /^(?:19|20)\d\d$/.test(written)
}

/** True if a dash between two numbers means a range, "from … to …". False if the numbers are a code. */
function isSpan(from: string, to: string): boolean {
  if (from.startsWith('0') || to.startsWith('0')) return from === '0'
  return to.length - from.length <= 1 && Number(to) > Number(from) && from.length <= 4
}

function spaced(letters: string): string {
  return [...letters].join(' ')
}

/** @returns the groups of a match. `replace` passes them as arguments after the whole match */
function groupsOf(rest: readonly unknown[]): (string | undefined)[] {
  const offset = rest.findIndex((part) => typeof part === 'number')
  return rest.slice(0, offset) as (string | undefined)[]
}

/**
 * Maps names and short names in lower case to names. The English names are included, because callers and models mix
 * languages.
 */
function monthsOf({ locale }: SpokenLanguage): ReadonlyMap<string, string> {
  const months = new Map<string, string>([['sept', nameOf(locale, { month: 'long' }, 8, 5)]])
  for (let month = 0; month < 12; month++) {
    const said = nameOf(locale, { month: 'long' }, month, 5)
    for (const name of [said, nameOf('en', { month: 'long' }, month, 5)])
      for (const form of [name, name.slice(0, 3)]) months.set(form.toLowerCase(), said)
  }
  return months
}

function daysOf({ locale }: SpokenLanguage): ReadonlyMap<string, string> {
  const days = new Map<string, string>()
  // The loop begins with 22 November 2026, a Sunday.
  for (let date = 22; date < 29; date++) {
    const said = nameOf(locale, { weekday: 'long' }, 10, date)
    const english = nameOf('en', { weekday: 'long' }, 10, date)
    for (const form of [said, english, english.slice(0, 3)]) days.set(form.toLowerCase(), said)
  }
  return days
}

function nameOf(locale: string, part: Intl.DateTimeFormatOptions, month: number, date: number): string {
  return dateFormat(locale, { ...part, timeZone: 'UTC' }).format(Date.UTC(2026, month, date))
}
