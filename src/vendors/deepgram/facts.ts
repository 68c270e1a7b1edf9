import { SOCKET_OR_HTTP, apiKey, optional } from '../../core/setting.js'
import { model, speed, timeoutMs, vocabulary } from '../common-options.js'
import { keyed, vendor } from '../vendor.js'

const PUBLIC = 'wss://api.deepgram.com'

/**
 * Pay-as-you-go prices. For Nova and the multilingual Flux the prices are second-hand: public pages quote Deepgram's
 * page.
 */
const PRICES = { source: 'https://deepgram.com/pricing', readOn: '2026-11-25' }

export const deepgram = vendor({
  folder: 'deepgram',
  title: 'Deepgram',
  settings: {
    deepgramApiKey: optional({
      kind: apiKey,
      help: 'The API key for Deepgram, a recogniser and a voice of the backend cascade. With this key, each part of the cascade that does not have its own address uses Deepgram.',
    }),
    deepgramSttUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Deepgram's recognisers. If unset, it is the public address.",
    }),
    deepgramTtsUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Deepgram's voice. If unset, it is the public address.",
    }),
  },
  services: {
    stt: {
      deepgram: {
        about:
          'a stream: words while the caller speaks; Nova (English, or `multi` for several languages of theirs) and Flux; no Swahili',
        changes:
          'leaves out "uh" and "um"; masks and redacts only on request. The gateway requests numbers from Nova (`smart_format`); Flux writes them by itself',
        needs: 'DEEPGRAM_API_KEY',
        lacks: 'does not understand Swahili',
        own: { baseUrl: PUBLIC, model: 'nova-3' },
        options: { model, terms: vocabulary },
        settings: ({ deepgramApiKey, deepgramSttUrl }) => keyed(deepgramApiKey, deepgramSttUrl),
      },
    },
    tts: {
      deepgram: {
        about: 'a stream (Flux, `/v2/speak`): the service itself tells which words were heard; English',
        needs: 'DEEPGRAM_API_KEY',
        lacks: 'speaks English only',
        // Example value of `SpeakV2Model` in `@deepgram/sdk` 5.13.0.
        own: { baseUrl: PUBLIC, model: 'flux-alexis-en' },
        // The model's name contains the voice.
        options: { model, timeoutMs, speed },
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
