import { SOCKET_OR_HTTP, apiKey, optional } from '../../core/setting.js'
import { keyed, vendor } from '../vendor.js'

const PUBLIC = 'wss://api.deepgram.com'

/** Pay-as-you-go prices, second-hand for Nova and the multilingual Flux: public pages quote them from Deepgram's. */
const PRICES = { source: 'https://deepgram.com/pricing', readOn: '2026-11-25' }

export const deepgram = vendor({
  folder: 'deepgram',
  title: 'Deepgram',
  settings: {
    deepgramApiKey: optional({
      kind: apiKey,
      help: 'The API key for Deepgram, a recogniser and a voice of the backend cascade. With it, a part of the cascade without an address of its own uses Deepgram.',
    }),
    deepgramSttUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Deepgram's recognisers. When unset, it is the public one.",
    }),
    deepgramTtsUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Deepgram's voice. When unset, it is the public one.",
    }),
  },
  services: {
    stt: {
      deepgram: {
        needs: 'DEEPGRAM_API_KEY',
        lacks: 'does not understand Swahili',
        own: { baseUrl: PUBLIC, model: 'nova-3' },
        options: ['model', 'terms'],
        settings: ({ deepgramApiKey, deepgramSttUrl }) => keyed(deepgramApiKey, deepgramSttUrl),
      },
    },
    tts: {
      deepgram: {
        needs: 'DEEPGRAM_API_KEY',
        lacks: 'speaks English only',
        // The example of `SpeakV2Model` in `@deepgram/sdk` 5.13.0.
        own: { baseUrl: PUBLIC, model: 'flux-alexis-en' },
        // The voice is part of the model.
        options: ['model', 'timeoutMs', 'speed'],
        speeds: [0.5, 1.5],
        settings: ({ deepgramApiKey, deepgramTtsUrl }) => keyed(deepgramApiKey, deepgramTtsUrl),
      },
    },
  },
  hosts: /^api\.deepgram\.com$/,
  prices: {
    'nova-3': { perMinute: 0.0077, ...PRICES },
    'flux-general-en': { perMinute: 0.0065, ...PRICES },
    'flux-general-multi': { perMinute: 0.0078, ...PRICES },
  },
  doubles: {
    deepgram: {
      what: "Deepgram's recognisers, Nova and Flux, and its voice",
      port: 7721,
      key: 'DEEPGRAM_API_KEY',
      parts: ['STT', 'TTS'],
    },
  },
})
