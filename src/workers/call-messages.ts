import type { MessagePort } from 'node:worker_threads'
import type { AgentAssets } from '../agents/assets.js'
import type { AgentDefinition } from '../agents/definition.js'
import type { Verdict } from '../agents/verification-lock.js'
import type { CircuitReport } from '../backends/failover/circuit-breaker.js'
import type { BackendReport } from '../backends/compose.js'
import type { BackendFaultNews, SessionOpened } from '../backends/watch.js'
import type { CallLogEntry } from '../call/call-log.js'
import type { CallCheckpoint, SessionResume } from '../call/checkpoint.js'
import type { CallInput, CallbackWish, CarrierState, EscalationPacket, EscalationStep } from '../call/events.js'
import type { CallOutcome, EndReason, TimelineMark } from '../call/record.js'
import type { BackendUsage } from '../call/backend-events.js'
import type { LegRateHz } from '../core/units.js'
import type { StreamTrack } from '../sautikit/actions.js'
import type { StreamText } from '../sautikit/stream-messages.js'
import type { JournalKept } from './call-journal.js'
import type { CallMemory } from './call-memory.js'

/** What a call's task is started with. Plain data; `port` and `speech` travel in the transfer list. */
export interface CallStart {
  readonly callSid: string
  /** Of this call among all of this process, from 1: how a worker says whose code runs. */
  readonly number: number
  readonly agent: AgentDefinition
  /** What the agent's file names besides: knowledge and modules. */
  readonly assets: AgentAssets
  /** Resolved names of the backends, in the order in which they are tried: `auto` is decided by the main thread. */
  readonly backends: readonly string[]
  /** Resolved name of the backend that listens along; null for none. */
  readonly shadow: string | null
  /** The person on the line. */
  readonly from: string
  /** Our own number. */
  readonly to: string
  readonly direction: 'inbound' | 'outbound'
  readonly legRateHz: LegRateHz
  readonly track: StreamTrack
  readonly shared: CallMemory
  /** The call's control messages, `ToCall` one way and `FromCall` the other. */
  readonly port: MessagePort
  /** The way to a speech worker; null where the speech pool is down. */
  readonly speech: MessagePort | null
  /** Common-clock time of the webhook: time zero of the timeline. */
  readonly preparedAtMs: number
  /** Set when the call comes from a worker that died; null too when that one had not come far enough for a checkpoint. */
  readonly resume: (SessionResume & { readonly backendState: unknown }) | null
  readonly streamOpen: boolean
  readonly rehomes: number
  /** Null: no journal. */
  readonly journal: JournalKept | null
}

type StreamClosed = Extract<CallInput, { type: 'stream-closed' }>

/** Main thread to call. */
export type ToCall =
  | { readonly type: 'stream-opened' }
  | StreamClosed
  | { readonly type: 'stream-text'; readonly messages: readonly StreamText[] }
  | { readonly type: 'carrier-state'; readonly state: CarrierState }
  | { readonly type: 'hangup'; readonly reason: EndReason; readonly detail: string; readonly speak: boolean }
  | { readonly type: 'escalate'; readonly reason: string }
  | { readonly type: 'escalation'; readonly step: EscalationStep }
  /** Answers `verification-attempt`. 0: the caller's number is locked, no answer may be compared. */
  | { readonly type: 'verification-attempts'; readonly left: number }
  /** A speech worker died; this is the way to another. */
  | { readonly type: 'speech'; readonly port: MessagePort }

/** Call to main thread. */
export type FromCall =
  | { readonly type: 'backend-session'; readonly opened: SessionOpened }
  | { readonly type: 'backend-error'; readonly fault: BackendFaultNews }
  /** A circuit of this worker, by its thread, opened or closed because of this call. */
  | { readonly type: 'circuit'; readonly worker: number; readonly circuit: CircuitReport }
  | { readonly type: 'failover'; readonly from: string; readonly to: string; readonly gapMs: number; readonly reason: string }
  | { readonly type: 'end-stream'; readonly code: number; readonly hangup: boolean }
  | { readonly type: 'escalate'; readonly packet: EscalationPacket }
  | { readonly type: 'callback'; readonly wish: CallbackWish | null }
  | { readonly type: 'recording-announced' }
  /**
   * What happened since the last message of this kind, and the state of the session after it: together, so that the log of the main
   * thread and the checkpoint always fit each other.
   */
  | {
      readonly type: 'log'; readonly entries: readonly CallLogEntry[]
      /** Null where the session's state is as it was, or the call is over. */
      readonly checkpoint: SavedState | null
      /** Of this call's frames so far, carrier's socket to backend; null where no turn has come. */
      readonly frameLatencyP99Ms: number | null
    }
  /** Marks since the last message of this kind. */
  | { readonly type: 'marks'; readonly marks: readonly TimelineMark[] }
  | { readonly type: 'journal'; readonly lines: readonly string[] }
  | { readonly type: 'log-line'; readonly level: 'debug' | 'info' | 'warn' | 'error'; readonly message: string; readonly fields: Readonly<Record<string, unknown>> }
  /** May an answer of the caller's be compared? Reserved until its verdict follows; one at a time. */
  | { readonly type: 'verification-attempt' }
  | { readonly type: 'verification-verdict'; readonly verdict: Verdict }
  | { readonly type: 'speech-lost' }

/** What is kept of a worker's half, so that another worker can go on. Plain JSON. */
export interface SavedState {
  readonly session: CallCheckpoint
  readonly backend: unknown
}

/** What a call's task settles with. A rejection means that the whole worker died. */
export type CallEnd = CallResult | CallFault

/** The call failed by a fault of ours, and only this call. */
interface CallFault {
  readonly type: 'fault'
  readonly fault: string
}

/** The worker's part of the call record; what happened is in the call log. */
export interface CallResult {
  readonly type: 'result'
  readonly outcome: CallOutcome
  readonly endReason: EndReason
  readonly endDetail: string
  readonly backend: string
  readonly durationMs: number
  readonly greetingMs: number | null
  readonly usage: BackendUsage
  readonly report: BackendReport
  /** Tool calls that were never run: an unknown name, arguments that are none, too many. */
  readonly toolCallsRefused: number
  readonly framesIn: number
  readonly framesConcealed: number
  readonly framesDropped: number
  /** Of the agent's speech, beyond the bound of its backlog. */
  readonly agentFramesDropped: number
  readonly dtmf: number
}
