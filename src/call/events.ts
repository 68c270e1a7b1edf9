import type { BackendEvent } from './backend-events.js'
import type { CallLogEntry } from './call-log.js'
import type {
  CallOutcome, CallbackAsk, EndReason, EscalationHistory, EscalationOutcome, EscalationStrategy, TranscriptEntry,
} from './record.js'
import type { LegRateHz } from '../core/units.js'
import type { CarrierState } from '../sautikit/carrier-state.js'

export type { CarrierState } from '../sautikit/carrier-state.js'

/**
 * Why the media socket went away, where it was neither closed in order nor by us:
 * - `carrier-protocol`: the carrier broke the rules of WebSocket, or sent a frame over the bound;
 * - `carrier-error`: it closed with a code that says that something failed (1002, 1011, …);
 * - `socket-lost`: the connection ended without a close frame, as it does when a leg is lost abruptly;
 * - `carrier-silent`: nothing came, not even answers to pings;
 * - `drain-limit`: this process ends.
 */
export interface StreamFault {
  readonly reason: EndReason & ('carrier-protocol' | 'carrier-error' | 'socket-lost' | 'carrier-silent' | 'drain-limit')
  readonly detail: string
}

/**
 * Everything that can happen to a call session. Inputs are plain data with the time beside them, so that a
 * journal of them runs the call again.
 */
export type CallInput =
  /** The carrier's media socket is open. */
  | { readonly type: 'stream-opened'; readonly sampleRateHz: LegRateHz }
  /** The first text frame named a call; `matches` is false when it was another than the token's. */
  | { readonly type: 'stream-metadata'; readonly matches: boolean }
  /** The carrier's media socket is gone (also after we closed it). */
  | { readonly type: 'stream-closed'; readonly code: number; readonly fault?: StreamFault }
  /** A lifecycle edge from a webhook. */
  | { readonly type: 'carrier-state'; readonly state: CarrierState }
  /** Who took a call that we placed (`AnswerGuard`); only where the options ask for it. */
  | { readonly type: 'screened'; readonly who: 'human' | 'machine' | 'silence'; readonly why: string }
  /** Someone on our side wants the call ended: `speak` says whether the agent's goodbye is spoken first. */
  | { readonly type: 'hangup-requested'; readonly reason: EndReason; readonly detail: string; readonly speak: boolean }
  /** An operator wants a human on the call. */
  | { readonly type: 'escalate-requested'; readonly reason: string }
  /** What the escalation machine wants of the stream. */
  | { readonly type: 'escalation'; readonly step: EscalationStep }
  | { readonly type: 'dtmf'; readonly digit: string }
  | { readonly type: 'backend'; readonly event: BackendEvent }
  | { readonly type: 'tool-result'; readonly callId: string; readonly ok: boolean; readonly value: unknown; readonly error?: string }
  /** Playout: the first sample of an item went to the carrier's socket. */
  | { readonly type: 'item-started'; readonly itemId: string; readonly sentAtMs: number }
  /** Playout: the last sample of an item has left, and the caller has heard it. */
  | { readonly type: 'item-heard'; readonly itemId: string }
  /** A phrase of the gateway could not be synthesised. */
  | { readonly type: 'announce-failed'; readonly itemId: string }
  | { readonly type: 'timer' }

export type EscalationStep =
  /**
   * Finish what is being said, then close the stream: the carrier will ask how to go on. `mayBeSilent`: it may also hold
   * the caller in silence, and nobody could end that, so the caller is told what to do then.
   */
  | { readonly type: 'close-stream'; readonly mayBeSilent: boolean }
  /** Keep the stream open and be silent: the human joins this leg. */
  | { readonly type: 'hold' }
  | { readonly type: 'bridged'; readonly strategy: EscalationStrategy }
  /** Nobody can be reached: tell the caller, and ask whether to call back. `closed`: not at this hour. */
  | { readonly type: 'offer'; readonly outcome: EscalationOutcome; readonly detail: string; readonly closed: boolean }
  /** Every strategy failed: tell the caller, go on. */
  | { readonly type: 'failed'; readonly outcome: EscalationOutcome; readonly detail: string; readonly closed: boolean }

/** What kind of speech an item is: fillers do not count as an answer. */
export type SpeechKind = 'answer' | 'filler' | 'prompt' | 'apology' | 'goodbye' | 'escalation'

/** Everything a session can ask for. Drained with `pollOutput()` after every input. */
export type CallOutput =
  /** The gateway's own VAD saw the caller start or stop; only for backends without their own. */
  | { readonly type: 'backend-speech-start'; readonly atMs: number }
  | { readonly type: 'backend-speech-end'; readonly atMs: number }
  | { readonly type: 'backend-text'; readonly text: string; readonly role: 'caller' | 'system'; readonly respond: boolean }
  | { readonly type: 'backend-dtmf'; readonly digit: string }
  | { readonly type: 'backend-tool-result'; readonly callId: string; readonly ok: boolean; readonly value: unknown }
  | { readonly type: 'backend-interrupt'; readonly itemId: string | null; readonly playedMs: number }
  | { readonly type: 'backend-close'; readonly reason: string }
  /** Barge-in, step one: fall silent with a fade, keep everything. */
  | { readonly type: 'playout-pause' }
  /** A false interruption: go on where it paused, with a fade. */
  | { readonly type: 'playout-resume' }
  /** Step two: throw away what was not yet sent and flush the carrier. */
  | { readonly type: 'playout-clear' }
  /** Say a phrase of the gateway's own; arrives through the same playout as item `itemId`. */
  | { readonly type: 'announce'; readonly itemId: string; readonly text: string; readonly kind: SpeechKind }
  | {
      readonly type: 'run-tool'; readonly callId: string; readonly name: string
      readonly args: Readonly<Record<string, unknown>>; readonly idempotencyKey: string
    }
  | { readonly type: 'cancel-tools'; readonly callIds: readonly string[] }
  /** Hand the caller to a human; the packet is stored before the stream ends. */
  | { readonly type: 'escalate'; readonly packet: EscalationPacket }
  /** The caller's answer to the offer of a call back, or a wish for one that came of itself. */
  | { readonly type: 'callback'; readonly wish: CallbackWish | null }
  /** The caller has heard that this call is recorded. */
  | { readonly type: 'recording-announced' }
  /** Close the carrier's socket. `hangup` asks the carrier to end the call too (else it holds the leg in silence). */
  | { readonly type: 'end-stream'; readonly code: number; readonly reason: EndReason; readonly detail: string; readonly hangup: boolean }
  /** Something is part of the call's record now. */
  | { readonly type: 'log'; readonly entry: CallLogEntry }
  | { readonly type: 'mark'; readonly name: string; readonly detail?: string }
  /** The session changed in a way that a takeover must know. Read it with `checkpoint()`. */
  | { readonly type: 'checkpoint-due' }
  /** Last output of a session: nothing is wanted of it any more. */
  | { readonly type: 'ended'; readonly outcome: CallOutcome; readonly reason: EndReason; readonly detail: string }

/** A caller wants to be called back. */
export interface CallbackWish {
  readonly asked: CallbackAsk
  /** E.164; null for the number that they call from. */
  readonly number: string | null
  readonly note: string
  readonly packet: EscalationPacket
}

/** What the session knows for the human who gets the caller. */
export interface EscalationPacket {
  readonly version: 1
  readonly callSid: string
  readonly agent: string
  readonly reason: string
  readonly summary: string
  /** Verified identity and account id, when the agent has established them. */
  readonly identity: Readonly<Record<string, unknown>> | null
  /** Tools that ran, with their outcome in short. */
  readonly tried: readonly { readonly name: string; readonly ok: boolean; readonly args: Readonly<Record<string, unknown>> }[]
  readonly transcript: readonly TranscriptEntry[]
  /** Calendar time, ISO 8601. */
  readonly at: string
}

/** What the human gets. Stored under the call SID before the stream ends; versioned as `schema/handoff.schema.json`. */
export interface Handoff extends EscalationPacket {
  /** Whom to call back; empty when withheld. */
  readonly from: string
  readonly to: string
  /** How it goes, or went. */
  readonly escalation: EscalationHistory | null
}

/** What the session must know of the speech that is on its way to the caller; `PlayoutLedger` answers. */
export interface PlayoutView {
  /** True while the caller hears agent sound, or will without another output of ours. */
  audible(nowMs: number): boolean
  /** Milliseconds of the item that the caller has heard; 0 for an unknown item. */
  heardMs(itemId: string, nowMs: number): number
  /** The item that the caller hears now or heard last; null before any. */
  currentItem(nowMs: number): string | null
  /** Speech that waits to be sent, in milliseconds, ring and backlog together. */
  pendingMs(): number
  /** When the last agent sample was given to the socket; null when none was. */
  lastSentAtMs(): number | null
}
