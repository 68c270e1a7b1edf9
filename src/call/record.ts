import type { BackendUsage } from './backend-events.js'

/** Version of the call record's JSON; `schema/call-record.schema.json` describes it. */
export const CALL_RECORD_VERSION = 1

/** What one model of one backend cost in a call. */
export interface ModelCost {
  readonly backend: string
  /** Null: the backend names no model. */
  readonly model: string | null
  /** Null when it is not known; then `unknown` says why. */
  readonly amount: number | null
  readonly unknown: string | null
  readonly usage: BackendUsage
}

/** What the models of a call cost, at the prices of docs/BACKENDS.md. */
export interface CallCost {
  /** Such as `USD`. */
  readonly currency: string
  /** Null when the cost of one of the models is not known. */
  readonly amount: number | null
  /** The sum of what is known: a lower bound. */
  readonly known: number
  readonly unknown: string | null
  readonly models: readonly ModelCost[]
}

/** The outcome of a call; `unreached` only for calls that we placed, `refused` only for calls that came in. */
export const CALL_OUTCOMES = ['deflected', 'escalated', 'abandoned', 'failed', 'unreached', 'refused'] as const
export type CallOutcome = (typeof CALL_OUTCOMES)[number]

/** Why a call that came in was refused: its caller got words, and no stream. */
export const CALL_REFUSALS = [
  'capacity',
  'draining',
  'cordoned',
  'tick-slack',
  'memory',
  'cpu-throttling',
  'file-descriptors',
  'agent-capacity',
  'agent-unknown',
  'no-owner',
  'caller-calls',
  'caller-rate',
  'withheld-calls',
  'fault',
] as const
export type CallRefusal = (typeof CALL_REFUSALS)[number]

/** What ended it. */
export type EndReason =
  | 'caller-hung-up'
  | 'agent-goodbye'
  | 'escalated'
  | 'silence-limit'
  | 'duration-limit'
  | 'operator-hangup'
  | 'drain-limit'
  | 'carrier-silent'
  | 'carrier-abuse'
  | 'carrier-not-reading'
  | 'carrier-protocol'
  | 'carrier-error'
  | 'socket-lost'
  | 'socket-never-came'
  | 'stream-error'
  | 'backend-failed'
  | 'call-fault'
  /** The gateway's process died during the call; the record has what was on disk. */
  | 'process-died'
  /** Only for calls that we placed: nobody took the call, or no person did. */
  | 'not-taken'
  | 'answering-machine'
  | 'nobody-there'

export interface TranscriptEntry {
  readonly role: 'caller' | 'agent'
  readonly text: string
  /** Milliseconds since the stream opened. */
  readonly startMs: number
  readonly endMs: number
  /** Agent entries: true when the caller interrupted; `text` has the agent's words, `heardMs` how much was heard. */
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
  /** The same two durations as the caller perceives them; only if the carrier sends both tracks as stereo. */
  readonly ear?: PlayedTimes
}

/** To the agent's voice as it comes back on the outbound track; null if no beginning of a sound was found there. */
export interface PlayedTimes {
  readonly firstSoundMs: number | null
  readonly answerMs: number | null
}

export interface BargeInRecord {
  /** First voiced sample, in milliseconds since the stream opened. */
  readonly atMs: number
  /** From the first voiced sample to the last agent sample sent; null when nothing had to be stopped. */
  readonly stopMs: number | null
  /** False: a false interruption, after which the speech was resumed. */
  readonly committed: boolean
  /** The reason of the decision, with its figures. */
  readonly why: string
}

/**
 * What became of the tool that would make a claim true:
 * - `done`: it succeeded in this call;
 * - `no-tool`: the agent has no tool for that;
 * - `not-called`, `refused`, `failed`, `cancelled`, `overdue`: it did not;
 * - `other-result`: it succeeded, with a result that says otherwise;
 * - `uncertain`: nobody knows, because it ran when its worker, or its node, was lost;
 * - `no-source`: a number, a price or a weekday that the agent was not given.
 */
export type ClaimVerdict =
  | 'done'
  | 'no-tool'
  | 'not-called'
  | 'refused'
  | 'failed'
  | 'cancelled'
  | 'overdue'
  | 'other-result'
  | 'uncertain'
  | 'no-source'

/** What the agent claimed to have done, held against the tool calls. */
export interface ClaimRecord {
  /** Begin of the agent's words, in milliseconds since the stream opened. */
  readonly atMs: number
  /** The rule's first tool; null for `no-tool` and `no-source`. */
  readonly tool: string | null
  /** Language of the phrase; `und` for `no-source`. */
  readonly language: string
  /** The phrase of the agent's file that was found in the words; for `no-source` the words. */
  readonly phrase: string
  readonly verdict: ClaimVerdict
}

export interface TimelineMark {
  readonly name: string
  /** Milliseconds since the call was prepared (webhook). */
  readonly atMs: number
  readonly detail?: string
}

/** Kinds of events in which the agent falls silent, or somebody is not served. */
export type StopKind = 'interruption' | 'drop' | 'silence-prompt' | 'refusal' | 'failure' | 'hang-up'

/** Why the agent stopped talking: one decision with its figures. */
export interface StopRecord {
  readonly kind: StopKind
  /** Milliseconds since the webhook. */
  readonly atMs: number
  /** Name of the timeline mark that it comes from. */
  readonly mark: string
  readonly why: string
}

export type EscalationStrategy = 'after-stream-dial' | 'supervision' | 'conference' | 'callback'
export type EscalationOutcome = 'answered' | 'busy' | 'no-answer' | 'declined' | 'failed'

export interface EscalationRecord {
  readonly reason: string
  readonly strategy: EscalationStrategy | null
  readonly outcome: EscalationOutcome | null
}

/** One attempt to reach one human, and its outcome. */
export interface EscalationAttempt {
  readonly strategy: EscalationStrategy
  /** Place in the hunt group, from 1; null when nobody was rung. */
  readonly human: number | null
  readonly outcome: EscalationOutcome
  readonly detail: string
  /** From its beginning to its outcome. */
  readonly ms: number
}

/** How a call back was requested: by digit, in words, or without a question because the caller could not be asked. */
export type CallbackAsk = 'key' | 'words' | 'nobody-reached'

/** A requested call back. */
interface CallbackRequest {
  readonly asked: CallbackAsk
  /** E.164; empty when the caller's number is withheld. Masked in records. */
  readonly number: string
  /** Subject and preferred time, as the caller or the model said it. */
  readonly note: string
  /** Calendar time, ISO 8601. */
  readonly at: string
}

/** An escalation in the call record. */
export interface EscalationHistory extends EscalationRecord {
  readonly attempts: readonly EscalationAttempt[]
  readonly callback: CallbackRequest | null
}

/** The carrier's own record of a call. Times are ISO 8601; money is in minor units (cents). */
export interface CarrierDetail {
  readonly callId: string | null
  /** ringing, answered, completed, failed, no_answer, busy, canceled; others may come. */
  readonly status: string | null
  readonly startedAt: string | null
  readonly answeredAt: string | null
  readonly endedAt: string | null
  readonly durationS: number | null
  readonly costMinor: number | null
  readonly costCurrency: string | null
  readonly ratePerMinuteMinor: number | null
  /** Why the leg ended, such as `normal_clearing`; null when the carrier does not say. */
  readonly hangupCause: string | null
  readonly failureCode: string | null
  /** File of the carrier's recording, below DATA_DIR; null when there is none or it is not fetched yet. */
  readonly recording: string | null
  readonly fetchedAt: string
}

/** Result of a call that we placed. */
export type OutboundResult = 'answered' | 'voicemail' | 'silence' | 'busy' | 'no-answer' | 'failed'

export interface OutboundRecord {
  readonly result: OutboundResult
  /** From the request to place the call to the opened stream, or to the end of a call that nobody took. */
  readonly ringMs: number
  /** Also appears in the carrier's records. */
  readonly clientRequestId: string
}

/** One backend session of this call. */
interface BackendSessionRecord {
  readonly backend: string
  readonly role: 'first' | 'takeover' | 'standby' | 'rotation'
  /** From the start of its connection until it was ready for audio; null when it never became ready. */
  readonly connectMs: number | null
  /** Why it never became ready; null when it did. */
  readonly fault: string | null
}

/** What happened with the backends. */
interface BackendsRecord {
  /** The newest sessions, in the order in which they became ready or failed. */
  readonly sessions: readonly BackendSessionRecord[]
  /** Takeovers, rotations, gaps, replayed input; null when there is only one backend. */
  readonly failover: Readonly<Record<string, unknown>> | null
  /** Counts of protocol irregularities, by backend and kind; kinds with a count of 0 are left out. */
  readonly irregular: Readonly<Record<string, Readonly<Record<string, number>>>>
}

/** A part of the call whose node or stream was lost. Of a lost node the last second may be in no record. */
export interface ResumedRecord {
  /** Name of the node that had the call before. */
  readonly node: string
  /** How long the call had had a stream when its state was last stored. */
  readonly streamMs: number
  /** File of that part's recording, below that node's DATA_DIR; its end may be missing. */
  readonly recording: string | null
}

/** One document per call. Milliseconds unless the name says otherwise; phone numbers are masked by the writer. */
export interface CallRecord {
  readonly version: typeof CALL_RECORD_VERSION
  readonly callSid: string
  readonly agent: string
  readonly backend: string
  readonly direction: 'inbound' | 'outbound'
  readonly from: string
  readonly to: string
  readonly outcome: CallOutcome
  /** A `CallRefusal` exactly where the outcome is `refused`. */
  readonly endReason: EndReason | CallRefusal
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
  /** What the agent claimed to have done, where its file has rules for that. */
  readonly claims: readonly ClaimRecord[]
  readonly escalation: EscalationHistory | null
  readonly timeline: readonly TimelineMark[]
  /** Marks that the bounded timeline dropped, between its first and its newest marks. */
  readonly timelineDropped: number
  /**
   * Each interruption, drop, silence prompt, refusal, failure and hang-up, with its reason; the newest of each kind.
   */
  readonly stops: readonly StopRecord[]
  /** All models together. */
  readonly usage: BackendUsage
  readonly audio: {
    readonly framesIn: number
    readonly framesConcealed: number
    readonly framesDropped: number
    readonly underruns: number
    readonly dtmf: number
  }
  readonly backends: BackendsRecord
  /** What the models cost; null for a call whose backend never came to that, and in records of builds before. */
  readonly cost: CallCost | null
  /** The limit of the budget that was reached; null when the agent sets no budget. */
  readonly budget: Readonly<Record<string, unknown>> | null
  /** How often the call moved to another worker. */
  readonly rehomes: number
  /** Each time that the call went on with a new stream, because its node or its stream was lost. */
  readonly resumed: readonly ResumedRecord[]
  /** SID of the call that was cut off, where this one rang its caller back; null for any other. */
  readonly recoveredFrom: string | null
  /** SID of the first call of that chain; the call's own where there is none. */
  readonly rootSid: string
  readonly recording: string | null
  /** The carrier's own record, fetched after the call; null without an API key, and until it arrives. */
  readonly carrier: CarrierDetail | null
  /** Null for a call that was not placed by this gateway. */
  readonly outbound: OutboundRecord | null
}
