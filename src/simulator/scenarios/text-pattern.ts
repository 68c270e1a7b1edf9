import { maskNumbersIn } from '../../sautikit/phone.js'
import { spokenWords } from '../spoken-words.js'

/** A text that is looked for: words as they are spoken, or a regular expression. */
export interface TextPattern {
  /** As it stands in the file. */
  readonly source: string
  /** Null: `source` is compared by its words. */
  readonly expression: RegExp | null
}

const EXPRESSION = /^\/(.+)\/([imsu]*)$/s

/** Longer texts are not searched by an expression: one with nested repeats could take minutes over them. */
const SEARCHED_CHARS_MAX = 4000

/** `/…/` with flags is an expression, everything else words. @throws SyntaxError for an expression that is none */
export function textPattern(source: string): TextPattern {
  const found = EXPRESSION.exec(source)
  return { source, expression: found === null ? null : new RegExp(found[1] as string, found[2]) }
}

/**
 * Whether `text` has it somewhere. Words are compared as they are spoken: no case, no marks, `4127` is `four one two
 * seven`. Phone numbers are masked on both sides, as records mask them.
 */
export function hasPattern(text: string, pattern: TextPattern): boolean {
  const masked = maskNumbersIn(text)
  if (pattern.expression !== null) return pattern.expression.test(masked.slice(0, SEARCHED_CHARS_MAX))
  const wanted = spokenWords(maskNumbersIn(pattern.source)).join(' ')
  return ` ${spokenWords(masked).join(' ')} `.includes(` ${wanted} `)
}

/** Whether `value` is it as a whole. A phone number is the same masked or not. */
export function isPattern(value: unknown, pattern: TextPattern): boolean {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return false
  const text = String(value)
  if (pattern.expression !== null) return pattern.expression.test(text.slice(0, SEARCHED_CHARS_MAX))
  return text === pattern.source || maskNumbersIn(text) === maskNumbersIn(pattern.source)
}
