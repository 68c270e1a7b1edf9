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
     * Finish what is being said, then close the stream: the carrier will ask how to continue. `mayBeSilent`: the carrier
     * may hold the caller in silence instead, which we could not end, so the caller hears what to do in that case.
     */
    z.object({ type: z.literal('close-stream'), mayBeSilent: z.boolean() }),
    /** Keep the stream open and be silent: the human joins this leg. */
    z.object({ type: z.literal('hold') }),
    z.object({ type: z.literal('bridged'), strategy: escalationStrategySchema }),
    /** Nobody can be reached: tell the caller, and ask whether to call back. `closed`: outside of opening hours. */
    z.object({ type: z.literal('offer'), outcome: escalationOutcomeSchema, detail: z.string(), closed: z.boolean() }),
    /** Every strategy failed: tell the caller, continue. */
    z.object({ type: z.literal('failed'), outcome: escalationOutcomeSchema, detail: z.string(), closed: z.boolean() }),
  ])
  .meta({ id: 'escalation-step' })
export type EscalationStep = DocumentOf<typeof escalationStepSchema>

/** Why the media socket closed, when it was closed neither normally nor by us. */
const streamFaultSchema = z.object({
  reason: z.enum([
    /** The carrier violated the WebSocket protocol, or sent a frame over the size limit. */
    'carrier-protocol',
    /** It closed with an error code (1002, 1011, …). */
    'carrier-error',
    /** The connection ended without a close frame, as when a leg is lost abruptly. */
    'socket-lost',
    /** Nothing came, not even pongs. */
    'carrier-silent',
    /** This process shuts down. */
    'drain-limit',
  ]),
  detail: z.string(),
})
export type StreamFault = DocumentOf<typeof streamFaultSchema>

/** Why a call back is refused. */
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

/** Why a call back is refused when it is asked for. */
const callBackRefusalSchema = z.object({
  /**
   * `time`: that does not exist or is over; `number`: it may not be rung; `third-number`: another than theirs, in a call back;
   * `open`, `caller-open`: one waits already; `number-limit`, `caller-limit`: too many; `do-not-call`: it wants no calls.
   */
  why: z.enum(CALL_BACK_REFUSALS),
  /** For the model; without numbers. */
  text: z.string(),
})
export type CallBackRefusal = DocumentOf<typeof callBackRefusalSchema>

/**
 * Everything that can happen to a call session. Inputs are plain data, passed with their time, so that a journal of
 * them can be replayed.
 */
export const callInputSchema = z
  .discriminatedUnion('type', [
    /**
     * The carrier's media socket is open, since `openedAtMs`, which is not after the time of the input; absent: since that
     * time. On a busy machine a worker hears of it late, and the caller has waited since the opening.
     */
    z.object({
      type: z.literal('stream-opened'),
      sampleRateHz: z.literal([8000, 16000]),
      openedAtMs: z.number().exactOptional(),
    }),
    /** The first text frame named a call; `matches` is false when it was not the call of the token. */
    z.object({ type: z.literal('stream-metadata'), matches: z.boolean() }),
    /** The carrier's media socket is closed (also after we closed it). */
    z.object({ type: z.literal('stream-closed'), code: z.number(), fault: streamFaultSchema.exactOptional() }),
    /** A lifecycle event from a webhook. */
    z.object({ type: z.literal('carrier-state'), state: z.enum(CARRIER_STATES) }),
    /** Who took a call that we placed (`AnsweringMachineDetector`), and what corrects it; only when the options ask for it. */
    z.object({
      type: z.literal('amd-result'),
      who: z.enum(ANSWERED_BY),
      why: z.string(),
      beep: z.literal(true).exactOptional(),
    }),
    /** The gateway or an operator ends the call; with `speak` the agent says its goodbye first. */
    z.object({ type: z.literal('hangup-requested'), reason: endReasonSchema, detail: z.string(), speak: z.boolean() }),
    /** An operator wants a human on the call. */
    z.object({ type: z.literal('escalate-requested'), reason: z.string() }),
    /** A supervisor says something to the model, and not to the caller. */
    z.object({ type: z.literal('whisper'), text: z.string() }),
    /** A step that the escalation machine asks of the session. */
    z.object({ type: z.literal('escalation'), step: escalationStepSchema }),
    /** Answer to the output `callback`: null if the call back is kept, else the reason. */
    z.object({ type: z.literal('callback-answer'), refusal: callBackRefusalSchema.nullable() }),
    z.object({ type: z.literal('dtmf'), digit: z.string() }),
    /** The look-up of the caller has answered. */
    callerAnswerSchema.extend({ type: z.literal('caller-known') }),
    z.object({ type: z.literal('backend'), event: backendEventSchema }),
    z.object({
      type: z.literal('tool-result'),
      callId: z.string(),
      ok: z.boolean(),
      /** `undefined` has no key in JSON. */
      value: z.unknown().default(null),
      error: z.string().exactOptional(),
    }),
    /** The tool call that runs has begun something whose outcome comes later; the conversation waits for at most `waitMs`. */
    z.object({ type: z.literal('tool-pending'), callId: z.string(), waitMs: z.number() }),
    /** News of a pending tool call, perhaps again. `progress` is no outcome. */
    z.object({
      type: z.literal('tool-outcome'),
      callId: z.string(),
      status: z.enum(['progress', 'succeeded', 'failed']),
      value: z.unknown().default(null),
    }),
    /** The backend has no words for the outcome that it was given. */
    z.object({ type: z.literal('tool-untold'), callId: z.string() }),
    /** Playout: the first sample of an item went to the carrier's socket. */
    z.object({ type: z.literal('item-started'), itemId: z.string(), sentAtMs: z.number() }),
    /** Playout: the caller has heard the last sample of an item. */
    z.object({ type: z.literal('item-heard'), itemId: z.string() }),
    /** A phrase of the gateway could not be synthesised. */
    z.object({ type: z.literal('announce-failed'), itemId: z.string() }),
    z.object({ type: z.literal('timer') }),
  ])
  .meta({ id: 'call-input' })
export type CallInput = DocumentOf<typeof callInputSchema>

/** Kind of speech of an item; only some kinds count as an answer (`Turns`). `tool`: what a tool asks of the caller. */
export type SpeechKind = 'answer' | 'filler' | 'prompt' | 'apology' | 'goodbye' | 'escalation' | 'tool' | 'tones'

/** Everything that a session can request. Drained with `pollOutput()` after every input. */
export type CallOutput =
  /** The gateway's VAD heard the caller start or stop; only for backends without a VAD of their own. */
  | { readonly type: 'backend-speech-start'; readonly atMs: number }
  /** With `unless` no answer is wanted where there are no words, or only these: it may not be meant for the agent. */
  | { readonly type: 'backend-speech-end'; readonly atMs: number; readonly unless?: readonly string[] }
  | {
      readonly type: 'backend-text'
      readonly text: string
      readonly role: 'caller' | 'system'
      readonly respond: boolean
    }
  /** The caller heard the gateway say this in the agent's place. */
  | { readonly type: 'backend-text'; readonly text: string; readonly role: 'agent'; readonly respond: false }
  | { readonly type: 'backend-dtmf'; readonly digit: string }
  /** `pending`: not the outcome, which follows as `backend-tool-outcome`. */
  | {
      readonly type: 'backend-tool-result'
      readonly callId: string
      readonly ok: boolean
      readonly value: unknown
      readonly pending?: true
    }
  /** The outcome of a pending tool call; `text` says it to a model that does not wait for the call's result. */
  | {
      readonly type: 'backend-tool-outcome'
      readonly callId: string
      readonly ok: boolean
      readonly value: unknown
      readonly text: string
      readonly respond: boolean
    }
  /** Progress of a wait in the conversation. `told`: the caller has heard its outcome. */
  | { readonly type: 'wait'; readonly callId: string; readonly state: 'told' | 'expired' | 'cancelled' }
  /** The model may call the agent's tools, or has to answer without them. */
  | { readonly type: 'backend-tools'; readonly offered: boolean }
  | { readonly type: 'backend-interrupt'; readonly itemId: string | null; readonly playedMs: number }
  | { readonly type: 'backend-close'; readonly reason: string }
  /** Barge-in, step one: fall silent with a fade, keep everything. */
  | { readonly type: 'playout-pause' }
  /** A false interruption: continue where playout paused, with a fade. */
  | { readonly type: 'playout-resume' }
  /** Barge-in, step two: discard what was not sent and flush the carrier. */
  | { readonly type: 'playout-clear' }
  /** The caller waits, and hears the agent's waiting sound wherever there is no speech; or not any more. */
  | { readonly type: 'waiting-sound'; readonly on: boolean }
  /** Say a phrase of the gateway; it goes through the same playout as item `itemId`. */
  | { readonly type: 'announce'; readonly itemId: string; readonly text: string; readonly kind: SpeechKind }
  /** Send the tones of these keys; they go through the same playout as item `itemId`. */
  | {
      readonly type: 'tones'
      readonly itemId: string
      readonly digits: string
      /** The tool call whose keys these stand for: each is SECRET_DIGIT, and only who carries it out knows them. */
      readonly secretOf?: string
    }
  /** That phrase is not wanted any more, and has not begun to sound. */
  | { readonly type: 'announce-cancel'; readonly itemId: string }
  | {
      readonly type: 'run-tool'
      readonly callId: string
      readonly name: string
      readonly args: Readonly<Record<string, unknown>>
      /** Earlier calls of this tool with these arguments; part of the effect's key (`ToolLedger`). */
      readonly occurrence: number
      /** The newest digits that the caller pressed while the line was private are its value of that argument. */
      readonly secret?: { readonly argument: string; readonly digits: number }
    }
  /**
   * From here on the caller enters digits that only a tool may get, or not any more: recording, journal and backend get silence,
   * and each digit that is pressed is the input `dtmf` with SECRET_DIGIT.
   */
  | { readonly type: 'private'; readonly on: boolean }
  | { readonly type: 'cancel-tools'; readonly callIds: readonly string[] }
  /** Escalate to a human; the packet is stored before the stream ends. */
  | { readonly type: 'escalate'; readonly packet: EscalationPacket }
  /** The caller's answer to the offer of a call back (null: no), or a request without an offer; `callback-answer` answers a wish. */
  | { readonly type: 'callback'; readonly wish: CallbackWish | null }
  /** The person wants no calls from us; the tool call is answered once that is written. */
  | { readonly type: 'do-not-call'; readonly callId: string }
  /** A mailbox's beep was heard: if a wish for no more calls was taken, it was that of a mailbox. */
  | { readonly type: 'do-not-call-undone' }
  /** The caller has heard that the call is recorded, or written down, and has not said no. */
  | { readonly type: 'recording-announced' }
  /** The caller has said no: neither recording nor words of the call are kept. */
  | { readonly type: 'recording-refused' }
  /** Close the carrier's socket. `hangup` asks the carrier to end the call too (else it holds the leg in silence). */
  | {
      readonly type: 'end-stream'
      readonly code: number
      readonly reason: EndReason
      readonly detail: string
      readonly hangup: boolean
    }
  /** The caller speaks another language of the agent's: what is said from here on is in that one. */
  | { readonly type: 'language'; readonly language: string }
  /** More is known of the caller, or more of it may be said: greeting and instructions follow from `CallSession.caller`. */
  | { readonly type: 'caller' }
  /** The stage is another, or more is known: instructions and tools of the model follow from `CallSession.stages`. */
  | {
      readonly type: 'stage'
      /** The stage before has left a line behind, so that the model no longer needs its words. Absent: it does. */
      readonly forget?: true
    }
  /** Another agent goes on with the call, from the checkpoint: this session is over. The log has the record once it does. */
  | { readonly type: 'handover'; readonly record: HandoverRecord }
  /** A new entry of the call log. */
  | { readonly type: 'log'; readonly entry: CallLogEntry }
  /** A mark of the timeline. `atMs` absent: the time of the input. */
  | { readonly type: 'mark'; readonly name: string; readonly detail?: string; readonly atMs?: number }
  /** The state that a takeover needs has changed. Read it with `checkpoint()`. */
  | { readonly type: 'checkpoint-due' }
  /** The last output of a session. */
  | { readonly type: 'ended'; readonly outcome: CallOutcome; readonly reason: EndReason; readonly detail: string }

/** A call back that the caller asked for or accepted. */
export interface CallbackWish {
  readonly asked: CallbackAsk
  /** E.164; null for the number that they call from. */
  readonly number: string | null
  readonly note: string
  /** The caller's date and time as the model wrote them; absent: they named none. */
  readonly wantedAt?: string
  readonly packet: EscalationPacket
}

/** The session's view of speech on its way to the caller; implemented by `PlayoutLedger`. */
export interface PlayoutView {
  /** True while the caller hears agent sound, or will hear it without another output of the session. */
  audible(nowMs: number): boolean
  /** How much of the item the caller has heard, in milliseconds; 0 for an unknown item. */
  playedMs(itemId: string, nowMs: number): number
  /** The item that the caller hears now or heard last; null before any. */
  currentItem(nowMs: number): string | null
  /** Speech that waits to be sent, in milliseconds, ring and backlog together. */
  pendingMs(): number
  /** When the last agent sample was written to the socket; null before any. */
  lastSentAtMs(): number | null
}
