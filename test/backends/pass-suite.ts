import type { Test } from 'tap'
import { CONFORMANCE_CHECKS, type ConformanceHarness } from '../../src/backends/conformance.js'

/** Runs the suite as subtests; what a check leaves out for this service is printed with it. */
export async function passSuite(t: Test, harness: ConformanceHarness): Promise<void> {
  for (const check of CONFORMANCE_CHECKS) {
    await t.test(check.name, async (t) => {
      for (const leftOut of await check.run(harness)) t.comment(`left out for ${harness.name}: ${leftOut}`)
      t.pass(check.name)
    })
  }
}
