import { codeOf } from '../../call/spoken/localized-text.js'
import { functionParameters } from '../tool-schema.js'
import { termsOf } from '../vocabulary.js'
import { HINTED } from '../../agents/file/backend-options.js'
import type { OpenAiOptions, OpenAiTurns, SelfHostedOptions } from '../../agents/file/backend-options.js'
import { assertNever } from '../../core/assert.js'
import type { SampleRateHz } from '../../core/units.js'
import { G711 } from '../../media/pcm.js'
import type { BackendSession, TextOptions, ToolSpec } from '../backend.js'
import { recentHistory, recentTools } from '../prompts.js'
import { replyText } from '../tool-text.js'
import { silencePause, turnEndAfter } from '../transport/caller-uplink.js'
import type { TurnEnd, UplinkPause } from '../transport/caller-uplink.js'
import { socketUrl } from '../transport/realtime-backend.js'
import type { RealtimeOptions } from '../transport/realtime-backend.js'
import type {
  AudioFormat,
  CallItem,
  FunctionTool,
  NewItem,
  SessionConfig,
  TurnDetection,
  WireTranscription,
} from './wire.js'

/** `turns`: `server_vad` when not given; `audio`: `pcm`; `transcription`: OPENAI_TRANSCRIPTION. */
export type OpenAiRealtimeOptions = RealtimeOptions &
  Omit<OpenAiOptions, 'model'> &
  Pick<SelfHostedOptions, 'temperature'> & {
    /** For servers whose `audio/pcm` is not 24 kHz. */
    readonly inputRateHz?: SampleRateHz
    readonly outputRateHz?: SampleRateHz
    /** `ga` when not given. `beta`: the flat session of 2024, for self-hosted servers that still use it. */
    readonly dialect?: 'ga' | 'beta'
    /** For a service with events of that dialect whose session has a form of its own. */
    readonly ownForm?: OwnForm
    /**
     * In the beta dialect: a session that the server does not confirm in this time is taken as ready; 1500 ms when not
     * given.
     */
    readonly confirmMs?: number
    /** 60 minutes when not given; the service closes without a warning. */
    readonly maxSessionMs?: number
  }

/** The session of a service that has OpenAI's events, but other options; it confirms each session. */
interface OwnForm {
  /** `session` of the first `session.update`. */
  readonly session: (session: BackendSession) => object
  /** Terms that the model which transcribes the caller is given. */
  readonly terms: (session: BackendSession) => string[]
}

const OPENAI_TRANSCRIPTION = 'gpt-transcribe'
/** openai 7.55.0, RealtimeAudioFormats.AudioPCM: the one rate of `audio/pcm`. */
const OPENAI_PCM_RATE_HZ = 24_000
const G711_RATE_HZ = 8000
/** openai 7.55.0, RealtimeAudioConfigOutput.speed. */
const SPEED_MIN = 0.25
const SPEED_MAX = 1.5
export const OPENAI_SESSION_MS = 60 * 60_000
/** openai 7.55.0, RealtimeAudioInputTurnDetection.ServerVad: the default of `silence_duration_ms`. */
const SERVER_VAD_SILENCE_MS = 500
/** With `semantic_vad` a turn ends at any time after the last voice, most within this time. */
const SEMANTIC_VAD_MS = 2000

/** The address of a session. It holds no key. */
export function realtimeUrl(baseUrl: string, model: string): string {
  const url = socketUrl(baseUrl, '/realtime')
  if (!url.searchParams.has('model')) url.searchParams.set('model', model)
  return url.toString()
}

/** Those of a session. They hold the key. */
/** Hosts of Azure's resources, which take a key as `api-key` alone. */
const AZURE_HOST = /\.(openai\.azure|services\.ai\.azure|cognitiveservices\.azure)\.com$/

/** The key as the service at `baseUrl` takes it, and the headers of the agent's own. */
export function headersOf({ apiKey, baseUrl, headers }: RealtimeOptions): Readonly<Record<string, string>> {
  if (apiKey === null) return { ...headers }
  const azure = baseUrl !== undefined && AZURE_HOST.test(new URL(baseUrl).hostname)
  return { ...(azure ? { 'api-key': apiKey } : { Authorization: `Bearer ${apiKey}` }), ...headers }
}

/** The coding of a session's audio; null for samples as they are. */
export function lawOf(audio: string): (typeof G711)[keyof typeof G711] | null {
  return audio === 'pcmu' || audio === 'pcma' ? G711[audio] : null
}

/** The rates of a session's audio. */
export function ratesOf(options: OpenAiRealtimeOptions): {
  readonly inputRateHz: SampleRateHz
  readonly outputRateHz: SampleRateHz
} {
  if (lawOf(options.audio ?? 'pcm') !== null) return { inputRateHz: G711_RATE_HZ, outputRateHz: G711_RATE_HZ }
  return {
    inputRateHz: options.inputRateHz ?? OPENAI_PCM_RATE_HZ,
    outputRateHz: options.outputRateHz ?? OPENAI_PCM_RATE_HZ,
  }
}

/** Servers of others may end a session that asks for what they do not know. */
export function changesSpeed({ name = 'openai', dialect }: OpenAiRealtimeOptions): boolean {
  return name === 'openai' && dialect !== 'beta'
}

/** `audio.output.speed`: what the options say, times what the caller asked for. */
export function speechSpeed(options: OpenAiRealtimeOptions, { speed = 1 }: BackendSession): number {
  const own = options.speed ?? 1
  return changesSpeed(options) ? Math.min(SPEED_MAX, Math.max(SPEED_MIN, own * speed)) : own
}

/** `session` of the first `session.update`. */
export function sessionConfig(options: OpenAiRealtimeOptions, session: BackendSession): SessionConfig {
  const voice = session.voice ?? options.voice
  const speed = speechSpeed(options, session)
  return {
    type: 'realtime',
    output_modalities: ['audio'],
    instructions: session.instructions,
    audio: {
      input: {
        format: audioFormat(options, options.inputRateHz),
        turn_detection: turnDetection(options.turns),
        ...transcription(options, session),
        ...(options.noiseReduction === undefined ? {} : { noise_reduction: { type: options.noiseReduction } }),
      },
      output: {
        format: audioFormat(options, options.outputRateHz),
        ...(voice === undefined ? {} : { voice }),
        ...(options.speed === undefined && speed === 1 ? {} : { speed }),
      },
    },
    tools: session.tools.map(functionTool),
    tool_choice: 'auto',
    ...(options.parallelToolCalls === undefined ? {} : { parallel_tool_calls: options.parallelToolCalls }),
    ...(options.reasoningEffort === undefined ? {} : { reasoning: { effort: options.reasoningEffort } }),
    ...truncation(options),
    ...(options.maxOutputTokens === undefined ? {} : { max_output_tokens: options.maxOutputTokens }),
  }
}

const BETA_FORMATS = { pcm: 'pcm16', pcmu: 'g711_ulaw', pcma: 'g711_alaw' } as const

/** `sessionConfig` in the beta's format, which some self-hosted servers still use. */
export function betaSessionConfig(options: OpenAiRealtimeOptions, session: BackendSession) {
  const voice = session.voice ?? options.voice
  const format = BETA_FORMATS[options.audio ?? 'pcm']
  const callerTranscription = transcription(options, session).transcription
  return {
    modalities: ['audio', 'text'],
    instructions: session.instructions,
    ...(voice === undefined ? {} : { voice }),
    input_audio_format: format,
    output_audio_format: format,
    ...(callerTranscription === undefined ? {} : { input_audio_transcription: callerTranscription }),
    turn_detection: turnDetection(options.turns),
    tools: session.tools.map(functionTool),
    tool_choice: 'auto',
    ...(options.maxOutputTokens === undefined ? {} : { max_response_output_tokens: options.maxOutputTokens }),
    ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
  }
}

export function functionTool({ name, description, parameters }: ToolSpec): FunctionTool {
  return { type: 'function', name, description, parameters: functionParameters(parameters).schema }
}

/**
 * The history of the call as items: first the tool calls with their results, then the transcript, because a model
 * continues from the last item.
 */
export function replayItems(session: BackendSession): NewItem[] {
  return [...doneItems(session), ...recentHistory(session.history).map(({ role, text }) => messageItem(role, text))]
}

/** Call ids that the service accepts. Those of another backend may be longer. */
const CALL_ID = /^[\w-]{1,32}$/

/** Earlier tool calls, so that none is repeated. */
export function doneItems(session: BackendSession): CallItem[] {
  return recentTools(session.toolLedger).flatMap(({ callId, name, args, ok, result }, i): CallItem[] => {
    const call_id = CALL_ID.test(callId) ? callId : `replayed-${i + 1}`
    return [
      { type: 'function_call', call_id, name, arguments: JSON.stringify(args) },
      { type: 'function_call_output', call_id, output: replyText({ ok, value: result }) },
    ]
  })
}

/** An item in the beta's form: what the agent said is `text` there. */
export function betaItem(item: NewItem): object {
  if (item.type !== 'message' || item.role !== 'assistant') return item
  return { ...item, content: item.content.map(({ text }) => ({ type: 'text', text })) }
}

export function messageItem(role: TextOptions['role'], text: string): NewItem {
  if (role === 'agent') return { type: 'message', role: 'assistant', content: [{ type: 'output_text', text }] }
  return { type: 'message', role: role === 'caller' ? 'user' : 'system', content: [{ type: 'input_text', text }] }
}

/** Example value of the vendor's documentation for a custom limit. */
const RETENTION_RATIO = 0.8

function truncation({ retentionRatio, contextTokens }: OpenAiRealtimeOptions): Pick<SessionConfig, 'truncation'> {
  if (retentionRatio === undefined && contextTokens === undefined) return {}
  return {
    truncation: {
      type: 'retention_ratio',
      retention_ratio: retentionRatio ?? RETENTION_RATIO,
      ...(contextTokens === undefined ? {} : { token_limits: { post_instructions: contextTokens } }),
    },
  }
}

function audioFormat({ audio = 'pcm' }: OpenAiRealtimeOptions, rateHz: number | undefined): AudioFormat {
  return audio === 'pcm' ? { type: 'audio/pcm', rate: rateHz ?? OPENAI_PCM_RATE_HZ } : { type: `audio/${audio}` }
}

/** When the service ends a turn; null where the gateway does. */
export function turnEndOf({ turns = { by: 'server_vad' } }: OpenAiRealtimeOptions): TurnEnd | null {
  switch (turns.by) {
    case 'gateway':
      return null
    case 'server_vad':
      return turnEndAfter(turns.silenceMs ?? SERVER_VAD_SILENCE_MS)
    case 'semantic_vad':
      return { fromMs: 0, toMs: SEMANTIC_VAD_MS }
    default:
      return assertNever(turns)
  }
}

/** The silence that need not be sent; null for none. */
export function pauseOf(options: OpenAiRealtimeOptions): UplinkPause | null {
  const { turns, streamSilence } = options
  // The service may count the time in which nothing is said by the audio that comes.
  const timed = turns?.by === 'server_vad' && turns.idleTimeoutMs !== undefined
  return streamSilence === true || timed ? null : silencePause(turnEndOf(options))
}

function turnDetection(turns: OpenAiTurns = { by: 'server_vad' }): TurnDetection | null {
  if (turns.by === 'gateway') return null
  const answers = { create_response: true, interrupt_response: turns.interruptResponse !== false } as const
  if (turns.by === 'semantic_vad') {
    return {
      type: 'semantic_vad',
      ...(turns.eagerness === undefined ? {} : { eagerness: turns.eagerness }),
      ...answers,
    }
  }
  return {
    type: 'server_vad',
    ...(turns.threshold === undefined ? {} : { threshold: turns.threshold }),
    ...(turns.prefixPaddingMs === undefined ? {} : { prefix_padding_ms: turns.prefixPaddingMs }),
    ...(turns.silenceMs === undefined ? {} : { silence_duration_ms: turns.silenceMs }),
    ...(turns.idleTimeoutMs === undefined ? {} : { idle_timeout_ms: turns.idleTimeoutMs }),
    ...answers,
  }
}

/** The model that transcribes the caller; null for none. */
export function transcriptionModel({ transcription: set }: OpenAiRealtimeOptions): string | null {
  return set === undefined ? OPENAI_TRANSCRIPTION : set
}

/** Terms that the model which transcribes the caller is given. */
export function keywordsOf(options: OpenAiRealtimeOptions, session: BackendSession): string[] {
  if (options.ownForm !== undefined) return options.ownForm.terms(session)
  const model = transcriptionModel(options)
  return model !== null && HINTED.includes(model) ? termsOf(options.keywords, session.vocabulary) : []
}

function transcription(
  options: OpenAiRealtimeOptions,
  session: BackendSession,
): { readonly transcription?: WireTranscription } {
  const codes = session.languages.map(codeOf).filter((code) => code !== '')
  const { languages = codes.length > 1 ? codes : undefined } = options
  const keywords = keywordsOf(options, session)
  const model = transcriptionModel(options)
  if (model === null) return {}
  // The service takes the language alone, not `en-KE`; of several it is better to let it find out.
  const language = codes.length > 1 ? undefined : codes[0]
  return {
    transcription: {
      model,
      ...(languages !== undefined && HINTED.includes(model)
        ? { languages: [...languages] }
        : language === undefined
          ? {}
          : { language }),
      ...(keywords.length > 0 ? { keywords } : {}),
    },
  }
}
