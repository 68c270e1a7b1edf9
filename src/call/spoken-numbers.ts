import { LANGUAGES, WORDS, wordsOf } from './words/languages.js'

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
  /** Those that stand within a number after tens and units too: kumi na tano, mia mbili na hamsini. */
  andAfterUnits: new Set([WORDS.sw.and]),
  days: merged('days'),
  months: merged('months'),
  /** Word to day of the week, 0 for Sunday. */
  dayNames: WORDS.en.weekdays,
  weekdays: new Map(LANGUAGES.flatMap(({ weekdays }) => weekdays.map((word, day) => [word, day] as const))),
}

const NUMBERS = merged('numbers')
const REPEATS = merged('repeats')
const LEADING = new Set(wordsOf('leading'))

/** Words for one digit, and for how often the next one is repeated. */
export const DIGIT_WORDS: readonly string[] = [
  ...[...NUMBERS].filter(([, number]) => number < 10).map(([word]) => word),
  ...REPEATS.keys(),
]

function merged(key: 'numbers' | 'repeats' | 'months' | 'days'): ReadonlyMap<string, number> {
  return new Map(LANGUAGES.flatMap((language) => Object.entries(language[key])))
}

/** Number words that an agent's file adds: `moja: 1`. */
type MoreNumbers = Readonly<Record<string, number>>

/** Whether a word is a number, or says how often the next one is repeated. */
export function isNumberWord(word: string): boolean {
  return NUMBERS.has(word) || REPEATS.has(word)
}

export function numberOf(word: string): number | undefined {
  return NUMBERS.get(word)
}

/** Whether a word is a scale, such as a thousand, that is said alone for an indefinite number. */
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
  /** What is below the next scale; null: nothing so far. */
  readonly rest: number | null
}

const NOTHING: OpenNumber = { sum: 0, below: Infinity, scale: 0, rest: null }

/**
 * The numbers of a text in order, each as its digits: `nineteen eighty-four` is 19 and 84, `two thousand and four` is
 * 2004, `double four` is 44, `elfu moja, mia mbili na hamsini` is 1250.
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
  for (const word of words) {
    const repeats = REPEATS.get(word)
    if (repeats !== undefined) {
      close()
      repeat = repeats
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

function valueOf({ sum, scale, rest }: OpenNumber): number {
  return sum + (scale === 0 ? (rest ?? 0) : scale * (rest ?? 1))
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
    return scale < open.scale ? { sum: valueOf(open), below: open.scale, scale, rest: null } : null
  }
  if (open.scale !== 0 || scale >= below) return null
  if (scale === 100) {
    if (rest === null) return sum === 0 ? { ...open, rest: 100 } : null
    return rest > 0 && rest < 100 ? { ...open, rest: rest * 100 } : null
  }
  if (rest === null ? sum > 0 : rest === 0) return null
  return { sum: sum + scale * (rest ?? 1), below: scale, scale: 0, rest: null }
}

function withRest(open: OpenNumber, next: number, and: string): OpenNumber | null {
  const { scale, rest } = open
  if (next === 0) return null
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
  return scale === 0 ? null : { sum: valueOf(open), below: scale, scale: 0, rest: next }
}
