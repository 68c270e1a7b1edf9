import { realtimeOptions } from '../../backends/backend-context.js'
import type { VendorBackends } from '../../backends/backend-context.js'
import type { selfHosted } from './facts.js'
import { OpenAiRealtimeBackend } from './realtime/backend.js'
import { turnsOf } from './realtime/session-config.js'

export const backends: VendorBackends<typeof selfHosted> = {
  'self-hosted': {
    make: (sink, context, { rateHz, turns, ...server }, own) =>
      new OpenAiRealtimeBackend(sink, {
        ...server,
        inputRateHz: rateHz,
        outputRateHz: rateHz,
        name: 'self-hosted',
        ...realtimeOptions(context),
        ...own,
        turns: turnsOf(context, own.turns, turns),
      }),
  },
}
