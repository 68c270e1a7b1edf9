import { LRUCache } from 'lru-cache'

/**
 * Maximum number of cached formats. Each combination of time zone and language has some tens of formats, and a gateway
 * uses few combinations.
 */
const DATE_FORMATS_MAX = 256

const formats = new LRUCache<string, Intl.DateTimeFormat>({ max: DATE_FORMATS_MAX })

/**
 * Returns a date format. A format for each locale and options is created only once, because its creation takes up to a
 * millisecond and some 30 KB outside the heap. V8 does not count this memory and frees it late.
 * @throws RangeError if the time zone or another option is unknown
 */
export function dateFormat(locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale} ${JSON.stringify(options)}`
  const known = formats.get(key)
  if (known !== undefined) return known
  const made = new Intl.DateTimeFormat(locale, options)
  formats.set(key, made)
  return made
}
