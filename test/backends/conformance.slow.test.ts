import { existsSync } from 'node:fs'
import t from 'tap'
import type { ConformanceHarness } from '../../src/backends/conformance.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { loadFlite } from '../../src/speech/flite.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { cascadeHarness } from './cascade-harness.js'
import { embeddedHarness } from './embedded-harness.js'
import { REALTIME } from '../../src/vendors/list.js'
import { declaredHarness, openAiHarness } from './openai-harness.js'
import { passSuite } from './pass-suite.js'
import { sonioxHarness } from './soniox-harness.js'

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

/** How a realtime service is tried: as its folder of test/vendors says, or as the vendor declares it. */
async function harnessesOf(backend: string, folder: string): Promise<readonly ConformanceHarness[]> {
  const own = new URL(`../vendors/${folder}/conformance.js`, import.meta.url)
  if (!existsSync(own)) return [await declaredHarness(backend)]
  const { harnesses } = (await import(own.href)) as {
    readonly harnesses: Readonly<Record<string, readonly ConformanceHarness[]>>
  }
  return harnesses[backend] ?? [await declaredHarness(backend)]
}

const ofVendors = await Promise.all([...REALTIME].map(([name, { vendor }]) => harnessesOf(name, vendor.folder)))
const harnesses: readonly ConformanceHarness[] = [
  ...ofVendors.flat(),
  cascadeHarness(),
  sonioxHarness(),
  ...(['server_vad', 'gateway'] as const).map((by) =>
    listed(openAiHarness(`a list of one, turns by ${by}`, { turns: { by } })),
  ),
]

// Checks mostly wait, so suites run side by side.
t.jobs = 3
for (const harness of harnesses) t.test(harness.name, { buffered: true }, (t) => passSuite(t, harness))

const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
const [flite] = await Promise.all([loadFlite(), pool.ready()])
t.test('the embedded backend', (t) => passSuite(t, embeddedHarness(pool, flite), 1))
