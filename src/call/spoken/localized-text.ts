import { z } from 'zod'

/** Phrase of the gateway: one text for all languages, or one text for each language code (`en`, `sw`). */
export const phraseSchema = z.union([z.string(), z.record(z.string(), z.string())])
export type LocalizedText = string | Readonly<Record<string, string>>

export const languageCode = z
  .string()
  .regex(/^[a-z]{2,3}$/, { error: 'must be the code of a language, such as en or sw' })
const text = z.string().trim().min(1).max(1000)
/** A phrase in an agent's file: one or two sentences that are spoken on a call. */
export const spokenSchema = z.union(
  [text, z.record(languageCode, text).refine((texts) => Object.keys(texts).length > 0, { error: 'has no text' })],
  { error: 'must be a text of 1 to 1000 characters, or one for each language: { en: …, sw: … }' },
)

/** Returns the language code without region: `en` for `en-KE`. */
export function codeOf(language: string): string {
  return language.toLowerCase().split('-')[0] ?? ''
}

/** Returns the phrase's text in this language, or the phrase's first text if this language is missing. */
export function textIn(phrase: LocalizedText, language: string): string {
  return typeof phrase === 'string' ? phrase : (phrase[codeOf(language)] ?? Object.values(phrase)[0] ?? '')
}

/**
 * Returns the language of `textIn`'s result. @param first  the agent's first language; a text without a language is in
 * this language
 */
export function languageOfText(phrase: LocalizedText, language: string, first: string): string {
  if (typeof phrase === 'string') return first
  const [other = first] = Object.keys(phrase)
  const said = Object.hasOwn(phrase, codeOf(language)) ? language : other
  return codeOf(said) === codeOf(first) ? first : said
}

/** Applies a function to each text of the phrase. */
export function eachText(phrase: LocalizedText, change: (text: string) => string): LocalizedText {
  if (typeof phrase === 'string') return change(phrase)
  return Object.fromEntries(Object.entries(phrase).map(([code, text]) => [code, change(text)]))
}

/** Returns the phrase's texts in all languages, in order. */
export function textsOf(phrase: LocalizedText): readonly string[] {
  return typeof phrase === 'string' ? [phrase] : Object.values(phrase)
}
