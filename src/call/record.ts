/** Version of the call record's JSON; `schema/call-record.schema.json` describes it. */
export const CALL_RECORD_VERSION = 1

/** How a call came out, as the line's owner counts it. */
export type CallOutcome = 'deflected' | 'escalated' | 'abandoned' | 'failed'

/** What ended it. */
export type EndReason =
  | 'caller-hung-up' | 'agent-goodbye' | 'escalated' | 'silence-limit' | 'duration-limit' | 'operator-hangup'
  | 'drain-limit' | 'carrier-silent' | 'carrier-abuse' | 'socket-never-came' | 'stream-error' | 'backend-failed' | 'call-fault'

export interface TranscriptEntry {
  readonly role: 'caller' | 'agent'
  readonly text: string
  /** Milliseconds since the stream opened. */
  readonly startMs: number
  readonly endMs: number
  /** Agent entries: true when the caller interrupted it; `text` is then what was said, `heardMs` how much was heard. */
  readonly interrupted?: boolean
  readonly heardMs?: number
}

export interface ToolCallRecord {
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  /** Start, in milliseconds since the stream opened. */
  readonly startMs: number
  /** How long it ran. */
  readonly ms: number
  readonly ok: boolean
  readonly error?: string
}

export interface TurnRecord {
  /** The caller's last voiced sample, in milliseconds since the stream opened. */
  readonly callerStoppedMs: number
  /** From there to the first agent sample of any kind sent; null when none came. */
  readonly firstSoundMs: number | null
  /** From there to the first agent sample that is not a filler. */
  readonly answerMs: number | null
}

export interface BargeInRecord {
  /** First voiced sample, in milliseconds since the stream opened. */
  readonly atMs: number
  /** From the first voiced sample to the last agent sample sent; null when nothing had to be stopped. */
  readonly stopMs: number | null
  /** False: it was a cough, and the speech was resumed. */
  readonly committed: boolean
  /** Why it was decided so, with the figures. */
  readonly why: string
}

export interface TimelineMark {
  readonly name: string
  /** Milliseconds since the call was prepared (webhook). */
  readonly atMs: number
  readonly detail?: string
}

export type EscalationStrategy = 'after-stream-dial' | 'supervision' | 'conference' | 'callback'
export type EscalationOutcome = 'answered' | 'busy' | 'no-answer' | 'declined' | 'failed'

export interface EscalationRecord {
  readonly reason: string
  readonly strategy: EscalationStrategy | null
  readonly outcome: EscalationOutcome | null
}

/** One document a call. Milliseconds unless the name says otherwise; phone numbers are masked by the writer. */
export interface CallRecord {
  readonly version: typeof CALL_RECORD_VERSION
  readonly callSid: string
  readonly agent: string
  readonly backend: string
  readonly direction: 'inbound' | 'outbound'
  readonly from: string
  readonly to: string
  readonly outcome: CallOutcome
  readonly endReason: EndReason
  readonly endDetail: string
  /** Calendar time of the webhook, ISO 8601. */
  readonly startedAt: string
  /** Time the stream was open. */
  readonly durationMs: number
  readonly greetingMs: number | null
  readonly transcript: readonly TranscriptEntry[]
  readonly toolCalls: readonly ToolCallRecord[]
  readonly turns: readonly TurnRecord[]
  readonly bargeIns: readonly BargeInRecord[]
  readonly escalation: EscalationRecord | null
  readonly timeline: readonly TimelineMark[]
  readonly usage: { readonly inputTokens: number; readonly outputTokens: number; readonly audioInMs: number; readonly audioOutMs: number }
  readonly audio: {
    readonly framesIn: number; readonly framesConcealed: number; readonly framesDropped: number
    readonly underruns: number; readonly dtmf: number
  }
  /** What the backends used and what that is estimated to cost; null where the agent sets no budget. */
  readonly budget: Readonly<Record<string, unknown>> | null
  /** What a second backend that listened along would have done, turn by turn; null where none did. */
  readonly shadow: Readonly<Record<string, unknown>> | null
  /** How often the call changed its worker. */
  readonly rehomes: number
  readonly recording: string | null
}
