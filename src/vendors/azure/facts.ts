import { SOCKET_OR_HTTP, apiKey, define, optional, text } from '../../core/setting.js'
import { locales, speed, timeoutMs, vocabulary, voice } from '../common-options.js'
import { keyed, vendor } from '../vendor.js'

/**
 * Second-hand prices: several public projects quote Azure's page. For the voice, some of these projects quote a price
 * of 16. Prices may differ by region.
 */
const PRICES = {
  source: 'https://azure.microsoft.com/pricing/details/cognitive-services/speech-services/',
  readOn: '2026-11-27',
}

function inRegion(region: string, part: 'stt' | 'tts'): string {
  return `wss://${region}.${part}.speech.microsoft.com`
}

export const azure = vendor({
  folder: 'azure',
  title: 'Azure Speech',
  settings: {
    azureSpeechKey: optional({
      kind: apiKey,
      help: "The key of an Azure Speech resource, a recogniser and a voice of the backend cascade. With this key, each part of the cascade that does not have its own address uses Azure. The key works only in the resource's region.",
    }),
    azureSpeechRegion: define({
      kind: text('the name of an Azure region, such as southafricanorth', /^[a-z0-9]{3,40}$/),
      fallback: 'southafricanorth',
      help: 'The region of the Azure Speech resource.',
    }),
    azureSttUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Azure's recogniser. If unset, it is the address of AZURE_SPEECH_REGION.",
    }),
    azureTtsUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Azure's voice. If unset, it is the address of AZURE_SPEECH_REGION.",
    }),
  },
  services: {
    stt: {
      azure: {
        about:
          'a stream: words while the caller speaks, the language of each phrase; Swahili of Kenya and Tanzania, English of Kenya; a connection for each turn',
        changes:
          'masks words that it considers profane, even names ("Fanny" becomes `*****`); the gateway turns this off with `profanity: raw`. Numbers, capitals and punctuation in written form',
        needs: 'AZURE_SPEECH_KEY',
        languagesMax: 10,
        // The region determines the address. The service does not name its models: this name is used for prices only.
        own: { model: 'azure-speech-to-text' },
        options: { terms: vocabulary, locales },
        settings: ({ azureSpeechKey, azureSpeechRegion, azureSttUrl }) =>
          keyed(azureSpeechKey, azureSttUrl ?? inRegion(azureSpeechRegion, 'stt')),
      },
    },
    tts: {
      azure: {
        about:
          'a stream of sentences, one after the other, with the times of words; Swahili of Kenya and Tanzania, English of Kenya',
        needs: 'AZURE_SPEECH_KEY',
        own: { model: 'azure-neural-voice' },
        options: { timeoutMs, voice, speed },
        speeds: [0.5, 2],
        settings: ({ azureSpeechKey, azureSpeechRegion, azureTtsUrl }) =>
          keyed(azureSpeechKey, azureTtsUrl ?? inRegion(azureSpeechRegion, 'tts')),
      },
    },
  },
  hosts: /^[a-z0-9]+\.(?:stt|tts)\.speech\.microsoft\.com$/,
  prices: {
    'azure-speech-to-text': { perMinute: 1 / 60, ...PRICES },
    'azure-neural-voice': { perMillionCharacters: 15, ...PRICES },
  },
  doubles: {
    azure: {
      what: 'recogniser and voice of Azure Speech',
      port: 7781,
      key: 'AZURE_SPEECH_KEY',
      parts: ['STT', 'TTS'],
    },
  },
})
