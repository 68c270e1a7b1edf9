import { SOCKET_OR_HTTP, apiKey, define, modelName, optional } from '../../core/setting.js'
import { realtime, vendor } from '../vendor.js'
import type { ValuesOf } from '../vendor.js'
import { xaiOptions } from './options.js'

const settings = {
  xaiApiKey: optional({
    kind: apiKey,
    help: 'The API key for xAI, which the backend xai needs.',
  }),
  xaiBaseUrl: optional({
    kind: SOCKET_OR_HTTP,
    help: "The address of xAI's API. If unset, it is the public address.",
  }),
  xaiModel: define({
    kind: modelName,
    fallback: 'grok-voice-think-fast-2.0',
    help: 'The voice model of the backend xai.',
  }),
}

const voice = realtime({
  about:
    "the gateway's detection of turns, or its own by silence; an interrupted answer is cut at the millisecond that was heard; 8 and 16 kHz",
  needs: 'XAI_API_KEY',
  asks: ['XAI_API_KEY', 'XAI_MODEL'],
  options: xaiOptions,
  settings: ({ xaiApiKey: key, xaiBaseUrl, xaiModel: model }: ValuesOf<typeof settings>) =>
    key === null ? null : { apiKey: key, baseUrl: xaiBaseUrl ?? 'https://api.x.ai/v1', model },
  detectsTurns: (_, { turns }) => turns?.by === 'server_vad',
  usesLegRate: () => true,
  models: ({ model: usual }, { model = usual }) => [{ model }],
})

export const xai = vendor({
  folder: 'xai',
  title: 'xAI',
  settings,
  services: {},
  backends: { xai: voice },
  doubles: {
    xai: { what: "xAI's voice", port: 7707, backend: 'xai', key: 'XAI_API_KEY', faults: ['deaf', 'empty-answers'] },
  },
})
