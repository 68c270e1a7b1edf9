import t from 'tap'
import { openAiHarness } from './openai-harness.js'
import { passSuite } from './pass-suite.js'

const harnesses = [
  openAiHarness('OpenAI, server VAD'),
  openAiHarness('OpenAI, semantic VAD', { turns: { by: 'semantic_vad', eagerness: 'high' } }),
  openAiHarness("OpenAI, the gateway's VAD, A-law", { turns: { by: 'gateway' }, audio: 'pcma' }),
]

for (const harness of harnesses) t.test(harness.name, (t) => passSuite(t, harness))
