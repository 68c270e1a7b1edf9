import type { Clock } from '../../core/clock.js'
import type { SampleRateHz } from '../../core/units.js'

/** Who decides that the caller speaks and has stopped. */
export type TurnTaking =
  /** The gateway's VAD: the input buffer is committed by us. Needs no support from the server. */
  | { readonly by: 'gateway' }
  /** The server, by silence. `idleTimeoutMs` lets the model address a caller who says nothing. */
  | {
      readonly by: 'server_vad'; readonly threshold?: number; readonly prefixPaddingMs?: number
      readonly silenceMs?: number; readonly idleTimeoutMs?: number
    }
  /** The server, by what the words mean. */
  | { readonly by: 'semantic_vad'; readonly eagerness?: 'low' | 'medium' | 'high' | 'auto' }

/** All of it is plain data (but for the clock), so that it can come from a file and cross threads. */
export interface OpenAiRealtimeOptions {
  /** Null: no `Authorization` header, for a server of one's own. Never shown. */
  readonly apiKey: string | null
  readonly model: string
  /** `https://api.openai.com/v1` when not given; http(s) and ws(s) alike, with or without `/realtime` at its end. */
  readonly baseUrl?: string
  /** More headers, such as Azure's `api-key` or `OpenAI-Organization`. Values are treated as secrets. */
  readonly headers?: Readonly<Record<string, string>>
  /** In metrics and records; `openai` when not given. */
  readonly name?: string
  /** For agents that name none; the server's own when neither does. */
  readonly voice?: string
  /**
   * `pcmu` (G.711, 8 kHz both ways) saves both resamplings and five sixths of the bytes of an 8 kHz leg, which has
   * no more to offer; `pcm` when not given.
   */
  readonly audio?: 'pcm' | 'pcmu'
  /** For servers that deviate from the 24 kHz of `audio/pcm`. */
  readonly inputRateHz?: SampleRateHz
  readonly outputRateHz?: SampleRateHz
  /** `ga` when not given. `beta`: the flat session of 2024, for self-hosted servers that never left it. */
  readonly dialect?: 'ga' | 'beta'
  /** `server_vad` when not given. */
  readonly turns?: TurnTaking
  /** The model that writes down what the caller says; `gpt-transcribe` when not given, null for none. */
  readonly transcription?: string | null
  readonly noiseReduction?: 'near_field' | 'far_field'
  readonly speed?: number
  readonly maxOutputTokens?: number
  /** Only in the beta dialect: today's sessions have none. */
  readonly temperature?: number
  /** Only for reasoning models. */
  readonly reasoningEffort?: 'minimal' | 'low' | 'medium' | 'high' | 'xhigh'
  readonly parallelToolCalls?: boolean
  /** How the service shortens a conversation that outgrows its context: `auto` is its default. */
  readonly retentionRatio?: number
  /** Caller audio in one message, 20 to 100 ms; 60 when not given. */
  readonly messageMs?: number
  readonly connectTimeoutMs?: number
  /** In the beta dialect: a session that the server does not confirm in this time is taken for begun; 1500 ms when not given. */
  readonly confirmMs?: number
  readonly pingMs?: number
  /** 60 minutes when not given; the service closes without a warning. */
  readonly maxSessionMs?: number
  /** How long before that the call is told; 5 minutes when not given. */
  readonly expiringLeadMs?: number
  /** `performance.now` when not given. */
  readonly nowMs?: Clock
}

export const OPENAI_BASE_URL = 'https://api.openai.com/v1'
export const OPENAI_TRANSCRIPTION = 'gpt-transcribe'
/** openai 7.55.0, RealtimeAudioFormats.AudioPCM: the one rate of `audio/pcm`. */
export const OPENAI_PCM_RATE_HZ = 24_000
const G711_RATE_HZ = 8000
export const OPENAI_SESSION_MS = 60 * 60_000
export const OPENAI_EXPIRING_LEAD_MS = 5 * 60_000
/** Three frames: 2.7 times cheaper than one, for 40 ms of delay within speech. */
export const MESSAGE_MS = 60

/** The address of a session. It holds no key. */
export function realtimeUrl(baseUrl: string, model: string): string {
  const url = new URL(baseUrl)
  url.protocol = url.protocol.replace('http', 'ws')
  url.pathname = url.pathname.replace(/\/+$/, '')
  if (!url.pathname.endsWith('/realtime')) url.pathname += '/realtime'
  if (!url.searchParams.has('model')) url.searchParams.set('model', model)
  return url.toString()
}

/** Where a session is asked for, and with what; the headers hold the key. */
export function targetOf(options: OpenAiRealtimeOptions): { readonly url: string; readonly headers: Readonly<Record<string, string>> } {
  const { apiKey, baseUrl = OPENAI_BASE_URL, model, headers = {}, dialect } = options
  return {
    url: realtimeUrl(baseUrl, model),
    headers: {
      ...(apiKey === null ? {} : { Authorization: `Bearer ${apiKey}` }),
      // Selects the beta's event names where a server speaks both.
      ...(dialect === 'beta' ? { 'OpenAI-Beta': 'realtime=v1' } : {}),
      ...headers,
    },
  }
}

/** The rates of a session's audio. */
export function ratesOf(options: OpenAiRealtimeOptions): { readonly inputRateHz: SampleRateHz; readonly outputRateHz: SampleRateHz } {
  if (options.audio === 'pcmu') return { inputRateHz: G711_RATE_HZ, outputRateHz: G711_RATE_HZ }
  return { inputRateHz: options.inputRateHz ?? OPENAI_PCM_RATE_HZ, outputRateHz: options.outputRateHz ?? OPENAI_PCM_RATE_HZ }
}
