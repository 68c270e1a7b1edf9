import type { BackendEvent } from '../call/backend-events.js'
import type { CallerValues } from '../call/caller-data.js'
import type { GatewayTool as ToolSpec } from '../call/tools/gateway-tools.js'
import type { LocalizedText } from '../call/spoken/localized-text.js'
import type { SampleRateHz } from '../core/units.js'
import type { Pronunciation } from '../speech/spoken/pronunciations.js'

export type { BackendErrorCode, BackendEvent, BackendUsage } from '../call/backend-events.js'
export type { ToolSpec }

/** Abilities of a backend; fixed before `connect`. */
export interface BackendCapabilities {
  /** The name in metrics and records: `embedded`, `openai`, `gemini`, ... */
  readonly name: string
  /** Rate of the samples for `pushAudio`; the gateway resamples to it. */
  readonly inputRateHz: SampleRateHz
  /** Usual rate of the samples for `BackendSink.audio`; each call of it states its own rate. */
  readonly outputRateHz: SampleRateHz
  /** False: the gateway's VAD calls `speechStart` and `speechEnd`. True: the backend detects speech itself. */
  readonly serverVad: boolean
  /**
   * It stops its answer by itself when it hears speech. False, with `serverVad`: the gateway decides what interrupts, and
   * calls `interrupt`.
   * @defaultValue `serverVad`
   */
  readonly serverInterrupts?: boolean
  /** The backend cuts an interrupted item to what the caller heard, or tells the model what that was. */
  readonly truncate: boolean
  /**
   * The model owns the floor: it hears and speaks at the same time, and decides by itself when it begins and stops. An
   * interruption only ends what the caller hears. False: the gateway asks for each answer.
   * @defaultValue `false`
   */
  readonly fullDuplex?: boolean
  /**
   * `speechEnd` takes `unless`: speech may be given that is not meant for the backend. With `serverVad` `speechEnd` comes
   * then too, and only so: right after a `speech-stopped` over an answer that the caller still hears, and that the
   * service may have finished.
   * @defaultValue `false`
   */
  readonly weighsSpeech?: boolean
  /**
   * It can speak slower and faster in mid-session (`SessionUpdate.speed`).
   * @defaultValue `false`
   */
  readonly changesSpeed?: boolean
  /**
   * `updateSession` changes the tools in mid-session. False: the session begins with those of all stages, and the call
   * refuses those that are not for its stage.
   * @defaultValue `true`
   */
  readonly changesTools?: boolean
  /**
   * A text of the gateway's (`sendText` as `system`) reaches a model, which can say what is in it. False: a script has words
   * for what it asked for itself, and for nothing else.
   * @defaultValue `true`
   */
  readonly readsTexts?: boolean
  /**
   * It reports each request to a model with `BackendSink.asks`. False: the call counts what it gives it to answer.
   * @defaultValue `false`
   */
  readonly countsRequests?: boolean
  /** Longest session; null for no limit. */
  readonly maxSessionMs: number | null
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
  /**
   * The result only says that the outcome comes later.
   * @defaultValue `false`
   */
  readonly pending?: true
}

/** Arguments of a backend's `connect`. Plain data: it crosses threads by structured clone. */
export interface BackendSession {
  readonly callSid: string
  readonly agent: string
  /** The caller's number in E.164; empty when withheld. Never logged. */
  readonly from: string
  readonly to: string
  readonly instructions: string
  readonly greeting: string | null
  readonly tools: readonly ToolSpec[]
  /** Tag of the language that the call is in, such as `sw-KE`. */
  readonly language: string
  /** Tags of the languages that the agent speaks: what recognisers are to expect. */
  readonly languages: readonly string[]
  readonly voice: string | null
  /**
   * Voices by backend that differ from the agent's now (`SessionUpdate.voices`).
   * @defaultValue none
   */
  readonly voices?: Readonly<Record<string, LocalizedText>>
  /**
   * Times the speed that the voice is set to, 0.7 to 1.3: what the caller has asked for.
   * @defaultValue 1
   */
  readonly speed?: number
  /**
   * Names that a voice gets in another spelling than the transcript.
   * @defaultValue none
   */
  readonly pronunciations?: readonly Pronunciation[]
  /**
   * Names that callers are likely to say, at most 40 of 40 characters: for recognisers that take such a list.
   * @defaultValue none
   */
  readonly vocabulary?: readonly string[]
  /** Words and tool calls from before, when this session replaces another during a call. */
  readonly history: readonly HistoryEntry[]
  readonly toolLedger: readonly ToolLedgerEntry[]
  /** The agent's `offline:` block as loaded, for the embedded backend; null for an agent that has none. */
  readonly offline: unknown
  /** The day where the callers are, as `2026-11-25`. @defaultValue none: no day is understood */
  readonly today?: string
  /** Values of the caller that may be said, by field: for a script; a model finds them in its instructions. @defaultValue nothing */
  readonly caller?: CallerValues
  /** True if the human colleagues are there now, by their opening hours. @defaultValue true */
  readonly humansThere?: boolean
  /** The backend's own state from a checkpoint (`Backend.snapshot`); null at the start of a call. */
  readonly resume: unknown
}

/** Values that may change during a session (`Backend.updateSession`). */
export interface SessionUpdate {
  /** @defaultValue unchanged */
  readonly instructions?: string
  /**
   * The part of the instructions that is new, for a service that cannot replace them and takes a text.
   * @defaultValue `instructions`
   */
  readonly news?: string
  /** @defaultValue unchanged */
  readonly tools?: readonly ToolSpec[]
  /**
   * New greeting, if it is still to come: more is known of the caller.
   * @defaultValue unchanged
   */
  readonly greeting?: string | null
  /** @defaultValue unchanged */
  readonly caller?: CallerValues
  /**
   * Tag of the language that the caller speaks now: of a voice's texts.
   * @defaultValue unchanged
   */
  readonly language?: string
  /**
   * Voices by backend, each one name or one for each language. A backend whose service keeps the voice that it began with
   * ignores them.
   * @defaultValue unchanged
   */
  readonly voices?: Readonly<Record<string, LocalizedText>>
  /**
   * The conversation before the caller's last words is no longer needed, because the instructions summarise it. A service
   * that can remove it from the model's memory does so.
   * @defaultValue `false`
   */
  readonly forget?: boolean
  /**
   * Times the speed that the voice is set to, 0.7 to 1.3; a service whose range is narrower takes the nearest.
   * @defaultValue unchanged
   */
  readonly speed?: number
}

export interface ToolReply {
  readonly ok: boolean
  /** The tool's answer, or `{ error }` in words that the model can use. JSON-safe. */
  readonly value: unknown
  /**
   * The value only says that the outcome comes later, with `toolOutcome` or as a text. A backend whose dialogue waits for
   * results ignores it.
   * @defaultValue `false`
   */
  readonly pending?: true
}

/** Receives a backend's events and audio; all methods are called on the call's own thread. */
export interface BackendSink {
  event(event: BackendEvent): void
  /**
   * The agent's speech: any number of samples, usually faster than real time. The memory belongs to the backend and is
   * valid only during the call.
   */
  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void
  /**
   * A model is about to be asked, by a backend with `countsRequests`. Absent: it may be.
   * @returns false where the call has asked its models too often: nothing is asked, and the session is closed
   */
  asks?(): boolean
  /** The service reported its remaining limits. Optional. */
  rateLimits?(limits: readonly RateLimit[]): void
}

/** One limit of a key at its service, as the service reported it. */
export interface RateLimit {
  /** `requests`, `tokens`. */
  readonly name: string
  readonly limit: number
  readonly remaining: number
  readonly resetMs: number
}

/** Kind of a text (`Backend.sendText`), and whether it needs an answer. */
export type TextOptions =
  | { readonly role: 'caller' | 'system'; readonly respond: boolean }
  | { readonly role: 'agent'; readonly respond: false }

/**
 * A realtime model, or something that behaves like one. One instance serves one call and is never reused.
 * No method throws because of a fault of the service: faults are `error` and `closed` events.
 */
export interface Backend {
  readonly capabilities: BackendCapabilities
  /**
   * Opens the session; called once. Resolves when ready for audio (after the `ready` event). Rejects with GatewayError
   * BACKEND_*, after an `error` and a `closed` event with the same fault; an abort of `signal`, when the caller hangs up
   * while it connects, rejects with BACKEND_CLOSED. The model gets history and tool ledger before its first turn.
   */
  connect(session: BackendSession, signal: AbortSignal): Promise<void>
  /**
   * Caller audio at `inputRateHz`, 20 ms a frame; copied before return. Never blocks; drops the oldest when full.
   * @param voiced  the gateway's voice activity detection found voice in the frame; undefined when this is not known
   */
  pushAudio(pcm: Int16Array, voiced?: boolean): void
  /**
   * The caller began to speak, up to a second ago; more frames follow through `pushAudio`. It ends no answer by itself:
   * where the speech interrupts, `interrupt` comes too. Only without `serverVad`. Before `ready`: kept, with the audio.
   */
  speechStart(atMs: number): void
  /**
   * The caller stopped speaking; `atMs` is the time of the last voiced sample.
   * @param unless  set where the speech may not be meant for the agent (a television, a backchannel): without words, or
   *   with none but these, or with words that hardly fit the sound, no event follows. Only with `weighsSpeech`.
   */
  speechEnd(atMs: number, unless?: readonly string[]): void
  /**
   * Adds a text to the conversation: what the caller wrote (`caller`), a note of the gateway's for the model (`system`), or
   * what the caller heard the gateway say in the agent's place (`agent`: a silence prompt, a filler, an apology), which
   * becomes the model's own words. `respond` asks for one answer to it, once nobody speaks; without it the model knows
   * the text from its next answer on.
   *
   * `sendText('', { role: 'system', respond: true })` asks the agent to begin without saying how. The backend puts its own
   * words in the place of the empty text: to greet with `session.greeting` as it stands, with a greeting of the model's
   * own where that is null, and to go on without a greeting where the session has a history (`openingText` of
   * `mkondo/transport`). Before `ready`: at most 16 texts are kept.
   */
  sendText(text: string, options: TextOptions): void
  /**
   * The caller pressed a key: `0` to `9`, `*`, `#`, `A` to `D`; anything else is ignored. Keys belong together until `#`
   * or a pause (`KeyEntry` of `mkondo/transport`); the model gets them as one text and answers it, and the call gets
   * them as a transcript of the caller (`keysTranscript`).
   */
  dtmf(digit: string): void
  /**
   * The result of a tool call, exactly once each; unknown and repeated ids are ignored, also those of calls that
   * `tool-cancel` took back. It may come when the turn of the call is long over. With the last result of an answer's
   * calls the model goes on, unless the caller is speaking: then after that speech.
   */
  toolResult(callId: string, reply: ToolReply): void
  /**
   * The outcome of a call whose `toolResult` was `pending`. Optional: of a backend whose dialogue waits for it.
   * @returns true when its dialogue takes it as the call's result; otherwise the outcome is sent as a text
   */
  toolOutcome?(callId: string, reply: ToolReply): boolean
  /**
   * Stops the answer; the caller heard `itemId` up to `playedMs` (of the item's sound; null: nothing). When this returns,
   * `turn-done` *cancelled* was emitted, and nothing of the answer is delivered any more, however late it comes. What was
   * not heard must not stay in the model's memory, as far as the service allows (`truncate`). Idempotent, safe when idle,
   * and may come from within an event or a piece of audio.
   */
  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void
  /**
   * Replaces instructions, tools, language, voice or speed from the model's next answer on; what is absent stays. Causes none. A
   * service that cannot change them in mid-session ignores it, and counts it in `counters`.
   */
  updateSession(update: SessionUpdate): void
  /** Small JSON-safe state to resume this conversation in a new instance; null when the history is enough. */
  snapshot(): unknown
  /**
   * Goes on exactly where `previous` is: sends the service what it had not consumed of what `previous` sent. Called when
   * this instance is ready, was made from a snapshot of `previous`, and takes its place. Optional.
   * @returns true when nothing needs to be replayed; false when this is not possible: then the input without an answer
   *   is replayed
   */
  continueFrom?(previous: Backend): boolean
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
