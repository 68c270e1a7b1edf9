/**
 * Context texts that a recogniser gets in advance, before the audio. Some recognisers return such a text for sound
 * without words.
 */
export interface Told {
  /** Prompt for the recogniser, or a text about the subject of the calls. */
  readonly text?: string
  /** Words and names that callers are likely to say. */
  readonly terms?: readonly string[]
}

/**
 * Minimum number of consecutive prompt words with which a text counts as the prompt, not as speech. It is `enough`, or
 * the length of a shorter prompt, but at least `least`. `TOLD_TERMS` counts terms instead of words.
 */
const TOLD_WORDS = { least: 3, enough: 5 }
const TOLD_TERMS = { least: 3, enough: 4 }

/** True if a recogniser returned its context instead of recognised words. */
export function isTold(text: string, { text: about = '', terms = [] }: Told): boolean {
  const words = plainWords(text)
  if (words.length === 0) return false
  const told = plainWords(about)
  const spoken = (
    from: readonly string[],
    { least, enough }: typeof TOLD_WORDS,
    joined: readonly string[],
  ): boolean => {
    const needed = Math.max(least, Math.min(enough, from.length))
    // The returned text may begin anywhere in the prompt, and may repeat the prompt.
    return from.some((_, start) => {
      let at = 0
      let count = 0
      for (; at < joined.length; count++) {
        const next = plainWords(from[(start + count) % from.length] ?? '')
        if (next.length === 0 || next.some((word, i) => joined[at + i] !== word)) return false
        at += next.length
      }
      return count >= needed
    })
  }
  return spoken(told, TOLD_WORDS, words) || spoken(terms, TOLD_TERMS, words)
}

/** Words of a text in lower case, without spaces and punctuation. */
export function plainWords(text: string): string[] {
  return text
    .toLowerCase()
    .split(/[^\p{L}\p{N}'’]+/u)
    .filter((word) => word !== '')
}
