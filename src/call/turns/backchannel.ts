/**
 * True if words contain only backchannels, such as "okay, yes". Punctuation and case do not count.
 * @param backchannels  words or phrases; if empty, every word is speech
 */
export function isBackchannel(words: string, backchannels: readonly string[]): boolean {
  return saysOnly(words, backchannels)
}

/** True if words contain at least one of the phrases, and all other words are in `beside`. */
export function saysOnly(words: string, phrases: readonly string[], beside: readonly string[] = []): boolean {
  const { left, taken } = withoutPhrases(words, phrases)
  return taken > 0 && withoutPhrases(left, beside).left === ''
}

/**
 * Removes phrases from words, beginning with the longest phrases. @returns the remaining words without punctuation and
 * case, and the number of phrases
 */
export function withoutPhrases(
  words: string,
  phrases: readonly string[],
): { readonly left: string; readonly taken: number } {
  let rest = ` ${plainText(words)} `
  let taken = 0
  for (const phrase of plainPhrases(phrases))
    while (rest.includes(` ${phrase} `)) {
      rest = rest.replace(` ${phrase} `, ' ')
      taken++
    }
  return { left: rest.trim(), taken }
}

/**
 * Phrases of a list in comparable form, the longest first. The result is cached by list, because a list from an agent
 * or from the code does not change.
 */
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

/** Returns phrases in the form that `hasPhrase` compares. */
export function phraseSet(phrases: readonly string[]): ReadonlySet<string> {
  return new Set(phrases.map(plainText))
}

/** True if a text in the form of `plainText` contains any of the phrases. */
export function hasPhrase(plain: string, phrases: ReadonlySet<string>): boolean {
  for (const phrase of phrases) if (isAmong(phrase, plain)) return true
  return false
}

/**
 * True if `plain` contains the words of `phrase`. The function does not create a string, because it runs for hundreds
 * of phrases after each sentence.
 */
function isAmong(phrase: string, plain: string): boolean {
  for (let at = plain.indexOf(phrase); at >= 0 && phrase !== ''; at = plain.indexOf(phrase, at + 1)) {
    const end = at + phrase.length
    if ((at === 0 || plain[at - 1] === ' ') && (end === plain.length || plain[end] === ' ')) return true
  }
  return false
}

/** Returns words in lower case, with spaces in place of punctuation. */
export function plainText(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()
}
