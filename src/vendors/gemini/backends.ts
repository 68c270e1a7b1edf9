import { realtimeOptions } from '../../backends/backend-context.js'
import type { VendorBackends } from '../../backends/backend-context.js'
import { functionParameters } from '../../backends/tool-schema.js'
import type { gemini } from './facts.js'
import { GeminiLiveBackend } from './live/backend.js'
import { traitsOf } from './live/setup.js'
import { geminiParameters } from './tool-schema.js'

export const backends: VendorBackends<typeof gemini> = {
  gemini: {
    make: (sink, context, { turns, ...set }, own) =>
      new GeminiLiveBackend(sink, {
        ...set,
        ...realtimeOptions(context),
        turns: { by: context.gatewayTurns ? 'gateway' : turns },
        ...own,
      }),
    parameters: ({ model: usual }, { model = usual }) =>
      traitsOf({ model }).jsonSchema ? functionParameters : geminiParameters,
  },
}
