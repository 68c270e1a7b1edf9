/**
 * Texts of an offline dialogue: words with `{{path | filter | …}}` in them. What a placeholder is made of is said here alone;
 * the engine fills it, and the loader's check looks at the same parts.
 */
export const PLACEHOLDER = /\{\{\s*([^{}|]*?)\s*((?:\|[^{}]*)?)\}\}/g

/** What may follow a path. `map` names one of the dialogue's maps, `list` takes a word, `default` takes words. */
export const FILTERS = ['map', 'list', 'count', 'spell', 'default'] as const

export interface Filter {
  /** One of `FILTERS` in a text that was checked. */
  readonly name: string
  /** What stands after the colon; empty when nothing does. */
  readonly argument: string
}

/** @param source  what stands after the path: `| map:status | default:unknown` */
export function filtersOf(source: string): Filter[] {
  return source.split('|').map((one) => one.trim()).filter((one) => one !== '').map((one) => {
    const colon = one.indexOf(':')
    return colon < 0 ? { name: one, argument: '' } : { name: one.slice(0, colon).trim(), argument: one.slice(colon + 1).trim() }
  })
}
