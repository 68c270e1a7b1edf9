import { openAiHarness } from '../../backends/openai-harness.js'

export const harnesses = {
  'self-hosted': [
    // As such a server often is: the beta's names, no key, 16 kHz.
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
  ],
}
