/** Texts that a recogniser was given before it heard anything. Some return them for sound without words. */
export interface Told {
  /** A prompt, or what the calls are about. */
  readonly text?: string
  /** Words and names to expect. */
  readonly terms?: readonly string[]
}

/** This number of words of a prompt in a row, or all of a shorter one, are the prompt and not the caller; the same holds for terms. */
const TOLD_WORDS = { least: 3, enough: 5 }
const TOLD_TERMS = { least: 3, enough: 4 }

/** True if a recogniser returns the context that it was given, instead of words that it heard. */
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
    // Again and again, from any of them on.
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

/** Words in lower case, without what stands between them. */
export function plainWords(text: string): string[] {
  return text
    .toLowerCase()
    .split(/[^\p{L}\p{N}'’]+/u)
    .filter((word) => word !== '')
}
