/**
 * Options of an `LRUCache` that has at most this number of entries. Its memory grows with the number of entries. The
 * option `max` is not used, because it reserves 23 bytes for each possible entry when the cache is created. For all
 * caches of a gateway, this would cost 20 MB and a tenth of a second.
 */
export function atMost(entries: number) {
  return { maxSize: entries, sizeCalculation: () => 1 }
}
