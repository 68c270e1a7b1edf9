import { realtimeOptions } from '../../backends/backend-context.js'
import type { VendorBackends } from '../../backends/backend-context.js'
import type { BackendSink } from '../../backends/backend.js'
import { OpenAiRealtimeBackend } from '../self-hosted/realtime/backend.js'
import { socketUrl } from '../../backends/transport/realtime-backend.js'
import type { RealtimeOptions } from '../../backends/transport/realtime-backend.js'
import type { LegRateHz } from '../../core/units.js'
import { GatewayError } from '../../core/errors.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { turnsOf } from '../self-hosted/realtime/session-config.js'
import type { OpenAiTurns } from '../self-hosted/options.js'
import type { azureVoiceLive } from './facts.js'
import { AZURE_SPEECH, USUAL_TURNS } from './options.js'
import type { AzureVoiceLiveOptions } from './options.js'
import { API_VERSION, SOCKET_PATH, azureSession, phrasesOf } from './wire.js'

const NAME = 'azure-voice-live'

export const backends: VendorBackends<typeof azureVoiceLive> = {
  [NAME]: {
    make: (sink, context, { apiKey, baseUrl, model: usual }, own) => {
      const { model = usual } = own
      if (apiKey === null || model === null)
        throw new GatewayError('BACKEND_KEY_MISSING', `backend ${NAME} is not set up`)
      const turns = turnsOf(context, own.turns, USUAL_TURNS)
      const { legRateHz } = context
      return azureBackend(sink, { ...realtimeOptions(context), ...own, apiKey, baseUrl, model, turns, legRateHz })
    },
  },
}

/** Address, key and model, the agent's options, and the call's own values. */
interface AzureVoiceLiveCall
  extends AzureVoiceLiveOptions, Pick<RealtimeOptions, 'nowMs' | 'connectTimeoutMs' | 'expiringLeadMs'> {
  readonly baseUrl: string
  readonly apiKey: string
  readonly model: string
  readonly legRateHz: LegRateHz
}

/** Azure Voice Live: OpenAI's backend with the events of OpenAI's beta, and Azure's own form of session. */
export function azureBackend(sink: BackendSink, call: AzureVoiceLiveCall): OpenAiRealtimeBackend {
  const { baseUrl, apiKey, model, legRateHz, nowMs, connectTimeoutMs, expiringLeadMs, ...own } = call
  const options = { ...own, model, rateHz: legRateHz }
  const { audio, turns = { by: USUAL_TURNS }, messageMs, transcription = AZURE_SPEECH } = own
  return new OpenAiRealtimeBackend(sink, {
    name: NAME,
    apiKey: null,
    headers: { 'api-key': apiKey },
    baseUrl: addressOf(baseUrl),
    model,
    dialect: 'beta',
    ownForm: {
      session: (session, wishes) => azureSession(options, session, wishes),
      terms: (session) => phrasesOf(options, session),
    },
    inputRateHz: legRateHz,
    outputRateHz: legRateHz,
    turns: asOpenAi(turns),
    transcription,
    // To remove the echo, the service compares its speech with the caller's audio by time. So it needs the caller's
    // silence too.
    streamSilence: own.streamSilence === true || own.echoCancellation === true,
    ...omitNullish({ audio, messageMs, nowMs, connectTimeoutMs, expiringLeadMs }),
  })
}

/** @returns the socket's address; a version that `baseUrl` already contains is kept */
function addressOf(baseUrl: string): string {
  const url = socketUrl(baseUrl, SOCKET_PATH)
  if (!url.searchParams.has('api-version')) url.searchParams.set('api-version', API_VERSION)
  return url.toString()
}

/** Converts the options of turn detection to OpenAI's form: by silence, or by meaning. */
function asOpenAi(turns: NonNullable<AzureVoiceLiveOptions['turns']>): OpenAiTurns {
  if (turns.by === 'gateway') return turns
  const { silenceMs, interruptResponse } = turns
  const interrupts = interruptResponse === undefined ? {} : { interruptResponse }
  if (turns.by !== 'server_vad') return { by: 'semantic_vad', ...interrupts }
  return { by: 'server_vad', ...(silenceMs === undefined ? {} : { silenceMs }), ...interrupts }
}
