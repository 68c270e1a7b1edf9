import type { CallVariables } from '../../agents/file/template.js'
import type { CallSid } from '../../core/ids.js'
import type { BackendView } from './backend-status.js'
import type { LegRateHz } from '../../core/units.js'
import type { WaitAnswer, WaitStatus } from './wait-status.js'
import type { WantedRate } from './caller-profiles.js'
import type { CallTimelineView, LiveCallRow, LiveCallState, LiveCallView } from '../../call/documents/call-view.js'
import type { CallRecord, CallRefusal, EndReason } from '../../call/documents/record.js'
import type { StreamFault } from '../../call/events.js'
import type { CarrierState, HumanEvent } from '../../sautikit/carrier-state.js'
import type { Handoff } from '../../call/documents/handoff.js'
import type { KeptState } from '../../call/documents/kept-call.js'
import type { ContinuationAsker } from '../../escalation/documents.js'
import type { StreamStatusEvent, StreamTrack, VoiceAction } from '../../sautikit/actions.js'
import type { BudgetStep } from '../../call/documents/record.js'
import type { StreamText } from '../../sautikit/stream-messages.js'
import type { Overload } from './load-gate.js'

/** Facts of an agent with which the edge answers a webhook. */
export interface AgentFacts {
  readonly name: string
  /** Calls of this agent at once, over all nodes of the fleet; null: as many as there are slots. */
  readonly maxCalls: number | null
  /** The definition's `stream:` block. */
  readonly stream: {
    readonly name: string
    readonly track: StreamTrack
    readonly samplingRateHz: WantedRate
    readonly headerMetadata: Readonly<Record<string, string>>
    readonly openMetadata: string | null
    /** True: the carrier reports stream events to this gateway; false: to nobody; a URL: there. */
    readonly statusCallback: boolean | string
    readonly statusEvents: readonly StreamStatusEvent[]
  }
  /** Spoken by the carrier before the stream opens; null for none. */
  readonly say: VoiceAction | null
  /**
   * The document when no stream can be opened (no capacity, draining), or the call cannot go on: words, and a transfer
   * to a human where one is set.
   * @param language  tag of the language that the caller speaks; absent, or not the agent's: the agent's first
   */
  readonly fallback: (language?: string) => readonly VoiceAction[]
  /** The document for a caller who has too many calls, and in place of a fallback that may not ring a human now; as it. */
  readonly busy: (language?: string) => readonly VoiceAction[]
  /** Words for a caller whose call can neither go on nor end yet; as `fallback`. */
  readonly hold: (language?: string) => readonly VoiceAction[]
  readonly outbound: {
    /** Default caller number of outbound calls. */
    readonly from: string | null
    readonly ringMs: number
    readonly openOn: 'first-webhook' | 'answered'
  }
  /** True: the call is answered in a conference room, where a human can join it. */
  readonly conference: boolean
  /** The document after a stream that ended without an escalation, in the language of the call, as `fallback`. */
  readonly afterCall: (language?: string) => readonly VoiceAction[]
}

/** A call that a webhook announced. */
export interface NewCall {
  readonly callSid: CallSid
  readonly agent: string
  /** E.164, or empty when withheld. Never logged. */
  readonly from: string
  readonly to: string
  readonly direction: 'inbound' | 'outbound'
  /** The first call of a caller who was rung back; this call where absent. */
  readonly rootSid?: CallSid
  /** Set for a call that this gateway placed. */
  readonly placed?: PlacedCall
  /** Our own number if it is in NUMBERS_FILE: records show it. */
  readonly number?: string
  /** How far the number's budget of the day is used up; null or absent: it costs what any other call does. */
  readonly budgetStep?: BudgetStep | null
}

/** Usage of a live call until now. */
export interface Spending {
  /** Our own number; null if it belongs to no business. */
  readonly number: string | null
  readonly direction: 'inbound' | 'outbound'
  /** Without that of a call that was cut off before it. */
  readonly durationMs: number
  /** Known cost of its models, as of its last checkpoint; null: none. */
  readonly models: { readonly currency: string; readonly known: number } | null
}

/** A call that this gateway asked the carrier to place. */
export interface PlacedCall {
  readonly clientRequestId: string
  readonly agent: string
  /** E.164. Never logged. */
  readonly from: string
  readonly to: string
  /** Monotonic. */
  readonly orderedAtMs: number
  /** How long it may ring. */
  readonly ringMs: number
  /** Read as {{call.variables.NAME}}. May be personal: never logged. */
  readonly variables: CallVariables
  /** The name that whoever ordered the call has for it; null: none. */
  readonly externalId: string | null
  /** False: an answering machine gets no message. */
  readonly leaveMessage: boolean
  /** The call that was cut off, or in which a call back was promised: its caller is rung back. */
  readonly recovers?: KeptState
  readonly promised: boolean
  /** A human is rung before a promised call back: the caller whom they are put through to, E.164. Null: any other call. */
  readonly joins: string | null
}

/** Parties of the call, as in the record. */
export type CallStarted = Pick<
  CallRecord,
  'callSid' | 'rootSid' | 'agent' | 'direction' | 'from' | 'to' | 'number' | 'startedAt'
>

/** A call that came in and was refused. */
export interface RefusedCall {
  readonly callSid: CallSid
  /** As the path names it, whether there is such an agent or not; null: the path names none, and there is no default. */
  readonly agent: string | null
  /** E.164, or empty when withheld. Never logged. */
  readonly from: string
  readonly to: string
  /** As in `NewCall`. */
  readonly number?: string
  readonly reason: CallRefusal
  /** Why, with the figures that decided it. */
  readonly why: string
}

/** A listener of a live call. */
export interface Listening {
  readonly rateHz: LegRateHz
  stop(): void
}

/** A media socket of the edge. */
export interface MediaSink {
  /**
   * Sends one binary frame of s16le; `bytes` is only valid during the call.
   * @returns false when the socket is stuck and takes no more
   */
  sendAudio(bytes: Uint8Array): boolean
  sendText(text: string): void
  close(code: number): void
}

/** A call as the edge sees it. No method throws because of what the other side did, unless its comment says so. */
export interface LiveCall {
  readonly callSid: CallSid
  readonly agent: string
  readonly state: LiveCallState
  readonly legRateHz: LegRateHz
  /** Tag of the language that the call was in last; undefined before any of it was heard of. */
  readonly language: string | undefined
  /** State from which a `cut` call goes on, given to `CallDirectory.prepare`; null in every other state. */
  readonly lostStream: KeptState | null
  /** The XML this call was answered with; a repeated first webhook gets it again. */
  document: string | null
  /** How many documents with a stream it was answered with. */
  readonly streamOffers: number
  /** True if a stream that the carrier could not open is offered again. */
  readonly isOfferedAgain: boolean
  /**
   * The URL, token included, at which the carrier may ask how the call continues; set by the edge with the document.
   */
  afterStreamUrl: string | null
  /**
   * The URL of the document for the leg of a human who is called in; set with the document, null without a conference
   * room.
   */
  humanUrl: string | null
  /**
   * Makes the URL at which the outcome of a tool is to be posted, good for that number of seconds; set by the edge with the
   * document.
   */
  continueUrl: ((id: string, ttlS: number) => string) | null
  /** An outcome was posted. Resolves within SAVED_WITHIN_MS. @param id  of the wait, from its token */
  takeWaitStatus(id: string, news: WaitStatus): Promise<WaitAnswer>
  /** @throws GatewayError DUPLICATE_CALL when the call already has or had a socket. */
  attach(sink: MediaSink): void
  /** Bytes of one binary frame, any number; copied before return. What does not fit is dropped and counted. */
  audio(bytes: Uint8Array): void
  /** A text frame, parsed. */
  text(messages: readonly StreamText[]): void
  /**
   * The carrier could not open the stream, and the caller hears the agent's fallback: a `waiting` call is over unless a
   * socket comes within ASKS_WITHIN_MS all the same, and the carrier is not asked to end it, because the fallback may ring
   * a human.
   */
  streamRefused(): void
  /**
   * The carrier says that its stream is over. A socket that is open here and brings nothing for STREAM_QUIET_MS is lost.
   */
  streamOver(): void
  /** The socket is closed. @param fault  why, unless either side closed it in order */
  detach(code: number, fault?: StreamFault): void
  /** A lifecycle event from any of the carrier's webhooks. */
  carrierState(state: CarrierState): void
  /** Handles an event of a human who was added to this call. */
  human(event: HumanEvent): void
  /**
   * The document with which the call continues now; empty when there is nothing to do. A `cut` call is over with it.
   * @param digits  DTMF digits that the carrier was asked to collect; null when there are none
   */
  continuation(asker: ContinuationAsker, digits?: string | null): readonly VoiceAction[]
  /** True while the outcome of an escalation is not known yet. */
  readonly escalating: boolean
  /** The document for the leg of a human who was called in; empty when none was. */
  humanDocument(): readonly VoiceAction[]
  /** Ends the call for `reason`; `speak` lets the agent say goodbye first. */
  hangup(reason: EndReason, detail: string, speak: boolean): void
  escalate(reason: string): void
  /** Says something to the model and not to the caller. @returns false where no model would hear it now */
  whisper(text: string): boolean
  /**
   * Gives both voices to a listener, the caller left and the agent right, LISTEN_DELAY_MS late; silence while the line is private.
   * Null without a stream, or where LISTENERS_OF_CALL_MAX listen already.
   * @param heard  gets rows of both samples, interleaved, which it may keep
   * @param over  called once, when the stream is over
   */
  listen(heard: (rows: Int16Array<ArrayBuffer>) => void, over: () => void): Listening | null
  /** Cheap: for lists of many calls. */
  row(): LiveCallRow
  /** True if its other party has this number (E.164). */
  isOf(number: string): boolean
  view(): LiveCallView
  timeline(): CallTimelineView
}

/** All calls of this process, as the edge uses them. */
export interface CallDirectory {
  /** The agent of a path without an agent's name: the only one, or the one set as default; null when there is none. */
  readonly defaultAgent: string | null
  /**
   * @param number  our own in the call: the agent then has the facts of its business, and is undefined where it reads one
   *   that is not known of this number. Absent: as in the agent's file
   */
  agent(name: string, number?: string): AgentFacts | undefined
  /** The agent that NUMBERS_FILE has for one of our numbers; null: none, the URL decides. */
  agentOf(number: string): string | null
  agentNames(): readonly string[]
  /** Tag of the language in which this caller has spoken before; undefined: not known here. @param number  E.164 */
  languageOf(number: string): string | undefined
  /** How many more calls this process takes now; 0 when full, draining, cordoned or overloaded. */
  readonly free: number
  /** Why no more calls should come although there are slots; null when they may. `prepare` does not look at it. */
  readonly overload: Overload | null
  /** Live calls of each agent that has any. */
  liveByAgent(): Readonly<Record<string, number>>
  /** Live calls that came in, by `partyKey` of their caller; empty for withheld numbers. */
  liveByCaller(): ReadonlyMap<string, number>
  readonly capacity: number
  readonly draining: boolean
  /** The trace of a call; null where nothing is exported. */
  traceId(callSid: string): string | null
  /**
   * Takes a slot and starts the call's task, so that its backend connects while the webhook is answered.
   * @param resume  a call whose node or stream was lost. With an agent it is `waiting` for a new stream, and takes a
   *   slot, or replaces the `cut` call of that SID here. With a human it is `after` its stream: it answers
   *   `continuation` and takes no slot; it may be `ended` at once
   * @throws GatewayError CAPACITY, DRAINING, AGENT_UNKNOWN or DUPLICATE_CALL; with `resume` also CALL_REFUSED where
   *   nothing goes on (it was ending, or was resumed RESUMES_MAX times), and KEPT_CALL_INVALID for another call's state
   */
  prepare(call: NewCall, resume?: KeptState | null): LiveCall
  /**
   * A call that came in was refused: makes its record, unless it has one, or there were too many in the last minute. A
   * call that nothing proves must not come here.
   */
  refused(call: RefusedCall): void
  find(callSid: string): LiveCall | undefined
  live(): Iterable<LiveCall>
  /** An outcome was posted for a call that is over here, or was never here. @param id  of the wait, from its token */
  takeLateWaitStatus(id: string, news: WaitStatus): WaitAnswer
  /** True when this process has answered that call, live or ended (bounded memory). */
  known(callSid: string): boolean
  /** Records of ended calls, bounded, newest last. */
  ended(): readonly CallRecord[]
  record(callSid: string): CallRecord | undefined
  handoff(callSid: string): Handoff | undefined
  /** After the stream of a call, live here or not: the carrier asked how it continues, or says that it is over. */
  afterStream(callSid: string, news: 'asked' | 'over'): void
  /** Sessions, faults and circuits of each backend since the start. */
  backends(): readonly BackendView[]
  /** Takes no new calls; resolves when the last call has ended. After `timeoutMs` the remaining calls are ended. */
  drain(timeoutMs: number): Promise<void>
}

/** How many calls are live now. */
export function liveCount(calls: Pick<CallDirectory, 'live'>): number {
  let count = 0
  for (const _ of calls.live()) count++
  return count
}

/** Name of the conference room in which a call is answered, in characters that every PBX accepts. */
export function roomOf(callSid: CallSid): string {
  return `mkondo-${callSid}`
}
