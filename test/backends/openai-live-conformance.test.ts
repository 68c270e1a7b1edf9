import t from 'tap'
import { liveHarness } from './openai-live-harness.js'
import { passSuite } from './pass-suite.js'

const harnesses = [
  liveHarness('GPT-Live, hosted delegate', 'responses'),
  liveHarness('GPT-Live, our own delegate, G.711', 'client', { audio: 'pcmu' }),
]

for (const harness of harnesses) t.test(harness.name, (t) => passSuite(t, harness))
