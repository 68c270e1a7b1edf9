import { SOCKET_OR_HTTP, apiKey, optional } from '../../core/setting.js'
import { dictionary, model, speed, timeoutMs, voice } from '../common-options.js'
import { keyed, vendor } from '../vendor.js'

/** Second-hand prices: public pages quote them from the vendor's page. */
const PRICES = { source: 'https://elevenlabs.io/pricing/api', readOn: '2026-11-25' }

export const elevenLabs = vendor({
  folder: 'elevenlabs',
  title: 'ElevenLabs',
  settings: {
    elevenLabsApiKey: optional({
      env: 'ELEVENLABS_API_KEY',
      key: 'elevenLabsApiKey',
      kind: apiKey,
      help: 'The API key for ElevenLabs, a voice of the backend cascade.',
    }),
    elevenLabsTtsUrl: optional({
      env: 'ELEVENLABS_TTS_URL',
      key: 'elevenLabsTtsUrl',
      kind: SOCKET_OR_HTTP,
      help: "The address of ElevenLabs's voice. If unset, it is the public address.",
    }),
  },
  services: {
    tts: {
      elevenlabs: {
        about:
          'a stream of sentences, with the times of characters; Swahili with `model: eleven_v3_conversational` (at its own speed)',
        needs: 'ELEVENLABS_API_KEY',
        lacks: 'speaks Swahili with model eleven_v3_conversational only',
        own: { baseUrl: 'wss://api.elevenlabs.io', model: 'eleven_flash_v2_5' },
        options: { model, timeoutMs, voice, speed, dictionary },
        versionedDictionary: true,
        speeds: [0.7, 1.2],
        settings: ({ elevenLabsApiKey, elevenLabsTtsUrl }) => keyed(elevenLabsApiKey, elevenLabsTtsUrl),
      },
    },
  },
  hosts: /^api\.elevenlabs\.io$/,
  prices: {
    eleven_v3_conversational: { perMillionCharacters: 20, ...PRICES },
    eleven_flash_v2_5: { perMillionCharacters: 20, ...PRICES },
    eleven_flash_v2: { perMillionCharacters: 20, ...PRICES },
  },
  doubles: {
    elevenlabs: { what: "ElevenLabs' voice", port: 7771, key: 'ELEVENLABS_API_KEY', parts: ['TTS'] },
  },
})
