import { realtimeOptions } from '../../backends/backend-context.js'
import type { VendorBackends } from '../../backends/backend-context.js'
import { GatewayError } from '../../core/errors.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { OpenAiRealtimeBackend } from '../self-hosted/realtime/backend.js'
import { turnsOf } from '../self-hosted/realtime/session-config.js'
import { liveDelegate } from './facts.js'
import type { openAi } from './facts.js'
import { OpenAiLiveBackend } from './live/backend.js'
import { audioOfLeg } from './live/session-start.js'

export const backends: VendorBackends<typeof openAi> = {
  openai: {
    make: (sink, context, set, own) =>
      new OpenAiRealtimeBackend(sink, {
        ...set,
        ...realtimeOptions(context),
        // G.711 preserves all sound of an 8 kHz leg and avoids resampling in both directions. Outside North America and
        // Japan the telephone network uses A-law, so A-law adds no loss.
        audio: context.legRateHz === 8000 ? 'pcma' : 'pcm',
        ...own,
        turns: turnsOf(context, own.turns, set.turns),
      }),
  },
  'openai-live': {
    make: (sink, { settings: { messageMs }, clock: nowMs, legRateHz }, set, own) => {
      const delegate = liveDelegate(set, own)
      if (delegate === null) throw new GatewayError('BACKEND_KEY_MISSING', 'backend openai-live is not set up')
      const { apiKey, baseUrl, model } = set
      return new OpenAiLiveBackend(sink, {
        ...{ apiKey, baseUrl, model, nowMs },
        ...omitNullish({ messageMs }),
        audio: audioOfLeg(legRateHz),
        ...own,
        delegate,
      })
    },
  },
}
