import type { MessagePort, TransferListItem } from 'node:worker_threads'
import type { AgentAssets } from '../agents/assets.js'
import type { AgentDefinition } from '../agents/definition.js'
import type { VerificationLocks } from '../agents/verification-lock.js'
import type { Handoff } from '../call/events.js'
import type { CallRecord } from '../call/record.js'
import type { Clock, WallClock } from '../core/clock.js'
import type { CallSid } from '../core/ids.js'
import type { RecordingSink } from '../telemetry/archive/archive.js'
import type { CallSeries } from '../telemetry/call-series.js'
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { TraceExport } from '../telemetry/trace-export.js'
import type { AfterStreamBehaviour } from './after-stream-behaviour.js'
import type { BackendBooks } from './backend-books.js'
import type { JournalKept } from './call-journal.js'
import type { CallMemoryPool } from './call-memory.js'
import type { CallEnd, CallStart } from './call-messages.js'
import type { HandoffNews } from './handoff-post.js'
import type { AgentFacts } from './live-call.js'

/** Begins a recording. `announced`: the caller knows of it already. */
export type RecordCall = (callSid: CallSid, rateHz: number, announced: boolean) => RecordingSink

/** Where records of live calls go, for the start after a process that died. */
export interface OpenCallRecords {
  /** A stream opened. @param compose  the call's record as it is if the process dies when this is called */
  open(callSid: CallSid, compose: () => CallRecord): void
  /** There is more in that record. */
  changed(callSid: CallSid): void
}

/** The carrier's REST API, as far as a call needs it. Rejections carry the carrier's code and message. */
export interface CarrierControl {
  hangup(callSid: string): Promise<void>
  /** Adds a human to the live call. */
  supervise(callSid: string, phone: string): Promise<void>
  /** Rings a human, whose leg then gets the document at `voiceUrl`: it joins the caller's room. */
  callHuman(from: string, phone: string, voiceUrl: string): Promise<void>
}

/** What the host of a call gives it. */
export interface HostContext {
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly metrics: Metrics
  readonly log: Log
  readonly callSeries: CallSeries
  /** Absent or null where no collector is set. */
  readonly traces?: TraceExport | null
  readonly carrier: CarrierControl | null
  readonly journal: JournalKept | null
  readonly memory: CallMemoryPool
  readonly backendBooks: BackendBooks
  readonly afterStream: AfterStreamBehaviour
  /** Wrong answers by number, for the calls of all workers. */
  readonly locks: VerificationLocks
  /** Where recordings go; null where nothing is kept. */
  readonly record: RecordCall | null
  /** What is written down of live calls; null where nothing is kept. */
  readonly openRecords: OpenCallRecords | null
  /** False: records have phone numbers as they are. */
  readonly maskNumbers: boolean
  /** Of a new call, among all of this process; never 0. */
  callNumber(): number
  /**
   * Starts the call's task on the least loaded worker, or on one that carries nothing else. Rejects with a `WorkerLostError` when
   * that worker is gone.
   */
  run(start: CallStart, transfer: readonly TransferListItem[], alone: boolean): Promise<CallEnd>
  /** A way to a speech worker; null when there is none to be had. */
  openSpeech(): MessagePort | null
  /** The task of a call is over: its slot is free. */
  taskOver(): void
  /** Nothing more will happen to this call. */
  over(call: { readonly callSid: CallSid; readonly handoff: Handoff | null }, record: CallRecord): void
  keepJournal(callSid: CallSid, lines: readonly string[]): void
  /** Stores the handoff packet and posts it to the owner's webhook. */
  handoffNews(news: HandoffNews): void
}

/** An agent as the host keeps it: the definition for the worker, the facts for the edge, the backend resolved. */
export interface HostedAgent {
  readonly definition: AgentDefinition
  /** What its file names besides; nothing when it is not given. */
  readonly assets?: AgentAssets
  readonly facts: AgentFacts
  /** Resolved, in the order in which they are tried. */
  readonly backends: readonly string[]
  readonly shadow: string | null
}
