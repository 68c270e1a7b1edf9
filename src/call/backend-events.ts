/**
 * What a backend tells the call. The vocabulary lives here, in a pure layer, because the session decides by it;
 * `src/backends/backend.ts` is the contract that uses it.
 *
 * Every event that belongs to a response carries the response's `generation`: a number that the backend raises
 * with each response it starts. The session drops everything of a generation it has interrupted, however late
 * it comes.
 */
export type BackendErrorCode =
  | 'auth' | 'rate_limit' | 'quota' | 'session_expired' | 'bad_request' | 'network' | 'timeout' | 'internal'

export interface BackendUsage {
  readonly inputTokens: number
  readonly outputTokens: number
  readonly audioInMs: number
  readonly audioOutMs: number
}

export type BackendEvent =
  /** Ready for audio; exactly once. */
  | { readonly type: 'ready' }
  /** The backend began to answer. */
  | { readonly type: 'turn-start'; readonly generation: number }
  /** The last sample of `itemId` was delivered. */
  | { readonly type: 'audio-done'; readonly generation: number; readonly itemId: string }
  | {
      readonly type: 'turn-done'; readonly generation: number
      readonly status: 'completed' | 'cancelled' | 'failed'; readonly reason?: string
    }
  /** The backend's own VAD (only where `capabilities.serverVad`). */
  | { readonly type: 'speech-started' }
  | { readonly type: 'speech-stopped' }
  /**
   * Words of the speech that goes on were recognised; which, the transcript says at its end. Once for each time that there are more of
   * them. A backend that sends partial transcripts needs none.
   */
  | { readonly type: 'understood' }
  /** The backend cancelled its own response because the caller spoke. */
  | { readonly type: 'interrupted'; readonly generation: number }
  /**
   * Words. `final` false may be followed by a longer text of the same item. Caller and agent entries are not
   * ordered with regard to each other.
   */
  | {
      readonly type: 'transcript'; readonly role: 'caller' | 'agent'; readonly text: string
      readonly final: boolean; readonly itemId: string; readonly generation: number
    }
  /** Each `callId` is answered exactly once with `toolResult`. `invalid` names what is wrong with the arguments. */
  | {
      readonly type: 'tool-call'; readonly callId: string; readonly name: string
      readonly args: Readonly<Record<string, unknown>>; readonly generation: number; readonly invalid?: string
    }
  | { readonly type: 'tool-cancel'; readonly callIds: readonly string[] }
  | { readonly type: 'usage'; readonly usage: BackendUsage }
  | {
      readonly type: 'error'; readonly code: BackendErrorCode; readonly message: string
      readonly fatal: boolean; readonly retryable: boolean
    }
  /** The session will be ended by the other side in `inMs`; the gateway plans a replacement. */
  | { readonly type: 'expiring'; readonly inMs: number }
  /**
   * Another backend, or another session of the same one (`reason` rotation), answers from here on, `gapMs` after the one
   * before was lost. It knows what was said and done, and was given what had no answer yet.
   */
  | { readonly type: 'failover'; readonly from: string; readonly to: string; readonly gapMs: number; readonly reason: string }
  /** The caller waits longer than they should while another backend is being found: a word is due. */
  | { readonly type: 'holding' }
  /** Exactly once, last. */
  | { readonly type: 'closed'; readonly code: number; readonly reason: string; readonly clean: boolean }
