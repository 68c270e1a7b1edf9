import { saysOnly } from '../../../call/turns/backchannel.js'
import { SPOKEN, correctionAt, digitsIn, isNumberWord, numberOf } from '../../../call/spoken/spoken-numbers.js'
import { LANGUAGES, wordsOf } from '../../../call/words/languages.js'

/**
 * Words of other languages in what is typed, and in what a recogniser of all languages returns: a dialogue's own phrases
 * are in its language, and its grammar has no others.
 */

/** Lists of words whose first one makes an intent theirs, and what may stand beside them. */
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

/** Meanings that an intent has everywhere, by the plainest word: `yes`, `ndiyo`. */
export function plainestWords(): readonly (readonly [name: MeaningName, words: readonly string[]])[] {
  return MEANINGS.map(([name]) => [name, LANGUAGES.flatMap((language) => language[name].slice(0, 1))])
}

/**
 * Meanings of a text in any language, if it has no others.
 * @param thanksEnd  thanks count as an end: a caller who only acknowledges an answer has not said yes
 */
export function meaningsOf(text: string, thanksEnd: boolean): readonly MeaningName[] {
  const noYes = thanksEnd && saysOnly(text, ACKNOWLEDGES, BESIDE_ACKNOWLEDGES)
  return TABLES.filter(({ name, words, beside }) => !(noYes && name === 'yes') && saysOnly(text, words, beside)).map(
    ({ name }) => name,
  )
}

/**
 * Words with numbers in them, as the dialogue knows them: each run of number words of any language as the dialogue's words for
 * its digits. Where a caller takes digits back, those behind stand in the place of the last ones. Words that the dialogue's
 * own phrases have stay as they are.
 * @param own     words of the dialogue's phrases
 * @param digits  the dialogue's words for 0 to 9
 * @param length  digits of the number that is expected; 0: not known
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
    // "Oh" may be a sigh where no digit stands before it.
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

/** Words that take digits back, in the dialogue's own word for it where they stand before digits. */
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

/** "Mara" of "mara mbili nne". */
function isTimes(words: readonly string[], at: number): boolean {
  return LANGUAGES.some(({ times }) => times.includes(words[at] ?? '')) && isNumberWord(words[at + 1] ?? '')
}

/** "First" is a choice more often than a digit. */
function isOrdinal(word: string): boolean {
  return /(?:st|nd|rd|th)$/.test(word) && (numberOf(word) ?? 0) < 100
}
