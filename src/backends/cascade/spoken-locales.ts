import { codeOf } from '../../call/spoken/localized-text.js'

/** Regions of the languages that callers here speak; other languages have that of most of their speakers. */
const REGIONS: Readonly<Record<string, string>> = { sw: 'KE', en: 'KE' }

/** The locale with which a voice's whole name begins, `sw-KE` in `sw-KE-ZuriNeural`; undefined: it names none. */
export function localeOfVoice(voice: string): string | undefined {
  return /^([a-z]{2,3}-[A-Z]{2})-/.exec(voice)?.[1]
}

/**
 * The language and region that a service wants where the call may know the language alone: `sw-KE` for `sw`.
 * @param tag  a language, also one that names its region: `sw-TZ` stays as it is
 * @param preferred  locales that the agent names; the first of the language counts
 */
export function localeOf(tag: string, preferred: readonly string[] = []): string {
  const code = codeOf(tag)
  const named = preferred.find((locale) => codeOf(locale) === code)
  const own = new Intl.Locale(tag)
  const region = own.region ?? REGIONS[code] ?? own.maximize().region
  return named ?? (region === undefined ? code : `${code}-${region}`)
}
