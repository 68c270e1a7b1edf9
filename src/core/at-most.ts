/**
 * Options of an `LRUCache` that keeps at most this number of entries, in memory that grows with them. With `max`, the cache
 * takes 23 bytes for each of them when it is made; all caches of a gateway together, 20 MB and a tenth of a second.
 */
export function atMost(entries: number) {
  return { maxSize: entries, sizeCalculation: () => 1 }
}
