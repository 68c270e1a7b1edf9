import t from 'tap'
import { openAiHarness } from './openai-harness.js'
import { passSuite } from './pass-suite.js'

// A server of one's own as it often is: the beta's names, no key, 16 kHz.
const harnesses = [
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
]

for (const harness of harnesses) t.test(harness.name, (t) => passSuite(t, harness))
