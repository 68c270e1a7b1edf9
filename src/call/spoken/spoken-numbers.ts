import { LANGUAGES, WORDS, wordsOf } from '../words/languages.js'

/**
 * Numbers as people say them. Their words are in `words/`, and callers mix languages, so that those of all
 * languages count in every call.
 */

/** Words of all languages together. */
export const SPOKEN = {
  money: new Set(wordsOf('money')),
  percent: new Set(wordsOf('percent')),
  parts: new Set(wordsOf('parts')),
  about: new Set(wordsOf('about')),
  through: new Set(wordsOf('through')),
  daily: new Set(wordsOf('daily')),
  articles: new Set(wordsOf('articles')),
  is: new Set(wordsOf('is')),
  lists: new Set(wordsOf('lists')),
  and: new Set(LANGUAGES.map(({ and }) => and)),
  andAfterUnits: new Set(LANGUAGES.filter(({ andAfterUnits }) => andAfterUnits).map(({ and }) => and)),
  days: merged('days'),
  months: merged('months'),
  /** Word to day of the week, 0 for Sunday. */
  dayNames: WORDS.en.weekdays,
  shortWeekdays: merged('shortWeekdays'),
  weekdays: new Map(LANGUAGES.flatMap(({ weekdays }) => weekdays.map((word, day) => [word, day] as const))),
}

const NUMBERS = merged('numbers')
const REPEATS = merged('repeats')
const LEADING = new Set(wordsOf('leading'))
const TIMES = new Set(wordsOf('times'))
/** How often a digit may be said to be repeated. */
const REPEATS_MAX = 3

/** Words for one digit, and for how often the next one is repeated. */
export const DIGIT_WORDS: readonly string[] = [
  ...[...NUMBERS].filter(([, number]) => number < 10).map(([word]) => word),
  ...REPEATS.keys(),
]

function merged(key: 'numbers' | 'repeats' | 'months' | 'days' | 'shortWeekdays'): ReadonlyMap<string, number> {
  return new Map(LANGUAGES.flatMap((language) => Object.entries(language[key])))
}

/** Number words that an agent's file adds: `moja: 1`. */
type MoreNumbers = Readonly<Record<string, number>>

/** True if a word is a number, or says how often the next one is repeated. */
export function isNumberWord(word: string): boolean {
  return NUMBERS.has(word) || REPEATS.has(word)
}

export function numberOf(word: string): number | undefined {
  return NUMBERS.get(word)
}

/** True if a word is a scale, such as a thousand, that is said alone for an indefinite number. */
export function isScale(word: string): boolean {
  return (NUMBERS.get(word) ?? 0) >= 100
}

/** Longer texts are truncated. */
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

/** A number that the next word may extend. */
interface OpenNumber {
  /** Sum of the scales that are complete, and the smallest of them: the next one must be smaller. */
  readonly sum: number
  readonly below: number
  /** A scale whose multiplier comes next, or 0. */
  readonly scale: number
  /** Value below the next scale; null: none so far. */
  readonly rest: number | null
  /** The next unit counts hundreds: elfu mia moja is 100,000. */
  readonly hundreds: boolean
}

const NOTHING: OpenNumber = { sum: 0, below: Infinity, scale: 0, rest: null, hundreds: false }

/**
 * The numbers of a text in order, each as its digits: `nineteen eighty-four` is 19 and 84, `two thousand and four` is
 * 2004, `double four` is 44, as `mara mbili nne` and `nne mara mbili` are, `elfu moja, mia mbili na hamsini` is 1250.
 */
export function numbersIn(words: readonly string[], more: MoreNumbers = {}): string[] {
  const numbers: string[] = []
  let open: OpenNumber | null = null
  let repeat = 1
  /** The last word was the `and` of that language. */
  let and = ''
  const close = (): void => {
    if (open !== null) numbers.push(String(valueOf(open)))
    open = null
  }
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? ''
    const count = TIMES.has(word) ? (NUMBERS.get(words[at + 1] ?? '') ?? 0) : 0
    const repeats = REPEATS.get(word) ?? (count >= 2 && count <= REPEATS_MAX ? count : undefined)
    if (repeats !== undefined) {
      if (count > 0) at++
      const before: OpenNumber | null = open
      close()
      const next = words[at + 1] ?? ''
      // It belongs to the digit behind it, or, without one, to the digit before.
      if (count > 0 && before !== null && !isNumberWord(next) && !/^\d/.test(next))
        numbers.push((numbers.pop() ?? '').repeat(repeats))
      else repeat = repeats
      continue
    }
    const written = /^(\d+)(?:st|nd|rd|th)?$/.exec(word)?.[1]
    const next = written === undefined ? (Object.hasOwn(more, word) ? more[word] : NUMBERS.get(word)) : undefined
    if (written !== undefined || (next !== undefined && repeat > 1)) {
      close()
      numbers.push((written ?? String(next)).repeat(repeat))
      repeat = 1
    } else if (next === undefined) {
      if (open === null || !SPOKEN.and.has(word) || !mayGoOn(open, word)) close()
      and = word
      continue
    } else {
      const extended: OpenNumber | null =
        open === null ? null : next >= 100 ? withScale(open, next, LEADING.has(word)) : withRest(open, next, and)
      if (extended === null) close()
      open = extended ?? (next < 100 ? { ...NOTHING, rest: next } : withScale(NOTHING, next, LEADING.has(word)))
    }
    and = ''
  }
  close()
  return numbers
}

function valueOf({ sum, scale, rest, hundreds }: OpenNumber): number {
  return sum + (scale === 0 ? (rest ?? 0) : scale * (rest ?? (hundreds ? 100 : 1)))
}

/** After "one" there is no "and" within a number, after "kumi" there is a "na". */
function mayGoOn({ sum, scale, rest }: OpenNumber, and: string): boolean {
  if (SPOKEN.andAfterUnits.has(and)) return true
  return rest === null ? sum > 0 : scale === 0 && rest >= 20 && rest % 10 === 0
}

function withScale(open: OpenNumber, scale: number, leads: boolean): OpenNumber | null {
  const { sum, below, rest } = open
  if (leads) {
    if (open.scale === 0) return rest === null && scale < below ? { ...open, scale } : null
    if (rest === null && scale === 100 && open.scale > scale) return { ...open, hundreds: true }
    return scale < open.scale ? { ...NOTHING, sum: valueOf(open), below: open.scale, scale } : null
  }
  if (open.scale !== 0 || scale >= below) return null
  if (scale === 100) {
    if (rest === null) return sum === 0 ? { ...open, rest: 100 } : null
    return rest > 0 && rest < 100 ? { ...open, rest: rest * 100 } : null
  }
  if (rest === null ? sum > 0 : rest === 0) return null
  return { ...NOTHING, sum: sum + scale * (rest ?? 1), below: scale }
}

function withRest(open: OpenNumber, next: number, and: string): OpenNumber | null {
  const { scale, rest } = open
  if (next === 0) return null
  if (open.hundreds) return next < 10 ? { ...open, rest: next * 100, hundreds: false } : null
  if (rest === null)
    return scale === 100 && next >= 10
      ? { ...NOTHING, sum: valueOf(open), below: 100, rest: next }
      : { ...open, rest: next }
  if (rest >= 100)
    return rest % 100 === 0
      ? { ...open, rest: rest + next }
      : rest % 10 === 0 && rest % 100 >= 20 && next < 10
        ? { ...open, rest: rest + next }
        : null
  const unit = next < 10 && rest % 10 === 0 && (rest >= 20 || (rest === 10 && SPOKEN.andAfterUnits.has(and)))
  if (unit) return { ...open, rest: rest + next }
  return scale === 0 ? null : { ...NOTHING, sum: valueOf(open), below: scale, rest: next }
}

/** The longest first. */
const CORRECTS = wordsOf('corrects')
  .map((phrase) => phrase.split(' '))
  .toSorted((a, b) => b.length - a.length)

/** How many words at `at` take back what was said before; 0: none do. */
export function correctionAt(words: readonly string[], at: number): number {
  return CORRECTS.find((phrase) => phrase.every((word, index) => words[at + index] === word))?.length ?? 0
}

/**
 * The digits of a text, however they are grouped. Where a caller takes some back ("nne moja mbili, hapana, tatu saba"), those
 * after that word replace the last digits of the number.
 * @param length  digits of the whole number
 */
export function digitsIn(words: readonly string[], length: number, more: MoreNumbers = {}): string {
  let digits = ''
  let from = 0
  for (let at = 0; at <= words.length; at++) {
    const correction = correctionAt(words, at)
    if (at < words.length && correction === 0) continue
    const said = numbersIn(words.slice(from, at), more).join('')
    digits =
      from === 0 || said === '' ? `${digits}${said}` : `${digits.slice(0, Math.max(0, length - said.length))}${said}`
    at += Math.max(correction, 1) - 1
    from = at + 1
  }
  return digits
}

const CENTS = new Set(wordsOf('cents'))
const SLANG = new Map(LANGUAGES.flatMap(({ moneySlang }) => Object.entries(moneySlang)))
/** An amount in figures, with thousands or millions behind it. */
const FIGURE = /(\d[\d,]*(?:\.\d+)?)\s*(k|m)?(?![\p{L}\d])/giu

/**
 * The amount of money that a caller names: `mia tano`, `laki moja na nusu`, `KSh 1,250.50`, `fifty bob`. "Elfu kumi na
 * tano", which some say for 10,005, is 15,000. Null where there is none, or several.
 */
export function amountIn(text: string): number | null {
  const figures = [...text.matchAll(FIGURE)]
  const [figure] = figures
  if (figures.length > 1) return null
  const words = plainWords(text.replace(FIGURE, ' ')).flatMap((word) => (SLANG.get(word) ?? word).split(' '))
  if (figure !== undefined) {
    const scales = words.map((word) => NUMBERS.get(word) ?? 1).filter((scale) => scale !== 1)
    const [scale = 1] = scales
    const short = { k: 1000, m: 1e6 }[figure[2]?.toLowerCase() ?? ''] ?? 1
    return scales.length > 1 || (scale !== 1 && scale < 100)
      ? null
      : Number(figure[1]?.replaceAll(',', '')) * short * scale
  }
  const half = halfOf(words)
  const [amounts, cents] = [[] as number[], [] as number[]]
  let part: string[] = []
  const take = (to: number[]): void => {
    to.push(...numbersIn(part).map(Number))
    part = []
  }
  for (const [at, word] of half.words.entries()) {
    if (!SPOKEN.money.has(word) && !CENTS.has(word)) {
      part.push(word)
      continue
    }
    // "Senti hamsini", "fifty cents": the number that no amount before it has.
    const centsBefore = CENTS.has(word) && half.words[at + 1] === undefined
    take(centsBefore && cents.length === 0 ? cents : amounts)
    if (CENTS.has(word) && !centsBefore) {
      part = half.words.slice(at + 1)
      take(cents)
      break
    }
  }
  take(amounts)
  const [whole = 0, rest = 0] = amounts
  if (amounts.length + cents.length === 0 || amounts.length > 2 || cents.length > 1) return null
  // "Elfu kumi, na shilingi tano"; "two elfu".
  if (amounts.length === 2 && rest >= whole)
    return rest >= 100 && whole < 100 && isScaleValue(rest) ? whole * rest : null
  return whole + rest + half.more + (cents[0] ?? 0) / 100
}

function isScaleValue(value: number): boolean {
  return [...NUMBERS.values()].includes(value)
}

/** Value that "na nusu" adds: half of the scale before it, or behind it where a number stands between ("two and a half thousand"). */
function halfOf(words: readonly string[]): { readonly words: readonly string[]; readonly more: number } {
  for (const phrase of wordsOf('halfMore').map((phrase) => phrase.split(' ')))
    for (let at = 1; at + phrase.length <= words.length; at++) {
      if (!phrase.every((word, index) => words[at + index] === word)) continue
      const [before, after] = [words.slice(0, at), words.slice(at + phrase.length)]
      const scale = before.findLast(isScale) ?? after.find(isScale)
      return { words: [...before, ...after], more: scale === undefined ? 0.5 : (NUMBERS.get(scale) ?? 0) / 2 }
    }
  return { words, more: 0 }
}
