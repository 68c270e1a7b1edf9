import type { CallSid } from '../core/ids.js'
import type { LegRateHz } from '../core/units.js'
import type { CallRecord, EndReason, ToolCallRecord, TranscriptEntry } from '../call/record.js'
import type { CarrierState, EscalationPacket } from '../call/events.js'
import type { StreamStatusEvent, StreamTrack, VoiceAction } from '../sautikit/actions.js'
import type { StreamText } from '../sautikit/stream-messages.js'
import type { HumanEvent } from '../sautikit/supervision.js'

/** What the edge must know of an agent to answer a webhook. */
export interface AgentFacts {
  readonly name: string
  /** The definition's `stream:` block. */
  readonly stream: {
    readonly name: string
    readonly track: StreamTrack
    readonly samplingRateHz: LegRateHz
    readonly headerMetadata: Readonly<Record<string, string>>
    readonly openMetadata: string | null
    /** True: the carrier reports stream events to this gateway; false: to nobody; a URL: there. */
    readonly statusCallback: boolean | string
    readonly statusEvents: readonly StreamStatusEvent[]
  }
  /** Spoken by the carrier before the stream opens; null for none. */
  readonly say: VoiceAction | null
  /** The document when no stream can be opened (no capacity, draining): words, and a human where one is set. */
  readonly fallback: readonly VoiceAction[]
  /** The document after a stream that ended without an escalation. */
  readonly afterCall: readonly VoiceAction[]
}

/** A call that a webhook announced. */
export interface NewCall {
  readonly callSid: CallSid
  readonly agent: string
  /** E.164, or empty when withheld. Never logged. */
  readonly from: string
  readonly to: string
  readonly direction: 'inbound' | 'outbound'
}

/** The edge's end of a media socket. */
export interface MediaSink {
  /** Sends one binary frame of s16le; `bytes` is only valid during the call. False: the socket refused it for good. */
  sendAudio(bytes: Uint8Array): boolean
  sendText(text: string): void
  close(code: number): void
}

/** What `GET /api/calls` shows of a live call. Numbers are masked. */
export interface LiveCallView {
  readonly callSid: string
  readonly agent: string
  readonly backend: string
  readonly state: LiveCallState
  readonly direction: 'inbound' | 'outbound'
  readonly from: string
  readonly to: string
  readonly startedAt: string
  /** Since the stream opened; 0 before. */
  readonly durationMs: number
  readonly transcript: readonly TranscriptEntry[]
  readonly toolCalls: readonly ToolCallRecord[]
  readonly rehomes: number
}

/** `waiting` for its socket, `streaming`, `after` the stream while an escalation is pending, `ended`. */
export type LiveCallState = 'waiting' | 'streaming' | 'after' | 'ended'

/** Who asks how a call goes on after its stream. */
export type ContinuationAsker = 'after-stream' | 'voice' | 'stream-status' | 'events'

/** A call as the edge handles it. No method throws for what the other side did, unless it says so. */
export interface LiveCall {
  readonly callSid: CallSid
  readonly agent: string
  readonly state: LiveCallState
  readonly legRateHz: LegRateHz
  /** The XML this call was answered with; a repeated first webhook gets it again. */
  document: string | null
  /** The URL, token included, at which the carrier may ask how the call goes on; set by the edge with the document. */
  afterStreamUrl: string | null
  /** @throws GatewayError DUPLICATE_CALL when the call already has or had a socket. */
  attach(sink: MediaSink): void
  /** Bytes of one binary frame, any number; copied before return. Counts and drops what does not fit. */
  audio(bytes: Uint8Array): void
  /** A text frame, parsed. */
  text(messages: readonly StreamText[]): void
  /** The socket is gone. */
  detach(code: number): void
  /** A lifecycle edge from any of the carrier's webhooks. */
  carrierState(state: CarrierState): void
  /** What became of a human who was added to this call. */
  human(event: HumanEvent): void
  /** The document that goes on with the call now; empty when there is nothing to do. */
  continuation(asker: ContinuationAsker): readonly VoiceAction[]
  /** Ends the call for `reason`; `speak` lets the agent say goodbye first. */
  hangup(reason: EndReason, detail: string, speak: boolean): void
  escalate(reason: string): void
  view(): LiveCallView
}

/** All calls of this process; the edge's door to everything behind it. */
export interface CallDirectory {
  /** The agent that a path without a name means: the only one, or the one set as default; null when there is none. */
  readonly defaultAgent: string | null
  agent(name: string): AgentFacts | undefined
  agentNames(): readonly string[]
  /** How many more calls this process takes now; 0 when full or draining. */
  readonly free: number
  readonly capacity: number
  readonly draining: boolean
  /**
   * Takes a slot and starts the call's task, so that its backend connects while the webhook is answered.
   * @throws GatewayError CAPACITY, DRAINING, AGENT_UNKNOWN or DUPLICATE_CALL
   */
  prepare(call: NewCall): LiveCall
  find(callSid: string): LiveCall | undefined
  live(): Iterable<LiveCall>
  /** True when this process answered that call once, live or ended (bounded memory). */
  known(callSid: string): boolean
  /** Records of ended calls, bounded, newest last. */
  ended(): readonly CallRecord[]
  record(callSid: string): CallRecord | undefined
  handoff(callSid: string): EscalationPacket | undefined
  /** Stop taking calls; resolves when the last one has ended or `timeoutMs` has passed (then the rest is ended). */
  drain(timeoutMs: number): Promise<void>
}
