import { z } from 'zod'

/** Words of the gateway: one text whatever the language of the call, or one a language, by its code (`en`, `sw`). */
export const phraseSchema = z.union([z.string(), z.record(z.string(), z.string())])
export type Phrase = string | Readonly<Record<string, string>>

/** The code of the language alone: `en` of `en-KE`. */
export function codeOf(language: string): string {
  return language.toLowerCase().split('-')[0] ?? ''
}

/** The text in that language; a phrase that has none for it is said in the first that it has. */
export function textIn(phrase: Phrase, language: string): string {
  return typeof phrase === 'string' ? phrase : (phrase[codeOf(language)] ?? Object.values(phrase)[0] ?? '')
}
