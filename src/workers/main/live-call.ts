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

/** Facts of an agent that the edge needs to answer a webhook. */
export interface AgentFacts {
  readonly name: string
  /** Maximum number of this agent's live calls, over all nodes of the fleet; null if only the slots limit it. */
  readonly maxCalls: number | null
  /** Settings of the definition's `stream:` block. */
  readonly stream: {
    readonly name: string
    readonly track: StreamTrack
    readonly samplingRateHz: WantedRate
    readonly headerMetadata: Readonly<Record<string, string>>
    readonly openMetadata: string | null
    /**
     * True: the carrier reports stream events to this gateway. A URL: the carrier reports them to that URL. False: the
     * carrier does not report them.
     */
    readonly statusCallback: boolean | string
    readonly statusEvents: readonly StreamStatusEvent[]
  }
  /** Words that the carrier speaks before the stream opens; null if there are none. */
  readonly say: VoiceAction | null
  /**
   * Document for a call that cannot get a stream (no capacity, draining) or cannot continue. It has words, and the
   * agent file's transfer to a human.
   * @param language  tag of the language that the caller speaks. If it is absent, or the agent does not have this
   * language, the agent's first language is used
   */
  readonly fallback: (language?: string) => readonly VoiceAction[]
  /** Document for a caller with too many calls. It also replaces a `fallback` that may not ring a human now. */
  readonly busy: (language?: string) => readonly VoiceAction[]
  /** Words for a caller whose call can neither continue nor end yet. */
  readonly hold: (language?: string) => readonly VoiceAction[]
  readonly outbound: {
    /** Our number from which the agent calls by default. */
    readonly from: string | null
    readonly ringMs: number
    readonly openOn: 'first-webhook' | 'answered'
  }
  /** True: the call is answered in a conference room, so that a human can join the call. */
  readonly conference: boolean
  /** Document for the end of a stream without an escalation, in the call's language. */
  readonly afterCall: (language?: string) => readonly VoiceAction[]
}

/** Call that a webhook announced. */
export interface NewCall {
  readonly callSid: CallSid
  readonly agent: string
  /** E.164; empty if withheld. Never logged. */
  readonly from: string
  readonly to: string
  readonly direction: 'inbound' | 'outbound'
  /** SID of the first call, if this call rings its caller back. If absent, this call is the first. */
  readonly rootSid?: CallSid
  /** Order of the call, if this gateway placed it. */
  readonly placed?: PlacedCall
  /** Our own number in this call, for records; only if it is in NUMBERS_FILE. */
  readonly number?: string
  /** Used share of the number's daily budget, as a step. If null or absent, the budget changes nothing. */
  readonly budgetStep?: BudgetStep | null
}

/** Usage of a live call so far. */
export interface Spending {
  /** Our own number; null if it does not belong to a business. */
  readonly number: string | null
  readonly direction: 'inbound' | 'outbound'
  /** Duration in ms. If this call rings back a caller who was cut off, the earlier call's duration is not included. */
  readonly durationMs: number
  /** Known cost of the call's models at its last checkpoint; null if the cost is unknown. */
  readonly models: { readonly currency: string; readonly known: number } | null
}

/** A call that this gateway asked the carrier to place. */
export interface PlacedCall {
  readonly clientRequestId: string
  readonly agent: string
  /** E.164. Never logged. */
  readonly from: string
  readonly to: string
  /** Time of the order, on the monotonic clock. */
  readonly orderedAtMs: number
  /** Maximum time in ms that the call may ring. */
  readonly ringMs: number
  /**
   * Variables that an agent's texts read as {{call.variables.NAME}}. They may be personal, so they are never logged.
   */
  readonly variables: CallVariables
  /** Name of the call in the system that ordered it; null if it has none. */
  readonly externalId: string | null
  /** False: do not leave a message on an answering machine. */
  readonly leaveMessage: boolean
  /**
   * State of the earlier call, if this call rings its caller back. The earlier call was cut off, or a call back was
   * promised in it.
   */
  readonly recovers?: KeptState
  readonly promised: boolean
  /**
   * Number (E.164) of the caller, if a promised call back rings a human first. The human is then connected to this
   * number. Null for any other call.
   */
  readonly joins: string | null
}

/** Parties of the call, as in the record. */
export type CallStarted = Pick<
  CallRecord,
  'callSid' | 'rootSid' | 'agent' | 'direction' | 'from' | 'to' | 'number' | 'startedAt'
>

/** Incoming call that was refused. */
export interface RefusedCall {
  readonly callSid: CallSid
  /**
   * The agent's name in the path, even if no such agent exists. Null if the path has no agent's name and there is no
   * default agent.
   */
  readonly agent: string | null
  /** E.164; empty if withheld. Never logged. */
  readonly from: string
  readonly to: string
  /** See `NewCall`. */
  readonly number?: string
  readonly reason: CallRefusal
  /** Text with the reason of the refusal, and the figures that decided it. */
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
   * Sends one binary frame of s16le; `bytes` is valid only until the method returns.
   * @returns false if the socket is stuck and takes no more audio
   */
  sendAudio(bytes: Uint8Array): boolean
  sendText(text: string): void
  close(code: number): void
}

/** A call as the edge uses it. Methods that can throw because of the caller or the carrier say so in their comments. */
export interface LiveCall {
  readonly callSid: CallSid
  readonly agent: string
  readonly state: LiveCallState
  readonly legRateHz: LegRateHz
  /** Tag of the language that was last used in the call; undefined until the first report. */
  readonly language: string | undefined
  /** State from which a `cut` call continues, for `CallDirectory.prepare`; null if the call is not `cut`. */
  readonly lostStream: KeptState | null
  /** The XML with which this call was answered; a repeated first webhook gets it again. */
  document: string | null
  /** Number of answers to this call that contained a stream. */
  readonly streamOffers: number
  /** True if a stream that the carrier could not open is offered again. */
  readonly isOfferedAgain: boolean
  /** URL, with its token, at which the carrier may ask how the call continues. The edge sets it with the document. */
  afterStreamUrl: string | null
  /**
   * URL of the document for the leg of a human who is called in. The edge sets it with the first document; null without
   * a conference room.
   */
  humanUrl: string | null
  /**
   * Makes the URL at which the outcome of a tool is to be posted, valid for `ttlS` seconds. The edge sets it with the
   * document.
   */
  continueUrl: ((id: string, ttlS: number) => string) | null
  /** Takes a posted outcome. Resolves within SAVED_WITHIN_MS. @param id  id of the wait, from its token */
  takeWaitStatus(id: string, news: WaitStatus): Promise<WaitAnswer>
  /** @throws GatewayError DUPLICATE_CALL if the call already has or had a socket */
  attach(sink: MediaSink): void
  /**
   * Takes the bytes of one binary frame of any size. They are copied before the return; bytes that do not fit are
   * dropped and counted.
   */
  audio(bytes: Uint8Array): void
  /** Takes the messages of a text frame. */
  text(messages: readonly StreamText[]): void
  /**
   * Notes that the carrier could not open the stream: the caller hears the fallback, which may ring a human. A
   * `waiting` call ends unless a socket comes within ASKS_WITHIN_MS.
   */
  streamRefused(): void
  /**
   * Notes the carrier's report that the stream is over. If our socket is still open but brings no frame for
   * STREAM_QUIET_MS, the stream counts as lost.
   */
  streamOver(): void
  /** Notes that the socket is closed. @param fault  the reason; absent if either side closed the socket normally */
  detach(code: number, fault?: StreamFault): void
  /** Takes a lifecycle event from any of the carrier's webhooks. */
  carrierState(state: CarrierState): void
  /** Handles an event of a human who was added to this call. */
  human(event: HumanEvent): void
  /**
   * Document with which the call continues; empty if there is nothing left to do. A `cut` call ends with this document.
   * @param digits  requested DTMF digits; null without digits
   */
  continuation(asker: ContinuationAsker, digits?: string | null): readonly VoiceAction[]
  /** True while the outcome of an escalation is unknown. */
  readonly escalating: boolean
  /** Document for the leg of a human who was called in; empty if no human was called in. */
  humanDocument(): readonly VoiceAction[]
  /** Ends the call for `reason`; `speak` lets the agent say goodbye first. */
  hangup(reason: EndReason, detail: string, speak: boolean): void
  escalate(reason: string): void
  /** Sends the model a text that the caller does not hear. @returns false if no model can receive it now */
  whisper(text: string): boolean
  /**
   * Gives a listener both voices, LISTEN_DELAY_MS late: the caller on the left channel, the agent on the right. While
   * the line is private, the listener gets silence.
   * @param heard  receives the interleaved samples of both voices, in an array that it may keep
   * @param over  called once, when the stream is over
   * @returns the listener; null without a stream, or if LISTENERS_OF_CALL_MAX already listen
   */
  listen(heard: (rows: Int16Array<ArrayBuffer>) => void, over: () => void): Listening | null
  /** Row for a list of calls. It takes little work, so it can be made for many calls. */
  row(): LiveCallRow
  /** True if the call's other party has this number (E.164). */
  isOf(number: string): boolean
  view(): LiveCallView
  timeline(): CallTimelineView
}

/** All calls of this process, as the edge uses them. */
export interface CallDirectory {
  /** Agent of a path without an agent's name: the only agent, or the default agent; null without either. */
  readonly defaultAgent: string | null
  /**
   * Returns the agent's facts; undefined if the agent reads a fact that this number lacks.
   * @param number  our number, whose business adds facts; if absent, only the facts of the agent's file are used
   */
  agent(name: string, number?: string): AgentFacts | undefined
  /** Agent that NUMBERS_FILE sets for this number of ours; null if the URL decides. */
  agentOf(number: string): string | null
  agentNames(): readonly string[]
  /**
   * Tag of the language in which this caller has spoken before; undefined if this process does not know it. @param
   * number  E.164
   */
  languageOf(number: string): string | undefined
  /** Number of calls that this process can take now; 0 when full, draining, cordoned or overloaded. */
  readonly free: number
  /**
   * Reason why the process should get no more calls although it has free slots; null if it may get calls. `prepare`
   * ignores it.
   */
  readonly overload: Overload | null
  /** Number of live calls, by agent. */
  liveByAgent(): Readonly<Record<string, number>>
  /** Number of live incoming calls, by `partyKey` of the caller. The key of withheld numbers is empty. */
  liveByCaller(): ReadonlyMap<string, number>
  readonly capacity: number
  readonly draining: boolean
  /** The trace id of a call; null if traces are not exported. */
  traceId(callSid: string): string | null
  /**
   * Takes a slot and starts the call's task, so that its backend connects while the webhook is answered.
   * @param resume  state of a call whose node or stream was lost; null for a new call. If an agent continues the call,
   * the call becomes `waiting` (for a new stream). It takes a slot, or replaces the `cut` call of the same SID. If a
   * human continues the call, the call becomes `after` (its stream is over). It then answers `continuation` without a
   * slot, and may be `ended` at once
   * @throws GatewayError CAPACITY, DRAINING, AGENT_UNKNOWN or DUPLICATE_CALL. With `resume` also CALL_REFUSED if the
   * call cannot continue (it was ending, or was resumed RESUMES_MAX times), and KEPT_CALL_INVALID if the state belongs
   * to another call
   */
  prepare(call: NewCall, resume?: KeptState | null): LiveCall
  /**
   * Makes the record of a refused incoming call. Does nothing if the call has a record, or if too many calls were
   * refused in the last minute. Use it only for calls that the carrier certainly sent.
   */
  refused(call: RefusedCall): void
  find(callSid: string): LiveCall | undefined
  live(): Iterable<LiveCall>
  /**
   * Takes an outcome for a call that is over, or that this process never had. @param id  id of the wait, from its token
   */
  takeLateWaitStatus(id: string, news: WaitStatus): WaitAnswer
  /**
   * True if this process has answered this call. The call may be live or over. A limited number of ended calls is
   * remembered.
   */
  known(callSid: string): boolean
  /** Records of the last ended calls, the newest last. */
  ended(): readonly CallRecord[]
  record(callSid: string): CallRecord | undefined
  handoff(callSid: string): Handoff | undefined
  /**
   * Takes the carrier's message about a call whose stream is over. The call may be live here, over, or unknown.
   * `asked`: the carrier asked how the call continues.
   */
  afterStream(callSid: string, news: 'asked' | 'over'): void
  /** Sessions, faults and circuits of each backend since the start of the process. */
  backends(): readonly BackendView[]
  /** Refuses new calls. Resolves after the end of the last call. Calls that are live after `timeoutMs` are ended. */
  drain(timeoutMs: number): Promise<void>
}

/** Number of live calls. */
export function liveCount(calls: Pick<CallDirectory, 'live'>): number {
  let count = 0
  for (const _ of calls.live()) count++
  return count
}

/** Name of the conference room in which a call is answered. Every PBX accepts its characters. */
export function roomOf(callSid: CallSid): string {
  return `mkondo-${callSid}`
}
