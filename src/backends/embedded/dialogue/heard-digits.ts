// Digits in what the recogniser heard: the words for them, which of them were said, and which were not.

/** Common word for a zero within a number. As its first word it may be a sigh: "oh, I do not have it". */
const OH = 'oh'

/** The words for a zero that is not the first digit of its number. */
export function laterZeros([zero = '']: readonly string[]): readonly string[] {
  return zero === 'zero' ? [zero, OH] : [zero]
}

/** The words for a digit that is not the first one of its number. */
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
 * Digits that people say last 190 ms and more (335 digits of 80 numbers, `decoder-set.ts`); those that the recogniser
 * finds in breath, echo and the edges of words 80 to 170 ms.
 */
const DIGIT_MS_MIN = 180

/**
 * A number with more digits than it can have, without those that are too short to have been said, the shortest first.
 * @param wordMs  how long each word lasts; nothing is left out where that is not known
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
 * How well digits that last 330 ms each must fit to be a number that was said, and by how much that changes where they
 * last e times as long. What remains of another language where any number may be said is a string of digits that are
 * short and fit moderately ("four seven seven three seven three seven oh"). The figures are in bench/recognition/README.md.
 * Not for known numbers: whole ones of other languages are rare there, and a telephone's "oh"
 * fits badly.
 */
const DIGITS_FIT_MIN = 0.8386
const DIGITS_FIT_MS = 330
const DIGITS_FIT_SLOPE = 0.11

/**
 * True if two digits or more fit well enough for how fast they were said; true for anything else.
 * @param text    what was recognised, all of it
 * @param fit     how well all of it fits, 0 to 1
 * @param wordMs  how long each word lasts; where that is not known any number counts as said
 */
export function isNumberSaid(text: string, fit: number, wordMs: readonly number[], digits: readonly string[]): boolean {
  const digitsMs = text.split(' ').flatMap((word, at) => (digits.includes(word) ? [wordMs[at] ?? NaN] : []))
  const meanMs = digitsMs.reduce((sum, ms) => sum + ms, 0) / digitsMs.length
  if (digitsMs.length < 2 || Number.isNaN(meanMs)) return true
  return fit >= DIGITS_FIT_MIN - DIGITS_FIT_SLOPE * Math.log(meanMs / DIGITS_FIT_MS)
}

/**
 * A number that is read out slowly, with its first digit: among the other sentences of the grammar "four" and a pause is
 * heard as "order".
 * @param lone  the digit that stood alone before a pause, by `loneDigitGrammar`; null if there was none
 */
export function withFirstDigit(
  text: string,
  lone: string | null,
  digits: readonly string[],
  digitsMax: number,
): string {
  const [first = '', ...rest] = text.split(' ')
  const isLeftOut =
    lone !== null &&
    !digits.includes(first) &&
    rest.length > 0 &&
    rest.length < digitsMax &&
    rest.every((word) => digits.includes(word))
  return isLeftOut ? [lone, ...rest].join(' ') : text
}

/** The digits among the words. */
export function digitsOf(text: string, digits: readonly string[]): string {
  return text
    .split(' ')
    .flatMap((word) => (digits.includes(word) ? [digits.indexOf(word)] : []))
    .join('')
}
