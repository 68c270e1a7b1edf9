/**
 * Events from a backend to the call. The types are in this pure layer because the session decides by them;
 * `src/backends/backend.ts` is the contract that uses them.
 *
 * Every event that belongs to a response carries the response's `generation`: a number that the backend raises
 * with each response it starts. The session drops all events of a generation that it has interrupted, however late they
 * come.
 */
export type BackendErrorCode =
  'auth' | 'rate_limit' | 'quota' | 'session_expired' | 'bad_request' | 'network' | 'timeout' | 'internal'

/**
 * What the agent waits for: a word or two, a number that may be whole, one that is not yet (or has not begun), or
 * anything.
 */
export const CALLER_EXPECTATIONS = ['yes-no', 'digits', 'more-digits', 'open'] as const
export type CallerExpectation = (typeof CALLER_EXPECTATIONS)[number]

/**
 * What a service used since its last report. The token counts are the service's own; a detail that it does not report
 * is absent, never 0, because the price depends on it. A service that uses several models (a delegate, a recogniser, a
 * voice) reports each in an event of its own, with its `model`.
 */
export interface BackendUsage {
  /** All input tokens: text, audio and images, cached ones too. */
  readonly inputTokens: number
  /** With the tokens of the model's reasoning, which are text. */
  readonly outputTokens: number
  /** Caller audio sent. */
  readonly audioInMs: number
  /** Agent audio received. */
  readonly audioOutMs: number
  /** The model whose figures these are; absent: the one that the backend is set to. */
  readonly model?: string
  /** Text among the input tokens, cached ones too. */
  readonly inputTextTokens?: number
  /** Audio among the input tokens, cached ones too. */
  readonly inputAudioTokens?: number
  /** Input tokens from the service's cache, text and audio: a part of `inputTokens`. */
  readonly inputCachedTokens?: number
  /** Audio among `inputCachedTokens`. */
  readonly inputCachedAudioTokens?: number
  readonly outputTextTokens?: number
  readonly outputAudioTokens?: number
  /** Time that the service charges for: of the connected session, or of the audio that it transcribed. */
  readonly sessionSeconds?: number
  /** Characters of the text that was synthesised, of services that charge for them. */
  readonly speechCharacters?: number
}

export type BackendEvent =
  /** Ready for audio; exactly once. */
  | { readonly type: 'ready' }
  /** The backend began to answer. */
  | { readonly type: 'turn-start'; readonly generation: number }
  /** The last sample of `itemId` was delivered. */
  | { readonly type: 'audio-done'; readonly generation: number; readonly itemId: string }
  | {
      readonly type: 'turn-done'
      readonly generation: number
      readonly status: 'completed' | 'cancelled' | 'failed'
      readonly reason?: string
    }
  /** From the backend's own VAD (only with `capabilities.serverVad`). */
  | { readonly type: 'speech-started' }
  | { readonly type: 'speech-stopped' }
  /**
   * More words of the current speech were recognised; the transcript follows when the speech ends. Sent each time the
   * number of words grows. A backend that sends partial transcripts does not need it.
   */
  | { readonly type: 'understood' }
  /** What the caller will most likely say now; it decides how long a pause ends the turn. Until the next of these. */
  | { readonly type: 'expects'; readonly what: CallerExpectation }
  /** The backend cancelled its own response because the caller spoke. */
  | { readonly type: 'interrupted'; readonly generation: number }
  /**
   * Words. `final` false may be followed by a longer text of the same item. Caller and agent entries are not
   * ordered relative to each other.
   */
  | {
      readonly type: 'transcript'
      readonly role: 'caller' | 'agent'
      readonly text: string
      readonly final: boolean
      readonly itemId: string
      readonly generation: number
    }
  /**
   * Each `callId` is answered exactly once with `toolResult`. `invalid` names what is wrong with the arguments. `quiet`:
   * the model says nothing when it gets the result, unless the tool failed. `background`: it asks in advance, and speaks
   * of the result when the caller wants to know.
   */
  | {
      readonly type: 'tool-call'
      readonly callId: string
      readonly name: string
      readonly args: Readonly<Record<string, unknown>>
      readonly generation: number
      readonly invalid?: string
      readonly quiet?: true
      readonly background?: true
    }
  | { readonly type: 'tool-cancel'; readonly callIds: readonly string[] }
  /** `backend`: which of several backends used it; absent: the one that answers. */
  | { readonly type: 'usage'; readonly usage: BackendUsage; readonly backend?: string }
  | {
      readonly type: 'error'
      readonly code: BackendErrorCode
      readonly message: string
      readonly fatal: boolean
      readonly retryable: boolean
    }
  /** The service will end the session in `inMs`; the gateway prepares a replacement. */
  | { readonly type: 'expiring'; readonly inMs: number }
  /**
   * Another backend, or another session of the same backend (`reason` rotation), answers from here on, `gapMs` after
   * the previous one was lost. It has the history of the call and the input that had no answer yet.
   */
  | {
      readonly type: 'failover'
      readonly from: string
      readonly to: string
      readonly gapMs: number
      readonly reason: string
    }
  /** Failover takes long, so the caller should hear a filler. */
  | { readonly type: 'holding' }
  /** Exactly once, as the last event. */
  | { readonly type: 'closed'; readonly code: number; readonly reason: string; readonly clean: boolean }

/**
 * Who waits for the result of a tool call: the model, which then speaks (`now`); the model, if it failed (`failure`);
 * nobody yet (`later`): the model speaks of it when the caller wants to know.
 */
export type ToolWait = 'now' | 'failure' | 'later'

export function waitOf(call: { readonly quiet?: true; readonly background?: true }): ToolWait {
  return call.background === true ? 'later' : call.quiet === true ? 'failure' : 'now'
}

/** The model must speak now that the result is there. */
export function asksForAnswer(wait: ToolWait, ok: boolean): boolean {
  return wait === 'now' || (wait === 'failure' && !ok)
}
