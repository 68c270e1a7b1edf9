import { realtimeOptions } from '../../backends/backend-context.js'
import type { VendorBackends } from '../../backends/backend-context.js'
import type { OpenAiTurns } from '../self-hosted/options.js'
import { OpenAiRealtimeBackend } from '../self-hosted/realtime/backend.js'
import { turnsOf } from '../self-hosted/realtime/session-config.js'
import type { toyRealtime } from './facts.js'

/** Toy Realtime uses OpenAI's dialect. It detects the caller's turns itself, unless the agent chooses the gateway. */
export const backends: VendorBackends<typeof toyRealtime> = {
  'toy-realtime': {
    make: (sink, context, set, own) =>
      new OpenAiRealtimeBackend(sink, {
        name: 'toy-realtime',
        ...set,
        ...realtimeOptions(context),
        ...own,
        turns: turnsOf<'server_vad', OpenAiTurns>(context, undefined, 'server_vad'),
      }),
  },
}
