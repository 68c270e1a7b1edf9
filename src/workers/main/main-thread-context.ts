import type { MessagePort, TransferListItem } from 'node:worker_threads'
import type { AgentAssets } from '../../agents/file/assets.js'
import type { Business } from '../../agents/file/business.js'
import type { AgentDefinition } from '../../agents/file/definition.js'
import type { VerificationLocks } from '../../agents/identity/verification-lock.js'
import type { BackendShare } from '../../backends/split.js'
import type { Handoff } from '../../call/documents/handoff.js'
import type { EarlierCall } from '../../call/caller-data.js'
import type { CallLogEntry } from '../../call/documents/log-entry.js'
import type { BudgetStep, CallRecord, EscalationHistory, TimelineMark } from '../../call/documents/record.js'
import type { CallBackRefusal } from '../../call/events.js'
import type { Clock, WallClock } from '../../core/clock.js'
import type { CallSid } from '../../core/ids.js'
import type { HumanCalls } from '../../escalation/human-calls.js'
import type { RecordingSink } from '../../telemetry/archive/archive.js'
import type { CallSeries } from '../../telemetry/call-series.js'
import type { ToolCallLog } from '../../telemetry/call-spans.js'
import type { Log } from '../../telemetry/log.js'
import type { Metrics } from '../../telemetry/metrics.js'
import type { TranscriptPolicy } from '../../telemetry/archive/redaction.js'
import type { TraceExport } from '../../telemetry/trace-export.js'
import type { BackendStatus } from './backend-status.js'
import type { AfterStreamBehaviour } from './after-stream-behaviour.js'
import type { JournalKept } from '../shared/call-journal.js'
import type { CallMemoryPool } from '../shared/call-memory.js'
import type { CallEnd, CallStart } from '../shared/call-messages.js'
import type { Effects } from '../shared/effects.js'
import type { HandoffNews } from '../../messages/message.js'
import type { KeptCall, KeptState } from '../../call/documents/kept-call.js'
import type { CallerProfiles } from './caller-profiles.js'
import type { AgentFacts, CallStarted } from './live-call.js'
import type { Waits } from './waits.js'

/**
 * Begins a recording. `announced`: the caller already knows of the recording. `part`: number of the recording's part;
 * the first part is 1, and each later node or stream begins a new part. `days`: storage time in days; null for the
 * default of the settings.
 */
export type RecordCall = (
  callSid: CallSid,
  rateHz: number,
  announced: boolean,
  part: number,
  days: number | null,
) => RecordingSink

/** Store of each caller's last call to each line. Promises never reject. */
interface CallerMemories {
  /** @param line  key made of our own number and the agent */
  recall(caller: string, line: string): Promise<EarlierCall | null>
  remember(caller: string, line: string, call: EarlierCall, keptMs: number): Promise<void>
}

/** A live call, as its keeper reads it. Both methods return the call's state at the time of the request. */
export interface KeptSource {
  kept(): KeptCall
  /** The whole log of the call, used if the log must be stored again from its start. */
  log(): Pick<KeptState, 'log' | 'marks'>
}

/** Stores the state of live calls so that another node, or the next run, can read it. No method throws. */
export interface CallKeeping {
  /** Name of this node. */
  readonly node: string
  /** Begins to store a call that was prepared. */
  open(callSid: CallSid, source: KeptSource): void
  /** Stores new log entries. Marks without an entry are stored with the next change. */
  append(callSid: CallSid, entries: readonly CallLogEntry[], marks: readonly TimelineMark[]): void
  /** Notes that the result of `kept` has changed. */
  changed(callSid: CallSid): void
  /**
   * Stores the call's present state. Resolves within SAVED_WITHIN_MS.
   * @returns true if another node can read the state, or if this gateway does not store the state of calls. False if it
   * is uncertain that another node can read the state
   */
  saved(callSid: CallSid): Promise<boolean>
  /** Ends the storing of a call. Resolves when the store knows of the end, or did not answer in time. */
  over(callSid: CallSid): Promise<OverAnswer>
}

/**
 * Answer of the store to the end of a call.
 * - `lost`: another node owns the call and may make its record.
 * - `unknown`: the store did not answer, or got no question. Another node may have the call, or may still take it.
 * - `in-doubt`: the store did not answer. Another node may have taken the call while this node stood still or was cut
 *   off.
 */
export type OverAnswer = 'ok' | 'lost' | 'unknown' | 'in-doubt'

/** Store of the records of live calls. If the process dies, the next start reads them. */
export interface OpenCallRecords {
  /** Notes that a stream opened. @param compose  makes the record that the call would have if the process died now */
  open(callSid: CallSid, compose: () => CallRecord): void
  /** Notes that the call's record has changed. */
  changed(callSid: CallSid): void
  /** Notes that another node has the call and its record. */
  gone(callSid: CallSid): void
}

/**
 * The part of the carrier's REST API that a call needs. `key` is the request's idempotency key. Rejections contain the
 * carrier's code and message.
 */
export interface CarrierControl {
  hangup(callSid: string, key: string): Promise<void>
  /** Adds a human to the live call. */
  supervise(callSid: string, phone: string, key: string): Promise<void>
  /** Rings a human. The human's leg gets the document at `voiceUrl`, which joins it to the caller's conference room. */
  callHuman(from: string, phone: string, voiceUrl: string, key: string): Promise<void>
}

/** The facts of a call that decide which version of an agent serves it. */
export interface CallOfVersion {
  /** SID of the first call of a chain. */
  readonly rootSid: string
  /** Version that served the call earlier, on another node or before its stream was lost; null for a new call. */
  readonly had: string | null
}

/**
 * Agent as this gateway serves it. It has the definition for the worker, the facts for the edge, and the resolved
 * backends.
 */
export interface HostedAgent {
  readonly definition: AgentDefinition
  /** Knowledge and modules that the agent's file names; absent if it names none. */
  readonly assets?: AgentAssets
  readonly facts: AgentFacts
  readonly shares: readonly BackendShare[]
  /** Facts of a business that the agent reads; absent if it reads none. */
  readonly reads?: ReadonlySet<string>
  /**
   * This agent adapted to a business now. Absent in tests in which facts do not change the agent.
   * @param step  step of the daily budget
   */
  readonly forBusiness?: (business: Business, step?: BudgetStep | null) => HostedAgent
  /** The agent's second version and its share of the calls in percent. Absent if there is only one version. */
  readonly canary?: { readonly percent: number; readonly version: HostedAgent }
  /** True: the agent only takes messages. Default: false. */
  readonly messagesOnly?: boolean
  /**
   * Texts that are already filled in; set by `forBusiness`, or if texts contain the call's variables. `file`: the agent
   * as its file defines it.
   */
  readonly serves?: { readonly business: Business | null; readonly file: AgentDefinition }
}

/** Call back as the record of the earlier call contains it. */
export type CallBackOrder = NonNullable<EscalationHistory['callback']>

/**
 * Accepts call backs for agents with `callbacks`. For other agents, the system that receives the message about a call
 * back makes the call.
 */
export interface CallBackDesk {
  /** True if a call back to this number may be offered. @param ours  our number of the call */
  readonly mayRing: (agent: AgentDefinition, number: string, ours: string) => boolean
  /**
   * Reason why a call back would be refused now; null if it would be accepted. The promise resolves within seconds and
   * never rejects.
   */
  readonly refusal: (state: KeptState, order: CallBackOrder) => Promise<CallBackRefusal | null>
  /**
   * Stores a caller's call back with the call's present state, and again after the call. The promise never rejects.
   * @returns the reason of a refusal; null if the call back is stored
   */
  readonly promise: (state: KeptState, order: CallBackOrder) => Promise<CallBackRefusal | null>
}

/** Services of the gateway that calls use on the main thread. */
export interface MainThreadServices {
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly metrics: Metrics
  readonly log: Log
  readonly callSeries: CallSeries
  /** Exports ended calls as spans; absent or null if no collector is set. */
  readonly traces?: TraceExport | null
  /** Carrier's REST API; null without an API key. */
  readonly carrier: CarrierControl | null
  /** Limits how often the humans behind the agents may be rung. */
  readonly humanCalls: HumanCalls
  readonly journal: JournalKept
  /** Receives the journal of each call, a few lines at a time; null if journals are not stored. */
  readonly keepJournal: ((callSid: CallSid, lines: readonly string[], days: number | null) => void) | null
  /**
   * Deletes the journal of a call whose caller refused it, and stores no further lines. Absent if journals are not
   * stored.
   */
  readonly discardJournal?: (callSid: CallSid) => void
  /** Begins recordings of calls; absent or null if calls are not recorded. */
  readonly record?: RecordCall | null
  /** Receives the records of live calls; absent or null if these records are not stored. */
  readonly openRecords?: OpenCallRecords | null
  /** Memory of a caller's last call, for agents with `caller.memory`; absent or null if calls are not remembered. */
  readonly callerMemory?: CallerMemories | null
  /** Stores the state of live calls for other nodes; absent or null if the state is not stored. */
  readonly keeper?: CallKeeping | null
  /** Receives the handoff packet before the stream ends, and each outcome of the escalation. */
  readonly onHandoff?: (news: HandoffNews) => void
  /** Called when the first stream of a call opens. */
  readonly onStarted?: (started: CallStarted) => void
  /** Makes promised call backs; absent if this gateway does not make them. */
  readonly callBacks?: CallBackDesk
  /**
   * Notes a wish of a number's owner for no calls from us, and the calendar time of the wish. If `wanted` is false, the
   * note is removed, because the words came from a machine's recording. Absent if there is no do-not-call list.
   * @returns true if the change is stored. The promise resolves within seconds and never rejects
   */
  readonly onDoNotCall?: (number: string, sinceMs: number, wanted: boolean) => Promise<boolean>
  /**
   * Ends the leg of a call that lost its stream, because the carrier may hold the leg in silence. Called if the carrier
   * has not asked how the call continues. The promise never rejects. If this function is absent, the call ends here,
   * but we do not end the leg.
   * @param cut  returns false if the call is not `cut` any more
   */
  readonly onStreamLost?: (state: KeptState, cut: () => boolean) => Promise<void>
}

/** Context that the main thread's halves of all calls share. */
export interface MainThreadContext extends MainThreadServices {
  readonly memory: CallMemoryPool
  readonly backendStatus: BackendStatus
  readonly afterStream: AfterStreamBehaviour
  readonly effects: Effects
  readonly waits: Waits
  /** Wrong verification answers by phone number, over the calls of all workers. */
  readonly locks: VerificationLocks
  /** Bandwidth and language of callers' lines. */
  readonly lines: CallerProfiles
  /** False if records contain phone numbers without masking. */
  readonly maskNumbers: boolean
  /** Policy for storing the words of a call after its end. */
  readonly transcript: TranscriptPolicy
  /**
   * Finds an agent by its name. It is adapted to the business of a call that is handed over. Null if the agent no
   * longer exists.
   */
  agent(name: string, business: Business | null, step: BudgetStep | null, call: CallOfVersion): HostedAgent | null
  /** An ordinal for a new call, unique in this process; never 0. */
  nextOrdinal(): number
  /**
   * Runs the call's task on the least loaded worker. With `alone`, it runs on a worker without other calls if possible.
   * @throws WorkerLostError if the worker dies
   */
  run(start: CallStart, transfer: readonly TransferListItem[], alone: boolean): Promise<CallEnd>
  /**
   * Opens a port to a speech worker; null if there is none.
   * @param recognises  true: the speech worker's recogniser transcribes the caller
   */
  openSpeech(recognises: boolean): MessagePort | null
  /** Notes that the call's task is over: its slot is free. */
  taskOver(): void
  /** Notes that a call has got its stream. */
  streams(): void
  /** Time in ms for which records of this agent's calls are stored. */
  recordsKeptMs(agent: string): number
  /** Ends this call. @param told  see `CallKeeping.over`; null without a keeper */
  over(
    call: { readonly callSid: CallSid; readonly handoff: Handoff | null; readonly toolCallLog: ToolCallLog },
    record: CallRecord,
    told: Promise<OverAnswer> | null,
  ): void
  /**
   * Ends a call that another node has taken.
   * @param record  this node's record. It is stored if the other node makes no record, and it is not counted in the
   * metrics
   */
  onTakenOver(callSid: CallSid, record: CallRecord): void
}
