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
 * Begins a recording. `announced`: the caller knows of it already. `part`: from 1, one for each node of the call. `days`: how
 * long it is kept; null: as long as the settings say.
 */
export type RecordCall = (
  callSid: CallSid,
  rateHz: number,
  announced: boolean,
  part: number,
  days: number | null,
) => RecordingSink

/** The last call of each caller to each line. No method rejects. */
interface CallerMemories {
  /** @param line  our own number and the agent */
  recall(caller: string, line: string): Promise<EarlierCall | null>
  remember(caller: string, line: string, call: EarlierCall, keptMs: number): Promise<void>
}

/** A live call as its keeper asks for it; both are its state at that moment. */
export interface KeptSource {
  kept(): KeptCall
  /** The whole log, for when it has to be written again. */
  log(): Pick<KeptState, 'log' | 'marks'>
}

/** Keeps the state of live calls where another node, or the next run, can read it. No method throws. */
export interface CallKeeping {
  /** Name of this node. */
  readonly node: string
  /** The call was prepared. */
  open(callSid: CallSid, source: KeptSource): void
  /** Its log has grown. Marks alone are written with the next change. */
  append(callSid: CallSid, entries: readonly CallLogEntry[], marks: readonly TimelineMark[]): void
  /** `kept` of its source has changed. */
  changed(callSid: CallSid): void
  /**
   * Its state of now is kept, or cannot be. Resolves within SAVED_WITHIN_MS.
   * @returns false when nobody knows whether another could read it; true also where none is kept of any call
   */
  saved(callSid: CallSid): Promise<boolean>
  /** Ends its keeping. Resolves once the store knows, or has not answered. */
  over(callSid: CallSid): Promise<OverAnswer>
}

/**
 * The store's answer to the end of a call. `lost`: the call is not this node's, so that another may make its record; `unknown`:
 * it has not answered, or was never asked for the call, so that another node may have it, or take it yet; `in-doubt`: it has not
 * answered, and another may have taken the call while this node stood still or was cut off.
 */
export type OverAnswer = 'ok' | 'lost' | 'unknown' | 'in-doubt'

/** Where records of live calls are kept, for the next start if the process dies. */
export interface OpenCallRecords {
  /** A stream opened. @param compose  makes the call's record as it would be if the process died now */
  open(callSid: CallSid, compose: () => CallRecord): void
  /** That record has changed. */
  changed(callSid: CallSid): void
  /** The call is another node's: its record is there. */
  gone(callSid: CallSid): void
}

/**
 * The part of the carrier's REST API that a call needs. `key` is the idempotency key of the request. Rejections carry the
 * carrier's code and message.
 */
export interface CarrierControl {
  hangup(callSid: string, key: string): Promise<void>
  /** Adds a human to the live call. */
  supervise(callSid: string, phone: string, key: string): Promise<void>
  /** Rings a human, whose leg then gets the document at `voiceUrl`: it joins the caller's conference room. */
  callHuman(from: string, phone: string, voiceUrl: string, key: string): Promise<void>
}

/** The facts of a call from which its version of an agent follows. */
export interface CallOfVersion {
  /** SID of the first call of a chain. */
  readonly rootSid: string
  /** The version that had the call before, at another node or before its stream was lost; null: it is new. */
  readonly had: string | null
}

/** An agent as this gateway serves it: the definition for the worker, the facts for the edge, the backends resolved. */
export interface HostedAgent {
  readonly definition: AgentDefinition
  /** Knowledge and modules that its file names; none when absent. */
  readonly assets?: AgentAssets
  readonly facts: AgentFacts
  readonly shares: readonly BackendShare[]
  /** Facts of a business that it reads; absent: none. */
  readonly reads?: ReadonlySet<string>
  /**
   * The same agent as it answers for a business now. Absent: its facts change nothing (tests).
   * @param step  of the budget of its day
   */
  readonly forBusiness?: (business: Business, step?: BudgetStep | null) => HostedAgent
  /** Its second version, for this share of its calls. Absent: there is none. */
  readonly canary?: { readonly percent: number; readonly version: HostedAgent }
  /** It takes messages, and does nothing else. Absent: false. */
  readonly messagesOnly?: boolean
  /** Set by `forBusiness`, and where the call's variables are in the words. `file`: the agent as in its file. */
  readonly serves?: { readonly business: Business | null; readonly file: AgentDefinition }
}

/** A call back as a call's record names it. */
export type CallBackOrder = NonNullable<EscalationHistory['callback']>

/** Keeps call backs, for agents with `callbacks`; those of others are made by whoever gets their message. */
export interface CallBackDesk {
  /** True if a call back to this number may be offered. @param ours  our number of the call */
  readonly mayRing: (agent: AgentDefinition, number: string, ours: string) => boolean
  /** Why a call back would be refused now; null: it would not. Within seconds. Does not reject */
  readonly refusal: (state: KeptState, order: CallBackOrder) => Promise<CallBackRefusal | null>
  /**
   * A caller wants a call back: it is kept with the call as it is now; again when that has ended. Within seconds. Does not reject.
   * @returns why not; null: it is kept
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
  /** Where ended calls go as spans; absent or null where no collector is set. */
  readonly traces?: TraceExport | null
  /** Null without an API key. */
  readonly carrier: CarrierControl | null
  /** How often the humans behind the agents may be rung. */
  readonly humanCalls: HumanCalls
  readonly journal: JournalKept
  /** Receives the journal of each call, a few lines at a time; null keeps none. */
  readonly keepJournal: ((callSid: CallSid, lines: readonly string[], days: number | null) => void) | null
  /** Deletes the journal so far of a call whose caller does not want it, and keeps nothing more; absent where none is kept. */
  readonly discardJournal?: (callSid: CallSid) => void
  /** Where recordings of calls go; absent or null: calls are not recorded. */
  readonly record?: RecordCall | null
  /** Receives the records of live calls; absent or null: they are not kept. */
  readonly openRecords?: OpenCallRecords | null
  /** Memory of a caller's last call, for agents with `caller.memory`; absent or null: nothing. */
  readonly callerMemory?: CallerMemories | null
  /** Keeps the state of live calls for other nodes; absent or null: it is not kept. */
  readonly keeper?: CallKeeping | null
  /** Receives the handoff packet before the stream ends, and each outcome of the escalation. */
  readonly onHandoff?: (news: HandoffNews) => void
  /** Called when the first stream of a call opens. */
  readonly onStarted?: (started: CallStarted) => void
  /** Makes promised call backs. Absent: nobody does. */
  readonly callBacks?: CallBackDesk
  /**
   * The owner of a number wants no calls from us, since a calendar time; not `wanted`: it was a recording that had said so then.
   * Absent: there is no list. @returns whether that is written; within seconds. Does not reject
   */
  readonly onDoNotCall?: (number: string, sinceMs: number, wanted: boolean) => Promise<boolean>
  /**
   * The stream of a call was lost, and the carrier has not asked how it goes on: ends the leg that it may hold in
   * silence. Does not reject. Absent: then such a call only ends.
   * @param cut  false when that has been decided otherwise meanwhile
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
  /** False: records have phone numbers as they are. */
  readonly maskNumbers: boolean
  /** Which words of a call are kept beyond it. */
  readonly transcript: TranscriptPolicy
  /** The agent of that name, for the business of a call that is handed over to it; null where there is none any more. */
  agent(name: string, business: Business | null, step: BudgetStep | null, call: CallOfVersion): HostedAgent | null
  /** An ordinal for a new call, unique in this process; never 0. */
  nextOrdinal(): number
  /**
   * Runs the call's task on the least loaded worker, or with `alone` on one that carries no other call, while such a
   * worker is free.
   * @throws WorkerLostError when its worker is gone
   */
  run(start: CallStart, transfer: readonly TransferListItem[], alone: boolean): Promise<CallEnd>
  /** A port to a speech worker; null when there is none. @param recognises  the call is heard by its recogniser */
  openSpeech(recognises: boolean): MessagePort | null
  /** The task of a call is over: its slot is free. */
  taskOver(): void
  /** A call has got its stream. */
  streams(): void
  /** How long records of that agent's calls are kept. */
  recordsKeptMs(agent: string): number
  /** Ends this call. @param told  see `CallKeeping.over`; null without a keeper */
  over(
    call: { readonly callSid: CallSid; readonly handoff: Handoff | null; readonly toolCallLog: ToolCallLog },
    record: CallRecord,
    told: Promise<OverAnswer> | null,
  ): void
  /** The same of a call that another node has taken. @param record  kept if the other node makes none; not counted */
  onTakenOver(callSid: CallSid, record: CallRecord): void
}
