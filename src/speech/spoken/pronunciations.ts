/** How one name is said: in place of `match`, voices get `say`. */
export interface Pronunciation {
  /** Whole words, as they are written; case does not count. */
  readonly match: string
  readonly say: string
}

/** Compiled lists; the list of an agent is the same object for a whole call. */
const compiled = new WeakMap<
  readonly Pronunciation[],
  { readonly found: RegExp; readonly says: ReadonlyMap<string, string> }
>()

/** A text as a voice gets it: names in whole words, the longest first, are replaced by how they are said. */
export function pronounced(text: string, pronunciations: readonly Pronunciation[]): string {
  if (pronunciations.length === 0) return text
  let list = compiled.get(pronunciations)
  if (list === undefined) {
    const longestFirst = pronunciations.map(({ match }) => match).sort((a, b) => b.length - a.length)
    const words = longestFirst.map((match) =>
      match
        .split(/\s+/)
        .map((word) => word.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&'))
        .join('\\s+'),
    )
    list = {
      found: new RegExp(`(?<![\\p{L}\\p{N}])(?:${words.join('|')})(?![\\p{L}\\p{N}])`, 'giu'),
      says: new Map(pronunciations.map(({ match, say }) => [keyOf(match), say])),
    }
    compiled.set(pronunciations, list)
  }
  const { found, says } = list
  return text.replace(found, (match) => says.get(keyOf(match)) ?? match)
}

/** By which two spellings are the same match. */
export function keyOf(match: string): string {
  return match.trim().replace(/\s+/g, ' ').toLowerCase()
}
