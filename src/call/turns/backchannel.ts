/**
 * True if words are only backchannels, such as "okay, yes". Marks and case do not count.
 * @param backchannels  words or phrases; empty: nothing is one
 */
export function isBackchannel(words: string, backchannels: readonly string[]): boolean {
  return saysOnly(words, backchannels)
}

/** True if words are one of some phrases or several, and nothing else but what may stand beside them. */
export function saysOnly(words: string, phrases: readonly string[], beside: readonly string[] = []): boolean {
  const { left, taken } = withoutPhrases(words, phrases)
  return taken > 0 && withoutPhrases(left, beside).left === ''
}

/** Takes phrases out of words, the longest first. @returns what is left, without marks and case, and how many were there */
function withoutPhrases(words: string, phrases: readonly string[]): { readonly left: string; readonly taken: number } {
  let rest = ` ${plainText(words)} `
  let taken = 0
  for (const phrase of plainPhrases(phrases))
    while (rest.includes(` ${phrase} `)) {
      rest = rest.replace(` ${phrase} `, ' ')
      taken++
    }
  return { left: rest.trim(), taken }
}

/** The phrases of a list as they are compared, the longest first. A list is that of an agent or of the code, so it is read once. */
const plainLists = new WeakMap<readonly string[], readonly string[]>()

function plainPhrases(phrases: readonly string[]): readonly string[] {
  let plain = plainLists.get(phrases)
  if (plain === undefined) {
    plain = phrases
      .map(plainText)
      .filter((phrase) => phrase !== '')
      .toSorted((a, b) => b.length - a.length)
    plainLists.set(phrases, plain)
  }
  return plain
}

/** Phrases as `hasPhrase` compares them. */
export function phraseSet(phrases: readonly string[]): ReadonlySet<string> {
  return new Set(phrases.map(plainText))
}

/** True if one of the phrases is somewhere in a text of `plainText`. */
export function hasPhrase(plain: string, phrases: ReadonlySet<string>): boolean {
  for (const phrase of phrases) if (isAmong(phrase, plain)) return true
  return false
}

/** True if the words of `phrase` stand in `plain`. Makes no text: this runs for hundreds of phrases after each sentence. */
function isAmong(phrase: string, plain: string): boolean {
  for (let at = plain.indexOf(phrase); at >= 0 && phrase !== ''; at = plain.indexOf(phrase, at + 1)) {
    const end = at + phrase.length
    if ((at === 0 || plain[at - 1] === ' ') && (end === plain.length || plain[end] === ' ')) return true
  }
  return false
}

/** Words in lower case, with spaces in the place of marks. */
export function plainText(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()
}
