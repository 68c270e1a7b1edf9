import t from 'tap'
import { CONFORMANCE_CHECKS } from '../../src/backends/conformance.js'
import { geminiHarness } from './gemini-harness.js'

const harnesses = [
  geminiHarness('Gemini, the gateway\'s VAD'),
  geminiHarness('Gemini, its own VAD', { turns: { by: 'server' } }),
]

for (const harness of harnesses) {
  t.test(harness.name, async (t) => {
    for (const check of CONFORMANCE_CHECKS) t.test(check.name, () => check.run(harness))
  })
}
