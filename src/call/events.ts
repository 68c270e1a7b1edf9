import { ANSWERED_BY } from './turns/answering-machine-detector.js'
import { z } from 'zod'
import { CARRIER_STATES } from '../sautikit/carrier-state.js'
import { backendEventSchema } from './backend-events.js'
import { callerAnswerSchema } from './caller-data.js'
import type { CallLogEntry } from './documents/log-entry.js'
import type { DocumentOf } from './documents/document.js'
import type { EscalationPacket } from './documents/handoff.js'
import { endReasonSchema, escalationOutcomeSchema, escalationStrategySchema } from './documents/record.js'
import type { CallOutcome, CallbackAsk, EndReason, HandoverRecord } from './documents/record.js'

const escalationStepSchema = z
  .discriminatedUnion('type', [
    /**
     * Finish the current words, then close the stream; the carrier then requests the next document. `mayBeSilent`: the
     * carrier may never end the following silence, so the caller hears instructions first.
     */
    z.object({ type: z.literal('close-stream'), mayBeSilent: z.boolean() }),
    /** Keep the stream open and say nothing, because the human joins this leg of the call. */
    z.object({ type: z.literal('hold') }),
    z.object({ type: z.literal('bridged'), strategy: escalationStrategySchema }),
    /** Inform the caller that no human can be reached, and offer a call back. `closed`: outside of opening hours. */
    z.object({ type: z.literal('offer'), outcome: escalationOutcomeSchema, detail: z.string(), closed: z.boolean() }),
    /** Every strategy failed: inform the caller, and continue the conversation. */
    z.object({ type: z.literal('failed'), outcome: escalationOutcomeSchema, detail: z.string(), closed: z.boolean() }),
  ])
  .meta({ id: 'escalation-step' })
export type EscalationStep = DocumentOf<typeof escalationStepSchema>

/** Fault that closed the media socket; absent if the socket closed normally or the gateway closed it. */
const streamFaultSchema = z.object({
  reason: z.enum([
    /** The carrier violated the WebSocket protocol, or sent a frame over the size limit. */
    'carrier-protocol',
    /** The carrier closed the socket with an error code (1002, 1011, …). */
    'carrier-error',
    /** The connection ended without a close frame, for example because a leg was lost suddenly. */
    'socket-lost',
    /** The carrier did not send any frame in time, not even a pong. */
    'carrier-silent',
    /** This process shuts down. */
    'drain-limit',
  ]),
  detail: z.string(),
})
export type StreamFault = DocumentOf<typeof streamFaultSchema>

/** Reasons for refusing a call back. */
export const CALL_BACK_REFUSALS = [
  'time',
  'number',
  'third-number',
  'open',
  'caller-open',
  'number-limit',
  'caller-limit',
  'do-not-call',
  'not-kept',
] as const

/** Refusal of a requested call back. */
const callBackRefusalSchema = z.object({
  /**
   * `time`: invalid or in the past. `number`: the gateway may not call it. `third-number`: this call is itself a call
   * back, and the number is not this caller's number. `open`, `caller-open`: a call back for this number or caller is
   * already waiting. `number-limit`, `caller-limit`: too many call backs. `do-not-call`: the number is on the
   * do-not-call list.
   */
  why: z.enum(CALL_BACK_REFUSALS),
  /** Explanation for the model, without phone numbers. */
  text: z.string(),
})
export type CallBackRefusal = DocumentOf<typeof callBackRefusalSchema>

/**
 * All inputs of a call session. Each input is plain data and is passed with its time, so that a replay can repeat it.
 */
export const callInputSchema = z
  .discriminatedUnion('type', [
    /**
     * The carrier's media socket is open. `openedAtMs`: time at which the socket opened; absent if this is the input's
     * time. A busy worker may process the opening late, while the caller already waits.
     */
    z.object({
      type: z.literal('stream-opened'),
      sampleRateHz: z.literal([8000, 16000]),
      openedAtMs: z.number().exactOptional(),
    }),
    /** The first text frame named a call. `matches` is false if the stream token belongs to another call. */
    z.object({ type: z.literal('stream-metadata'), matches: z.boolean() }),
    /** The carrier's media socket is closed, by the carrier or by the gateway. */
    z.object({ type: z.literal('stream-closed'), code: z.number(), fault: streamFaultSchema.exactOptional() }),
    /** Lifecycle event from a webhook. */
    z.object({ type: z.literal('carrier-state'), state: z.enum(CARRIER_STATES) }),
    /**
     * Result of answering-machine detection in a call that the gateway placed (`AnsweringMachineDetector`), and later
     * corrections. Sent only if detection is enabled in the options.
     */
    z.object({
      type: z.literal('amd-result'),
      who: z.enum(ANSWERED_BY),
      why: z.string(),
      beep: z.literal(true).exactOptional(),
    }),
    /** The gateway or an operator ends the call. If `speak` is true, the agent says goodbye first. */
    z.object({ type: z.literal('hangup-requested'), reason: endReasonSchema, detail: z.string(), speak: z.boolean() }),
    /** An operator requests a human for the call. */
    z.object({ type: z.literal('escalate-requested'), reason: z.string() }),
    /** A supervisor sends text to the model; the caller does not hear it. */
    z.object({ type: z.literal('whisper'), text: z.string() }),
    /** Step of the escalation that `Escalation` requests from the session. */
    z.object({ type: z.literal('escalation'), step: escalationStepSchema }),
    /** Answer to the output `callback`: null if the call back was stored; otherwise the reason for the refusal. */
    z.object({ type: z.literal('callback-answer'), refusal: callBackRefusalSchema.nullable() }),
    z.object({ type: z.literal('dtmf'), digit: z.string() }),
    /** Result of the look-up of the caller. */
    callerAnswerSchema.extend({ type: z.literal('caller-known') }),
    z.object({ type: z.literal('backend'), event: backendEventSchema }),
    z.object({
      type: z.literal('tool-result'),
      callId: z.string(),
      ok: z.boolean(),
      /** Null in place of `undefined`, which JSON cannot hold. */
      value: z.unknown().default(null),
      error: z.string().exactOptional(),
    }),
    /**
     * The running tool call has started something whose outcome arrives later. The conversation waits at most `waitMs`.
     */
    z.object({ type: z.literal('tool-pending'), callId: z.string(), waitMs: z.number() }),
    /** Report of a pending tool call. Several may arrive; `progress` is not an outcome. */
    z.object({
      type: z.literal('tool-outcome'),
      callId: z.string(),
      status: z.enum(['progress', 'succeeded', 'failed']),
      value: z.unknown().default(null),
    }),
    /** The backend cannot put this outcome into words. */
    z.object({ type: z.literal('tool-untold'), callId: z.string() }),
    /** The first sample of an item was sent to the carrier's socket. */
    z.object({ type: z.literal('item-started'), itemId: z.string(), sentAtMs: z.number() }),
    /** The caller has heard the last sample of an item. */
    z.object({ type: z.literal('item-heard'), itemId: z.string() }),
    /** A phrase of the gateway could not be synthesised. */
    z.object({ type: z.literal('announce-failed'), itemId: z.string() }),
    z.object({ type: z.literal('timer') }),
  ])
  .meta({ id: 'call-input' })
export type CallInput = DocumentOf<typeof callInputSchema>

/**
 * Kind of speech of an item; only some kinds count as an answer (`Turns`). `tool`: question of a tool to the caller.
 */
export type SpeechKind = 'answer' | 'filler' | 'prompt' | 'apology' | 'goodbye' | 'escalation' | 'tool' | 'tones'

/** All outputs of a session. Call `pollOutput()` after every input until it returns null. */
export type CallOutput =
  /** The gateway's VAD detected that the caller began to speak; only for backends without a VAD of their own. */
  | { readonly type: 'backend-speech-start'; readonly atMs: number }
  /**
   * End of the caller's speech. `unless`: list of words, set if the speech may not be meant for the agent. The backend
   * then answers only if the speech contains other words.
   */
  | { readonly type: 'backend-speech-end'; readonly atMs: number; readonly unless?: readonly string[] }
  | {
      readonly type: 'backend-text'
      readonly text: string
      readonly role: 'caller' | 'system'
      readonly respond: boolean
    }
  /** Text from the gateway that the caller heard as the agent's speech. */
  | { readonly type: 'backend-text'; readonly text: string; readonly role: 'agent'; readonly respond: false }
  | { readonly type: 'backend-dtmf'; readonly digit: string }
  /** `pending`: the outcome is not known yet and follows as `backend-tool-outcome`. */
  | {
      readonly type: 'backend-tool-result'
      readonly callId: string
      readonly ok: boolean
      readonly value: unknown
      readonly pending?: true
    }
  /**
   * Outcome of a pending tool call. `text`: description of the outcome, for a model that no longer waits for the result
   * of this tool call.
   */
  | {
      readonly type: 'backend-tool-outcome'
      readonly callId: string
      readonly ok: boolean
      readonly value: unknown
      readonly text: string
      readonly respond: boolean
    }
  /** State of the wait for a pending tool call. `told`: the caller has heard the outcome. */
  | { readonly type: 'wait'; readonly callId: string; readonly state: 'told' | 'expired' | 'cancelled' }
  /** `offered`: if true, the model may call the agent's tools; if false, it must answer without tools. */
  | { readonly type: 'backend-tools'; readonly offered: boolean }
  | { readonly type: 'backend-interrupt'; readonly itemId: string | null; readonly playedMs: number }
  | { readonly type: 'backend-close'; readonly reason: string }
  /**
   * A sound over the agent may be a backchannel. Playout is 12 dB quieter until `playout-pause`, `playout-resume` or
   * `playout-clear`.
   */
  | { readonly type: 'playout-duck' }
  /** Onset of a barge-in: playout fades out and keeps all its audio. */
  | { readonly type: 'playout-pause' }
  /** False interruption: playout fades in and continues at full level from the point where it paused. */
  | { readonly type: 'playout-resume' }
  /** Commit of a barge-in: discard all unsent audio and clear the carrier's buffer. */
  | { readonly type: 'playout-clear' }
  /** Turns the agent's waiting sound on or off. A waiting caller hears this sound while the agent does not speak. */
  | { readonly type: 'waiting-sound'; readonly on: boolean }
  /** Speak a phrase of the gateway. Playout treats it like other speech, as item `itemId`. */
  | { readonly type: 'announce'; readonly itemId: string; readonly text: string; readonly kind: SpeechKind }
  /** Send these DTMF digits. Playout treats their tones like speech, as item `itemId`. */
  | {
      readonly type: 'tones'
      readonly itemId: string
      readonly digits: string
      /**
       * Tool call that supplied secret digits. Each digit in this output is SECRET_DIGIT; only the component that sends
       * the tones has the real digits.
       */
      readonly secretOf?: string
    }
  /** Do not speak this phrase. Its sound has not begun. */
  | { readonly type: 'announce-cancel'; readonly itemId: string }
  | {
      readonly type: 'run-tool'
      readonly callId: string
      readonly name: string
      readonly args: Readonly<Record<string, unknown>>
      /**
       * Number of earlier calls of this tool with these arguments; part of the effect's idempotency key (`ToolLedger`).
       */
      readonly occurrence: number
      /**
       * Argument whose value is secret. The value is the newest `digits` digits that the caller pressed while the line
       * was private.
       */
      readonly secret?: { readonly argument: string; readonly digits: number }
    }
  /**
   * Begins or ends privacy, while the caller enters digits that only a tool may receive. Recording, journal and backend
   * get silence. Each digit is the input `dtmf` with SECRET_DIGIT.
   */
  | { readonly type: 'private'; readonly on: boolean }
  | { readonly type: 'cancel-tools'; readonly callIds: readonly string[] }
  /** Escalate to a human. The packet is stored before the stream ends. */
  | { readonly type: 'escalate'; readonly packet: EscalationPacket }
  /**
   * The caller's request for a call back; null if the caller declined the offer. The input `callback-answer` answers
   * the request.
   */
  | { readonly type: 'callback'; readonly wish: CallbackWish | null }
  /** The person wants no more calls. The tool call is answered once this wish is stored. */
  | { readonly type: 'do-not-call'; readonly callId: string }
  /**
   * A mailbox's beep was heard. If a wish for no more calls was already stored, it came from the mailbox and is
   * deleted.
   */
  | { readonly type: 'do-not-call-undone' }
  /** The caller has heard that the call is recorded or transcribed, and has not refused. */
  | { readonly type: 'recording-announced' }
  /** The caller has refused, so the recording and the words of the call are not kept. */
  | { readonly type: 'recording-refused' }
  /**
   * Close the carrier's socket. If `hangup` is true, the carrier is also asked to end the call. Otherwise the carrier
   * keeps the leg open in silence.
   */
  | {
      readonly type: 'end-stream'
      readonly code: number
      readonly reason: EndReason
      readonly detail: string
      readonly hangup: boolean
    }
  /** The caller speaks another of the agent's languages. All later speech is in that language. */
  | { readonly type: 'language'; readonly language: string }
  /**
   * More of the caller's data is known or may be said. Build greeting and instructions again from `CallSession.caller`.
   */
  | { readonly type: 'caller' }
  /**
   * The stage has changed, or more facts are known. Build the model's instructions and tools again from
   * `CallSession.stages`.
   */
  | {
      readonly type: 'stage'
      /**
       * True if the previous stage left a summary. The model then no longer needs the words of that stage. Absent
       * otherwise.
       */
      readonly forget?: true
    }
  /**
   * Another agent continues the call from the checkpoint, and this session is over. The record is added to the log when
   * that agent has the call.
   */
  | { readonly type: 'handover'; readonly record: HandoverRecord }
  /** A new entry of the call log. */
  | { readonly type: 'log'; readonly entry: CallLogEntry }
  /** Mark on the timeline. If `atMs` is absent, the mark has the time of the input. */
  | { readonly type: 'mark'; readonly name: string; readonly detail?: string; readonly atMs?: number }
  /** The state that a takeover needs has changed. Read the state with `checkpoint()`. */
  | { readonly type: 'checkpoint-due' }
  /** The last output of a session. */
  | { readonly type: 'ended'; readonly outcome: CallOutcome; readonly reason: EndReason; readonly detail: string }

/** Call back that the caller asked for or accepted. */
export interface CallbackWish {
  readonly asked: CallbackAsk
  /** Number in E.164 form; null for the number that the caller calls from. */
  readonly number: string | null
  readonly note: string
  /** Date and time of the caller's wish, as the model wrote them; absent if the caller named none. */
  readonly wantedAt?: string
  readonly packet: EscalationPacket
}

/** State of the speech that is on its way to the caller, as the session sees it. `PlayoutLedger` implements it. */
export interface PlayoutView {
  /** True while the caller hears agent sound, or will hear it without a further output of the session. */
  audible(nowMs: number): boolean
  /** Played duration of the item, in milliseconds; 0 for an unknown item. */
  playedMs(itemId: string, nowMs: number): number
  /** Item that the caller hears now or heard last; null before the first item. */
  currentItem(nowMs: number): string | null
  /** Speech that waits to be sent, in milliseconds: the sum of ring and backlog. */
  pendingMs(): number
  /** Time at which the last agent sample was written to the socket; null before the first sample. */
  lastSentAtMs(): number | null
}
