import { z } from 'zod'

/** Words of the gateway: one text whatever the language of the call, or one a language, by its code (`en`, `sw`). */
export const phraseSchema = z.union([z.string(), z.record(z.string(), z.string())])
export type LocalizedText = string | Readonly<Record<string, string>>

export const languageCode = z
  .string()
  .regex(/^[a-z]{2,3}$/, { error: 'must be the code of a language, such as en or sw' })
const text = z.string().trim().min(1).max(1000)
/** The same where people write it, as one or two sentences that are spoken on a call. */
export const spokenSchema = z.union(
  [text, z.record(languageCode, text).refine((texts) => Object.keys(texts).length > 0, { error: 'has no text' })],
  { error: 'must be a text of 1 to 1000 characters, or one for each language: { en: …, sw: … }' },
)

/** The code of the language alone: `en` of `en-KE`. */
export function codeOf(language: string): string {
  return language.toLowerCase().split('-')[0] ?? ''
}

/** The text in that language; a phrase that has none for it is said in the first that it has. */
export function textIn(phrase: LocalizedText, language: string): string {
  return typeof phrase === 'string' ? phrase : (phrase[codeOf(language)] ?? Object.values(phrase)[0] ?? '')
}

/** The language of the text that `textIn` gives. @param first  the agent's, in which a text without a language is */
export function languageOfText(phrase: LocalizedText, language: string, first: string): string {
  if (typeof phrase === 'string') return first
  const [other = first] = Object.keys(phrase)
  const said = Object.hasOwn(phrase, codeOf(language)) ? language : other
  return codeOf(said) === codeOf(first) ? first : said
}

/** The same phrase with each of its texts changed. */
export function eachText(phrase: LocalizedText, change: (text: string) => string): LocalizedText {
  if (typeof phrase === 'string') return change(phrase)
  return Object.fromEntries(Object.entries(phrase).map(([code, text]) => [code, change(text)]))
}

/** Its texts in all languages, that of the language which comes first first. */
export function textsOf(phrase: LocalizedText): readonly string[] {
  return typeof phrase === 'string' ? [phrase] : Object.values(phrase)
}
