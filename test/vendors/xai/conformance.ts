import { declaredHarness } from '../../backends/openai-harness.js'

export const harnesses = {
  xai: [
    await declaredHarness('xai', "xAI, the gateway's VAD"),
    await declaredHarness('xai', 'xAI, its own VAD, A-law', {
      turns: { by: 'server_vad', silenceMs: 500 },
      audio: 'pcma',
    }),
  ],
}
