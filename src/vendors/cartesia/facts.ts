import { SOCKET_OR_HTTP, apiKey, optional } from '../../core/setting.js'
import { dictionary, model, speed, timeoutMs, voice } from '../common-options.js'
import { keyed, vendor } from '../vendor.js'

const SONIC = {
  endsOn: '2026-06-01',
  successor: 'sonic-3.5',
  source: 'https://docs.cartesia.ai/build-with-cartesia/tts-models/api-changes',
  readOn: '2026-11-29',
}

export const cartesia = vendor({
  folder: 'cartesia',
  title: 'Cartesia',
  settings: {
    cartesiaApiKey: optional({
      kind: apiKey,
      help: 'The API key for Cartesia, a voice of the backend cascade.',
    }),
    cartesiaTtsUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Cartesia's voice. If unset, it is the public address.",
    }),
  },
  services: {
    tts: {
      cartesia: {
        about: 'a stream of sentences, with the times of words; 44 languages, no Swahili',
        needs: 'CARTESIA_API_KEY',
        lacks: 'does not speak Swahili',
        // Newest model of `TTSModel` in `@cartesia/cartesia-js` 4.2.0.
        own: { baseUrl: 'wss://api.cartesia.ai', model: 'sonic-3.5' },
        options: { model, timeoutMs, voice, speed, dictionary },
        speeds: [0.6, 1.5],
        settings: ({ cartesiaApiKey, cartesiaTtsUrl }) => keyed(cartesiaApiKey, cartesiaTtsUrl),
      },
    },
  },
  ends: { sonic: SONIC, 'sonic-english': SONIC, 'sonic-multilingual': SONIC },
  doubles: {
    cartesia: { what: "Cartesia's voice", port: 7761, key: 'CARTESIA_API_KEY', parts: ['TTS'] },
  },
})
