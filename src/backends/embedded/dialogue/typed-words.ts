import { saysOnly } from '../../../call/turns/backchannel.js'
import { SPOKEN, correctionAt, digitsIn, isNumberWord, numberOf } from '../../../call/spoken/spoken-numbers.js'
import { LANGUAGES, wordsOf } from '../../../call/words/languages.js'

/**
 * Meaning of words in other languages, which a caller may type or a recogniser for all languages may return. A
 * dialogue's own phrases and its grammar contain only the dialogue's language.
 */

/**
 * Meanings that have word lists. If a phrase of an intent is the first word of a list, the intent has the list's
 * meaning. The second entry names lists of words that may occur beside the words with the meaning.
 */
const MEANINGS = [
  ['thanks', ['acknowledges', 'besideYesNo']],
  ['yes', ['besideYesNo']],
  ['no', ['besideYesNo']],
  ['again', ['besideWait']],
  ['wait', ['besideWait']],
  ['ends', ['besideEnds', 'thanks']],
  ['human', ['besideHuman']],
  ['slower', ['besideWait']],
] as const

type MeaningName = (typeof MEANINGS)[number][0]

const TABLES = MEANINGS.map(([name, beside]) => ({ name, words: wordsOf(name), beside: wordsOf(...beside) }))
const ACKNOWLEDGES = wordsOf('acknowledges')
const BESIDE_ACKNOWLEDGES = wordsOf('besideYesNo', 'thanks')

/** The most usual words for each meaning, one word per language, such as `yes` and `ndiyo`. */
export function plainestWords(): readonly (readonly [name: MeaningName, words: readonly string[]])[] {
  return MEANINGS.map(([name]) => [name, LANGUAGES.flatMap((language) => language[name].slice(0, 1))])
}

/**
 * @returns the meanings of a text in any language; empty if the text contains other words
 * @param thanksEnd  true if thanks end the dialogue; words that only acknowledge then do not count as a yes
 */
export function meaningsOf(text: string, thanksEnd: boolean): readonly MeaningName[] {
  const noYes = thanksEnd && saysOnly(text, ACKNOWLEDGES, BESIDE_ACKNOWLEDGES)
  return TABLES.filter(({ name, words, beside }) => !(noYes && name === 'yes') && saysOnly(text, words, beside)).map(
    ({ name }) => name,
  )
}

/**
 * Replaces each run of number words, in any language, by the dialogue's words for the digits. If the caller corrects
 * digits, the corrected digits replace the last digits. Words in the dialogue's own phrases are not replaced.
 * @param own words of the dialogue's phrases
 * @param digits the dialogue's words for 0 to 9
 * @param length number of digits in the expected number; 0 if not known
 */
export function withOwnDigits(
  words: readonly string[],
  own: ReadonlySet<string>,
  digits: readonly string[],
  length: number,
): readonly string[] {
  const more = Object.fromEntries(digits.map((word, digit) => [word, digit]))
  const counts = (word: string): boolean => digits.includes(word) || (isNumberWord(word) && !isOrdinal(word))
  const out: string[] = []
  for (let at = 0; at < words.length; at++) {
    // "Oh" is not replaced if no digit precedes it, because it may be a sigh.
    if ((!counts(words[at] ?? '') || /^oh?$/.test(words[at] ?? '')) && !isTimes(words, at)) {
      out.push(words[at] ?? '')
      continue
    }
    let to = at + 1
    for (let next = to; next < words.length; next++) {
      const correction = length === 0 ? 0 : correctionAt(words, next)
      if (counts(words[next] ?? '')) to = next + 1
      else if (correction > 0 && counts(words[next + correction] ?? '')) next += correction - 1
      else if (!SPOKEN.and.has(words[next] ?? '') && !isTimes(words, next)) break
    }
    const run = words.slice(at, to)
    const known = run.every((word) => digits.includes(word) || own.has(word))
    out.push(...(known ? run : [...digitsIn(run, length, more)].map((digit) => digits[Number(digit)] ?? '')))
    at = to - 1
  }
  return out
}

/** Replaces words that correct digits by the dialogue's own word for a correction, if digits follow. */
export function withOwnCorrections(
  words: readonly string[],
  digits: readonly string[],
  correction: readonly string[],
): readonly string[] {
  const [word] = correction
  if (word === undefined) return words
  const count = correctionAt(words, 0)
  return count > 0 && digits.includes(words[count] ?? '') && !correction.includes(words[0] ?? '')
    ? [word, ...words.slice(count)]
    : words
}

/** True for a word that multiplies the next number, such as "mara" in "mara mbili nne". */
function isTimes(words: readonly string[], at: number): boolean {
  return LANGUAGES.some(({ times }) => times.includes(words[at] ?? '')) && isNumberWord(words[at + 1] ?? '')
}

/** True for an ordinal, because callers use "first" for a choice more often than for a digit. */
function isOrdinal(word: string): boolean {
  return /(?:st|nd|rd|th)$/.test(word) && (numberOf(word) ?? 0) < 100
}
