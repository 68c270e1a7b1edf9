import type { Clock } from '../../core/clock.js'
import type { BackendSession, ToolSpec } from '../backend.js'
import { recentHistory, recentTools } from '../prompts.js'
import { replyText } from '../tool-text.js'
import type { WireContent, WireFunction, WireSetup } from './wire.js'

/** Plain data except for the clock. */
export interface GeminiLiveOptions {
  /** Sent in the URL, as the service requires, and never logged. Null sends none. */
  readonly apiKey: string | null
  /** With or without `models/`. */
  readonly model: string
  /** `https://generativelanguage.googleapis.com` when not given. */
  readonly baseUrl?: string
  /** `v1beta` when not given; `v1alpha` for ephemeral tokens (`auth_tokens/…`). */
  readonly apiVersion?: string
  /** The whole address, for Vertex AI or a proxy: then `headers` carry the credentials. */
  readonly url?: string
  /** Values are treated as secrets. */
  readonly headers?: Readonly<Record<string, string>>
  /** In metrics and records; `gemini` when not given. */
  readonly name?: string
  /** For agents that name no voice; the service's default when not given. */
  readonly voice?: string
  /**
   * `gateway` when not given: the gateway's VAD marks the start and end of speech, because the service's own is not
   * reported reliably. `server`: the service does turn detection.
   */
  readonly turns?:
    | { readonly by: 'gateway' }
    | { readonly by: 'server'; readonly silenceMs?: number; readonly prefixPaddingMs?: number }
  /**
   * How texts are sent to the model: `content` when not given; `realtime` for models that take content only at the
   * start.
   */
  readonly texts?: 'content' | 'realtime'
  /** Let the service drop the oldest part of a long call instead of ending it; true when not given. */
  readonly compressContext?: boolean
  readonly maxOutputTokens?: number
  readonly temperature?: number
  /** Caller audio in one message, 20 to 100 ms; 60 when not given. */
  readonly messageMs?: number
  readonly connectTimeoutMs?: number
  readonly nowMs?: Clock
  readonly pingMs?: number
}

const GEMINI_BASE_URL = 'https://generativelanguage.googleapis.com'
/** The service ends a connection after about ten minutes and announces it a minute before. */
export const GEMINI_CONNECTION_MS = 10 * 60_000
export const GEMINI_INPUT_RATE_HZ = 16_000
export const GEMINI_OUTPUT_RATE_HZ = 24_000

/** The address of a session. It holds the key: do not keep or log it. */
export function liveUrl(options: GeminiLiveOptions): string {
  if (options.url !== undefined) return options.url
  const { apiKey, baseUrl = GEMINI_BASE_URL, apiVersion = 'v1beta' } = options
  const url = new URL(baseUrl)
  url.protocol = url.protocol.replace('http', 'ws')
  const ephemeral = apiKey?.startsWith('auth_tokens/') === true
  const method = ephemeral ? 'BidiGenerateContentConstrained' : 'BidiGenerateContent'
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/ws/google.ai.generativelanguage.${apiVersion}.GenerativeService.${method}`
  if (apiKey !== null) url.searchParams.set(ephemeral ? 'access_token' : 'key', apiKey)
  return url.toString()
}

/** The first message of a session. `handle` is that of the session to resume. */
export function setupOf(
  options: GeminiLiveOptions,
  session: BackendSession,
  handle: string | null,
  history: boolean,
): WireSetup {
  const voice = session.voice ?? options.voice
  const { turns = { by: 'gateway' } } = options
  return {
    model: options.model.includes('/') ? options.model : `models/${options.model}`,
    generationConfig: {
      responseModalities: ['AUDIO'],
      ...(voice === undefined ? {} : { speechConfig: { voiceConfig: { prebuiltVoiceConfig: { voiceName: voice } } } }),
      ...(options.maxOutputTokens === undefined ? {} : { maxOutputTokens: options.maxOutputTokens }),
      ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
    },
    systemInstruction: { parts: [{ text: session.instructions }] },
    ...(session.tools.length === 0 ? {} : { tools: [{ functionDeclarations: session.tools.map(functionOf) }] }),
    realtimeInputConfig: {
      automaticActivityDetection:
        turns.by === 'gateway'
          ? { disabled: true }
          : {
              ...(turns.silenceMs === undefined ? {} : { silenceDurationMs: turns.silenceMs }),
              ...(turns.prefixPaddingMs === undefined ? {} : { prefixPaddingMs: turns.prefixPaddingMs }),
            },
    },
    sessionResumption: handle === null ? {} : { handle },
    ...(options.compressContext === false ? {} : { contextWindowCompression: { slidingWindow: {} } }),
    inputAudioTranscription: {},
    outputAudioTranscription: {},
    ...(history ? { historyConfig: { initialHistoryInClientContent: true } } : {}),
  }
}

export function functionOf(tool: ToolSpec): WireFunction {
  return { name: tool.name, description: tool.description, parametersJsonSchema: tool.parameters }
}

/**
 * The history of the call as content. Tool calls become notes, because the service does not accept results of calls
 * that it did not make.
 */
export function historyOf(session: BackendSession): WireContent[] {
  const turns: WireContent[] = []
  const notes = recentTools(session.toolLedger).map(
    (entry) =>
      `[${entry.name} was already called with ${JSON.stringify(entry.args)} and answered: ${replyText({ ok: entry.ok, value: entry.result })}]`,
  )
  if (notes.length > 0) turns.push({ role: 'user', parts: notes.map((text) => ({ text })) })
  for (const { role, text } of recentHistory(session.history)) {
    turns.push({ role: role === 'caller' ? 'user' : 'model', parts: [{ text }] })
  }
  return turns
}
