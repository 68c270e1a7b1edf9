/**
 * Numbers as people say them. The words of each language stand here, and callers mix languages, so that those of all
 * languages count in every call.
 */

/** Words of one language for numbers and for what is said with them. */
interface SpokenLanguage {
  readonly numbers: Readonly<Record<string, number>>
  /** Scales that come before their multiplier: elfu mbili is 2000. Of other scales the multiplier comes first. */
  readonly leading: readonly string[]
  /** Joins the parts of a number. */
  readonly and: string
  readonly repeats: Readonly<Record<string, number>>
  readonly months: Readonly<Record<string, number>>
  /** From Sunday on. */
  readonly weekdays: readonly string[]
  /** Between the first and the last day of several. */
  readonly through: readonly string[]
  /** All days of the week. */
  readonly daily: readonly string[]
  /** Days from today. */
  readonly days: Readonly<Record<string, number>>
  readonly money: readonly string[]
  readonly percent: readonly string[]
  /** Parts of a number that `numbersIn` does not read. */
  readonly parts: readonly string[]
  /** Before a number that is not meant exactly, and what may stand between. */
  readonly about: readonly string[]
  readonly articles: readonly string[]
  /** Between a day and the weekday that it is. */
  readonly is: readonly string[]
  /** After a weekday that is one of several. */
  readonly lists: readonly string[]
}

const english: SpokenLanguage = {
  numbers: {
    ...numbered('zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen', 0),
    ...numbered('sixteen seventeen eighteen nineteen', 16),
    ...numbered('twenty thirty forty fifty sixty seventy eighty ninety', 20, 10),
    ...{ oh: 0, o: 0, nought: 0, hundred: 100, thousand: 1000, million: 1e6, billion: 1e9 },
    ...numbered('first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth', 1),
    ...numbered('fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth', 14),
    thirtieth: 30,
  },
  leading: [],
  and: 'and',
  repeats: { double: 2, triple: 3 },
  months: {
    ...numbered('january february march april may june july august september october november december', 1),
    ...numbered('jan feb mar apr may jun jul aug sep oct nov dec', 1),
    sept: 9,
  },
  weekdays: 'sunday monday tuesday wednesday thursday friday saturday'.split(' '),
  through: ['to', 'through', 'until', 'till'],
  daily: ['daily', 'everyday', 'weekdays', 'weekends'],
  days: { today: 0, tomorrow: 1, yesterday: -1 },
  money:
    'kes ksh kshs sh shilling shillings bob ugx tzs usd dollar dollars euro euros eur pound pounds gbp naira rand'.split(
      ' ',
    ),
  percent: ['percent'],
  parts: ['point', 'half', 'quarter', 'cent', 'cents', 'pence', 'kobo', 'hundreds', 'thousands', 'millions'],
  about: 'about around roughly approximately nearly almost over under than least most'.split(' '),
  articles: ['a', 'an', 'the'],
  is: ['is'],
  lists: ['and', 'or'],
}

const swahili: SpokenLanguage = {
  numbers: {
    ...numbered('sifuri moja mbili tatu nne tano sita saba nane tisa', 0),
    ...numbered('kumi ishirini thelathini arobaini hamsini sitini sabini themanini tisini', 10, 10),
    ...{ mia: 100, elfu: 1000, laki: 100_000, milioni: 1e6 },
  },
  leading: ['mia', 'elfu', 'laki', 'milioni'],
  and: 'na',
  repeats: {},
  months: numbered('januari februari machi aprili mei juni julai agosti septemba oktoba novemba desemba', 1),
  weekdays: 'jumapili jumatatu jumanne jumatano alhamisi ijumaa jumamosi'.split(' '),
  through: ['hadi', 'mpaka'],
  daily: ['kilasiku'],
  days: { leo: 0, kesho: 1, jana: -1 },
  money: ['shilingi'],
  percent: ['asilimia'],
  parts: ['nukta', 'nusu', 'robo', 'senti'],
  about: ['kama', 'karibu', 'takriban', 'takribani', 'zaidi', 'chini'],
  articles: ['ya'],
  is: ['ni'],
  lists: ['na', 'au', 'ama'],
}

function numbered(words: string, first: number, step = 1): Record<string, number> {
  return Object.fromEntries(words.split(' ').map((word, index) => [word, first + index * step]))
}

const LANGUAGES = [english, swahili]

/** Word to number, by language; the first word for a number is the usual one. */
export const NUMBER_WORDS = { en: english.numbers, sw: swahili.numbers }

/** Words of all languages together. */
export const SPOKEN = {
  money: setOf('money'),
  percent: setOf('percent'),
  parts: setOf('parts'),
  about: setOf('about'),
  through: setOf('through'),
  daily: setOf('daily'),
  articles: setOf('articles'),
  is: setOf('is'),
  lists: setOf('lists'),
  and: new Set(LANGUAGES.map(({ and }) => and)),
  /** Those that stand within a number after tens and units too: kumi na tano, mia mbili na hamsini. */
  andAfterUnits: new Set([swahili.and]),
  days: merged('days'),
  months: merged('months'),
  /** Word to day of the week, 0 for Sunday. */
  dayNames: english.weekdays,
  weekdays: new Map(LANGUAGES.flatMap(({ weekdays }) => weekdays.map((word, day) => [word, day] as const))),
}

const NUMBERS = merged('numbers')
const REPEATS = merged('repeats')
const LEADING = setOf('leading')

type Words = 'leading' | 'money' | 'percent' | 'parts' | 'about' | 'articles' | 'through' | 'daily' | 'is' | 'lists'

function setOf(key: Words): ReadonlySet<string> {
  return new Set(LANGUAGES.flatMap((language) => language[key]))
}

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
