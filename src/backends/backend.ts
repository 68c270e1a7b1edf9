import type { BackendEvent } from '../call/backend-events.js'
import type { SampleRateHz } from '../core/units.js'

export type { BackendErrorCode, BackendEvent, BackendUsage } from '../call/backend-events.js'

/** What a backend can do; fixed before `connect`. */
export interface BackendCapabilities {
  /** The name in metrics and records: `embedded`, `openai`, `gemini`, ... */
  readonly name: string
  /** Rate of the samples for `pushAudio`; the gateway resamples to it. */
  readonly inputRateHz: SampleRateHz
  /** Usual rate of the samples for `BackendSink.audio`; each call of it states its own rate. */
  readonly outputRateHz: SampleRateHz
  /** False: the gateway's VAD calls `speechStart` and `speechEnd`. True: the backend detects speech itself. */
  readonly serverVad: boolean
  /** The backend cuts an interrupted item to what the caller heard, or tells the model what that was. */
  readonly truncate: boolean
  /**
   * The model owns the floor: it hears and speaks at the same time, and decides by itself when it begins and stops. An
   * interruption only ends what the caller hears. Absent: false, the gateway asks for each answer.
   */
  readonly fullDuplex?: boolean
  /** Longest session; null for no limit. */
  readonly maxSessionMs: number | null
}

/** A tool as the model sees it. */
export interface ToolSpec {
  readonly name: string
  readonly description: string
  /** JSON Schema of the arguments object. */
  readonly parameters: Readonly<Record<string, unknown>>
}

/** One line of what was said, for a session that replaces another. */
export interface HistoryEntry {
  readonly role: 'caller' | 'agent'
  readonly text: string
}

/** A tool call that has its result, so that it is not run again. */
export interface ToolLedgerEntry {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly ok: boolean
  readonly result: unknown
}

/** What a backend gets in `connect`. Plain data: it crosses threads by structured clone. */
export interface BackendSession {
  readonly callSid: string
  readonly agent: string
  /** The caller's number in E.164; empty when withheld. Never logged. */
  readonly from: string
  readonly to: string
  readonly instructions: string
  readonly greeting: string | null
  readonly tools: readonly ToolSpec[]
  readonly language: string
  readonly voice: string | null
  /** What was said and done before, when this session replaces another during a call. */
  readonly history: readonly HistoryEntry[]
  readonly toolLedger: readonly ToolLedgerEntry[]
  /** The agent's `offline:` block as loaded, for the embedded backend; null for an agent that has none. */
  readonly offline: unknown
  /** The backend's own state from a checkpoint (`Backend.snapshot`); null at the start of a call. */
  readonly resume: unknown
}

export interface ToolReply {
  readonly ok: boolean
  /** The tool's answer, or `{ error }` in words that the model can use. JSON-safe. */
  readonly value: unknown
}

/** Receives a backend's events and audio; all methods are called on the call's own thread. */
export interface BackendSink {
  event(event: BackendEvent): void
  /**
   * The agent's speech: any number of samples, usually faster than real time. The memory belongs to the backend and is
   * valid only during the call.
   */
  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void
}

/**
 * A realtime model, or something that behaves like one. One instance serves one call and is never reused.
 * No method throws because of a fault of the service: faults are `error` and `closed` events.
 */
export interface Backend {
  readonly capabilities: BackendCapabilities
  /** Resolves when ready for audio (after the `ready` event). Rejects with GatewayError BACKEND_*. */
  connect(session: BackendSession, signal: AbortSignal): Promise<void>
  /**
   * Caller audio at `inputRateHz`, 20 ms a frame; copied before return. Never blocks; drops the oldest when full.
   * @param voiced  the gateway's voice activity detection found voice in the frame; true when this is not known
   */
  pushAudio(pcm: Int16Array, voiced?: boolean): void
  /** The caller began to speak, up to 300 ms ago; more frames follow through `pushAudio`. Only without `serverVad`. */
  speechStart(atMs: number): void
  /** The caller stopped speaking; `atMs` is the time of the last voiced sample. */
  speechEnd(atMs: number): void
  /** Adds a text; `respond` asks for an answer to it. */
  sendText(text: string, options: { readonly role: 'caller' | 'system'; readonly respond: boolean }): void
  dtmf(digit: string): void
  /** The result of a tool call, exactly once each; unknown and repeated ids are ignored. */
  toolResult(callId: string, reply: ToolReply): void
  /** Stops the answer; the caller heard `itemId` up to `playedMs`. Idempotent, safe when idle. */
  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void
  updateSession(update: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void
  /** Small JSON-safe state to resume this conversation in a new instance; null when the history is enough. */
  snapshot(): unknown
  /**
   * Counts of irregularities so far, by kind: messages that could not be read, late audio, and the like. For metrics
   * and the call record. Optional.
   */
  counters?(): Readonly<Record<string, number>>
  /** Idempotent; resolves within 1 s, after the `closed` event. */
  close(reason: string): Promise<void>
}

/** Makes the backend of one call. */
export type BackendFactory = (sink: BackendSink) => Backend
