import { digitsIn, numbersIn, plainWords } from '../../call/spoken/spoken-numbers.js'
import { saidDate } from '../../call/spoken/spoken-time.js'

/**
 * Words for the comparison of spoken answers. Digits may be grouped in any way, and dates may be spoken in any order.
 * Texts are compared without accents and punctuation. Only English and Swahili words are built in.
 */
export interface SpokenWords {
  /** Number of each word: `moja: 1`, `kumi: 10`. */
  readonly numbers: Readonly<Record<string, number>>
  /** Month of each word, 1 to 12: `januari: 1`. */
  readonly months: Readonly<Record<string, number>>
}

/** Rule for the comparison of an answer. */
export interface AnswerRule {
  readonly kind: 'digits' | 'date' | 'year' | 'name' | 'text'
  /** Number of digits at the end that are compared, for the rule `digits`; null for all digits. */
  readonly last: number | null
  /** Order of day and month in figures, for the rule `date`. */
  readonly dateOrder: 'dmy' | 'mdy'
}

const NO_WORDS: SpokenWords = { numbers: {}, months: {} }

/** True if a caller's answer equals the expected value according to the rule. */
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
 * True if one expected answer is a part of another expected answer. Examples: the year of a date, the last digits of a
 * number, a name inside a longer name.
 */
export function givesAway(a: string, aRule: AnswerRule, b: string, bRule: AnswerRule): boolean {
  const [short = '', long = ''] = [comparable(a, aRule), comparable(b, bRule)].sort(
    (one, other) => one.length - other.length,
  )
  if (short === '') return false
  return /^\d+$/.test(short + long) ? long.includes(short) : ` ${long} `.includes(` ${short} `)
}

/** Returns the part of an expected answer that is compared: digits without grouping, or words. */
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

/** Compares a date. @param expected  `1984-03-12`, with or without a time after it */
function sameDate(answer: string, expected: string, order: 'dmy' | 'mdy', spoken: SpokenWords): boolean {
  const [, year = '', month = '', day = ''] = /^(\d{4})-(\d{2})-(\d{2})/.exec(expected) ?? []
  if (year === '') return false
  const isYear = (text: string): boolean => text === year || (text.length === 2 && text === year.slice(2))
  // Examples: "the twelfth of March nineteen eighty-four", "March 12th, 1984", "tarehe kumi na mbili mwezi wa tatu".
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
  // In this form the caller entered the digits on the keypad, or said them one by one.
  const digits = numbers.join('')
  return (
    digits === `${wantedFirst}${wantedSecond}${year}` ||
    digits === `${wantedFirst}${wantedSecond}${year.slice(2)}` ||
    digits === `${year}${month}${day}`
  )
}
