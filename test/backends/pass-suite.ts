import type { Test } from 'tap'
import { CONFORMANCE_CHECKS, type ConformanceHarness } from '../../src/backends/conformance.js'

/** Runs the whole suite as subtests; what a check leaves out for this service is printed with it, and at the end. */
export async function passSuite(t: Test, harness: ConformanceHarness): Promise<void> {
  const omissions: string[] = []
  for (const check of CONFORMANCE_CHECKS) {
    await t.test(check.name, async (t) => {
      for (const leftOut of await check.run(harness)) {
        t.comment(`left out for ${harness.name}: ${leftOut}`)
        omissions.push(`${check.name} (${leftOut})`)
      }
      t.pass(check.name)
    })
  }
  t.comment(`${harness.name}: ${CONFORMANCE_CHECKS.length} checks, ${omissions.length === 0 ? 'nothing left out' : `left out: ${omissions.join('; ')}`}`)
}
