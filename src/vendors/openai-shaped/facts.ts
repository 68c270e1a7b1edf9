import { HTTP, SOCKET_OR_HTTP, apiKey, define, modelName, optional } from '../../core/setting.js'
import { atAddress, vendor } from '../vendor.js'

export const openAiShaped = vendor({
  folder: 'openai-shaped',
  title: "services in OpenAI's shape",
  settings: {
    sttUrl: optional({
      kind: HTTP,
      help: 'The address, up to /v1, of the speech recogniser of the backend cascade.',
    }),
    sttApiKey: optional({
      kind: apiKey,
      help: 'The API key for the recogniser at STT_URL, if it requires one.',
    }),
    sttModel: define({
      kind: modelName,
      fallback: 'whisper-1',
      help: 'The model of the recogniser at STT_URL.',
    }),
    llmUrl: optional({
      kind: HTTP,
      help: 'The address, up to /v1, of the language model of the backend cascade.',
    }),
    llmApiKey: optional({
      kind: apiKey,
      help: 'The API key for the language model at LLM_URL, if it requires one.',
    }),
    llmModel: define({
      kind: modelName,
      fallback: 'default',
      help: 'The name of the language model at LLM_URL.',
    }),
    ttsUrl: optional({
      kind: HTTP,
      help: 'The address, up to /v1, of the voice (text to speech) of the backend cascade.',
    }),
    ttsApiKey: optional({
      kind: apiKey,
      help: 'The API key for the voice at TTS_URL, if it requires one.',
    }),
    ttsModel: define({
      kind: modelName,
      fallback: 'tts-1',
      help: 'The model of the voice at TTS_URL.',
    }),
    sttRealtimeUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of a recogniser of one's own with OpenAI's realtime transcription (speaches), or of vLLM, for the backend cascade. Key and model are STT_API_KEY and STT_MODEL.",
    }),
  },
  services: {
    stt: {
      whisper: {
        needs: 'STT_URL',
        lacks: 'has no words before the turn is over, so that the model is asked later',
        options: ['model', 'timeoutMs', 'prompt'],
        settings: ({ sttUrl, sttApiKey: apiKey, sttModel: model }) => atAddress(sttUrl, { apiKey, model }),
      },
      realtime: {
        needs: 'STT_REALTIME_URL',
        lacks: 'does not tell which language the caller speaks',
        options: ['model', 'terms', 'context', 'dialect'],
        settings: ({ sttRealtimeUrl, sttApiKey: apiKey, sttModel: model }) =>
          atAddress(sttRealtimeUrl, { apiKey, model }),
      },
    },
    llm: {
      chat: {
        needs: 'LLM_URL',
        options: ['model', 'timeoutMs', 'temperature', 'maxTokens'],
        settings: ({ llmUrl, llmApiKey: apiKey, llmModel: model }) => atAddress(llmUrl, { apiKey, model }),
      },
    },
    tts: {
      speech: {
        needs: 'TTS_URL',
        lacks: 'does not tell when a word sounds: what an interrupted caller heard is estimated',
        options: ['model', 'timeoutMs', 'voice', 'speed', 'sampleRateHz'],
        settings: ({ ttsUrl, ttsApiKey: apiKey, ttsModel: model }) => atAddress(ttsUrl, { apiKey, model }),
      },
    },
  },
})
