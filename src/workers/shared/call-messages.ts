import type { MessagePort } from 'node:worker_threads'
import type { AgentAssets } from '../../agents/file/assets.js'
import type { Business } from '../../agents/file/business.js'
import type { AgentDefinition } from '../../agents/file/definition.js'
import type { CallVariables } from '../../agents/file/template.js'
import type { McpStatus } from '../../agents/tools/mcp-server.js'
import type { EffectAnswer, ToolOutcome } from '../../agents/tools/tool.js'
import type { Verdict } from '../../agents/identity/verification-lock.js'
import type { BackendEvent, RateLimit } from '../../backends/backend.js'
import type { CircuitReport } from '../../backends/failover/circuit-breaker.js'
import type { BackendFaultNews, SessionOpened } from '../../backends/watch.js'
import type { CallerValues, EarlierCall } from '../../call/caller-data.js'
import type { CallLogEntry } from '../../call/documents/log-entry.js'
import type { CallResult, KeptCall } from '../../call/documents/kept-call.js'
import type { SessionResume } from '../../call/documents/checkpoint.js'
import type { CallInput, CallOutput } from '../../call/events.js'
import type { TimelineMark } from '../../call/documents/record.js'
import type { LegRateHz } from '../../core/units.js'
import type { StreamTrack } from '../../sautikit/actions.js'
import type { StreamText } from '../../sautikit/stream-messages.js'
import type { JournalKept } from './call-journal.js'
import type { CallMemory } from './call-memory.js'

/** Start data of a call's task. Plain data; `port` and `speech` travel in the transfer list. */
export interface CallStart {
  readonly callSid: string
  /** The first call of a caller who was rung back; otherwise this call. Effects have their keys from it. */
  readonly rootSid: string
  /** Ordinal of the call within this process, from 1. A worker's pulse names the call whose code runs by it. */
  readonly ordinal: number
  readonly agent: AgentDefinition
  /** Whose number was called, or calls; absent or null: no business of NUMBERS_FILE. */
  readonly business?: Business | null
  /** Variables of an outbound call; absent: none. */
  readonly variables?: CallVariables
  /** Values of the caller from an earlier call of this hour; absent or null: none. */
  readonly knownCaller?: CallerValues | null
  /** The W3C trace context of the call; absent where no trace is exported. */
  readonly traceparent?: string
  /** False: an answering machine gets no message. Default: what the agent's file says. */
  readonly leaveMessage?: boolean
  /** The call is answered by the taker of messages alone, on the cascade. Default: false. */
  readonly messagesOnly?: boolean
  /** Knowledge and modules that the agent's file names. */
  readonly assets: AgentAssets
  /** Resolved names of the backends, in the order in which they are tried: `auto` is decided by the main thread. */
  readonly backends: readonly string[]
  /** The person on the line. */
  readonly from: string
  /** They may be called back at that number. */
  readonly calledBack: boolean
  /** Our own number. */
  readonly to: string
  readonly direction: 'inbound' | 'outbound'
  readonly legRateHz: LegRateHz
  readonly track: StreamTrack
  readonly shared: CallMemory
  /** The call's control messages, `ToCall` one way and `FromCall` the other. */
  readonly port: MessagePort
  /** Leads to a speech worker; null where the speech pool is down. */
  readonly speech: MessagePort | null
  /** Common-clock time of the webhook: time zero of the timeline. */
  readonly preparedAtMs: number
  /**
   * Set when the call comes from a worker that died, or from another node. Null in a new call, and when that worker
   * died before its first checkpoint.
   */
  readonly resume: (SessionResume & Pick<KeptCall, 'backendState'>) | null
  /** Null: the stream is not open yet. */
  readonly streamOpenedAtMs: number | null
  readonly rehomes: number
  /** Null: no journal. */
  readonly journal: JournalKept | null
}

/** Main thread to call. */
export type ToCall =
  | { readonly type: 'stream-opened'; readonly openedAtMs: number }
  /** `tool-outcome`: again after a move to another worker, until the caller has heard it. */
  | Extract<
      CallInput,
      {
        type:
          | 'stream-closed'
          | 'carrier-state'
          | 'hangup-requested'
          | 'escalate-requested'
          | 'whisper'
          | 'escalation'
          | 'callback-answer'
          | 'tool-outcome'
      }
    >
  | { readonly type: 'stream-text'; readonly messages: readonly StreamText[] }
  /** Answers `verification-attempt`. 0: the caller's number is locked, no answer may be compared. */
  | { readonly type: 'verification-attempts'; readonly left: number }
  /** Answers `do-not-call`. `kept`: their number is on the list. */
  | { readonly type: 'do-not-call'; readonly callId: string; readonly kept: boolean }
  /** Answers `caller-recall`. Null: nothing is remembered. */
  | { readonly type: 'caller-recalled'; readonly earlier: EarlierCall | null }
  /** Answers `tool-intent`. */
  | { readonly type: 'tool-intent'; readonly key: string; readonly answer: EffectAnswer }
  /** Answers `speech-lost` with a port to another speech worker. */
  | { readonly type: 'speech'; readonly port: MessagePort }

/** Call to main thread. */
export type FromCall =
  | { readonly type: 'backend-session'; readonly opened: SessionOpened }
  | { readonly type: 'backend-error'; readonly fault: BackendFaultNews }
  /** A circuit of this worker, by its thread, opened or closed because of this call. */
  | { readonly type: 'circuit'; readonly worker: number; readonly circuit: CircuitReport }
  /** A service reported the key's remaining limits. */
  | { readonly type: 'backend-limits'; readonly backend: string; readonly limits: readonly RateLimit[] }
  | Extract<BackendEvent, { type: 'failover' }>
  | Extract<
      CallOutput,
      {
        type:
          | 'end-stream'
          | 'escalate'
          | 'callback'
          | 'do-not-call'
          | 'do-not-call-undone'
          | 'recording-announced'
          | 'recording-refused'
          | 'wait'
      }
    >
  /** `fromMs`: what the caller has sent since then is private too, by the time of its arrival. */
  | (Extract<CallOutput, { type: 'private' }> & { readonly fromMs: number })
  /** Tones of keys sound that nobody is to read, or their echo may come: on the line alone, and nowhere that hears the call. */
  | { readonly type: 'secret-tones'; readonly on: boolean }
  /** True if the caller's line carries no more than a telephone's band. Once, on a leg of 16 kHz. */
  | { readonly type: 'line-band'; readonly narrow: boolean }
  /**
   * Events since the last message of this kind, and the session's state after it. They come together, so that the main
   * thread's log and checkpoint always match.
   */
  | {
      readonly type: 'log'
      readonly entries: readonly CallLogEntry[]
      /** Null where the session's state has not changed, or the call is over. */
      readonly saved: Omit<NonNullable<CallStart['resume']>, 'log' | 'newStream'> | null
      /**
       * Added latency of this call's frames so far, from the carrier's socket to the backend; null unless `entries` has
       * a turn.
       */
      readonly frameLatencyP99Ms: number | null
    }
  /** An MCP server of the agent is up or down, or has other tools; one call of the worker says so. */
  | { readonly type: 'mcp'; readonly news: McpStatus }
  /** The arguments of a tool call were changed to fit its schema. */
  | { readonly type: 'tool-coerced'; readonly tool: string }
  /** A tool has answered with values that say nothing: in words they count as absent. */
  | { readonly type: 'values-left-out'; readonly tool: string; readonly fields: readonly string[] }
  /** Asks what is remembered of the caller's last call. */
  | { readonly type: 'caller-recall' }
  /** The look-up of the caller has found something: for their next call. */
  | { readonly type: 'caller-found'; readonly values: CallerValues }
  /** Marks since the last message of this kind. */
  | { readonly type: 'marks'; readonly marks: readonly TimelineMark[] }
  | { readonly type: 'journal'; readonly lines: readonly string[] }
  | {
      readonly type: 'log-line'
      readonly level: 'debug' | 'info' | 'warn' | 'error'
      readonly message: string
      readonly fields: Readonly<Record<string, unknown>>
    }
  /**
   * Asks whether an answer of the caller may be compared. The attempt is reserved until its verdict follows; one at a
   * time.
   */
  | { readonly type: 'verification-attempt' }
  | { readonly type: 'verification-verdict'; readonly verdict: Verdict }
  /** Asks whether a tool with an effect may run; the intent is then stored under `key`. */
  | {
      readonly type: 'tool-intent'
      readonly key: string
      readonly tool: string
      readonly callId: string
      readonly args: Readonly<Record<string, unknown>>
    }
  /** The tool of that intent has begun something whose outcome comes later. `id`: as its API gave it */
  | { readonly type: 'tool-pending'; readonly key: string; readonly waitMs: number; readonly id: string }
  /** The outcome of an intent, where it is known. */
  | { readonly type: 'tool-settled'; readonly key: string; readonly outcome: ToolOutcome }
  | { readonly type: 'speech-lost' }

/** Result of a call's task. A rejection means that the whole worker died. */
export type CallEnd = CallResult | CallFault | Extract<CallOutput, { type: 'handover' }>

/** This call alone failed, by a fault of ours. */
interface CallFault {
  readonly type: 'fault'
  readonly fault: string
}
