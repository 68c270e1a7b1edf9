import { maskNumbersIn } from '../sautikit/phone.js'
import type { OrderFacts } from '../carrier/caller-end.js'
import { english, ONES } from '../speech/spoken/english.js'
import { COMMON_STATUSES, type AgentVocabulary } from './vocabulary.js'

/** `4127` as `four one two seven`. */
export function digitWords(digits: string): string {
  return [...digits].map((digit) => ONES[Number(digit)] ?? digit).join(' ')
}

/** Numbers under a hundred as a voice says them, longer ones digit by digit. */
export function numberWords(digits: string): string {
  return digits.length > 2 || /^0\d/.test(digits) ? digitWords(digits) : english.cardinal(Number(digits))
}

/** Lower-case words as spoken: no punctuation, numbers in words, `PM` as two letters. */
export function spokenWords(text: string): string[] {
  return (
    text
      .replace(/[‘’]/g, "'")
      // "4 AM" but never the "am" of "I am".
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
 * Spellings whose sound has another name, longest first; every other letter's is its own. English reads names of this
 * region nearly letter by letter.
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

/** Guesses the phones (CMU set) of a word that the dictionary lacks. Empty for a word without letters. */
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

/** Fewer digits in a row are a time or a count, not an order number. */
const ORDER_DIGITS_MIN = 3

const CLOCK =
  "(?:noon|midnight|\\w+(?: (?:thirty|fifteen|forty five|o'clock))?(?: (?:[ap] m|in the (?:morning|afternoon|evening)))?)"
const SPAN = `(?:between ${CLOCK} and ${CLOCK}|from ${CLOCK} to ${CLOCK}|(?:by|at|before|after|around) ${CLOCK})`
const DAY =
  '(?:today|tomorrow|tonight|yesterday|this (?:morning|afternoon|evening)|(?:next )?(?:mon|tues|wednes|thurs|fri|satur|sun)day|next week|the day after tomorrow)'
const ETA = new RegExp(
  `\\b(?:(?:on |by |before )?${DAY}(?: ${SPAN})?|between ${CLOCK} and ${CLOCK}(?: ${DAY})?|(?:with)?in \\w+ (?:days|hours|minutes))\\b`,
)

/** Reads the facts out of one turn's words. */
export function factsIn(text: string, vocabulary: Pick<AgentVocabulary, 'statuses'>): OrderFacts {
  const words = spokenWords(text)
  const spoken = words.join(' ')
  return { order: orderIn(words), status: statusIn(spoken, vocabulary.statuses), eta: ETA.exec(spoken)?.[0] ?? null }
}

/** The last number: an agent that corrects itself says the right one last. */
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

/** The longest matching phrase wins: `on its way back` is not `on its way`. */
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
  /** As written in the file. */
  readonly source: string
  /** Null: `source` is compared by its words. */
  readonly expression: RegExp | null
}

const EXPRESSION = /^\/(.+)\/([imsu]*)$/s

/** An expression searches only this much of a text, because one with nested repeats could take minutes. */
const SEARCHED_CHARS_MAX = 4000

/** `/…/` with flags is an expression; everything else is words. @throws SyntaxError for an invalid expression */
export function textPattern(source: string): TextPattern {
  const found = EXPRESSION.exec(source)
  return { source, expression: found === null ? null : new RegExp(found[1] as string, found[2]) }
}

/**
 * True if `text` contains the pattern. Words are compared as they are spoken: without case and punctuation, and `4127`
 * is `four one two seven`. Phone numbers are masked on both sides, because records mask them.
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
