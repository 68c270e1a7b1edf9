import type { WireUsage } from './usage.js'
import type { RateLimit } from '../../../backends/backend.js'
import { usageNumber } from '../../../backends/watch.js'
import {
  closeFaults,
  speaksOfKey,
  speaksOfQuota,
  vendorFault,
  vendorText,
  vendorWord,
} from '../../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../../backends/transport/vendor-fault.js'

/** Maximum number of stored limits of one service. */
const RATE_LIMITS_MAX = 8

/**
 * The used part of OpenAI's Realtime protocol, in the vendor's field names. Each text frame contains one JSON object,
 * in both directions. test/backends/openai-wire.test.ts checks this file against the vendor's published types.
 */

export type AudioFormat =
  { readonly type: 'audio/pcm'; readonly rate: number } | { readonly type: 'audio/pcmu' | 'audio/pcma' }

export type TurnDetection =
  | {
      readonly type: 'server_vad'
      readonly threshold?: number
      readonly prefix_padding_ms?: number
      readonly silence_duration_ms?: number
      readonly idle_timeout_ms?: number
      readonly create_response: boolean
      readonly interrupt_response: boolean
    }
  | {
      readonly type: 'semantic_vad'
      readonly eagerness?: 'low' | 'medium' | 'high' | 'auto'
      readonly create_response: boolean
      readonly interrupt_response: boolean
    }

export interface WireTranscription {
  readonly model: string
  readonly language?: string
  readonly languages?: string[]
  readonly keywords?: string[]
}

export interface FunctionTool {
  readonly type: 'function'
  readonly name: string
  readonly description: string
  readonly parameters: Record<string, unknown>
}

/** `session` of `session.update`. */
export interface SessionConfig {
  readonly type: 'realtime'
  readonly model?: string
  readonly output_modalities?: ['audio']
  readonly instructions?: string
  readonly audio?: {
    readonly input?: {
      readonly format: AudioFormat
      readonly turn_detection: TurnDetection | null
      readonly transcription?: WireTranscription
      readonly noise_reduction?: { readonly type: 'near_field' | 'far_field' }
    }
    readonly output?: { readonly format: AudioFormat; readonly voice?: string; readonly speed?: number }
  }
  readonly tools?: FunctionTool[]
  readonly tool_choice?: 'auto'
  readonly parallel_tool_calls?: boolean
  readonly reasoning?: { readonly effort: 'minimal' | 'low' | 'medium' | 'high' | 'xhigh' }
  readonly truncation?: {
    readonly type: 'retention_ratio'
    readonly retention_ratio: number
    readonly token_limits?: { readonly post_instructions: number }
  }
  readonly max_output_tokens?: number
}

/** A completed tool call, or its result. */
export type CallItem =
  | { readonly type: 'function_call'; readonly call_id: string; readonly name: string; readonly arguments: string }
  | { readonly type: 'function_call_output'; readonly call_id: string; readonly output: string }

export type NewItem =
  | {
      readonly type: 'message'
      readonly role: 'user' | 'system'
      readonly content: { readonly type: 'input_text'; readonly text: string }[]
    }
  | {
      readonly type: 'message'
      readonly role: 'assistant'
      readonly content: { readonly type: 'output_text'; readonly text: string }[]
    }
  | CallItem

/**
 * Events that the backend sends, except `session.update` and the caller's audio. The JSON of caller audio is never
 * built as an object.
 */
export type ClientEvent =
  | { readonly type: 'input_audio_buffer.commit' }
  | { readonly type: 'input_audio_buffer.clear' }
  | { readonly type: 'conversation.item.create'; readonly item: NewItem & { readonly id?: string } }
  | {
      readonly type: 'conversation.item.truncate'
      readonly event_id?: string
      readonly item_id: string
      readonly content_index: number
      readonly audio_end_ms: number
    }
  | { readonly type: 'conversation.item.delete'; readonly event_id?: string; readonly item_id: string }
  | {
      readonly type: 'response.create'
      readonly event_id?: string
      readonly response?: { readonly metadata: { readonly mkondo: string } }
    }
  | { readonly type: 'response.cancel'; readonly event_id?: string }

/** JSON of `input_audio_buffer.append` before and after the base64 audio. */
export const APPEND_PREFIX = '{"type":"input_audio_buffer.append","audio":"'
export const APPEND_SUFFIX = '"}'

export interface WireError {
  readonly type?: string
  readonly code?: string | null
  readonly message?: string
  readonly param?: string | null
  readonly event_id?: string | null
}

export interface WireItem {
  readonly id?: string | undefined
  readonly type?: string
  readonly role?: string
  readonly name?: string
  readonly call_id?: string
  readonly arguments?: string
  readonly status?: string
}

export interface WireResponse {
  readonly id?: string
  readonly status?: string
  readonly status_details?: {
    readonly reason?: string
    readonly error?: { readonly type?: string; readonly code?: string }
  } | null
  readonly usage?: WireUsage | null
  readonly output?: readonly WireItem[]
  readonly metadata?: Readonly<Record<string, string>> | null
}

/** Session as reported by the server. Only the output rate is read, because some servers choose their own rate. */
export interface WireSession {
  readonly audio?: { readonly output?: { readonly format?: { readonly type?: string; readonly rate?: number } } }
}

/** An item of a response. Some servers do not name the response. */
export interface OfItem {
  readonly response_id?: string
  readonly item_id: string
}

/**
 * Events that the backend reads. Fields that some self-hosted servers omit are optional here, unlike in the vendor's
 * types.
 */
export type ServerEvent =
  | { readonly type: 'session.created' }
  | { readonly type: 'session.updated'; readonly session?: WireSession }
  | { readonly type: 'input_audio_buffer.speech_started' }
  | { readonly type: 'input_audio_buffer.speech_stopped'; readonly item_id?: string }
  | { readonly type: 'conversation.item.added'; readonly item: WireItem }
  | {
      readonly type: 'conversation.item.input_audio_transcription.delta'
      readonly item_id: string
      readonly delta?: string
    }
  | {
      readonly type: 'conversation.item.input_audio_transcription.completed'
      readonly item_id: string
      readonly transcript: string
      /** xAI: `in_progress` if more words will arrive; absent if the words are complete. */
      readonly status?: string
      readonly usage?: WireUsage
    }
  | { readonly type: 'conversation.item.input_audio_transcription.failed'; readonly item_id: string }
  | { readonly type: 'response.created'; readonly response: WireResponse }
  | { readonly type: 'response.done'; readonly response: WireResponse }
  | { readonly type: 'response.output_item.added'; readonly response_id?: string; readonly item: WireItem }
  | { readonly type: 'response.output_item.done'; readonly response_id?: string; readonly item: WireItem }
  | ({ readonly type: 'response.output_audio.delta'; readonly content_index?: number; readonly delta: string } & OfItem)
  | ({ readonly type: 'response.output_audio.done' } & OfItem)
  | ({ readonly type: 'response.output_audio_transcript.delta'; readonly delta: string } & OfItem)
  | ({ readonly type: 'response.output_audio_transcript.done'; readonly transcript: string } & OfItem)
  | ({ readonly type: 'response.output_text.delta'; readonly delta: string } & OfItem)
  | ({ readonly type: 'response.output_text.done'; readonly text: string } & OfItem)
  | {
      readonly type: 'response.function_call_arguments.done'
      readonly response_id?: string
      readonly item_id?: string
      readonly call_id: string
      readonly name?: string
      readonly arguments: string
    }
  | { readonly type: 'rate_limits.updated'; readonly rate_limits: object }
  | { readonly type: 'error'; readonly error: WireError }

/** @returns the limits of a `rate_limits.updated` that have a name and all numbers */
export function rateLimitsOf(wire: object): RateLimit[] {
  if (!Array.isArray(wire)) return []
  return (wire as readonly unknown[]).slice(0, RATE_LIMITS_MAX).flatMap((entry) => {
    const { name, limit, remaining, reset_seconds: seconds } = (entry ?? {}) as Readonly<Record<string, unknown>>
    const named = vendorWord(name)
    if (named === '' || usageNumber(limit) === 0 || !isAmount(remaining) || !isAmount(seconds)) return []
    return [{ name: named, limit: usageNumber(limit), remaining, resetMs: seconds * 1000 }]
  })
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}

/** Errors that occur when two messages cross on the network. These errors are counted, not reported. */
const RACES: ReadonlySet<string> = new Set([
  'response_cancel_not_active',
  'conversation_already_has_active_response',
  'input_audio_buffer_commit_empty',
  'item_truncate_invalid_item_id',
  'item_not_found',
])

export function isBusy(error: WireError): boolean {
  return (
    error.code === 'conversation_already_has_active_response' ||
    /already has an active response/i.test(error.message ?? '')
  )
}

export function isRace(error: WireError): boolean {
  return RACES.has(error.code ?? '') || isBusy(error)
}

/**
 * @returns the fault of an `error` event or of a failed response
 *
 * @param ready false if the error is about the session's configuration. Only the text of such an error is shown,
 * because it cannot quote a caller
 */
export function wireFault(
  service: string,
  error: WireError,
  ready: boolean,
  secrets: readonly (string | null)[],
): VendorFault {
  const word = vendorWord(error.code) || vendorWord(error.type)
  const param = vendorWord(error.param)
  const named = `${service}: ${word === '' ? 'error' : word}${param === '' ? '' : ` (${param})`}`
  const message = ready ? named : `${named}: ${vendorText(error.message ?? '', secrets)}`
  const kind = `${error.code ?? ''} ${error.type ?? ''}`
  if (/insufficient_quota|billing/.test(kind) || speaksOfQuota(error.message ?? ''))
    return vendorFault('quota', message, true)
  if (/invalid_api_key|authentication|unauthorized|permission/.test(kind)) return vendorFault('auth', message, true)
  if (/session_expired/.test(kind)) return vendorFault('session_expired', message, true)
  if (/rate_limit/.test(kind)) return vendorFault('rate_limit', message, !ready)
  if (/timeout/.test(kind)) return vendorFault('timeout', message, !ready)
  if (/server_error|internal/.test(kind)) return vendorFault('internal', message, !ready)
  return vendorFault('bad_request', message, !ready)
}

/** Converts a close by the server to a fault. */
export const closeFault = closeFaults((code, reason) => {
  if (/session_expired|maximum duration|session.*(limit|expired)/i.test(reason)) return 'session_expired'
  if (speaksOfQuota(reason)) return 'quota'
  if (code === 3000 || speaksOfKey(reason)) return 'auth'
  return /rate.?limit/i.test(reason) ? 'rate_limit' : null
})
