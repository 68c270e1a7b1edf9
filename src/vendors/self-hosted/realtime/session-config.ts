import { codeOf } from '../../../call/spoken/localized-text.js'
import { functionParameters } from '../../../backends/tool-schema.js'
import { termsOf } from '../../../backends/vocabulary.js'
import type { Wishes } from '../../../backends/wishes.js'
import { HINTED } from '../options.js'
import type { OpenAiOptions, OpenAiTurns, SelfHostedOptions } from '../options.js'
import { assertNever } from '../../../core/assert.js'
import type { SampleRateHz } from '../../../core/units.js'
import { G711 } from '../../../media/pcm.js'
import type { BackendContext } from '../../../backends/backend-context.js'
import type { BackendSession, TextOptions, ToolSpec } from '../../../backends/backend.js'
import { recentHistory, recentTools } from '../../../backends/prompts.js'
import { replyText } from '../../../backends/tool-text.js'
import { keyHeaders } from '../key-headers.js'
import { silencePause, turnEndAfter } from '../../../backends/transport/caller-uplink.js'
import type { TurnEnd, UplinkPause } from '../../../backends/transport/caller-uplink.js'
import { socketUrl } from '../../../backends/transport/realtime-backend.js'
import type { RealtimeOptions } from '../../../backends/transport/realtime-backend.js'
import type {
  AudioFormat,
  CallItem,
  FunctionTool,
  NewItem,
  SessionConfig,
  TurnDetection,
  WireTranscription,
} from './wire.js'

/** Defaults: `turns` is `server_vad`, `audio` is `pcm`, `transcription` is OPENAI_TRANSCRIPTION. */
export type OpenAiRealtimeOptions = RealtimeOptions &
  Omit<OpenAiOptions, 'model'> &
  Pick<SelfHostedOptions, 'temperature'> & {
    readonly baseUrl: string
    /** Input rate in Hz, for servers whose `audio/pcm` is not 24 kHz. */
    readonly inputRateHz?: SampleRateHz
    readonly outputRateHz?: SampleRateHz
    /** Default: `ga`. `beta`: the flat session of 2024, for self-hosted servers that still use it. */
    readonly dialect?: 'ga' | 'beta'
    /** Own form of the session, for a service that uses the dialect's events. */
    readonly ownForm?: OwnForm
    /** Beta dialect only: time in ms until an unconfirmed session counts as ready. Default: 1500. */
    readonly confirmMs?: number
    /** Maximum duration of a session in ms. Default: 60 minutes; the service closes without a warning. */
    readonly maxSessionMs?: number
  }

/** The session of a service with OpenAI's events but other options. The service confirms each session. */
interface OwnForm {
  /** `session` of the first `session.update`. */
  readonly session: (session: BackendSession, wishes: Wishes) => object
  /** @returns terms for the model that transcribes the caller */
  readonly terms: (session: BackendSession) => string[]
}

/**
 * Turn detection by the service. If the gateway decides about interruptions, the service does not interrupt.
 * @param by  choice of the settings, used if the agent's file has no choice
 */
export function turnsOf<By extends string, Own extends { readonly by: string }>(
  { gatewayTurns, gatewayInterrupts }: Pick<BackendContext, 'gatewayTurns' | 'gatewayInterrupts'>,
  own: Own | undefined,
  by: By,
): Own | { readonly by: By | 'gateway'; readonly interruptResponse?: false } {
  const usual: { readonly by: By | 'gateway' } = { by: gatewayTurns ? 'gateway' : by }
  const turns = own ?? usual
  return turns.by === 'gateway' || !gatewayInterrupts ? turns : { interruptResponse: false as const, ...turns }
}

const OPENAI_TRANSCRIPTION = 'gpt-transcribe'
/** The only rate of `audio/pcm` in Hz (openai 7.55.0, RealtimeAudioFormats.AudioPCM). */
const OPENAI_PCM_RATE_HZ = 24_000
const G711_RATE_HZ = 8000
/** Limits of the speed (openai 7.55.0, RealtimeAudioConfigOutput.speed). */
const SPEED_MIN = 0.25
const SPEED_MAX = 1.5
export const OPENAI_SESSION_MS = 60 * 60_000
/** Default of `silence_duration_ms` (openai 7.55.0, RealtimeAudioInputTurnDetection.ServerVad). */
const SERVER_VAD_SILENCE_MS = 500
/** Time in ms after the last voice until `semantic_vad` ends most turns; the end may come at any time. */
const SEMANTIC_VAD_MS = 2000

/** @returns the address of a session, without the key */
export function realtimeUrl(baseUrl: string, model: string): string {
  const url = socketUrl(baseUrl, '/realtime')
  if (!url.searchParams.has('model')) url.searchParams.set('model', model)
  return url.toString()
}

/** @returns the header with the key in the form that `baseUrl` accepts, and the agent's own headers */
export function headersOf({ apiKey, baseUrl, headers }: RealtimeOptions): Readonly<Record<string, string>> {
  return { ...keyHeaders(apiKey, baseUrl), ...headers }
}

/** @returns the coding of a session's audio; null for plain samples */
export function lawOf(audio: string): (typeof G711)[keyof typeof G711] | null {
  return audio === 'pcmu' || audio === 'pcma' ? G711[audio] : null
}

/** @returns the rates of a session's audio */
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

/**
 * True if the speed may change during a session. This is only possible on OpenAI's own service: other servers may end a
 * session that requests an unknown field.
 */
export function changesSpeed({ name = 'openai', dialect }: OpenAiRealtimeOptions): boolean {
  return name === 'openai' && dialect !== 'beta'
}

/** @returns `audio.output.speed`: the configured speed times the factor that the caller requested */
export function speechSpeed(options: OpenAiRealtimeOptions, { speed = 1 }: BackendSession): number {
  const own = options.speed ?? 1
  return changesSpeed(options) ? Math.min(SPEED_MAX, Math.max(SPEED_MIN, own * speed)) : own
}

/** `session` of the first `session.update`. */
export function sessionConfig(options: OpenAiRealtimeOptions, session: BackendSession, wishes: Wishes): SessionConfig {
  const voice = session.voice ?? options.voice
  const speed = speechSpeed(options, session)
  return {
    type: 'realtime',
    output_modalities: ['audio'],
    instructions: session.instructions,
    audio: {
      input: {
        format: audioFormat(options, options.inputRateHz),
        turn_detection: turnDetection(options.turns, wishes),
        ...transcription(options, session, wishes),
        ...wishes.of({ noise_reduction: options.noiseReduction && { type: options.noiseReduction } }),
      },
      output: {
        format: audioFormat(options, options.outputRateHz),
        ...(voice === undefined ? {} : { voice }),
        ...wishes.of({ speed: options.speed === undefined && speed === 1 ? undefined : speed }),
      },
    },
    tools: session.tools.map(functionTool),
    tool_choice: 'auto',
    ...wishes.of({
      parallel_tool_calls: options.parallelToolCalls,
      reasoning: options.reasoningEffort && { effort: options.reasoningEffort },
      truncation: truncation(options),
      max_output_tokens: options.maxOutputTokens,
    }),
  }
}

const BETA_FORMATS = { pcm: 'pcm16', pcmu: 'g711_ulaw', pcma: 'g711_alaw' } as const

/** `sessionConfig` in the beta's format, which some self-hosted servers still use. */
export function betaSessionConfig(options: OpenAiRealtimeOptions, session: BackendSession, wishes: Wishes) {
  const voice = session.voice ?? options.voice
  const format = BETA_FORMATS[options.audio ?? 'pcm']
  const callerTranscription = transcription(options, session, wishes).transcription
  return {
    modalities: ['audio', 'text'],
    instructions: session.instructions,
    ...(voice === undefined ? {} : { voice }),
    input_audio_format: format,
    output_audio_format: format,
    ...(callerTranscription === undefined ? {} : { input_audio_transcription: callerTranscription }),
    turn_detection: turnDetection(options.turns, wishes),
    tools: session.tools.map(functionTool),
    tool_choice: 'auto',
    ...wishes.of({ max_response_output_tokens: options.maxOutputTokens, temperature: options.temperature }),
  }
}

export function functionTool({ name, description, parameters }: ToolSpec): FunctionTool {
  return { type: 'function', name, description, parameters: functionParameters(parameters).schema }
}

/**
 * Converts the call's history to items: first the tool calls with their results, then the transcript. A model continues
 * from the last item.
 */
export function replayItems(session: BackendSession): NewItem[] {
  return [...doneItems(session), ...recentHistory(session.history).map(({ role, text }) => messageItem(role, text))]
}

/** Form of call ids that the service accepts. Ids of another backend may be longer. */
const CALL_ID = /^[\w-]{1,32}$/

/** @returns earlier tool calls as items, so that the model does not repeat the calls */
export function doneItems(session: BackendSession): CallItem[] {
  return recentTools(session.toolLedger).flatMap(({ callId, name, args, ok, result }, i): CallItem[] => {
    const call_id = CALL_ID.test(callId) ? callId : `replayed-${i + 1}`
    return [
      { type: 'function_call', call_id, name, arguments: JSON.stringify(args) },
      { type: 'function_call_output', call_id, output: replyText({ ok, value: result }) },
    ]
  })
}

/** Converts an item to the beta's form, in which the agent's words are `text`. */
export function betaItem(item: NewItem): object {
  if (item.type !== 'message' || item.role !== 'assistant') return item
  return { ...item, content: item.content.map(({ text }) => ({ type: 'text', text })) }
}

export function messageItem(role: TextOptions['role'], text: string): NewItem {
  if (role === 'agent') return { type: 'message', role: 'assistant', content: [{ type: 'output_text', text }] }
  return { type: 'message', role: role === 'caller' ? 'user' : 'system', content: [{ type: 'input_text', text }] }
}

/** Example value from the vendor's documentation for a custom limit. */
const RETENTION_RATIO = 0.8

function truncation({ retentionRatio, contextTokens }: OpenAiRealtimeOptions): SessionConfig['truncation'] | undefined {
  if (retentionRatio === undefined && contextTokens === undefined) return undefined
  return {
    type: 'retention_ratio',
    retention_ratio: retentionRatio ?? RETENTION_RATIO,
    ...(contextTokens === undefined ? {} : { token_limits: { post_instructions: contextTokens } }),
  }
}

function audioFormat({ audio = 'pcm' }: OpenAiRealtimeOptions, rateHz: number | undefined): AudioFormat {
  return audio === 'pcm' ? { type: 'audio/pcm', rate: rateHz ?? OPENAI_PCM_RATE_HZ } : { type: `audio/${audio}` }
}

/**
 * @returns the time after the caller's last voice at which the service ends the turn; null if the gateway ends turns
 */
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

/** @returns the silence that need not be sent; null if all silence must be sent */
export function pauseOf(options: OpenAiRealtimeOptions): UplinkPause | null {
  const { turns, streamSilence } = options
  // If an idle timeout is set, the service may measure it by the duration of the received audio, so all silence must be
  // sent.
  const timed = turns?.by === 'server_vad' && turns.idleTimeoutMs !== undefined
  return streamSilence === true || timed ? null : silencePause(turnEndOf(options))
}

function turnDetection(turns: OpenAiTurns = { by: 'server_vad' }, wishes: Wishes): TurnDetection | null {
  if (turns.by === 'gateway') return null
  const answers = { create_response: true, interrupt_response: turns.interruptResponse !== false } as const
  if (turns.by === 'semantic_vad') {
    return {
      type: 'semantic_vad',
      ...wishes.of({ eagerness: turns.eagerness }),
      ...answers,
    }
  }
  return {
    type: 'server_vad',
    ...wishes.of({
      threshold: turns.threshold,
      prefix_padding_ms: turns.prefixPaddingMs,
      silence_duration_ms: turns.silenceMs,
      idle_timeout_ms: turns.idleTimeoutMs,
    }),
    ...answers,
  }
}

/** @returns the model that transcribes the caller; null without a transcription */
export function transcriptionModel({ transcription: set }: OpenAiRealtimeOptions): string | null {
  return set === undefined ? OPENAI_TRANSCRIPTION : set
}

/** @returns terms for the model that transcribes the caller */
export function keywordsOf(options: OpenAiRealtimeOptions, session: BackendSession): string[] {
  if (options.ownForm !== undefined) return options.ownForm.terms(session)
  const model = transcriptionModel(options)
  return model !== null && HINTED.includes(model) ? termsOf(options.keywords, session.vocabulary) : []
}

function transcription(
  options: OpenAiRealtimeOptions,
  session: BackendSession,
  wishes: Wishes,
): { readonly transcription?: WireTranscription } {
  const codes = session.languages.map(codeOf).filter((code) => code !== '')
  const { languages = codes.length > 1 ? codes : undefined } = options
  const keywords = keywordsOf(options, session)
  const model = transcriptionModel(options)
  if (model === null) return {}
  // Send `en`, not `en-KE`. If the agent has several languages, send none: the service then detects the language.
  const language = codes.length > 1 ? undefined : codes[0]
  const hinted = languages !== undefined && HINTED.includes(model)
  return {
    transcription: {
      model,
      ...wishes.of({
        languages: hinted ? [...languages] : undefined,
        language: hinted ? undefined : language,
        keywords: keywords.length > 0 ? keywords : undefined,
      }),
    },
  }
}
