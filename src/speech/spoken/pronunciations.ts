import { codeOf } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'

/** Pronunciation of one name. Voices speak `say` where the text has `match`. */
export interface Pronunciation {
  /** Name as it is written; it matches only whole words, in upper or lower case. */
  readonly match: string
  /**
   * Spoken form: one text for all languages, or one text per language. In a language without a text, the name is spoken
   * as written.
   */
  readonly say: LocalizedText
}

interface Compiled {
  readonly found: RegExp
  readonly says: ReadonlyMap<string, string>
}

/**
 * Compiled lists by language; null for a language without pronunciations. Lists are found by identity, because an
 * agent's list is one object during a whole call.
 */
const compiled = new WeakMap<readonly Pronunciation[], Map<string, Compiled | null>>()

/**
 * Makes a text for a voice. Names are replaced by their spoken form; only whole words match, and the longest name is
 * tried first.
 * @param language  language of the text, such as `sw-KE`
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

/** @returns a key that is equal for all spellings of one `match` */
export function keyOf(match: string): string {
  return match.trim().replace(/\s+/g, ' ').toLowerCase()
}
