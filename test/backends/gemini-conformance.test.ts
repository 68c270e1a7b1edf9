import t from 'tap'
import { geminiHarness } from './gemini-harness.js'
import { passSuite } from './pass-suite.js'

const harnesses = [
  geminiHarness("Gemini, the gateway's VAD"),
  geminiHarness('Gemini, its own VAD', { turns: { by: 'server' } }),
  geminiHarness("Gemini 3.8, the gateway's VAD", { model: 'gemini-3.8-live' }),
  geminiHarness('Gemini 3.8, its own VAD', { model: 'gemini-3.8-live', turns: { by: 'server' } }),
]

// Checks mostly wait, so two suites run side by side.
t.jobs = 2
for (const harness of harnesses) t.test(harness.name, { buffered: true }, (t) => passSuite(t, harness))
