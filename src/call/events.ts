import type { BackendEvent } from './backend-events.js'
import type { CallLogEntry } from './call-log.js'
import type {
  CallOutcome,
  CallbackAsk,
  EndReason,
  EscalationHistory,
  EscalationOutcome,
  EscalationStrategy,
  TranscriptEntry,
} from './record.js'
import type { LegRateHz } from '../core/units.js'
import type { CarrierState } from '../sautikit/carrier-state.js'

export type { CarrierState } from '../sautikit/carrier-state.js'

/**
 * Why the media socket closed, when it was closed neither normally nor by us:
 * - `carrier-protocol`: the carrier violated the WebSocket protocol, or sent a frame over the size limit;
 * - `carrier-error`: it closed with an error code (1002, 1011, …);
 * - `socket-lost`: the connection ended without a close frame, as when a leg is lost abruptly;
 * - `carrier-silent`: nothing came, not even pongs;
 * - `drain-limit`: this process shuts down.
 */
export interface StreamFault {
  readonly reason: EndReason & ('carrier-protocol' | 'carrier-error' | 'socket-lost' | 'carrier-silent' | 'drain-limit')
  readonly detail: string
}

/**
 * Everything that can happen to a call session. Inputs are plain data, passed with their time, so that a journal of
 * them can be replayed.
 */
export type CallInput =
  /**
   * The carrier's media socket is open, since `openedAtMs`, which is not after the time of the input; absent: since that
   * time. On a busy machine a worker hears of it late, and the caller has waited since the opening.
   */
  | { readonly type: 'stream-opened'; readonly sampleRateHz: LegRateHz; readonly openedAtMs?: number }
  /** The first text frame named a call; `matches` is false when it was not the call of the token. */
  | { readonly type: 'stream-metadata'; readonly matches: boolean }
  /** The carrier's media socket is closed (also after we closed it). */
  | { readonly type: 'stream-closed'; readonly code: number; readonly fault?: StreamFault }
  /** A lifecycle event from a webhook. */
  | { readonly type: 'carrier-state'; readonly state: CarrierState }
  /** Who took a call that we placed (`AnswerGuard`); only when the options ask for it. */
  | { readonly type: 'screened'; readonly who: 'human' | 'machine' | 'silence'; readonly why: string }
  /** The gateway or an operator ends the call; with `speak` the agent says its goodbye first. */
  | { readonly type: 'hangup-requested'; readonly reason: EndReason; readonly detail: string; readonly speak: boolean }
  /** An operator wants a human on the call. */
  | { readonly type: 'escalate-requested'; readonly reason: string }
  /** What the escalation machine asks the session to do. */
  | { readonly type: 'escalation'; readonly step: EscalationStep }
  | { readonly type: 'dtmf'; readonly digit: string }
  | { readonly type: 'backend'; readonly event: BackendEvent }
  | {
      readonly type: 'tool-result'
      readonly callId: string
      readonly ok: boolean
      readonly value: unknown
      readonly error?: string
    }
  /** Playout: the first sample of an item went to the carrier's socket. */
  | { readonly type: 'item-started'; readonly itemId: string; readonly sentAtMs: number }
  /** Playout: the caller has heard the last sample of an item. */
  | { readonly type: 'item-heard'; readonly itemId: string }
  /** A phrase of the gateway could not be synthesised. */
  | { readonly type: 'announce-failed'; readonly itemId: string }
  | { readonly type: 'timer' }

export type EscalationStep =
  /**
   * Finish what is being said, then close the stream: the carrier will ask how to continue. `mayBeSilent`: the carrier
   * may hold the caller in silence instead, which we could not end, so the caller is told what to do in that case.
   */
  | { readonly type: 'close-stream'; readonly mayBeSilent: boolean }
  /** Keep the stream open and be silent: the human joins this leg. */
  | { readonly type: 'hold' }
  | { readonly type: 'bridged'; readonly strategy: EscalationStrategy }
  /** Nobody can be reached: tell the caller, and ask whether to call back. `closed`: outside of opening hours. */
  | { readonly type: 'offer'; readonly outcome: EscalationOutcome; readonly detail: string; readonly closed: boolean }
  /** Every strategy failed: tell the caller, continue. */
  | { readonly type: 'failed'; readonly outcome: EscalationOutcome; readonly detail: string; readonly closed: boolean }

/** Kind of speech of an item; only some kinds count as an answer (`Turns`). */
export type SpeechKind = 'answer' | 'filler' | 'prompt' | 'apology' | 'goodbye' | 'escalation'

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
  | { readonly type: 'backend-tool-result'; readonly callId: string; readonly ok: boolean; readonly value: unknown }
  | { readonly type: 'backend-interrupt'; readonly itemId: string | null; readonly playedMs: number }
  | { readonly type: 'backend-close'; readonly reason: string }
  /** Barge-in, step one: fall silent with a fade, keep everything. */
  | { readonly type: 'playout-pause' }
  /** A false interruption: continue where playout paused, with a fade. */
  | { readonly type: 'playout-resume' }
  /** Barge-in, step two: discard what was not sent and flush the carrier. */
  | { readonly type: 'playout-clear' }
  /** Say a phrase of the gateway; it goes through the same playout as item `itemId`. */
  | { readonly type: 'announce'; readonly itemId: string; readonly text: string; readonly kind: SpeechKind }
  | {
      readonly type: 'run-tool'
      readonly callId: string
      readonly name: string
      readonly args: Readonly<Record<string, unknown>>
      /** Earlier calls of this tool with these arguments; part of the effect's key (`ToolLedger`). */
      readonly occurrence: number
    }
  | { readonly type: 'cancel-tools'; readonly callIds: readonly string[] }
  /** Escalate to a human; the packet is stored before the stream ends. */
  | { readonly type: 'escalate'; readonly packet: EscalationPacket }
  /** The caller's answer to the offer of a call back (null: no), or a request without an offer. */
  | { readonly type: 'callback'; readonly wish: CallbackWish | null }
  /** The caller has heard that the call is recorded. */
  | { readonly type: 'recording-announced' }
  /** Close the carrier's socket. `hangup` asks the carrier to end the call too (else it holds the leg in silence). */
  | {
      readonly type: 'end-stream'
      readonly code: number
      readonly reason: EndReason
      readonly detail: string
      readonly hangup: boolean
    }
  /** A new entry of the call log. */
  | { readonly type: 'log'; readonly entry: CallLogEntry }
  /** Of the timeline. `atMs` absent: the time of the input. */
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
  readonly packet: EscalationPacket
}

/** The handoff packet as far as the session knows it. */
export interface EscalationPacket {
  readonly version: 1
  readonly callSid: string
  readonly agent: string
  readonly reason: string
  readonly summary: string
  /** Verified identity and account id, when the agent has established them. */
  readonly identity: Readonly<Record<string, unknown>> | null
  /** Tool calls of this call, with their outcome. */
  readonly tried: readonly {
    readonly name: string
    readonly ok: boolean
    readonly args: Readonly<Record<string, unknown>>
  }[]
  readonly transcript: readonly TranscriptEntry[]
  /** Calendar time, ISO 8601. */
  readonly at: string
}

/**
 * The complete handoff packet for the human. Stored under the call SID before the stream ends; versioned as
 * `schema/handoff.schema.json`.
 */
export interface Handoff extends EscalationPacket {
  /** Whom to call back; empty when withheld. */
  readonly from: string
  readonly to: string
  /** Progress of the escalation; null before it begins. */
  readonly escalation: EscalationHistory | null
}

/** What the session reads about speech on its way to the caller; implemented by `PlayoutLedger`. */
export interface PlayoutView {
  /** True while the caller hears agent sound, or will hear it without another output of the session. */
  audible(nowMs: number): boolean
  /** How much of the item the caller has heard, in milliseconds; 0 for an unknown item. */
  heardMs(itemId: string, nowMs: number): number
  /** The item that the caller hears now or heard last; null before any. */
  currentItem(nowMs: number): string | null
  /** Speech that waits to be sent, in milliseconds, ring and backlog together. */
  pendingMs(): number
  /** When the last agent sample was written to the socket; null before any. */
  lastSentAtMs(): number | null
}
