import { openAiHarness } from '../../backends/openai-harness.js'
import { liveHarness } from '../../backends/openai-live-harness.js'

export const harnesses = {
  openai: [
    openAiHarness('OpenAI, server VAD'),
    openAiHarness('OpenAI, semantic VAD', { turns: { by: 'semantic_vad', eagerness: 'high' } }),
    openAiHarness("OpenAI, the gateway's VAD, A-law", { turns: { by: 'gateway' }, audio: 'pcma' }),
  ],
  'openai-live': [
    liveHarness('GPT-Live, hosted delegate', 'responses'),
    liveHarness('GPT-Live, our own delegate, G.711', 'client', { audio: 'pcmu' }),
  ],
}
