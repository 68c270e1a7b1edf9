import { geminiHarness } from '../../backends/gemini-harness.js'

export const harnesses = {
  gemini: [
    geminiHarness("Gemini, the gateway's VAD"),
    geminiHarness('Gemini, its own VAD', { turns: { by: 'server' } }),
    geminiHarness("Gemini 3.8, the gateway's VAD", { model: 'gemini-3.8-live' }),
    geminiHarness('Gemini 3.8, its own VAD', { model: 'gemini-3.8-live', turns: { by: 'server' } }),
  ],
}
