import { CARRIER_API_PAGES_MAX } from '../core/limits.js'
import { objectOf, textIn } from './json.js'

/** One page of a list. */
export interface Page<T> {
  readonly items: readonly T[]
  /** Asks for the next page; null on the last. */
  readonly nextCursor: string | null
}

/** Where the carrier says that more follows. */
export function nextCursor(body: unknown): string | null {
  return textIn(objectOf(body), 'next_cursor', 'nextCursor')
}

/**
 * Everything of a paged list, up to `itemsMax` items and CARRIER_API_PAGES_MAX pages; a cursor that comes again ends it.
 * @param fetchPage  asks for the page at a cursor, null for the first
 */
export async function allPages<T>(
  fetchPage: (cursor: string | null) => Promise<Page<T>>, itemsMax: number,
): Promise<{ readonly items: readonly T[]; readonly complete: boolean }> {
  const items: T[] = []
  const seen = new Set<string>()
  let cursor: string | null = null
  for (let pages = 0; pages < CARRIER_API_PAGES_MAX; pages++) {
    const page: Page<T> = await fetchPage(cursor)
    items.push(...page.items)
    cursor = page.nextCursor
    if (items.length >= itemsMax) return { items: items.slice(0, itemsMax), complete: items.length === itemsMax && cursor === null }
    if (cursor === null || seen.has(cursor)) return { items, complete: cursor === null }
    seen.add(cursor)
  }
  return { items, complete: false }
}
