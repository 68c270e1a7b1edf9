import t from 'tap'
import { CONFORMANCE_CHECKS } from '../../src/backends/conformance.js'
import type { ConformanceHarness } from '../../src/backends/conformance.js'
import { clockTimers, failover } from '../../src/backends/failover.js'
import { openAiHarness } from './openai-harness.js'

/** The harness of a backend that is the only one of a list. */
function listed(harness: ConformanceHarness): ConformanceHarness {
  return {
    ...harness,
    setup: async () => {
      const setup = await harness.setup()
      return { ...setup, backend: failover({ members: [{ create: setup.backend }], timers: clockTimers(() => performance.now()) }) }
    },
  }
}

/** What a list does by being one: it replaces what breaks, and keeps the end of a session to itself. */
const OWN_WAY: ReadonlySet<string> = new Set([
  'reports a connection that breaks in the middle of the call', 'tells the call when its session is about to end',
])

for (const turns of ['server_vad', 'gateway'] as const) {
  const harness = listed(openAiHarness(`a list of one, turns by ${turns}`, { turns: { by: turns } }))
  t.test(harness.name, async (t) => {
    for (const check of CONFORMANCE_CHECKS) {
      if (OWN_WAY.has(check.name)) continue
      await t.test(check.name, async (t) => {
        await check.run(harness)
        t.pass(check.name)
      })
    }
  })
}
