import { digitsIn, numbersIn, plainWords } from '../../call/spoken/spoken-numbers.js'
import { saidDate } from '../../call/spoken/spoken-time.js'

/**
 * Spoken answers as comparable values: digits in any grouping, dates in any spoken order, texts without accents and
 * punctuation. English and Swahili words are built in; those of another language come from the agent's file.
 */
export interface SpokenWords {
  /** Word to number: `moja: 1`, `kumi: 10`. */
  readonly numbers: Readonly<Record<string, number>>
  /** Word to month, 1 to 12: `januari: 1`. */
  readonly months: Readonly<Record<string, number>>
}

/** How an answer is compared. */
export interface AnswerRule {
  readonly kind: 'digits' | 'date' | 'year' | 'name' | 'text'
  /** `digits`: how many of the last digits are compared; null: all. */
  readonly last: number | null
  /** `date` in figures: day or month first. */
  readonly dateOrder: 'dmy' | 'mdy'
}

const NO_WORDS: SpokenWords = { numbers: {}, months: {} }

/** True if a caller's answer is the expected value, as `rule` compares them. */
export function sameAnswer(
  answer: string,
  expected: string,
  rule: AnswerRule,
  spoken: SpokenWords = NO_WORDS,
): boolean {
  const words = plainWords(answer)
  switch (rule.kind) {
    case 'digits':
    case 'year': {
      const wanted = comparable(expected, rule)
      return wanted !== '' && digitsIn(words, wanted.length, spoken.numbers) === wanted
    }
    case 'date':
      return sameDate(answer, expected, rule.dateOrder, spoken)
    case 'name': {
      const wanted = plainWords(expected)
      return wanted.length > 0 && wanted.every((word) => words.includes(word))
    }
    case 'text': {
      const wanted = comparable(expected, rule)
      return wanted !== '' && words.join(' ') === wanted
    }
  }
}

/**
 * True if one expected answer reveals another one: the year of a date, the last digits of a number, a name that is
 * part of a longer one.
 */
export function givesAway(a: string, aRule: AnswerRule, b: string, bRule: AnswerRule): boolean {
  const [short = '', long = ''] = [comparable(a, aRule), comparable(b, bRule)].sort(
    (one, other) => one.length - other.length,
  )
  if (short === '') return false
  return /^\d+$/.test(short + long) ? long.includes(short) : ` ${long} `.includes(` ${short} `)
}

/** The compared part of an expected answer: digits without their grouping, else words. */
function comparable(expected: string, rule: AnswerRule): string {
  switch (rule.kind) {
    case 'digits': {
      const all = expected.replace(/\D/g, '')
      return rule.last === null ? all : all.slice(-rule.last)
    }
    case 'year':
      return /^\d{4}/.exec(expected)?.[0] ?? ''
    case 'date':
      return (/^\d{4}-\d{2}-\d{2}/.exec(expected)?.[0] ?? '').replaceAll('-', '')
    case 'name':
    case 'text':
      return plainWords(expected).join(' ')
  }
}

/** @param expected `1984-03-12`, with or without a time behind it */
function sameDate(answer: string, expected: string, order: 'dmy' | 'mdy', spoken: SpokenWords): boolean {
  const [, year = '', month = '', day = ''] = /^(\d{4})-(\d{2})-(\d{2})/.exec(expected) ?? []
  if (year === '') return false
  const isYear = (text: string): boolean => text === year || (text.length === 2 && text === year.slice(2))
  // "The twelfth of March nineteen eighty-four", "March 12th, 1984", "tarehe kumi na mbili mwezi wa tatu".
  const said = saidDate(answer, spoken.numbers, spoken.months)
  if (said !== null) return said.month === Number(month) && said.day === Number(day) && isYear(said.year)
  const numbers = numbersIn(plainWords(answer), spoken.numbers)
  const [first = '', second = '', ...years] = numbers
  if (first.length === 4 && numbers.length === 3) {
    return first === year && Number(second) === Number(month) && Number(years[0]) === Number(day)
  }
  const [wantedFirst, wantedSecond] = order === 'dmy' ? [day, month] : [month, day]
  if (numbers.length >= 3 && first.length <= 2 && second.length <= 2) {
    if (Number(first) === Number(wantedFirst) && Number(second) === Number(wantedSecond) && isYear(years.join('')))
      return true
  }
  // Entered on the keypad, or said digit by digit.
  const digits = numbers.join('')
  return (
    digits === `${wantedFirst}${wantedSecond}${year}` ||
    digits === `${wantedFirst}${wantedSecond}${year.slice(2)}` ||
    digits === `${year}${month}${day}`
  )
}
