import t from 'tap'
import type { ConformanceHarness } from '../../src/backends/conformance.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { openAiHarness } from './openai-harness.js'
import { passSuite } from './pass-suite.js'

/** The harness of a list with one backend. */
function listed(harness: ConformanceHarness): ConformanceHarness {
  return {
    ...harness,
    lacks: {
      expiry: 'a list handles the end of a session itself, and replaces the session',
      breakage: 'a list replaces a session that is lost; see test/backends/failover.test.ts',
    },
    setup: async () => {
      const setup = await harness.setup()
      return {
        ...setup,
        backend: (sink) =>
          new CallBackend(sink, {
            candidates: [{ create: setup.backend }],
            timers: clockTimers(() => performance.now()),
          }),
      }
    },
  }
}

for (const turns of ['server_vad', 'gateway'] as const) {
  const harness = listed(openAiHarness(`a list of one, turns by ${turns}`, { turns: { by: turns } }))
  t.test(harness.name, (t) => passSuite(t, harness))
}
