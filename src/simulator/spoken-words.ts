import { maskNumbersIn } from '../sautikit/phone.js'
import type { OrderFacts } from '../carrier/caller-end.js'
import { english, ONES } from '../speech/spoken/english.js'
import { COMMON_STATUSES, type AgentVocabulary } from './vocabulary.js'

/** @returns digits in words: `four one two seven` for `4127` */
export function digitWords(digits: string): string {
  return [...digits].map((digit) => ONES[Number(digit)] ?? digit).join(' ')
}

/** @returns numbers under a hundred as a voice says them, and longer numbers digit by digit */
export function numberWords(digits: string): string {
  return digits.length > 2 || /^0\d/.test(digits) ? digitWords(digits) : english.cardinal(Number(digits))
}

/** Lower-case words as spoken: no punctuation, numbers in words, `PM` as two letters. */
export function spokenWords(text: string): string[] {
  return (
    text
      .replace(/[‘’]/g, "'")
      // This matches "4 AM", but not the "am" of "I am".
      .replace(/(\d\s*|\b(?=[Pp]|A\.?M\b))([AaPp])\.?[Mm]\b\.?/g, '$1 $2 m ')
      .toLowerCase()
      .replace(/\d+/g, (digits) => ` ${numberWords(digits)} `)
      .replace(/[^a-z']+/g, ' ')
      .split(' ')
      .map((word) => word.replace(/^'+|'+$/g, ''))
      .filter((word) => word !== '')
  )
}

const DIGIT_OF = new Map<string, string>([
  ...ONES.slice(0, 10).map((word, digit) => [word, String(digit)] as const),
  ['oh', '0'],
])

/**
 * Spellings whose phone does not have the letter's name, longest first. Every other letter is also the name of its
 * phone, because the region's names are read nearly letter by letter.
 */
const SOUNDS: readonly (readonly [string, string])[] = [
  ['sch', 'SH'],
  ['tch', 'CH'],
  ['ch', 'CH'],
  ['sh', 'SH'],
  ['th', 'TH'],
  ['ph', 'F'],
  ['ng', 'NG'],
  ['ck', 'K'],
  ['qu', 'K W'],
  ['ee', 'IY'],
  ['oo', 'UW'],
  ['ou', 'AW'],
  ['ow', 'OW'],
  ['ai', 'EY'],
  ['ay', 'EY'],
  ['ea', 'IY'],
  ['oi', 'OY'],
  ['au', 'AO'],
  ['a', 'AA'],
  ['c', 'K'],
  ['e', 'EH'],
  ['h', 'HH'],
  ['i', 'IY'],
  ['j', 'JH'],
  ['o', 'OW'],
  ['u', 'UW'],
  ['x', 'K S'],
]

/** Guesses the phones (CMU set) of a word that is not in the dictionary. Empty for a word without letters. */
export function guessPhones(word: string): string {
  const phones: string[] = []
  let at = 0
  while (at < word.length) {
    const letter = word.charAt(at)
    const own = /[b-z]/.test(letter) && letter !== 'q' ? letter.toUpperCase() : null
    const [letters, sound] = SOUNDS.find(([spelling]) => word.startsWith(spelling, at)) ?? [letter, own]
    if (sound !== null && phones.at(-1) !== sound) phones.push(sound)
    at += letters.length
  }
  return phones.join(' ')
}

/** Minimum number of consecutive digits in an order number; fewer digits are a time or a count. */
const ORDER_DIGITS_MIN = 3

const CLOCK =
  "(?:noon|midnight|\\w+(?: (?:thirty|fifteen|forty five|o'clock))?(?: (?:[ap] m|in the (?:morning|afternoon|evening)))?)"
const SPAN = `(?:between ${CLOCK} and ${CLOCK}|from ${CLOCK} to ${CLOCK}|(?:by|at|before|after|around) ${CLOCK})`
const DAY =
  '(?:today|tomorrow|tonight|yesterday|this (?:morning|afternoon|evening)|(?:next )?(?:mon|tues|wednes|thurs|fri|satur|sun)day|next week|the day after tomorrow)'
const ETA = new RegExp(
  `\\b(?:(?:on |by |before )?${DAY}(?: ${SPAN})?|between ${CLOCK} and ${CLOCK}(?: ${DAY})?|(?:with)?in \\w+ (?:days|hours|minutes))\\b`,
)

/** Finds the facts in one turn's words. */
export function factsIn(text: string, vocabulary: Pick<AgentVocabulary, 'statuses'>): OrderFacts {
  const words = spokenWords(text)
  const spoken = words.join(' ')
  return { order: orderIn(words), status: statusIn(spoken, vocabulary.statuses), eta: ETA.exec(spoken)?.[0] ?? null }
}

/** Facts of a whole call, from the words of the agent's turns: the last status, with its order and time. */
export function factsOfTurns(turns: readonly string[], vocabulary: Pick<AgentVocabulary, 'statuses'>): OrderFacts {
  const facts = turns.map((text) => factsIn(text, vocabulary))
  const lastWith = (key: keyof OrderFacts): string | null => facts.findLast((fact) => fact[key] !== null)?.[key] ?? null
  const withStatus = facts.findLast((fact) => fact.status !== null)
  return {
    order: withStatus?.order ?? lastWith('order'),
    status: withStatus?.status ?? null,
    eta: withStatus?.eta ?? lastWith('eta'),
  }
}

/** @returns the last order number in the words: if an agent corrects itself, the right number comes last */
export function orderIn(words: readonly string[]): string | null {
  return ordersIn(words).at(-1) ?? null
}

/** Runs of digits that are long enough for an order's number. */
export function ordersIn(words: readonly string[]): string[] {
  let run = ''
  const found: string[] = []
  for (const word of [...words, '']) {
    const digit = DIGIT_OF.get(word)
    if (digit !== undefined) {
      run += digit
      continue
    }
    if (run.length >= ORDER_DIGITS_MIN) found.push(run)
    run = ''
  }
  return found
}

/** The longest matching phrase is used: `on its way back` is not `on its way`. */
function statusIn(spoken: string, statuses: AgentVocabulary['statuses']): string | null {
  let best: { readonly name: string; readonly chars: number } | null = null
  for (const [name, phrases] of Object.entries({ ...COMMON_STATUSES, ...statuses })) {
    for (const phrase of phrases) {
      const words = spokenWords(phrase).join(' ')
      if (words === '' || !` ${spoken} `.includes(` ${words} `)) continue
      if (best === null || words.length > best.chars) best = { name, chars: words.length }
    }
  }
  return best?.name ?? null
}

/** A text to search for: words as they are spoken, or a regular expression. */
export interface TextPattern {
  /** Source text of the pattern in the file. */
  readonly source: string
  /** Expression; null: `source` is compared by its words. */
  readonly expression: RegExp | null
}

const EXPRESSION = /^\/(.+)\/([imsu]*)$/s

/**
 * Maximum number of characters of a text in which a regular expression searches, because an expression with nested
 * repeats could take minutes.
 */
const SEARCHED_CHARS_MAX = 4000

/**
 * Reads a pattern: `/…/` with flags is an expression; every other text is words. @throws SyntaxError for an invalid
 * expression
 */
export function textPattern(source: string): TextPattern {
  const found = EXPRESSION.exec(source)
  return { source, expression: found === null ? null : new RegExp(found[1] as string, found[2]) }
}

/**
 * True if `text` contains the pattern. Words are compared as spoken, without case and punctuation: `4127` is `four one
 * two seven`. Phone numbers are masked on both sides.
 */
export function hasPattern(text: string, pattern: TextPattern): boolean {
  const masked = maskNumbersIn(text)
  if (pattern.expression !== null) return pattern.expression.test(masked.slice(0, SEARCHED_CHARS_MAX))
  const wanted = spokenWords(maskNumbersIn(pattern.source)).join(' ')
  return ` ${spokenWords(masked).join(' ')} `.includes(` ${wanted} `)
}

/** True if the pattern matches the whole `value`. Masked and unmasked phone numbers are equal. */
export function isPattern(value: unknown, pattern: TextPattern): boolean {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return false
  const text = String(value)
  if (pattern.expression !== null) return pattern.expression.test(text.slice(0, SEARCHED_CHARS_MAX))
  return text === pattern.source || maskNumbersIn(text) === maskNumbersIn(pattern.source)
}
