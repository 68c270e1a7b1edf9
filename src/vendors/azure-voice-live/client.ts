import type { AzureVoiceLiveOptions, OpenAiTurns } from '../../agents/file/backend-options.js'
import type { BackendSink } from '../../backends/backend.js'
import { OpenAiRealtimeBackend } from '../../backends/openai-realtime/openai-backend.js'
import { socketUrl } from '../../backends/transport/realtime-backend.js'
import type { RealtimeOptions } from '../../backends/transport/realtime-backend.js'
import type { LegRateHz } from '../../core/units.js'
import { API_VERSION, AZURE_SPEECH, AZURE_VOICE_LIVE, SOCKET_PATH, USUAL_TURNS } from './facts.js'
import { azureSession, phrasesOf } from './wire.js'

/** Address, key and model; the agent's options; and what the call knows. */
interface AzureVoiceLiveCall
  extends AzureVoiceLiveOptions, Pick<RealtimeOptions, 'nowMs' | 'connectTimeoutMs' | 'expiringLeadMs'> {
  readonly baseUrl: string
  readonly apiKey: string
  readonly model: string
  readonly legRateHz: LegRateHz
}

/** Azure Voice Live: OpenAI's backend in the events of its beta, with a session of Azure's own. */
export function azureVoiceLive(sink: BackendSink, call: AzureVoiceLiveCall): OpenAiRealtimeBackend {
  const { baseUrl, apiKey, model, legRateHz, nowMs, connectTimeoutMs, expiringLeadMs, ...own } = call
  const options = { ...own, model, rateHz: legRateHz }
  const { audio, turns = { by: USUAL_TURNS }, messageMs, transcription = AZURE_SPEECH } = own
  return new OpenAiRealtimeBackend(sink, {
    name: AZURE_VOICE_LIVE,
    apiKey: null,
    headers: { 'api-key': apiKey },
    baseUrl: addressOf(baseUrl),
    model,
    dialect: 'beta',
    ownForm: {
      session: (session) => azureSession(options, session),
      terms: (session) => phrasesOf(options, session),
    },
    ...(audio === undefined ? {} : { audio }),
    inputRateHz: legRateHz,
    outputRateHz: legRateHz,
    turns: asOpenAi(turns),
    transcription,
    ...(messageMs === undefined ? {} : { messageMs }),
    // The echo is found by the time between what the service says and what it hears.
    streamSilence: own.streamSilence === true || own.echoCancellation === true,
    ...(nowMs === undefined ? {} : { nowMs }),
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
    ...(expiringLeadMs === undefined ? {} : { expiringLeadMs }),
  })
}

/** The address of the socket; a version in it is kept. */
function addressOf(baseUrl: string): string {
  const url = socketUrl(baseUrl, SOCKET_PATH)
  if (!url.searchParams.has('api-version')) url.searchParams.set('api-version', API_VERSION)
  return url.toString()
}

/** As the backend times them: by silence, or by meaning. */
function asOpenAi(turns: NonNullable<AzureVoiceLiveOptions['turns']>): OpenAiTurns {
  if (turns.by === 'gateway') return turns
  const { silenceMs, interruptResponse } = turns
  const interrupts = interruptResponse === undefined ? {} : { interruptResponse }
  if (turns.by !== 'server_vad') return { by: 'semantic_vad', ...interrupts }
  return { by: 'server_vad', ...(silenceMs === undefined ? {} : { silenceMs }), ...interrupts }
}
