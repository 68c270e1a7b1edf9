// Digits in recognised text: their words, and tests that find the digits that were really spoken.

/** Usual word for a zero within a number. At the beginning of an answer, "oh" may be a sigh: "oh, I do not have it". */
const OH = 'oh'

/** Words for a zero that is not the first digit of its number. */
export function laterZeros([zero = '']: readonly string[]): readonly string[] {
  return zero === 'zero' ? [zero, OH] : [zero]
}

/** Words for a digit that is not the first digit of its number. */
export function laterDigits(digits: readonly string[]): readonly string[] {
  return [...laterZeros(digits), ...digits.slice(1)]
}

export function withZeros(words: readonly string[], digits: readonly string[]): readonly string[] {
  const [zero = '', oh] = laterZeros(digits)
  const out: string[] = []
  for (const word of words) out.push(word === oh && digits.includes(out.at(-1) ?? '') ? zero : word)
  return out
}

/**
 * Minimum duration of a spoken digit in ms. A digit that was really spoken lasts at least 190 ms (335 digits of 80
 * numbers, `decoder-set.ts`). A digit that the recogniser falsely finds in breath, echo or the edge of a word lasts 80
 * to 170 ms.
 */
const DIGIT_MS_MIN = 180

/**
 * If a number has too many digits, removes digits that are too short to be spoken digits. The shortest digit is removed
 * first.
 * @param wordMs duration of each word; if unknown, no digit is removed
 */
export function withoutSlips(
  text: string,
  wordMs: readonly number[],
  digits: readonly string[],
  digitsMax: number,
): string {
  const words = text.split(' ')
  const said = words.flatMap((word, at) => (digits.includes(word) ? [{ at, ms: wordMs[at] ?? Infinity }] : []))
  const slips = said
    .filter(({ ms }) => ms < DIGIT_MS_MIN)
    .toSorted((a, b) => a.ms - b.ms)
    .slice(0, Math.max(0, said.length - digitsMax))
  return words.filter((_, index) => slips.every(({ at }) => at !== index)).join(' ')
}

/**
 * Minimum match of spoken digits that last 330 ms each. For digits that last e (2.718) times as long, the limit is
 * lower by DIGITS_FIT_SLOPE. Speech in another language is often recognised as short digits that match moderately
 * ("four seven seven three seven three seven oh"). The measurements are in bench/recognition/README.md.
 *
 * These limits are not used for known numbers, because speech in another language is rarely recognised as a whole known
 * number, and because "oh" matches badly on the telephone.
 */
const DIGITS_FIT_MIN = 0.8386
const DIGITS_FIT_MS = 330
const DIGITS_FIT_SLOPE = 0.11

/**
 * True if the digits match the sound well enough for their duration. Also true for a text with fewer than two digits.
 * @param text the whole recognised text
 * @param fit match of the whole text, 0 to 1
 * @param wordMs duration of each word; if unknown, any number counts as spoken
 */
export function isNumberSaid(text: string, fit: number, wordMs: readonly number[], digits: readonly string[]): boolean {
  const digitsMs = text.split(' ').flatMap((word, at) => (digits.includes(word) ? [wordMs[at] ?? NaN] : []))
  const meanMs = digitsMs.reduce((sum, ms) => sum + ms, 0) / digitsMs.length
  if (digitsMs.length < 2 || Number.isNaN(meanMs)) return true
  return fit >= DIGITS_FIT_MIN - DIGITS_FIT_SLOPE * Math.log(meanMs / DIGITS_FIT_MS)
}

/**
 * Adds the first digit to a number that is read out slowly. A grammar with sentences hears "order" for "four".
 * @param lone  the digit before a pause, as recognised with `loneDigitGrammar`; null if there was none
 */
export function withFirstDigit(
  text: string,
  lone: string | null,
  digits: readonly string[],
  digitsMax: number,
): string {
  if (lone === null || !mayLackFirstDigit(text, digits, digitsMax)) return text
  return [lone, ...text.split(' ').slice(1)].join(' ')
}

/** True if the first word is not a digit but only digits follow, so that it may be a misrecognised digit. */
export function mayLackFirstDigit(text: string, digits: readonly string[], digitsMax: number): boolean {
  const [first = '', ...rest] = text.split(' ')
  return (
    !digits.includes(first) && rest.length > 0 && rest.length < digitsMax && rest.every((word) => digits.includes(word))
  )
}

/** Digits for the digit words in a text; other words are skipped. */
export function digitsOf(text: string, digits: readonly string[]): string {
  return text
    .split(' ')
    .flatMap((word) => (digits.includes(word) ? [digits.indexOf(word)] : []))
    .join('')
}
