/**
 * Characters of scripts that are written without spaces between words. In texts of these scripts a search compares
 * pairs of characters, not words. `scx` includes shared characters, such as Japanese long-vowel marks.
 */
const UNSPACED =
  '(?=[\\p{L}\\p{N}\\p{M}])[\\p{scx=Han}\\p{scx=Hiragana}\\p{scx=Katakana}\\p{scx=Thai}\\p{scx=Lao}\\p{scx=Khmer}\\p{scx=Myanmar}]'
const RUNS = new RegExp(`(?<unspaced>(?:${UNSPACED})+)|(?:(?!${UNSPACED})[\\p{L}\\p{N}\\p{M}\\p{Co}])+`, 'gu')

/**
 * Marks that writers omit or place differently: accents, Arabic and Hebrew vowel signs, Ethiopic length, the Arabic
 * stretching sign, characters without width. Japanese voicing marks are kept.
 */
const LEFT_OUT =
  /(?!\u200B)\p{Cf}|\u0640|(?![\u3099\u309A])(?=\p{Mn})[\p{sc=Inherited}\p{sc=Arabic}\p{sc=Hebrew}\p{sc=Syriac}\p{sc=Ethiopic}]/gu

/** Returns the words of a text, divided in the same way as the words of a search. */
export function wordsOf(text: string): string[] {
  return runsOf(text).map(({ run }) => run)
}

/**
 * Returns the words under which a text is indexed. Only this function splits texts into words; the index splits only at
 * spaces.
 */
export function indexedWords(text: string): string[] {
  return runsOf(text).flatMap(({ run, unspaced }) => (unspaced ? [...run, ...pairsOf(run)] : [run]))
}

/** Returns the words that a text must contain to be found by this search. */
export function wantedWords(text: string): string[] {
  return runsOf(text).flatMap(({ run, unspaced }) => (unspaced && [...run].length > 1 ? pairsOf(run) : [run]))
}

interface Run {
  readonly run: string
  readonly unspaced: boolean
}

function runsOf(text: string): Run[] {
  const plain = text.normalize('NFKD').toLowerCase().normalize('NFKD').replace(LEFT_OUT, '').normalize('NFC')
  return [...plain.matchAll(RUNS)].map(({ 0: run, groups }) => ({ run, unspaced: groups?.['unspaced'] !== undefined }))
}

function pairsOf(run: string): string[] {
  const characters = [...run]
  return characters.slice(1).map((each, at) => `${characters[at] ?? ''}${each}`)
}
