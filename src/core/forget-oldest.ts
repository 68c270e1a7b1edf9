/** Keeps a map to `max` entries: deletes the one that was set first. To be called after each entry that is added. */
export function forgetOldest(map: Map<unknown, unknown>, max: number): void {
  if (map.size <= max) return
  for (const key of map.keys()) {
    map.delete(key)
    return
  }
}
