import { SOCKET_OR_HTTP, apiKey, modelName, optional } from '../../core/setting.js'
import { realtime, vendor } from '../vendor.js'
import type { ValuesOf } from '../vendor.js'
import { USUAL_TURNS, azureVoiceLiveOptions } from './options.js'

// Facts about Azure Voice Live, from https://learn.microsoft.com/azure/ai-services/speech-service/voice-live and the
// types of @azure/ai-voicelive 1.1.0.

const settings = {
  azureVoiceLiveUrl: optional({
    kind: SOCKET_OR_HTTP,
    help: 'The address of the Azure resource for the backend azure-voice-live, such as https://RESOURCE.services.ai.azure.com. You can add a version of the API to the address, as ?api-version=.',
  }),
  azureVoiceLiveKey: optional({
    kind: apiKey,
    help: 'The key of the Azure resource for the backend azure-voice-live.',
  }),
  azureVoiceLiveModel: optional({
    kind: modelName,
    help: 'The model of the backend azure-voice-live, if the agent names none. It has no default, because each region has its own list.',
  }),
}

const voiceLive = realtime({
  about:
    "its own detection of turns (four kinds) or the gateway's; an interrupted answer is cut at the millisecond that was heard; Swahili and English of Kenya",
  needs: 'AZURE_VOICE_LIVE_URL',
  asks: ['AZURE_VOICE_LIVE_URL', 'AZURE_VOICE_LIVE_KEY', 'AZURE_VOICE_LIVE_MODEL'],
  options: azureVoiceLiveOptions,
  settings: ({
    azureVoiceLiveUrl: baseUrl,
    azureVoiceLiveKey: apiKey,
    azureVoiceLiveModel: model,
  }: ValuesOf<typeof settings>) => (baseUrl === null ? null : { baseUrl, apiKey, model }),
  missing: ({ apiKey, model }, own) =>
    apiKey === null
      ? 'AZURE_VOICE_LIVE_KEY'
      : model === null && own.model === undefined
        ? 'AZURE_VOICE_LIVE_MODEL'
        : null,
  detectsTurns: (_, own) => (own.turns?.by ?? USUAL_TURNS) !== 'gateway',
  usesLegRate: () => true,
  // OpenAI's list of prices and end dates does not apply to Azure.
  models: ({ model: usual, baseUrl }, { model = usual }) => (model === null ? [] : [{ model, baseUrl }]),
})

export const azureVoiceLive = vendor({
  folder: 'azure-voice-live',
  title: 'Azure Voice Live',
  settings,
  services: {},
  backends: { 'azure-voice-live': voiceLive },
  doubles: {
    'azure-voice-live': {
      what: 'Azure Voice Live',
      port: 7706,
      backend: 'azure-voice-live',
      key: 'AZURE_VOICE_LIVE_KEY',
      env: { AZURE_VOICE_LIVE_MODEL: 'double' },
      faults: ['deaf', 'empty-answers'],
    },
  },
})
