import type { Test } from 'tap'
import { type Material, missingMaterial } from '../../bench/material.js'

/** True if Debian's recordings are installed. If false, the test is skipped with the names of the packages. */
export function hasMaterial(t: Test, ...wanted: readonly Material[]): boolean {
  const missing = missingMaterial(...wanted)
  if (missing === null) return true
  console.error(`SKIPPED: ${t.name}: apt-get install --no-install-recommends ${missing}`)
  t.skip(`recordings are not installed (Debian: ${missing})`, () => undefined)
  return false
}
