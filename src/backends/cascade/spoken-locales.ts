import { codeOf } from '../../call/localized-text.js'

/** Regions of the languages that callers here speak; other languages have that of most of their speakers. */
const REGIONS: Readonly<Record<string, string>> = { sw: 'KE', en: 'KE' }

/**
 * The language and region that a service wants where the call knows the language alone: `sw-KE` for `sw`.
 * @param preferred  locales that the agent names; the first of the language counts
 */
export function localeOf(code: string, preferred: readonly string[] = []): string {
  const named = preferred.find((locale) => codeOf(locale) === code)
  const region = REGIONS[code] ?? new Intl.Locale(code).maximize().region
  return named ?? (region === undefined ? code : `${code}-${region}`)
}
