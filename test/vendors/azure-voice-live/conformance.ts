import { azureHarness } from '../../backends/openai-harness.js'

export const harnesses = {
  'azure-voice-live': [
    azureHarness('Azure Voice Live, 8 kHz, its multilingual VAD'),
    azureHarness("Azure Voice Live, the gateway's VAD, 16 kHz", { turns: { by: 'gateway' }, legRateHz: 16_000 }),
    azureHarness('Azure Voice Live, server VAD, A-law', { turns: { by: 'server_vad', silenceMs: 500 }, audio: 'pcma' }),
  ],
}
