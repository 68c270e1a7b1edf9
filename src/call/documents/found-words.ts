/**
 * Scripts that are written without spaces between words: a run of their characters is found by its pairs. `scx`: also the
 * characters that they share, such as the long-vowel mark of Japanese.
 */
const UNSPACED =
  '(?=[\\p{L}\\p{N}\\p{M}])[\\p{scx=Han}\\p{scx=Hiragana}\\p{scx=Katakana}\\p{scx=Thai}\\p{scx=Lao}\\p{scx=Khmer}\\p{scx=Myanmar}]'
const RUNS = new RegExp(`(?<unspaced>(?:${UNSPACED})+)|(?:(?!${UNSPACED})[\\p{L}\\p{N}\\p{M}\\p{Co}])+`, 'gu')

/**
 * Marks that writers leave out or put differently: accents, the vowel signs of Arabic and Hebrew, Ethiopic length, the Arabic
 * stretching sign, and characters without width. The voicing marks of Japanese make another sound, and stay.
 */
const LEFT_OUT =
  /(?!\u200B)\p{Cf}|\u0640|(?![\u3099\u309A])(?=\p{Mn})[\p{sc=Inherited}\p{sc=Arabic}\p{sc=Hebrew}\p{sc=Syriac}\p{sc=Ethiopic}]/gu

/** Words that a text consists of, as a search counts them. */
export function wordsOf(text: string): string[] {
  return runsOf(text).map(({ run }) => run)
}

/** Words that a text is found by. They are decided here alone: the engine splits them at spaces, and nowhere else. */
export function indexedWords(text: string): string[] {
  return runsOf(text).flatMap(({ run, unspaced }) => (unspaced ? [...run, ...pairsOf(run)] : [run]))
}

/** Words that each text has which is looked for by this one. */
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
