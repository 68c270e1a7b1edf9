import t from 'tap'
import { CONFORMANCE_CHECKS } from '../../src/backends/conformance.js'
import { openAiHarness } from './openai-harness.js'

const harnesses = [
  openAiHarness('OpenAI, server VAD'),
  openAiHarness('OpenAI, the gateway\'s VAD', { turns: { by: 'gateway' } }),
]

for (const harness of harnesses) {
  t.test(harness.name, async (t) => {
    for (const check of CONFORMANCE_CHECKS) t.test(check.name, () => check.run(harness))
  })
}
