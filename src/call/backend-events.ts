import { z } from 'zod'
import type { DocumentOf } from './documents/document.js'

/**
 * Answers that an agent may expect: a word or two, a number that may be whole, one that is not yet (or has not begun),
 * or anything.
 */
export const CALLER_EXPECTATIONS = ['yes-no', 'digits', 'more-digits', 'open'] as const
export type CallerExpectation = (typeof CALLER_EXPECTATIONS)[number]

/**
 * Usage of a service since its last report. The token counts are the service's own; a detail that it does not report is
 * absent, never 0, because the price depends on it. A service that uses several models (a delegate, a recogniser, a
 * voice) reports each in an event of its own, with its `model`.
 */
export const usageSchemaOf = (figure: z.ZodNumber) =>
  z.object({
    /** All input tokens: text, audio and images, cached ones too. */
    inputTokens: figure,
    /** With the tokens of the model's reasoning, which are text. */
    outputTokens: figure,
    /** Caller audio sent. */
    audioInMs: figure,
    /** Agent audio received. */
    audioOutMs: figure,
    /** The model whose figures these are; absent: the one that the backend is set to. */
    model: z.string().exactOptional(),
    /** Text among the input tokens, cached ones too. */
    inputTextTokens: figure.exactOptional(),
    /** Audio among the input tokens, cached ones too. */
    inputAudioTokens: figure.exactOptional(),
    /** Input tokens from the service's cache, text and audio: a part of `inputTokens`. */
    inputCachedTokens: figure.exactOptional(),
    /** Audio among `inputCachedTokens`. */
    inputCachedAudioTokens: figure.exactOptional(),
    /** Text that was written to the service's cache, where that is charged for: a part of `inputTokens`. */
    inputCacheWriteTokens: figure.exactOptional(),
    outputTextTokens: figure.exactOptional(),
    outputAudioTokens: figure.exactOptional(),
    /** Time that the service charges for: of the connected session, or of the audio that it transcribed. */
    sessionSeconds: figure.exactOptional(),
    /** Characters of the text that was synthesised, of services that charge for them. */
    speechCharacters: figure.exactOptional(),
  })
export type BackendUsage = DocumentOf<ReturnType<typeof usageSchemaOf>>

/**
 * Events from a backend to the call. The types are in this pure layer because the session decides by them;
 * `src/backends/backend.ts` is the contract that uses them.
 *
 * Every event that belongs to a response carries the response's `generation`: a number that the backend raises
 * with each response it starts. The session drops all events of a generation that it has interrupted, however late they
 * come.
 */
export const backendEventSchema = z
  .discriminatedUnion('type', [
    /** Ready for audio; exactly once. */
    z.object({ type: z.literal('ready') }),
    /** The backend began to answer. */
    z.object({ type: z.literal('turn-start'), generation: z.number() }),
    /** The last sample of `itemId` was delivered. */
    z.object({ type: z.literal('audio-done'), generation: z.number(), itemId: z.string() }),
    z.object({
      type: z.literal('turn-done'),
      generation: z.number(),
      status: z.enum(['completed', 'cancelled', 'failed']),
      reason: z.string().exactOptional(),
      /** The service ended the answer early: at its longest, or because a filter refused the rest. */
      cut: z.enum(['length', 'filter']).exactOptional(),
    }),
    /** From the backend's own VAD (only with `capabilities.serverVad`). */
    z.object({ type: z.literal('speech-started') }),
    z.object({ type: z.literal('speech-stopped') }),
    /**
     * More words of the current speech were recognised; the transcript follows when the speech ends. Sent each time the
     * number of words grows. A backend that sends partial transcripts does not need it.
     */
    z.object({ type: z.literal('understood') }),
    /**
     * The caller's most likely answer now; it decides which pause ends the turn. Valid until the next such event. `keys`: from a
     * backend that takes keys without a model, so that it alone in the call also gets secret keys.
     */
    z.object({
      type: z.literal('expects'),
      what: z.enum(CALLER_EXPECTATIONS),
      keys: z.enum(['open', 'secret']).exactOptional(),
    }),
    /** The backend cancelled its own response because the caller spoke. */
    z.object({ type: z.literal('interrupted'), generation: z.number() }),
    /**
     * Words. `final` false may be followed by a longer text of the same item. Caller and agent entries are not
     * ordered relative to each other.
     */
    z.object({
      type: z.literal('transcript'),
      role: z.enum(['caller', 'agent']),
      text: z.string(),
      final: z.boolean(),
      itemId: z.string(),
      generation: z.number(),
      /** The caller's final words in parts, each in one language, from recognisers that detect it. */
      languages: z.array(z.object({ text: z.string(), language: z.string() })).exactOptional(),
    }),
    /**
     * Each `callId` is answered exactly once with `toolResult`. `invalid` names what is wrong with the arguments. `quiet`:
     * the model says nothing when it gets the result, unless the tool failed. `background`: it asks in advance, and speaks
     * of the result when the caller wants to know. `spent`: from the gateway, because the budget of the call is used up; it is
     * carried out as soon as the agent may speak.
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
    /** `backend`: which of several backends used it; absent: the one that answers. */
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
      /** For an operator. It holds no API key, no phone number and no word of a caller. */
      message: z.string(),
      /** The session cannot be used any more. */
      fatal: z.boolean(),
      /** Another attempt, without a change, may succeed. */
      retryable: z.boolean(),
    }),
    /** The service will end the session in `inMs`; the gateway prepares a replacement. */
    z.object({ type: z.literal('expiring'), inMs: z.number() }),
    /**
     * Another backend, or another session of the same backend (`reason` rotation), answers from here on, `gapMs` after
     * the previous one was lost. It has the history of the call and the input that had no answer yet.
     */
    z.object({ type: z.literal('failover'), from: z.string(), to: z.string(), gapMs: z.number(), reason: z.string() }),
    /** Failover takes long, so the caller should hear a filler. */
    z.object({ type: z.literal('holding') }),
    /** Exactly once, as the last event. */
    z.object({ type: z.literal('closed'), code: z.number(), reason: z.string(), clean: z.boolean() }),
  ])
  .meta({ id: 'backend-event' })
export type BackendEvent = DocumentOf<typeof backendEventSchema>
export type BackendErrorCode = Extract<BackendEvent, { type: 'error' }>['code']

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
