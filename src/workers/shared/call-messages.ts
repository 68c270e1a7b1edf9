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
import type { SpokenTurn, TimelineMark } from '../../call/documents/record.js'
import type { LegRateHz } from '../../core/units.js'
import type { StreamTrack } from '../../sautikit/actions.js'
import type { StreamText } from '../../sautikit/stream-messages.js'
import type { JournalKept } from './call-journal.js'
import type { CallMemory } from './call-memory.js'

/** Start data of a call's task. It is plain data; only `port` and `speech` are transferred. */
export interface CallStart {
  readonly callSid: string
  /**
   * SID of the first call, if this call rings its caller back; otherwise the call's own SID. The keys of effects
   * contain it.
   */
  readonly rootSid: string
  /** Ordinal of the call within this process, from 1. In a worker's pulse it names the call whose code runs. */
  readonly ordinal: number
  readonly agent: AgentDefinition
  /**
   * Business to which our number in this call belongs; absent or null if NUMBERS_FILE has no business for the number.
   */
  readonly business?: Business | null
  /** Variables of an outbound call; absent if there are none. */
  readonly variables?: CallVariables
  /** Values found for the caller in an earlier call of the last hour; absent or null if there are none. */
  readonly knownCaller?: CallerValues | null
  /** The call's W3C trace context; absent if no trace is exported. */
  readonly traceparent?: string
  /** False: do not leave a message on an answering machine. Default: the setting in the agent's file. */
  readonly leaveMessage?: boolean
  /** True: the agent only takes messages in this call, on the cascade. Default: false. */
  readonly messagesOnly?: boolean
  /** Knowledge and modules that the agent's file names. */
  readonly assets: AgentAssets
  /**
   * Resolved names of the backends, in the order in which they are tried. The main thread has replaced `auto` by a
   * name.
   */
  readonly backends: readonly string[]
  /** Number of the person on the line. */
  readonly from: string
  /** True if the person may be called back at this number. */
  readonly calledBack: boolean
  /** Our own number. */
  readonly to: string
  readonly direction: 'inbound' | 'outbound'
  readonly legRateHz: LegRateHz
  readonly track: StreamTrack
  readonly shared: CallMemory
  /** Port for the call's control messages: the worker sends `FromCall` and receives `ToCall`. */
  readonly port: MessagePort
  /** Port to a speech worker; null if the speech pool is down. */
  readonly speech: MessagePort | null
  /** Common-clock time of the webhook: time zero of the timeline. */
  readonly preparedAtMs: number
  /**
   * State of the call that a dead worker or another node left. Null for a new call, or if the worker died before its
   * first checkpoint.
   */
  readonly resume: (SessionResume & Pick<KeptCall, 'backendState'>) | null
  /** Time in ms at which the stream opened; null if it is not open yet. */
  readonly streamOpenedAtMs: number | null
  readonly rehomes: number
  /** Settings of the journal; null if the call has no journal. */
  readonly journal: JournalKept | null
}

/** Messages from the main thread to the call. */
export type ToCall =
  | { readonly type: 'stream-opened'; readonly openedAtMs: number }
  /** Sent again after a move to another worker, until `tool-outcome` reports that the caller has heard the outcome. */
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
  /**
   * Answers `verification-attempt` with the number of attempts that remain. 0: the caller's number is locked, so no
   * answer may be compared.
   */
  | { readonly type: 'verification-attempts'; readonly left: number }
  /** Answers `do-not-call`. `kept`: the person's number is on the list. */
  | { readonly type: 'do-not-call'; readonly callId: string; readonly kept: boolean }
  /** Answers `caller-recall`. Null if nothing is remembered. */
  | { readonly type: 'caller-recalled'; readonly earlier: EarlierCall | null }
  /** Answers `tool-intent`. */
  | { readonly type: 'tool-intent'; readonly key: string; readonly answer: EffectAnswer }
  /** Answers `speech-lost` with a port to another speech worker. */
  | { readonly type: 'speech'; readonly port: MessagePort }

/** Messages from the call to the main thread. */
export type FromCall =
  | { readonly type: 'backend-session'; readonly opened: SessionOpened }
  | { readonly type: 'backend-error'; readonly fault: BackendFaultNews }
  /**
   * Reports a circuit of this worker that opened or closed because of this call. The main thread knows the worker by
   * its thread.
   */
  | { readonly type: 'circuit'; readonly worker: number; readonly circuit: CircuitReport }
  /** Reports the remaining limits of an API key that a service sent. */
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
  /** From `fromMs` on, caller audio is private, even if it has already arrived. */
  | (Extract<CallOutput, { type: 'private' }> & { readonly fromMs: number })
  /**
   * Reports that secret DTMF tones sound now, or that their echo may come. The tones go only to the carrier's line, not
   * to recordings and listeners.
   */
  | { readonly type: 'secret-tones'; readonly on: boolean }
  /** Reports if the caller's line carries only a telephone's band. Sent once, on a leg of 16 kHz. */
  | { readonly type: 'line-band'; readonly narrow: boolean }
  /**
   * Events since the last message of this type, and the session's state after these events. They are in one message, so
   * that the main thread's log and checkpoint always match.
   */
  | {
      readonly type: 'log'
      readonly entries: readonly CallLogEntry[]
      /** State of the session; null if it has not changed, or if the call is over. */
      readonly saved: Omit<NonNullable<CallStart['resume']>, 'log' | 'newStream'> | null
      /**
       * 99th percentile in ms of the latency that we add to the call's frames, from the carrier's socket to the
       * backend. Null unless `entries` contains a turn.
       */
      readonly frameLatencyP99Ms: number | null
    }
  /**
   * Reports that an MCP server of the agent is up or down, or has changed its tools. If several calls of the worker use
   * the server, one of them reports it.
   */
  | { readonly type: 'mcp'; readonly news: McpStatus }
  /** Reports a finished turn of the agent. */
  | { readonly type: 'turn-heard'; readonly turn: SpokenTurn }
  /** Reports that the arguments of a tool call were changed to fit its schema. */
  | { readonly type: 'tool-coerced'; readonly tool: string }
  /** Reports a tool whose answer had empty values. In texts for the caller these values count as absent. */
  | { readonly type: 'values-left-out'; readonly tool: string; readonly fields: readonly string[] }
  /** Asks for the memory of the caller's last call. */
  | { readonly type: 'caller-recall' }
  /** Reports values that the caller's look-up has found. The caller's next call gets them. */
  | { readonly type: 'caller-found'; readonly values: CallerValues }
  /** Marks since the last message of this type. */
  | { readonly type: 'marks'; readonly marks: readonly TimelineMark[] }
  | { readonly type: 'journal'; readonly lines: readonly string[] }
  | {
      readonly type: 'log-line'
      readonly level: 'debug' | 'info' | 'warn' | 'error'
      readonly message: string
      readonly fields: Readonly<Record<string, unknown>>
    }
  /**
   * Asks if an answer of the caller may be compared. This reserves one attempt until the verdict is sent. Only one
   * attempt may be reserved at a time.
   */
  | { readonly type: 'verification-attempt' }
  | { readonly type: 'verification-verdict'; readonly verdict: Verdict }
  /** Asks if a tool with an effect may run. If it may run, its intent is stored under `key`. */
  | {
      readonly type: 'tool-intent'
      readonly key: string
      readonly tool: string
      readonly callId: string
      readonly args: Readonly<Record<string, unknown>>
    }
  /**
   * Reports that the tool of this intent has begun a task whose outcome comes later. `id`: the id that its API gave the
   * task
   */
  | { readonly type: 'tool-pending'; readonly key: string; readonly waitMs: number; readonly id: string }
  /** Reports the outcome of an intent, if it is known. */
  | { readonly type: 'tool-settled'; readonly key: string; readonly outcome: ToolOutcome }
  | { readonly type: 'speech-lost' }
  /** Reports that speech waits in the ring whose first sample has not been sent. The main thread sends it at once. */
  | { readonly type: 'speech-waits' }

/** Result of a call's task. A rejection means that the whole worker died. */
export type CallEnd = CallResult | CallFault | Extract<CallOutput, { type: 'handover' }>

/** Fault of the gateway that ended only this call. */
interface CallFault {
  readonly type: 'fault'
  readonly fault: string
}
