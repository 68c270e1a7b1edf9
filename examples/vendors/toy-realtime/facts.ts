import { z } from 'zod'
import { SOCKET_OR_HTTP, apiKey, define, modelName, optional } from '../../core/setting.js'
import { messageMs, model, streamSilence } from '../common-options.js'
import { realtime, vendor } from '../vendor.js'
import type { ValuesOf } from '../vendor.js'

const settings = {
  toyRealtimeKey: optional({
    kind: apiKey,
    help: 'The API key for Toy Realtime, which the backend toy-realtime needs.',
  }),
  toyRealtimeUrl: optional({
    kind: SOCKET_OR_HTTP,
    help: "The address of Toy Realtime's service. When unset, it is the public one.",
  }),
  toyRealtimeModel: define({
    kind: modelName,
    fallback: 'toy-voice-1',
    help: 'The model of the backend toy-realtime.',
  }),
}

const toyRealtimeBackend = realtime({
  about: 'its own detection of turns; an interrupted answer is cut at the millisecond that was heard',
  needs: 'TOY_REALTIME_KEY',
  asks: ['TOY_REALTIME_KEY'],
  options: z.strictObject({
    model,
    speed: z.number().min(0.5).max(1.5).exactOptional().describe('Speed of the voice. Default: 1.'),
    messageMs,
    streamSilence,
  }),
  settings: ({ toyRealtimeKey: key, toyRealtimeUrl, toyRealtimeModel }: ValuesOf<typeof settings>) =>
    key === null
      ? null
      : { apiKey: key, baseUrl: toyRealtimeUrl ?? 'wss://realtime.toy.example/v1', model: toyRealtimeModel },
  detectsTurns: () => true,
  models: ({ model: usual, baseUrl }, own) => [{ model: own.model ?? usual, baseUrl }],
})

export const toyRealtime = vendor({
  folder: 'toy-realtime',
  title: 'Toy Realtime',
  settings,
  services: {},
  backends: { 'toy-realtime': toyRealtimeBackend },
  doubles: {
    'toy-realtime': {
      what: 'Toy Realtime',
      port: 7931,
      backend: 'toy-realtime',
      key: 'TOY_REALTIME_KEY',
      faults: ['deaf', 'empty-answers'],
    },
  },
})
