import type { CallItem, FunctionTool } from '../../self-hosted/realtime/wire.js'
import { vendorFault } from '../../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../../backends/transport/vendor-fault.js'

/**
 * The used part of OpenAI's Live protocol (GPT-Live), in the vendor's field names. Each text frame contains one JSON
 * object, in both directions. test/backends/openai-live-wire.test.ts checks this file against the vendor's published
 * types.
 */

export type LiveAudioFormat =
  | { readonly type: 'audio/pcm'; readonly rate: 16000 | 24000 }
  | { readonly type: 'audio/pcmu' | 'audio/pcma'; readonly rate: number }

/** A message of the history at the start: exactly one part of text. */
export type InitialItem =
  | {
      readonly type: 'message'
      readonly role: 'developer' | 'user'
      readonly content: [{ type: 'input_text'; text: string }]
    }
  | { readonly type: 'message'; readonly role: 'assistant'; readonly content: [{ type: 'output_text'; text: string }] }

export interface HostedDelegate {
  readonly model: string
  readonly instructions: string
  readonly tools: FunctionTool[]
  readonly reasoning?: { readonly effort: 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'xhigh' }
  readonly max_output_tokens?: number
}

type Delegation =
  | { readonly type: 'client'; readonly acknowledgement_delay_ms?: number }
  | { readonly type: 'responses'; readonly responses: HostedDelegate; readonly acknowledgement_delay_ms?: number }

/** `session` of `session.start`. */
export interface LiveSessionConfig {
  readonly model: string
  readonly instructions: string
  readonly audio: { readonly format: LiveAudioFormat; readonly output: { readonly voice: string } }
  readonly delegation: Delegation
  readonly input?: InitialItem[]
}

/** An item of the hosted delegate's conversation. */
type DelegateItem =
  | {
      readonly type: 'message'
      readonly role: 'user' | 'developer'
      readonly content: [{ type: 'input_text'; text: string }]
    }
  | CallItem

/**
 * Kinds of context. The model follows `instructions` as a rule, keeps `thinking` as silent information, and speaks
 * `commentary`.
 */
export type ContextKind = 'instructions' | 'thinking' | 'commentary'

export type ClientEvent =
  | { readonly type: 'session.start'; readonly session: LiveSessionConfig }
  | {
      readonly type: 'session.update'
      readonly session: {
        readonly delegation: {
          readonly type: 'responses'
          readonly responses: { readonly instructions?: string; readonly tools?: FunctionTool[] }
        }
      }
    }
  | {
      readonly type: `session.${ContextKind}.append`
      readonly content: string
      readonly delegation_id: string | null
    }
  | { readonly type: 'response.item.create'; readonly item: DelegateItem }
  | { readonly type: 'response.create' }
  | { readonly type: 'session.close' }

/** Message of caller audio before and after its base64. */
export const APPEND_PREFIX = '{"type":"session.input_audio.append","audio":"'
export const APPEND_SUFFIX = '"}'

/** A fragment of the caller's or the agent's words, with its time on the session's time line. */
export interface WireWords {
  readonly delta: string
  readonly start_ms: number
  readonly end_ms: number
}

/** A streaming event of the hosted delegate, with only the used fields. Each field may be missing. */
export interface WireDelegateEvent {
  readonly type?: unknown
  readonly item?: {
    readonly type?: unknown
    readonly call_id?: unknown
    readonly name?: unknown
    readonly arguments?: unknown
    readonly status?: unknown
  }
  readonly response?: {
    readonly id?: unknown
    readonly usage?: {
      readonly input_tokens?: unknown
      readonly input_tokens_details?: { readonly cached_tokens?: unknown } | null
      readonly output_tokens?: unknown
    } | null
    readonly error?: { readonly code?: unknown } | null
    readonly incomplete_details?: { readonly reason?: unknown } | null
  }
}

interface WireLiveError {
  readonly code?: string
  readonly message?: string
  readonly type?: string
  readonly param?: string
}

/** Events that the backend reads. */
export type ServerEvent =
  | { readonly type: 'session.started'; readonly session: { readonly expires_at?: number } }
  | { readonly type: 'session.output_audio.delta'; readonly delta: string }
  | ({ readonly type: 'session.input_transcript.delta' } & WireWords)
  | ({ readonly type: 'session.output_transcript.delta' } & WireWords)
  | {
      readonly type: 'session.delegation.created'
      readonly delegation: { readonly id?: string; readonly target?: string }
    }
  | { readonly type: 'response.event'; readonly event: WireDelegateEvent }
  | { readonly type: 'session.usage.updated'; readonly usage: { readonly seconds?: number } }
  | {
      readonly type: 'session.closed'
      readonly reason: string
      readonly usage: { readonly seconds?: number }
    }
  | { readonly type: 'error'; readonly error: WireLiveError }

/** @returns the fault of a `session.closed` that the backend did not request */
export function closedFault(service: string, reason: string): VendorFault {
  switch (reason) {
    case 'expired':
      return vendorFault('session_expired', `${service}: the session has reached its longest time`, true)
    case 'content':
      return vendorFault('bad_request', `${service}: a safety filter ended the session`, true)
    default:
      // Handles `remote_hangup`, `connection_lost`, and reasons of later versions.
      return vendorFault(
        'network',
        `${service}: the service ended the session (${/^\w{1,40}$/.test(reason) ? reason : 'no reason'})`,
        true,
      )
  }
}
