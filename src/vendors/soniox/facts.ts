import { SOCKET_OR_HTTP, apiKey, optional } from '../../core/setting.js'
import { context, model, speed, timeoutMs, vocabulary, voice } from '../common-options.js'
import { keyed, vendor } from '../vendor.js'

export const soniox = vendor({
  folder: 'soniox',
  title: 'Soniox',
  settings: {
    sonioxApiKey: optional({
      kind: apiKey,
      help: 'The API key for Soniox, a recogniser and a voice of the backend cascade. With this key, each part of the cascade that does not have its own address uses Soniox.',
    }),
    sonioxSttUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Soniox's recogniser. If unset, it is the public address.",
    }),
    sonioxTtsUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Soniox's voice. If unset, it is the public address.",
    }),
  },
  services: {
    stt: {
      soniox: {
        about:
          'a stream: words while the caller speaks, the language of each, the text at once when the turn is over; Swahili',
        changes: 'numbers, capitals and punctuation in written form',
        needs: 'SONIOX_API_KEY',
        own: { baseUrl: 'wss://stt-rt.soniox.com', model: 'stt-rt-v4' },
        options: { model, terms: vocabulary, context },
        settings: ({ sonioxApiKey, sonioxSttUrl }) => keyed(sonioxApiKey, sonioxSttUrl),
      },
    },
    tts: {
      soniox: {
        about: 'a stream: speaks while the model writes, and tells which characters were heard; Swahili',
        needs: 'SONIOX_API_KEY',
        own: { baseUrl: 'wss://tts-rt.soniox.com', model: 'tts-rt-v2' },
        options: { model, timeoutMs, voice, speed },
        speeds: [0.7, 1.3],
        settings: ({ sonioxApiKey, sonioxTtsUrl }) => keyed(sonioxApiKey, sonioxTtsUrl),
      },
    },
  },
  ends: {
    'tts-rt-v1': {
      endsOn: '2026-08-31',
      successor: 'tts-rt-v2',
      source: 'https://soniox.com/docs/tts/models',
      readOn: '2026-11-28',
    },
  },
  doubles: {
    soniox: {
      what: 'recogniser and voice of Soniox',
      port: 7711,
      key: 'SONIOX_API_KEY',
      parts: ['STT', 'TTS'],
    },
  },
})
