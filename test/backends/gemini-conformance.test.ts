import t from 'tap'
import { geminiHarness } from './gemini-harness.js'
import { passSuite } from './pass-suite.js'

const harnesses = [
  geminiHarness("Gemini, the gateway's VAD"),
  geminiHarness('Gemini, its own VAD', { turns: { by: 'server' } }),
]

for (const harness of harnesses) t.test(harness.name, (t) => passSuite(t, harness))
