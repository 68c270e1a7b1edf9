import { codeOf } from '../../call/spoken/localized-text.js'

/** Default regions of some languages. For other languages, the default is the region with most speakers. */
const REGIONS: Readonly<Record<string, string>> = { sw: 'KE', en: 'KE' }

/**
 * @returns the locale at the start of a voice's full name, such as `sw-KE` for `sw-KE-ZuriNeural`; undefined if the
 * name has no locale
 */
export function localeOfVoice(voice: string): string | undefined {
  return /^([a-z]{2,3}-[A-Z]{2})-/.exec(voice)?.[1]
}

/**
 * @returns the language with its region, as services require it, such as `sw-KE` for `sw`
 * @param tag  a language, with or without a region
 * @param preferred  locales in the agent's file; the first locale with this language is returned
 */
export function localeOf(tag: string, preferred: readonly string[] = []): string {
  const code = codeOf(tag)
  const named = preferred.find((locale) => codeOf(locale) === code)
  const own = new Intl.Locale(tag)
  const region = own.region ?? REGIONS[code] ?? own.maximize().region
  return named ?? (region === undefined ? code : `${code}-${region}`)
}
