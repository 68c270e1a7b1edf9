import { SOCKET_OR_HTTP, apiKey, define, optional, text } from '../../core/setting.js'
import { keyed, vendor } from '../vendor.js'

/** Second-hand: several public projects quote them from Azure's page; some say 16 for the voice. Regions may differ. */
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
      help: "The key of an Azure Speech resource, a recogniser and a voice of the backend cascade. With it, a part of the cascade without an address of its own uses Azure. It holds in the resource's region only.",
    }),
    azureSpeechRegion: define({
      kind: text('the name of an Azure region, such as southafricanorth', /^[a-z0-9]{3,40}$/),
      fallback: 'southafricanorth',
      help: 'The region of the Azure Speech resource.',
    }),
    azureSttUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Azure's recogniser. When unset, it is that of AZURE_SPEECH_REGION.",
    }),
    azureTtsUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Azure's voice. When unset, it is that of AZURE_SPEECH_REGION.",
    }),
  },
  services: {
    stt: {
      azure: {
        needs: 'AZURE_SPEECH_KEY',
        languagesMax: 10,
        // Its address is that of a region; the models have no names there, these are for prices.
        own: { model: 'azure-speech-to-text' },
        options: ['terms', 'locales'],
        settings: ({ azureSpeechKey, azureSpeechRegion, azureSttUrl }) =>
          keyed(azureSpeechKey, azureSttUrl ?? inRegion(azureSpeechRegion, 'stt')),
      },
    },
    tts: {
      azure: {
        needs: 'AZURE_SPEECH_KEY',
        own: { model: 'azure-neural-voice' },
        options: ['timeoutMs', 'voice', 'speed'],
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
