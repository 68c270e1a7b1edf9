import { LRUCache } from 'lru-cache'

/** Some tens for each time zone and language in use; a gateway has few of both. */
const DATE_FORMATS_MAX = 256

const formats = new LRUCache<string, Intl.DateTimeFormat>({ max: DATE_FORMATS_MAX })

/**
 * A date format, made once for each locale and options: it takes some 30 KB outside the heap, which V8 does not see and
 * so collects late, and up to a millisecond to make.
 *
 * @throws RangeError when the time zone or another option is unknown
 */
export function dateFormat(locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale} ${JSON.stringify(options)}`
  const known = formats.get(key)
  if (known !== undefined) return known
  const made = new Intl.DateTimeFormat(locale, options)
  formats.set(key, made)
  return made
}
