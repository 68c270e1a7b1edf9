import type { Test } from 'tap'
import { CONFORMANCE_CHECKS, type ConformanceHarness } from '../../src/backends/conformance.js'

/** Checks that run at once: each has its own service, and mostly waits to see that nothing more comes. */
const CHECKS_AT_ONCE = 4

/**
 * Runs the whole suite as subtests. What a check leaves out for this service is printed after the check and at the end.
 * @param checksAtOnce  1 for a service that needs much CPU time
 */
export async function passSuite(t: Test, harness: ConformanceHarness, checksAtOnce = CHECKS_AT_ONCE): Promise<void> {
  const omissions: string[] = []
  t.jobs = checksAtOnce
  await Promise.all(
    CONFORMANCE_CHECKS.map((check) =>
      t.test(check.name, { buffered: true }, async (t) => {
        for (const leftOut of await check.run(harness)) {
          t.comment(`left out for ${harness.name}: ${leftOut}`)
          omissions.push(`${check.name} (${leftOut})`)
        }
        t.pass(check.name)
      }),
    ),
  )
  t.comment(
    `${harness.name}: ${CONFORMANCE_CHECKS.length} checks, ${omissions.length === 0 ? 'nothing left out' : `left out: ${omissions.join('; ')}`}`,
  )
}
