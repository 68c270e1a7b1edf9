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
  /** Name in metrics and records, such as `embedded`. */
  readonly name: string
  /** Sample rate of the audio for `pushAudio`. The gateway resamples the caller's audio to this rate. */
  readonly inputRateHz: SampleRateHz
  /** Usual sample rate of the audio for `BackendSink.audio`. The actual rate is an argument of each `audio`. */
  readonly outputRateHz: SampleRateHz
  /** False: the gateway's VAD calls `speechStart` and `speechEnd`. True: the backend detects speech itself. */
  readonly serverVad: boolean
  /**
   * True if the backend stops its answer by itself when it detects speech. If it is false and `serverVad` is true, the
   * gateway decides which speech interrupts the agent, and calls `interrupt`.
   * @defaultValue `serverVad`
   */
  readonly serverInterrupts?: boolean
  /**
   * Minimum silence in ms before a backend with `serverVad` ends a turn. During this silence, the gateway may pass the
   * caller's audio up to 60 ms late.
   * @defaultValue 0
   */
  readonly turnEndFromMs?: number
  /**
   * Maximum silence in ms before a backend with `serverVad` ends a turn. After this silence, the gateway may pass quiet
   * audio up to 60 ms late.
   * @defaultValue `Infinity`
   */
  readonly turnEndToMs?: number
  /**
   * True if the backend shortens an interrupted item to the part that the caller heard, or tells the model which part
   * the caller heard.
   */
  readonly truncate: boolean
  /**
   * True if the model listens and speaks at once, and decides when to speak. An interruption then stops only the sound
   * for the caller, not the model. False: the gateway requests each answer.
   * @defaultValue `false`
   */
  readonly fullDuplex?: boolean
  /**
   * True if `speechEnd` accepts `unless`, so that the backend can ignore speech that was not meant for the agent. If
   * such a backend has `serverVad`, `speechEnd` is called only right after a `speech-stopped`, while the caller still
   * hears an answer. The service may already have sent the whole answer.
   * @defaultValue `false`
   */
  readonly weighsSpeech?: boolean
  /**
   * True if the backend can change its speaking speed during a session (`SessionUpdate.speed`).
   * @defaultValue `false`
   */
  readonly changesSpeed?: boolean
  /**
   * True if `updateSession` can change the tools during a session. False: the session has the tools of all stages, and
   * the gateway refuses tools of other stages.
   * @defaultValue `true`
   */
  readonly changesTools?: boolean
  /**
   * True if a text of the gateway (`sendText` as `system`) reaches a model. False: the backend is a script, which
   * ignores such texts.
   * @defaultValue `true`
   */
  readonly readsTexts?: boolean
  /**
   * True if the backend reports each request to a model with `BackendSink.asks`. False: the gateway counts each input
   * that the backend has to answer.
   * @defaultValue `false`
   */
  readonly countsRequests?: boolean
  /** Maximum duration of a session in ms; null for no limit. */
  readonly maxSessionMs: number | null
}

/** Words of the caller or the agent in an earlier session, for a session that replaces it. */
export interface HistoryEntry {
  readonly role: 'caller' | 'agent'
  readonly text: string
}

/** A tool call with its result. A new session must not make this tool call again. */
export interface ToolLedgerEntry {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly ok: boolean
  readonly result: unknown
  /**
   * True if the result is only the message that the outcome comes later.
   * @defaultValue `false`
   */
  readonly pending?: true
}

/** Arguments of a backend's `connect`. Plain data, which can be copied between threads. */
export interface BackendSession {
  readonly callSid: string
  readonly agent: string
  /** The caller's phone number in E.164; empty if withheld. Never logged. */
  readonly from: string
  readonly to: string
  readonly instructions: string
  readonly greeting: string | null
  readonly tools: readonly ToolSpec[]
  /** Tag of the call's language, such as `sw-KE`. */
  readonly language: string
  /** Tags of the languages that the agent speaks, for recognisers. */
  readonly languages: readonly string[]
  readonly voice: string | null
  /**
   * Voices by backend, if they differ from the voices in the agent's file (`SessionUpdate.voices`).
   * @defaultValue none
   */
  readonly voices?: Readonly<Record<string, LocalizedText>>
  /**
   * Factor for the voice's configured speed, 0.7 to 1.3, if the caller asked for another speed.
   * @defaultValue 1
   */
  readonly speed?: number
  /**
   * Names that the voice needs in another spelling than the transcript.
   * @defaultValue none
   */
  readonly pronunciations?: readonly Pronunciation[]
  /**
   * Names that callers are likely to say, for recognisers that accept such a list. At most 40 names of at most 40
   * characters.
   * @defaultValue none
   */
  readonly vocabulary?: readonly string[]
  /** Earlier words and tool calls of the call, if this session replaces another session. */
  readonly history: readonly HistoryEntry[]
  readonly toolLedger: readonly ToolLedgerEntry[]
  /** The agent's `offline:` block, which the embedded backend needs; null if the agent's file does not have one. */
  readonly offline: unknown
  /**
   * Today's date in the callers' time zone, such as `2026-11-25`. Without this date the backend does not understand
   * words such as "tomorrow".
   * @defaultValue none
   */
  readonly today?: string
  /**
   * The caller's values that the agent may say, by field. Only a script needs this field, because a model finds these
   * values in its instructions.
   * @defaultValue none
   */
  readonly caller?: CallerValues
  /** True if human colleagues are available now, according to their opening hours. @defaultValue true */
  readonly humansThere?: boolean
  /** The backend's own state from a checkpoint (`Backend.snapshot`); null at the start of a call. */
  readonly resume: unknown
}

/** Values that may change during a session (`Backend.updateSession`). */
export interface SessionUpdate {
  /** @defaultValue the present instructions */
  readonly instructions?: string
  /**
   * The new part of the instructions. It is sent as a text if the service cannot replace its instructions.
   * @defaultValue `instructions`
   */
  readonly news?: string
  /** @defaultValue the present tools */
  readonly tools?: readonly ToolSpec[]
  /**
   * New greeting, if the gateway now knows more about the caller. Ignored if the agent has already greeted.
   * @defaultValue the present greeting
   */
  readonly greeting?: string | null
  /** @defaultValue the present values */
  readonly caller?: CallerValues
  /**
   * Tag of the language that the caller speaks now. The backend then uses the agent's texts in this language.
   * @defaultValue the present language
   */
  readonly language?: string
  /**
   * Voices by backend: one voice name, or one per language. Ignored if the service cannot change the voice of a
   * session.
   * @defaultValue the present voices
   */
  readonly voices?: Readonly<Record<string, LocalizedText>>
  /**
   * True if the instructions contain a summary of the conversation before the caller's last words. If possible, the
   * service then removes that conversation from the model's memory.
   * @defaultValue `false`
   */
  readonly forget?: boolean
  /**
   * Factor for the voice's configured speed, 0.7 to 1.3. A service with a narrower range uses the nearest speed.
   * @defaultValue the present speed
   */
  readonly speed?: number
}

export interface ToolReply {
  readonly ok: boolean
  /** The tool's result, or `{ error }` with a text for the model. It can be written as JSON. */
  readonly value: unknown
  /**
   * True if the value is only the message that the outcome comes later. The outcome comes through `toolOutcome` or as a
   * text. A backend whose dialogue waits for results ignores such a value.
   * @defaultValue `false`
   */
  readonly pending?: true
}

/** Receives a backend's events and audio. All methods are called on the thread of the call. */
export interface BackendSink {
  event(event: BackendEvent): void
  /**
   * The agent's speech: any number of samples, usually faster than real time. The backend owns the memory, which is
   * valid only until this method returns.
   */
  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void
  /**
   * Called by a backend with `countsRequests` before it sends a request to a model. If this method is absent, requests
   * are not limited.
   * @returns false if the call has sent too many requests to its models. The backend then does not send the request,
   * and the gateway closes the session
   */
  asks?(): boolean
  /** Receives the service's remaining limits, if the service reports them. Optional. */
  rateLimits?(limits: readonly RateLimit[]): void
}

/** One rate limit of an API key, as the service reported it. */
export interface RateLimit {
  /** Kind of limit, such as `requests` or `tokens`. */
  readonly name: string
  readonly limit: number
  readonly remaining: number
  readonly resetMs: number
}

/** Role of a text for `Backend.sendText`. `respond` is true if the backend must request an answer to the text. */
export type TextOptions =
  | { readonly role: 'caller' | 'system'; readonly respond: boolean }
  | { readonly role: 'agent'; readonly respond: false }

/**
 * A realtime model, or another service that leads a conversation. One instance serves one call and is never reused.
 * Methods do not throw the service's faults. They report faults as `error` and `closed` events.
 */
export interface Backend {
  readonly capabilities: BackendCapabilities
  /**
   * Opens the session; called once. Resolves when the session is ready for audio (after the `ready` event). The model
   * gets history and tool ledger before its first turn.
   *
   * If the connection fails, `connect` emits an `error` and a `closed` event with the fault, then rejects with the same
   * fault as GatewayError BACKEND_*. If `signal` is aborted because the caller hung up, `connect` rejects with
   * BACKEND_CLOSED.
   */
  connect(session: BackendSession, signal: AbortSignal): Promise<void>
  /**
   * Adds one frame (20 ms) of caller audio at `inputRateHz`. Copies the frame before the method returns. Never blocks;
   * drops the oldest frames when the buffer is full.
   * @param voiced true if the gateway's voice activity detection found voice in the frame; undefined if not known
   */
  pushAudio(pcm: Int16Array, voiced?: boolean): void
  /**
   * Reports that the caller began to speak at `atMs`, up to one second ago. More frames follow through `pushAudio`.
   * Called only if `serverVad` is false. This method does not stop an answer; `interrupt` does. Before `ready`, the
   * backend stores the report and the audio.
   */
  speechStart(atMs: number): void
  /**
   * Reports that the caller stopped speaking.
   * @param unless  set if the speech may not be meant for the agent (a television, a backchannel). The backend then
   * ignores speech without words, speech that consists only of words in `unless`, and speech whose words do not fit the
   * sound. Only with `weighsSpeech`.
   */
  speechEnd(atMs: number, unless?: readonly string[]): void
  /**
   * Adds a text to the conversation. The role is `caller` for the caller's written words, and `system` for a note from
   * the gateway to the model. The role is `agent` for words that the gateway spoke in the agent's place (a silence
   * prompt, a filler, an apology). For the model, these words are its own words. If `respond` is true, the backend
   * requests one answer to the text as soon as neither party speaks. If `respond` is false, the model reads the text
   * before its next answer.
   *
   * `sendText('', { role: 'system', respond: true })` asks the agent to begin. The backend replaces the empty text with
   * its own request (`openingText` of `mkondo/transport`). The request is for `session.greeting` word for word, or for
   * a greeting of the model's own if `greeting` is null. If the session has a history, the request tells the model to
   * continue without a greeting. Before `ready`, the backend stores at most 16 texts.
   */
  sendText(text: string, options: TextOptions): void
  /**
   * Adds a DTMF digit: `0` to `9`, `*`, `#`, `A` to `D`; other characters are ignored. Digits form one entry until `#`
   * or a pause (`KeyEntry` of `mkondo/transport`). The model gets the entry as one text and answers the text. The
   * gateway gets the entry as a transcript of the caller (`keysTranscript`).
   */
  dtmf(digit: string): void
  /**
   * Delivers the result of a tool call, exactly once per tool call. Ignored for unknown and repeated ids, and for ids
   * that `tool-cancel` cancelled. The turn of the tool call may have ended long before. When all tool calls of an
   * answer have results, the model continues. If the caller is speaking, the model continues after the caller's speech.
   */
  toolResult(callId: string, reply: ToolReply): void
  /**
   * Delivers the outcome of a tool call whose `toolResult` was `pending`. Optional. Only a backend whose dialogue waits
   * for the outcome has this method.
   * @returns true if the dialogue uses the outcome as the tool call's result; false if the gateway must send the
   * outcome as a text
   */
  toolOutcome?(callId: string, reply: ToolReply): boolean
  /**
   * Stops the answer. `itemId` is the item that the caller was hearing; null if the caller was not hearing an item.
   * `playedMs` is the heard duration of the item's sound. Emits `turn-done` *cancelled* before it returns, and delivers
   * no further part of the answer, even if the service sends more. If the backend has the ability `truncate`, the model
   * forgets the speech that the caller did not hear. The method is idempotent, and does nothing if no answer runs. It
   * may be called within an event or within `audio`.
   */
  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void
  /**
   * Replaces instructions, tools, language, voice or speed, beginning with the next answer. Absent fields do not
   * change. The method does not cause an answer. Unsupported updates are counted in `counters`.
   */
  updateSession(update: SessionUpdate): void
  /**
   * State with which a new instance can continue this conversation. It is small and can be written as JSON. Null if the
   * history is enough.
   */
  snapshot(): unknown
  /**
   * Continues the session of `previous` exactly at the point that `previous` has reached. Input that the service has
   * not consumed yet is sent again. Called when this instance is ready and replaces `previous`. This instance was made
   * from a snapshot of `previous`. Optional.
   * @returns true if the gateway need not replay any input; false if the gateway must replay the unanswered input
   */
  continueFrom?(previous: Backend): boolean
  /**
   * Counts of irregularities so far, by kind, for metrics and the call record. Examples: unreadable messages, late
   * audio. Optional.
   */
  counters?(): Readonly<Record<string, number>>
  /** Closes the session. Idempotent; resolves within 1 s, after the `closed` event. */
  close(reason: string): Promise<void>
}

/** Makes the backend of one call. */
export type BackendFactory = (sink: BackendSink) => Backend
