import type { Test } from 'tap'
import { ownDescriptors } from '../../src/edge/descriptors.js'

/**
 * True if this process may have this number of file descriptors open; a connection to a gateway in the same process
 * takes two. If false, the test is skipped with the reason.
 */
export function hasDescriptors(t: Test, needed: number): boolean {
  const { limit } = ownDescriptors()
  if (limit === null || limit >= needed) return true
  const why = `it needs ${needed} file descriptors, and ulimit -n is ${limit}`
  console.error(`SKIPPED: ${t.name}: ${why}`)
  t.skip(why, () => undefined)
  return false
}
