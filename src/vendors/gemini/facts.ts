import { SOCKET_OR_HTTP, apiKey, define, modelName, oneOf, optional } from '../../core/setting.js'
import { keyed, vendor } from '../vendor.js'
import type { ListedEnd } from '../vendor.js'

/** Prices of the paid tier, as several public projects read them there on the day given. */
const PRICES = { source: 'https://ai.google.dev/gemini-api/docs/pricing', readOn: '2026-09-28' }

const end = (endsOn: string, successor: string): ListedEnd => ({
  ...{ endsOn, successor },
  source: 'https://ai.google.dev/gemini-api/docs/deprecations',
  readOn: '2026-11-29',
})

const LIVE = {
  inputPerMillionTokens: 0.75,
  outputPerMillionTokens: 4.5,
  inputAudioPerMillionTokens: 3,
  outputAudioPerMillionTokens: 12,
}

export const gemini = vendor({
  folder: 'gemini',
  title: 'Gemini',
  settings: {
    geminiApiKey: optional({
      kind: apiKey,
      help: 'The API key for Gemini, which the backend gemini needs; a cascade uses it for its language model.',
    }),
    geminiBaseUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Gemini's API. When unset, it is the public one.",
    }),
    geminiModel: define({
      kind: modelName,
      fallback: 'gemini-3.8-live',
      help: 'The live model of the backend gemini.',
    }),
    geminiTextModel: define({
      kind: modelName,
      fallback: 'gemini-3.8-flash',
      help: "Gemini's language model for a cascade, where the agent names none.",
    }),
    geminiTurns: define<'gateway' | 'server'>({
      kind: oneOf('gateway', 'server'),
      fallback: 'gateway',
      help: 'Who decides that the caller has finished speaking on the backend gemini, unless the agent says so: the gateway, or Gemini itself (`server`).',
    }),
  },
  services: {
    llm: {
      gemini: {
        needs: 'GEMINI_API_KEY',
        own: { baseUrl: 'https://generativelanguage.googleapis.com' },
        options: ['model', 'timeoutMs', 'temperature', 'maxTokens', 'thinkingLevel'],
        settings: ({ geminiApiKey, geminiBaseUrl, geminiTextModel: model }) =>
          keyed(geminiApiKey, geminiBaseUrl, { model }),
      },
    },
  },
  hosts: /^generativelanguage\.googleapis\.com$/,
  prices: {
    // Until the end of 2026; what comes from its cache has no price here, and so costs the whole one.
    'gemini-3.8-flash': {
      inputPerMillionTokens: 0.75,
      outputPerMillionTokens: 3.75,
      ...PRICES,
      readOn: '2026-09-03',
    },
    'gemini-3.8-live': { ...LIVE, ...PRICES },
    'gemini-3.1-flash-live-preview': { ...LIVE, ...PRICES },
    'gemini-2.5-flash-native-audio-preview-12-2025': {
      inputPerMillionTokens: 0.5,
      outputPerMillionTokens: 2,
      inputAudioPerMillionTokens: 3,
      outputAudioPerMillionTokens: 12,
      ...PRICES,
      readOn: '2026-07-04',
    },
  },
  ends: {
    'gemini-2.0-flash-live-001': end('2025-12-09', 'gemini-3.8-live'),
    'gemini-live-2.5-flash-preview': end('2025-12-09', 'gemini-3.8-live'),
    'gemini-2.5-flash-native-audio-preview-12-2025': end('2026-11-17', 'gemini-3.8-live'),
    'gemini-3.1-flash-live-preview': end('2026-11-17', 'gemini-3.8-live'),
    'gemini-2.0-flash': end('2026-06-01', 'gemini-3.8-flash'),
    'gemini-2.5-pro': end('2026-12-01', 'gemini-3.8-flash'),
    'gemini-2.5-flash': end('2026-12-01', 'gemini-3.5-flash-lite'),
    'gemini-3.1-flash-lite': end('2027-05-07', 'gemini-3.5-flash-lite'),
  },
})
