import { codeOf } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'

/** How one name is said: in place of `match`, voices get `say`. */
export interface Pronunciation {
  /** Whole words, as they are written; case does not count. */
  readonly match: string
  /** One for all languages, or one a language: in others the name stays as it is written. */
  readonly say: LocalizedText
}

interface Compiled {
  readonly found: RegExp
  readonly says: ReadonlyMap<string, string>
}

/** Compiled lists by language, null where it has none; the list of an agent is the same object for a whole call. */
const compiled = new WeakMap<readonly Pronunciation[], Map<string, Compiled | null>>()

/**
 * A text as a voice gets it: names in whole words, the longest first, are replaced by how they are said.
 * @param language  of the text: `sw-KE`
 */
export function pronounced(text: string, pronunciations: readonly Pronunciation[], language: string): string {
  if (pronunciations.length === 0) return text
  const code = codeOf(language)
  const lists = compiled.get(pronunciations) ?? new Map<string, Compiled | null>()
  compiled.set(pronunciations, lists)
  let list = lists.get(code)
  if (list === undefined) lists.set(code, (list = compile(pronunciations, code)))
  if (list === null) return text
  const { found, says } = list
  return text.replace(found, (match) => says.get(keyOf(match)) ?? match)
}

function compile(pronunciations: readonly Pronunciation[], code: string): Compiled | null {
  const says = new Map<string, string>()
  for (const { match, say } of pronunciations) {
    const said = typeof say === 'string' ? say : say[code]
    if (said !== undefined) says.set(keyOf(match), said)
  }
  if (says.size === 0) return null
  const longestFirst = [...says.keys()].sort((a, b) => b.length - a.length)
  const words = longestFirst.map((match) =>
    match
      .split(' ')
      .map((word) => word.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&'))
      .join('\\s+'),
  )
  return { found: new RegExp(`(?<![\\p{L}\\p{N}])(?:${words.join('|')})(?![\\p{L}\\p{N}])`, 'giu'), says }
}

/** By which two spellings are the same match. */
export function keyOf(match: string): string {
  return match.trim().replace(/\s+/g, ' ').toLowerCase()
}
