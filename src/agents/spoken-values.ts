/**
 * Spoken answers as comparable values: digits in any grouping, dates in any spoken order, texts without accents and
 * punctuation. English words are built in; those of another language come from the
 * agent's file.
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

const NUMBERS: Readonly<Record<string, number>> = {
  zero: 0,
  oh: 0,
  o: 0,
  nought: 0,
  one: 1,
  two: 2,
  three: 3,
  four: 4,
  five: 5,
  six: 6,
  seven: 7,
  eight: 8,
  nine: 9,
  ten: 10,
  eleven: 11,
  twelve: 12,
  thirteen: 13,
  fourteen: 14,
  fifteen: 15,
  sixteen: 16,
  seventeen: 17,
  eighteen: 18,
  nineteen: 19,
  twenty: 20,
  thirty: 30,
  forty: 40,
  fifty: 50,
  sixty: 60,
  seventy: 70,
  eighty: 80,
  ninety: 90,
  hundred: 100,
  thousand: 1000,
  first: 1,
  second: 2,
  third: 3,
  fourth: 4,
  fifth: 5,
  sixth: 6,
  seventh: 7,
  eighth: 8,
  ninth: 9,
  tenth: 10,
  eleventh: 11,
  twelfth: 12,
  thirteenth: 13,
  fourteenth: 14,
  fifteenth: 15,
  sixteenth: 16,
  seventeenth: 17,
  eighteenth: 18,
  nineteenth: 19,
  twentieth: 20,
  thirtieth: 30,
}
const MONTHS: Readonly<Record<string, number>> = {
  january: 1,
  february: 2,
  march: 3,
  april: 4,
  may: 5,
  june: 6,
  july: 7,
  august: 8,
  september: 9,
  october: 10,
  november: 11,
  december: 12,
  jan: 1,
  feb: 2,
  mar: 3,
  apr: 4,
  jun: 6,
  jul: 7,
  aug: 8,
  sep: 9,
  sept: 9,
  oct: 10,
  nov: 11,
  dec: 12,
}
const REPEATS: Readonly<Record<string, number>> = { double: 2, triple: 3 }
/** Longer answers are truncated. */
const WORDS_MAX = 60

/** Words in lower case without accents; digits keep their grouping. */
export function plainWords(text: string): string[] {
  return text
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '')
    .slice(0, WORDS_MAX)
}

/**
 * The numbers of a text in order, each as its digits: `nineteen eighty-four` is 19 and 84, `two thousand and four` is
 * 2004, `double four` is 44.
 */
export function numbersIn(words: readonly string[], spoken: SpokenWords = NO_WORDS): string[] {
  const numbers: string[] = []
  /** A number that the next word may extend, and the limit of what that word may add. */
  let value: number | null = null
  let room = 0
  let repeat = 1
  const close = (): void => {
    if (value !== null) numbers.push(String(value))
    value = null
    room = 0
  }
  for (const word of words) {
    if (Object.hasOwn(REPEATS, word)) {
      close()
      repeat = REPEATS[word] ?? 1
      continue
    }
    const written = /^(\d+)(?:st|nd|rd|th)?$/.exec(word)?.[1]
    const next = written === undefined ? numberOf(word, spoken) : null
    if (written !== undefined || (next !== null && repeat > 1)) {
      close()
      numbers.push((written ?? String(next)).repeat(repeat))
      repeat = 1
      continue
    }
    if (next === null) {
      if (word !== 'and' || room === 0) close()
      continue
    }
    const open: number | null = value
    if (next >= 100 && open !== null && open > 0 && open < 100) {
      value = open * next
      room = next
    } else if (open !== null && next > 0 && next < room) {
      value = open + next
      room = roomAfter(next)
    } else {
      close()
      value = next
      room = roomAfter(next)
    }
  }
  close()
  return numbers
}

/** `twenty` may be followed by a unit. */
function roomAfter(value: number): number {
  return value >= 20 && value < 100 && value % 10 === 0 ? 10 : 0
}

function numberOf(word: string, spoken: SpokenWords): number | null {
  if (Object.hasOwn(spoken.numbers, word)) return spoken.numbers[word] ?? null
  return Object.hasOwn(NUMBERS, word) ? (NUMBERS[word] ?? null) : null
}

function monthOf(word: string, spoken: SpokenWords): number | null {
  if (Object.hasOwn(spoken.months, word)) return spoken.months[word] ?? null
  return Object.hasOwn(MONTHS, word) ? (MONTHS[word] ?? null) : null
}

/** Whether a caller's answer is the expected value, as `rule` compares them. */
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
      return wanted !== '' && numbersIn(words, spoken).join('') === wanted
    }
    case 'date':
      return sameDate(words, expected, rule.dateOrder, spoken)
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
 * Whether one expected answer reveals another one: the year of a date, the last digits of a number, a name that is
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
function sameDate(words: readonly string[], expected: string, order: 'dmy' | 'mdy', spoken: SpokenWords): boolean {
  const [, year = '', month = '', day = ''] = /^(\d{4})-(\d{2})-(\d{2})/.exec(expected) ?? []
  if (year === '') return false
  const isYear = (text: string): boolean => text === year || (text.length === 2 && text === year.slice(2))
  const monthAt = words.findIndex((word) => monthOf(word, spoken) !== null)
  // "The twelfth of March nineteen eighty-four", "March 12th, 1984".
  if (monthAt >= 0) {
    if (monthOf(words[monthAt] ?? '', spoken) !== Number(month)) return false
    const [said, ...rest] = [
      ...numbersIn(words.slice(0, monthAt), spoken),
      ...numbersIn(words.slice(monthAt + 1), spoken),
    ]
    return said !== undefined && Number(said) === Number(day) && isYear(rest.join(''))
  }
  const numbers = numbersIn(words, spoken)
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
