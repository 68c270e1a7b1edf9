import { en } from './en.js'
import type { Language } from './language.js'
import { sw } from './sw.js'

/**
 * Languages whose words count in every call, because callers mix languages. To add a language, write a file like
 * `sw.ts` and add its name here.
 */
export const WORDS = { en, sw }

export const LANGUAGES: readonly Language[] = Object.values(WORDS)

type Lists = { [Key in keyof Language]: Language[Key] extends readonly string[] ? Key : never }[keyof Language]

/** Returns these lists, joined over all languages. */
export function wordsOf(...lists: readonly Lists[]): readonly string[] {
  return LANGUAGES.flatMap((language) => lists.flatMap((list) => language[list]))
}
