import { realtimeOptions } from '../../backends/backend-context.js'
import type { VendorBackends } from '../../backends/backend-context.js'
import type { BackendSession } from '../../backends/backend.js'
import { termsOf } from '../../backends/vocabulary.js'
import type { Wishes } from '../../backends/wishes.js'
import { omitNullish } from '../../core/omit-nullish.js'
import type { LegRateHz } from '../../core/units.js'
import { OpenAiRealtimeBackend } from '../self-hosted/realtime/backend.js'
import { functionTool } from '../self-hosted/realtime/session-config.js'
import type { xai } from './facts.js'
import type { XaiOptions } from './options.js'

/** Maximum number of terms that the recogniser accepts, and maximum length of a term in characters. */
const TERMS_MAX = 100
const TERM_CHARS_MAX = 50

/** OpenAI's backend with its current events, and xAI's own form of session. */
export const backends: VendorBackends<typeof xai> = {
  xai: {
    make: (sink, context, set, own) => {
      const { turns = { by: 'gateway' as const }, audio = 'pcm', messageMs, streamSilence } = own
      const { legRateHz } = context
      return new OpenAiRealtimeBackend(sink, {
        name: 'xai',
        ...set,
        ...realtimeOptions(context),
        ...omitNullish({ model: own.model, messageMs, streamSilence }),
        turns,
        audio,
        inputRateHz: legRateHz,
        outputRateHz: legRateHz,
        ownForm: {
          session: (session, wishes) => xaiSession({ ...own, turns, audio, legRateHz }, session, wishes),
          terms: (session) => termsFor(own, session),
        },
      })
    },
  },
}

function termsFor({ keywords }: XaiOptions, session: BackendSession): string[] {
  return termsOf(keywords, session.vocabulary)
    .filter((term) => term.length <= TERM_CHARS_MAX)
    .slice(0, TERMS_MAX)
}

type SessionOptions = XaiOptions & Required<Pick<XaiOptions, 'turns' | 'audio'>> & { readonly legRateHz: LegRateHz }

/** `session` of the first `session.update`, in the vendor's field names. */
function xaiSession(options: SessionOptions, session: BackendSession, wishes: Wishes) {
  const { turns, audio, legRateHz, reasoningEffort, speed } = options
  const format = audio === 'pcm' ? { type: 'audio/pcm', rate: legRateHz } : { type: `audio/${audio}` }
  const terms = termsFor(options, session)
  const [language, ...others] = session.languages
  return {
    instructions: session.instructions,
    ...(session.voice === null ? {} : { voice: session.voice }),
    turn_detection:
      turns.by === 'gateway'
        ? null
        : {
            type: turns.by,
            ...wishes.of({
              threshold: turns.threshold,
              prefix_padding_ms: turns.prefixPaddingMs,
              silence_duration_ms: turns.silenceMs,
            }),
          },
    audio: {
      input: {
        format,
        transcription: wishes.of({
          // The service accepts one language. If the agent has several, none is sent, and the service detects the
          // language.
          language_hint: others.length > 0 ? undefined : language,
          keyterms: terms.length === 0 ? undefined : terms,
        }),
      },
      output: { format, ...wishes.of({ speed }) },
    },
    tools: session.tools.map(functionTool),
    ...wishes.of({ reasoning: reasoningEffort && { effort: reasoningEffort } }),
  }
}
