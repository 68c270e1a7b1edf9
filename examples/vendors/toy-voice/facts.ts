import { HTTP, apiKey, optional } from '../../core/setting.js'
import { model, speed, timeoutMs, voice } from '../common-options.js'
import { keyed, vendor } from '../vendor.js'

const PRICES = { source: 'https://voice.toy.example/prices', readOn: '2026-11-29' }

export const toyVoice = vendor({
  folder: 'toy-voice',
  title: 'Toy Voice',
  settings: {
    toyVoiceKey: optional({
      kind: apiKey,
      help: 'The API key for Toy Voice, a voice of the backend cascade.',
    }),
    toyVoiceUrl: optional({
      kind: HTTP,
      help: "The address of Toy Voice's service. When unset, it is the public one.",
    }),
  },
  services: {
    tts: {
      'toy-voice': {
        about: 'a request for each sentence',
        needs: 'TOY_VOICE_KEY',
        lacks: 'does not tell when a word sounds: what an interrupted caller heard is estimated',
        own: { baseUrl: 'https://voice.toy.example', model: 'toy-sound-2' },
        options: { model, timeoutMs, voice, speed },
        speeds: [0.5, 2],
        settings: ({ toyVoiceKey, toyVoiceUrl }) => keyed(toyVoiceKey, toyVoiceUrl),
      },
    },
  },
  hosts: /^voice\.toy\.example$/,
  prices: { 'toy-sound-2': { perMillionCharacters: 10, ...PRICES } },
  ends: { 'toy-sound-1': { endsOn: '2026-11-01', successor: 'toy-sound-2', ...PRICES } },
  doubles: {
    'toy-voice': { what: 'the voice of Toy Voice', port: 7911, key: 'TOY_VOICE_KEY', parts: ['TTS'] },
  },
})
