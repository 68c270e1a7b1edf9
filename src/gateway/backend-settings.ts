import type { BackendSettings } from '../backends/registry.js'
import type { Config } from '../config/settings.js'

/** The part of the settings that media workers need to open backends. */
export function backendSettings(config: Config): BackendSettings {
  const { sttUrl, llmUrl, ttsUrl } = config
  return {
    openai: { apiKey: config.openaiApiKey, baseUrl: config.openaiBaseUrl, model: config.openaiModel, turns: config.openaiTurns },
    gemini: { apiKey: config.geminiApiKey, baseUrl: config.geminiBaseUrl, model: config.geminiModel, turns: config.geminiTurns },
    selfHosted: config.realtimeUrl === null
      ? null
      : {
          baseUrl: config.realtimeUrl, apiKey: config.realtimeApiKey, model: config.realtimeModel,
          turns: config.realtimeTurns, dialect: config.realtimeDialect, rateHz: config.realtimeRateHz === '16000' ? 16000 : 24000,
        },
    cascade: sttUrl === null || llmUrl === null || ttsUrl === null ? null : {
      stt: { baseUrl: sttUrl, apiKey: config.sttApiKey, model: config.sttModel },
      llm: { baseUrl: llmUrl, apiKey: config.llmApiKey, model: config.llmModel },
      tts: { baseUrl: ttsUrl, apiKey: config.ttsApiKey, model: config.ttsModel },
    },
    messageMs: config.backendMessageMs,
  }
}
