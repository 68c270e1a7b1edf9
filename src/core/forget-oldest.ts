/**
 * Keeps a map or a set to `max` entries: deletes the one that came first. To be called after each entry that is added.
 * @returns whether one was deleted
 */
export function forgetOldest<Key>(
  entries: { readonly size: number; keys(): Iterable<Key>; delete(key: Key): boolean },
  max: number,
): boolean {
  if (entries.size <= max) return false
  for (const key of entries.keys()) return entries.delete(key)
  return false
}
