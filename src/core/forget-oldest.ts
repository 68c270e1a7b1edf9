/**
 * Limits a map or a set to `max` entries: if it has more, deletes the oldest entry. Call this function each time after
 * adding an entry.
 * @returns true if an entry was deleted
 */
export function forgetOldest<Key>(
  entries: { readonly size: number; keys(): Iterable<Key>; delete(key: Key): boolean },
  max: number,
): boolean {
  if (entries.size <= max) return false
  for (const key of entries.keys()) return entries.delete(key)
  return false
}
