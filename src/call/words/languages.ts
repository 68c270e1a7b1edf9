import { en } from './en.js'
import type { Language } from './language.js'
import { sw } from './sw.js'

/** The languages whose words mean something in every call: callers mix them. A new one is a file like `sw.ts`, and its name here. */
export const WORDS = { en, sw }

export const LANGUAGES: readonly Language[] = Object.values(WORDS)

type Lists = { [Key in keyof Language]: Language[Key] extends readonly string[] ? Key : never }[keyof Language]

/** These lists of all languages together. */
export function wordsOf(...lists: readonly Lists[]): readonly string[] {
  return LANGUAGES.flatMap((language) => lists.flatMap((list) => language[list]))
}
