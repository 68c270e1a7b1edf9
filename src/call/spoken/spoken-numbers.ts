import { LANGUAGES, WORDS, wordsOf } from '../words/languages.js'

/**
 * Numbers in spoken words. The words are in `words/`. Callers mix languages, so every call uses the words of all
 * languages.
 */

/** Number words of all languages. */
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
  /** Weekday by its name, 0 for Sunday. */
  dayNames: WORDS.en.weekdays,
  shortWeekdays: merged('shortWeekdays'),
  weekdays: new Map(LANGUAGES.flatMap(({ weekdays }) => weekdays.map((word, day) => [word, day] as const))),
}

const NUMBERS = merged('numbers')
const REPEATS = merged('repeats')
const LEADING = new Set(wordsOf('leading'))
const TIMES = new Set(wordsOf('times'))
/** Maximum number of repetitions of a digit in words. */
const REPEATS_MAX = 3

/** Words for one digit, and words that say how often a digit is repeated. */
export const DIGIT_WORDS: readonly string[] = [
  ...[...NUMBERS].filter(([, number]) => number < 10).map(([word]) => word),
  ...REPEATS.keys(),
]

function merged(key: 'numbers' | 'repeats' | 'months' | 'days' | 'shortWeekdays'): ReadonlyMap<string, number> {
  return new Map(LANGUAGES.flatMap((language) => Object.entries(language[key])))
}

/** Number words that an agent's file adds: `moja: 1`. */
type MoreNumbers = Readonly<Record<string, number>>

/** True if a word is a number, or counts the repetitions of the next digit. */
export function isNumberWord(word: string): boolean {
  return NUMBERS.has(word) || REPEATS.has(word)
}

export function numberOf(word: string): number | undefined {
  return NUMBERS.get(word)
}

/** True if a word is a scale, such as "thousand", that can stand alone for an indefinite number. */
export function isScale(word: string): boolean {
  return (NUMBERS.get(word) ?? 0) >= 100
}

/** Maximum number of words; longer texts are truncated. */
const WORDS_MAX = 60

/** Returns words in lower case without accents; digits keep their grouping. */
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
  /** Sum of the complete scales. */
  readonly sum: number
  /** Smallest of the complete scales; the next scale must be smaller. */
  readonly below: number
  /** Scale whose multiplier comes next; else 0. */
  readonly scale: number
  /** Value below the next scale; null before the first. */
  readonly rest: number | null
  /** True if the next unit counts hundreds: elfu mia moja is 100,000. */
  readonly hundreds: boolean
}

const NOTHING: OpenNumber = { sum: 0, below: Infinity, scale: 0, rest: null, hundreds: false }

/**
 * Returns the numbers of a text in order, each as its digits.
 * - `nineteen eighty-four` is 19 and 84, `two thousand and four` is 2004.
 * - `double four`, `mara mbili nne` and `nne mara mbili` are 44.
 * - `elfu moja, mia mbili na hamsini` is 1250.
 */
export function numbersIn(words: readonly string[], more: MoreNumbers = {}): string[] {
  const numbers: string[] = []
  let open: OpenNumber | null = null
  let repeat = 1
  /** The last word, if it was the word `and` of a language; otherwise ''. */
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
      // The count of repetitions belongs to the digit after the count. If no digit follows, it belongs to the digit
      // before the count.
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

/** True if this `and` may continue the number: "kumi na" may continue, "one and" does not continue. */
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

/** Correction phrases, the longest first. */
const CORRECTS = wordsOf('corrects')
  .map((phrase) => phrase.split(' '))
  .toSorted((a, b) => b.length - a.length)

/** Returns the number of words at `at` that form a correction of the words before them; 0 without a correction. */
export function correctionAt(words: readonly string[], at: number): number {
  return CORRECTS.find((phrase) => phrase.every((word, index) => words[at + index] === word))?.length ?? 0
}

/**
 * Returns the digits of a text, in any grouping. After a correction ("nne moja mbili, hapana, tatu saba") new digits
 * replace the last digits.
 * @param length  digits of the number
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
/** An amount in figures, optionally with thousands or millions. */
const FIGURE = /(\d[\d,]*(?:\.\d+)?)\s*(k|m)?(?![\p{L}\d])/giu

/**
 * Returns the amount of money in a caller's words: `mia tano`, `laki moja na nusu`, `KSh 1,250.50`, `fifty bob`. "Elfu
 * kumi na tano" is read as 15,000, although some speakers mean 10,005. Returns null without an amount, or for several
 * amounts.
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
    // "Senti hamsini" and "fifty cents" are cents without an amount before them.
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
  // Examples: "elfu kumi, na shilingi tano"; "two elfu".
  if (amounts.length === 2 && rest >= whole)
    return rest >= 100 && whole < 100 && isScaleValue(rest) ? whole * rest : null
  return whole + rest + half.more + (cents[0] ?? 0) / 100
}

function isScaleValue(value: number): boolean {
  return [...NUMBERS.values()].includes(value)
}

/**
 * Returns the value that "na nusu" adds: half of the scale before it. With a number in between ("two and a half
 * thousand"): half of the scale after it.
 */
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
