import { SOCKET_OR_HTTP, apiKey, define, modelName, oneOf, optional } from '../../core/setting.js'
import { keyed, vendor } from '../vendor.js'
import type { ListedEnd, ListedPrice } from '../vendor.js'

const page = (model: string): Pick<ListedPrice, 'source' | 'readOn'> => ({
  source: `https://developers.openai.com/api/docs/models/${model}`,
  readOn: '2026-11-21',
})

/** Second-hand: public pages copied these rows from the vendor's page, which could not be read whole. */
const end = (endsOn: string, successor: string | null): ListedEnd => ({
  ...{ endsOn, successor },
  source: 'https://developers.openai.com/api/docs/deprecations',
  readOn: '2026-11-29',
})

/** The large realtime models. */
const REALTIME = {
  inputPerMillionTokens: 4,
  cachedPerMillionTokens: 0.4,
  outputPerMillionTokens: 24,
  inputAudioPerMillionTokens: 32,
  cachedAudioPerMillionTokens: 0.4,
  outputAudioPerMillionTokens: 64,
}
const REALTIME_MINI = {
  inputPerMillionTokens: 0.6,
  cachedPerMillionTokens: 0.06,
  outputPerMillionTokens: 2.4,
  inputAudioPerMillionTokens: 10,
  cachedAudioPerMillionTokens: 0.3,
  outputAudioPerMillionTokens: 20,
}

export const openAi = vendor({
  folder: 'openai',
  title: 'OpenAI',
  settings: {
    openaiApiKey: optional({
      kind: apiKey,
      help: 'The API key for OpenAI, which the backends openai and openai-live need.',
    }),
    openaiBaseUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of OpenAI's API. When unset, it is the public one.",
    }),
    openaiModel: define({
      kind: modelName,
      fallback: 'gpt-realtime-2.1',
      help: 'The realtime model of the backend openai.',
    }),
    openaiTurns: define<'server_vad' | 'semantic_vad' | 'gateway'>({
      kind: oneOf('server_vad', 'semantic_vad', 'gateway'),
      fallback: 'server_vad',
      help: 'Who decides that the caller has finished speaking on the backend openai, unless the agent says so: one of the two detectors of OpenAI, or the gateway.',
    }),
    openaiLiveUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of OpenAI's live API, such as https://api.openai.com/v1, or https://RESOURCE.openai.azure.com/openai/v1 for Azure, which gets the key as `api-key`. When unset, it is that of OPENAI_BASE_URL, or the public one.",
    }),
    openaiLiveModel: define({
      kind: modelName,
      fallback: 'gpt-live-1.1',
      help: 'The model of the backend openai-live. At Azure: the name of its deployment.',
    }),
    openaiLiveDelegate: define<'responses' | 'client'>({
      kind: oneOf('responses', 'client'),
      fallback: 'responses',
      help: 'Who uses the tools for the backend openai-live, unless the agent says so: a model that OpenAI runs beside the live one (`responses`), or the model at LLM_URL (`client`).',
    }),
    openaiLiveDelegateModel: define({
      kind: modelName,
      fallback: 'gpt-5.4-mini',
      help: 'The model that OpenAI runs beside the live model when OPENAI_LIVE_DELEGATE is `responses`.',
    }),
  },
  services: {
    stt: {
      openai: {
        needs: 'OPENAI_API_KEY',
        lacks: 'does not tell which language the caller speaks',
        own: { baseUrl: 'https://api.openai.com/v1', model: 'gpt-live-transcribe' },
        options: ['model', 'terms', 'context'],
        settings: ({ openaiApiKey, openaiBaseUrl }) => keyed(openaiApiKey, openaiBaseUrl),
      },
    },
  },
  hosts: /^api\.openai\.com$/,
  prices: {
    'gpt-realtime-2.1': { ...REALTIME, ...page('gpt-realtime-2.1') },
    'gpt-realtime-2': { ...REALTIME, ...page('gpt-realtime-2') },
    'gpt-realtime-1.5': { ...REALTIME, outputPerMillionTokens: 16, ...page('gpt-realtime-1.5') },
    'gpt-realtime-2.1-mini': { ...REALTIME_MINI, ...page('gpt-realtime-2.1-mini') },
    'gpt-live-1': { perMinute: 0.05, ...page('gpt-live-1') },
    'gpt-live-1.1': { perMinute: 0.05, ...page('gpt-live-1.1') },
    // The delegate of GPT-Live unless another is set. Second-hand: public projects quote it, as of June 2026, from OpenAI's
    // page, which was not read for this table; PRICES_FILE overrides it.
    'gpt-5.4-mini': {
      inputPerMillionTokens: 0.75,
      cachedPerMillionTokens: 0.075,
      outputPerMillionTokens: 4.5,
      source: 'https://developers.openai.com/api/docs/pricing',
      readOn: '2026-06-30',
    },
    'gpt-transcribe': { perMinute: 0.0045, ...page('gpt-transcribe') },
    'whisper-1': { perMinute: 0.006, ...page('whisper-1') },
    'gpt-live-transcribe': { perMinute: 0.017, ...page('gpt-live-transcribe') },
    'tts-1': { perMillionCharacters: 15, ...page('tts-1') },
    'tts-1-hd': { perMillionCharacters: 30, ...page('tts-1') },
  },
  ends: {
    'gpt-realtime': end('2027-01-20', 'gpt-realtime-2.1'),
    'gpt-realtime-mini': end('2027-01-20', 'gpt-realtime-2.1-mini'),
    'gpt-4o-realtime': end('2027-01-20', 'gpt-realtime-2.1'),
    'gpt-4o-realtime-preview': end('2026-05-07', 'gpt-realtime-2.1'),
    'gpt-4o-mini-realtime-preview': end('2026-05-07', 'gpt-realtime-2.1-mini'),
    'whisper-1': end('2027-02-26', 'gpt-transcribe'),
    'gpt-4o-transcribe': end('2027-02-26', 'gpt-transcribe'),
    'gpt-4o-mini-transcribe': end('2027-02-26', 'gpt-transcribe'),
    'tts-1': end('2027-01-06', null),
    'tts-1-hd': end('2027-01-06', null),
    'gpt-4o-mini-tts': end('2027-01-06', null),
    'gpt-4o': end('2027-01-14', 'gpt-6-luna'),
    'gpt-4o-mini': end('2027-01-14', 'gpt-6-luna'),
    'gpt-4.1': end('2027-01-14', 'gpt-6-luna'),
    'gpt-4.1-mini': end('2027-01-14', 'gpt-6-luna'),
    'gpt-5': end('2026-12-11', 'gpt-6.1-sol'),
    'gpt-5-mini': end('2026-12-11', 'gpt-6.1-terra'),
    'gpt-5-nano': end('2026-12-11', null),
    'gpt-5.1': end('2027-04-01', null),
    'gpt-5.4-nano': end('2027-04-01', null),
  },
  doubles: {
    'openai-transcription': {
      what: "OpenAI's realtime transcription, and vLLM's",
      port: 7731,
      key: 'OPENAI_API_KEY',
      parts: ['STT'],
    },
  },
})
