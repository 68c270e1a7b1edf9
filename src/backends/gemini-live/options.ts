import type { Clock } from '../../core/clock.js'

/** Plain data (but for the clock). */
export interface GeminiLiveOptions {
  /** Travels in the URL, as the service wants it, and is never shown. Null: none is sent. */
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
  /** For agents that name none. */
  readonly voice?: string
  /**
   * `gateway` when not given: our VAD tells the service where speech begins and ends, because its own says nothing of
   * what it hears. `server`: the service decides.
   */
  readonly turns?: { readonly by: 'gateway' } | { readonly by: 'server'; readonly silenceMs?: number; readonly prefixPaddingMs?: number }
  /** How texts are given to the model: `content` when not given; `realtime` for models that take content only at the start. */
  readonly texts?: 'content' | 'realtime'
  /** Let the service forget the oldest of a long call instead of ending it; true when not given. */
  readonly compressContext?: boolean
  readonly maxOutputTokens?: number
  readonly temperature?: number
  /** Caller audio in one message, 20 to 100 ms; 60 when not given. */
  readonly messageMs?: number
  readonly connectTimeoutMs?: number
  readonly pingMs?: number
  /** `performance.now` when not given. */
  readonly nowMs?: Clock
}

export const GEMINI_BASE_URL = 'https://generativelanguage.googleapis.com'
/** The service ends a connection after about ten minutes, and says so a minute before. */
export const GEMINI_CONNECTION_MS = 10 * 60_000
export const GEMINI_INPUT_RATE_HZ = 16_000
export const GEMINI_OUTPUT_RATE_HZ = 24_000

/** The address of a session. It holds the key: never keep it, never show it. */
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
