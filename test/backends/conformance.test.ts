import t from 'tap'
import type { ConformanceHarness } from '../../src/backends/conformance.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { loadFlite } from '../../src/speech/flite.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { cascadeHarness } from './cascade-harness.js'
import { embeddedHarness } from './embedded-harness.js'
import { geminiHarness } from './gemini-harness.js'
import { azureHarness, openAiHarness } from './openai-harness.js'
import { liveHarness } from './openai-live-harness.js'
import { passSuite } from './pass-suite.js'
import { sonioxHarness } from './soniox-harness.js'

// Each check waits to see that nothing more comes.
t.setTimeout(120_000)

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

const harnesses = [
  openAiHarness('OpenAI, server VAD'),
  openAiHarness('OpenAI, semantic VAD', { turns: { by: 'semantic_vad', eagerness: 'high' } }),
  openAiHarness("OpenAI, the gateway's VAD, A-law", { turns: { by: 'gateway' }, audio: 'pcma' }),
  // A server of one's own as it often is: the beta's names, no key, 16 kHz.
  openAiHarness('self-hosted, beta dialect, its own VAD', { name: 'self-hosted', dialect: 'beta' }),
  openAiHarness("self-hosted, beta dialect, the gateway's VAD", {
    name: 'self-hosted',
    dialect: 'beta',
    turns: { by: 'gateway' },
  }),
  openAiHarness("self-hosted, today's dialect, 16 kHz", {
    name: 'self-hosted',
    inputRateHz: 16_000,
    outputRateHz: 16_000,
  }),
  azureHarness('Azure Voice Live, 8 kHz, its multilingual VAD'),
  azureHarness("Azure Voice Live, the gateway's VAD, 16 kHz", { turns: { by: 'gateway' }, legRateHz: 16_000 }),
  azureHarness('Azure Voice Live, server VAD, A-law', { turns: { by: 'server_vad', silenceMs: 500 }, audio: 'pcma' }),
  liveHarness('GPT-Live, hosted delegate', 'responses'),
  liveHarness('GPT-Live, our own delegate, G.711', 'client', { audio: 'pcmu' }),
  geminiHarness("Gemini, the gateway's VAD"),
  geminiHarness('Gemini, its own VAD', { turns: { by: 'server' } }),
  geminiHarness("Gemini 3.8, the gateway's VAD", { model: 'gemini-3.8-live' }),
  geminiHarness('Gemini 3.8, its own VAD', { model: 'gemini-3.8-live', turns: { by: 'server' } }),
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
