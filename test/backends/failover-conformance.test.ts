import t from 'tap'
import type { ConformanceHarness } from '../../src/backends/conformance.js'
import { FailoverBackend } from '../../src/backends/failover/failover-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { openAiHarness } from './openai-harness.js'
import { passSuite } from './pass-suite.js'

/** The harness of a backend that is the only one of a list. */
function listed(harness: ConformanceHarness): ConformanceHarness {
  return {
    ...harness,
    // What a list does by being one.
    lacks: {
      expiry: 'a list keeps the end of a session to itself, and replaces it',
      breakage: 'a list replaces a session that is lost; test/backends/failover.test.ts has what it does then',
    },
    setup: async () => {
      const setup = await harness.setup()
      return { ...setup, backend: (sink) => new FailoverBackend(sink, { candidates: [{ create: setup.backend }], timers: clockTimers(() => performance.now()) }) }
    },
  }
}

for (const turns of ['server_vad', 'gateway'] as const) {
  const harness = listed(openAiHarness(`a list of one, turns by ${turns}`, { turns: { by: turns } }))
  t.test(harness.name, (t) => passSuite(t, harness))
}
