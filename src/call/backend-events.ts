import { z } from 'zod'
import type { DocumentOf } from './documents/document.js'

/**
 * Kinds of answer that the agent expects next. `yes-no`: yes or no. `digits`: the digits so far may be complete.
 * `more-digits`: the digits so far are not complete. `open`: any answer.
 */
export const CALLER_EXPECTATIONS = ['yes-no', 'digits', 'more-digits', 'open'] as const
export type CallerExpectation = (typeof CALLER_EXPECTATIONS)[number]

/**
 * Usage of one model since the last report, as counted by the service. A figure that the service does not report is
 * absent, because the value 0 would falsify the price.
 */
export const usageSchemaOf = (figure: z.ZodNumber) =>
  z.object({
    /** All input tokens: text, audio and images, including cached tokens. */
    inputTokens: figure,
    /** All output tokens, including the text tokens of the model's reasoning. */
    outputTokens: figure,
    /** Duration of the caller audio that was sent, in milliseconds. */
    audioInMs: figure,
    /** Duration of the agent audio that was received, in milliseconds. */
    audioOutMs: figure,
    /** Name of the model that these figures belong to; absent for the backend's configured model. */
    model: z.string().exactOptional(),
    /** Text tokens among the input tokens, including cached tokens. */
    inputTextTokens: figure.exactOptional(),
    /** Audio tokens among the input tokens, including cached tokens. */
    inputAudioTokens: figure.exactOptional(),
    /** Input tokens (text and audio) that the service read from its cache. `inputTokens` includes these tokens. */
    inputCachedTokens: figure.exactOptional(),
    /** Audio tokens among `inputCachedTokens`. */
    inputCachedAudioTokens: figure.exactOptional(),
    /**
     * Text tokens written to the service's cache, if the service charges for them. `inputTokens` includes these tokens.
     */
    inputCacheWriteTokens: figure.exactOptional(),
    outputTextTokens: figure.exactOptional(),
    outputAudioTokens: figure.exactOptional(),
    /** Time that the service charges for, in seconds: the duration of the session, or of the transcribed audio. */
    sessionSeconds: figure.exactOptional(),
    /** Characters of synthesised text, if the service charges for characters. */
    speechCharacters: figure.exactOptional(),
  })
export type BackendUsage = DocumentOf<ReturnType<typeof usageSchemaOf>>

/**
 * Events from a backend to the call. The events are defined in this layer, because the session uses them for its
 * decisions; `src/backends/backend.ts` imports them. Each response has a number, its `generation`, which is in all
 * events of the response. By this number the session recognises and drops late events of an interrupted response.
 */
export const backendEventSchema = z
  .discriminatedUnion('type', [
    /** The backend is ready for audio. Sent exactly once. */
    z.object({ type: z.literal('ready') }),
    /** The backend began a response. */
    z.object({ type: z.literal('turn-start'), generation: z.number() }),
    /** The backend has delivered the last audio sample of `itemId`. */
    z.object({ type: z.literal('audio-done'), generation: z.number(), itemId: z.string() }),
    z.object({
      type: z.literal('turn-done'),
      generation: z.number(),
      status: z.enum(['completed', 'cancelled', 'failed']),
      reason: z.string().exactOptional(),
      /**
       * Reason why the service ended the answer early. Either the answer reached the length limit, or a filter refused
       * the rest of the answer.
       */
      cut: z.enum(['length', 'filter']).exactOptional(),
      /** Silence that was removed from the start of the response, in milliseconds; absent if none was removed. */
      silentMs: z.number().exactOptional(),
    }),
    /** The backend's own VAD detected speech. Only with `capabilities.serverVad`. */
    z.object({ type: z.literal('speech-started') }),
    z.object({ type: z.literal('speech-stopped') }),
    /**
     * More words of the current speech were recognised; their transcript follows when the speech ends. Backends that
     * send partial transcripts may omit this event.
     */
    z.object({ type: z.literal('understood') }),
    /** The backend could not interpret the caller's last words. It asks the caller to repeat them, or gives up. */
    z.object({ type: z.literal('not-understood') }),
    /**
     * Kind of answer that the agent expects from now on; it determines which pause ends the caller's turn. `keys`: only
     * from a dialogue without a model, which may receive secret digits too. `secret`: the next digits are secret.
     */
    z.object({
      type: z.literal('expects'),
      what: z.enum(CALLER_EXPECTATIONS),
      keys: z.enum(['open', 'secret']).exactOptional(),
    }),
    /** The backend cancelled its own response because the caller began to speak. */
    z.object({ type: z.literal('interrupted'), generation: z.number() }),
    /**
     * Transcript of the caller or of the agent. If `final` is false, a longer text of the same item may follow. The
     * order between caller entries and agent entries is not defined.
     */
    z.object({
      type: z.literal('transcript'),
      role: z.enum(['caller', 'agent']),
      text: z.string(),
      final: z.boolean(),
      itemId: z.string(),
      generation: z.number(),
      /**
       * Final words of the caller, divided into parts of one language each. Sent by recognisers that detect the
       * language.
       */
      languages: z.array(z.object({ text: z.string(), language: z.string() })).exactOptional(),
    }),
    /**
     * Tool call of the model. The call answers each `callId` exactly once, with `toolResult`.
     * - `invalid`: description of the error in the arguments.
     * - `quiet`: the model speaks about the result only if the tool failed.
     * - `background`: the model called the tool in advance, and speaks about the result only if the caller asks for it.
     * - `spent`: the gateway made this tool call because the phone call's budget is used up. The tool runs as soon as
     *   the agent may speak.
     */
    z.object({
      type: z.literal('tool-call'),
      callId: z.string(),
      name: z.string(),
      args: z.record(z.string(), z.unknown()),
      generation: z.number(),
      invalid: z.string().exactOptional(),
      quiet: z.literal(true).exactOptional(),
      background: z.literal(true).exactOptional(),
      spent: z.literal(true).exactOptional(),
    }),
    z.object({ type: z.literal('tool-cancel'), callIds: z.array(z.string()) }),
    /**
     * Usage of a service. `backend`: name of the backend that caused the usage; absent if the answering backend caused
     * it.
     */
    z.object({ type: z.literal('usage'), usage: usageSchemaOf(z.number()), backend: z.string().exactOptional() }),
    z.object({
      type: z.literal('error'),
      code: z.enum([
        'auth',
        'rate_limit',
        'quota',
        'session_expired',
        'bad_request',
        'network',
        'timeout',
        'overrun',
        'internal',
      ]),
      /** Message for an operator. It does not contain API keys, phone numbers or words of a caller. */
      message: z.string(),
      /** True if the session cannot be used any more. */
      fatal: z.boolean(),
      /** True if the same request may succeed when it is repeated. */
      retryable: z.boolean(),
    }),
    /** The service will end the session in `inMs` milliseconds; the gateway prepares a replacement. */
    z.object({ type: z.literal('expiring'), inMs: z.number() }),
    /**
     * From now on another backend answers. It has received the history and the input that is still unanswered. For a
     * rotation, it is a new session of the same backend. `gapMs`: time since the earlier session was lost.
     */
    z.object({ type: z.literal('failover'), from: z.string(), to: z.string(), gapMs: z.number(), reason: z.string() }),
    /** The failover is slow, so the caller should hear a filler. */
    z.object({ type: z.literal('holding') }),
    /** The backend is closed. Sent exactly once, as the last event. */
    z.object({ type: z.literal('closed'), code: z.number(), reason: z.string(), clean: z.boolean() }),
  ])
  .meta({ id: 'backend-event' })
export type BackendEvent = DocumentOf<typeof backendEventSchema>
export type BackendErrorCode = Extract<BackendEvent, { type: 'error' }>['code']

/**
 * Condition on which the model speaks about a tool's result. `now`: it speaks at once. `failure`: it speaks at once if
 * the tool failed. `later`: it speaks when the caller asks for the result.
 */
export type ToolWait = 'now' | 'failure' | 'later'

export function waitOf(call: { readonly quiet?: true; readonly background?: true }): ToolWait {
  return call.background === true ? 'later' : call.quiet === true ? 'failure' : 'now'
}

/** True if the model must speak now because the result has arrived. */
export function asksForAnswer(wait: ToolWait, ok: boolean): boolean {
  return wait === 'now' || (wait === 'failure' && !ok)
}
