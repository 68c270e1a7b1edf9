import type { BargeInRecord, CallRecord, TimelineMark, ToolCallRecord, TranscriptEntry, TurnRecord } from './record.js'

/**
 * `waiting` for its socket, `streaming`, `cut` while its stream is lost and the carrier may ask how it goes on, `after`
 * the stream while an escalation is pending, `ended`.
 */
export type LiveCallState = 'waiting' | 'streaming' | 'cut' | 'after' | 'ended'

/** One live call in a list. Numbers are masked. */
export interface LiveCallRow {
  readonly callSid: string
  readonly agent: string
  readonly backend: string
  readonly state: LiveCallState
  readonly direction: 'inbound' | 'outbound'
  readonly from: string
  readonly to: string
  readonly startedAt: string
  /** Since the stream opened; 0 before. */
  readonly durationMs: number
  /** From the caller's last word to the agent's first sound, in the newest turn that has one; null before. */
  readonly lastResponseMs: number | null
}

/** What `GET /api/calls` shows of a live call. */
export interface LiveCallView extends LiveCallRow {
  readonly transcript: readonly TranscriptEntry[]
  readonly toolCalls: readonly ToolCallRecord[]
  readonly rehomes: number
}

/** A call in a list of live and ended calls. */
export interface ListedCall extends Omit<LiveCallRow, 'state' | 'direction' | 'lastResponseMs'> {
  /** A `LiveCallState`. */
  readonly state: string
  readonly direction: string
  /** Absent in lists of nodes that run an earlier version, and of ended calls. */
  readonly lastResponseMs?: number | null
  /** Of ended calls. */
  readonly outcome?: string
  readonly endReason?: string
}

/** A call in a list over all nodes. */
export interface FleetRow extends ListedCall {
  /** Null where the gateway is no node. */
  readonly node: string | null
}

/** Version of the timeline's JSON; `schema/timeline.schema.json` describes it. */
export const CALL_TIMELINE_VERSION = 1

/** What happened in a call and when, live or ended: `GET /api/calls/{sid}/timeline`. Milliseconds. */
export interface CallTimelineView {
  readonly version: typeof CALL_TIMELINE_VERSION
  readonly callSid: string
  readonly agent: string
  readonly backend: string
  readonly live: boolean
  /** Calendar time of the webhook, ISO 8601: zero of the marks. */
  readonly startedAt: string
  /** When the stream opened, since the webhook: zero of turns, barge-ins and tools. Null before. */
  readonly streamOpenedMs: number | null
  /** The trace that a collector knows this call by; null where none is set. */
  readonly traceId: string | null
  readonly timeline: readonly TimelineMark[]
  readonly timelineDropped: number
  readonly turns: readonly TurnRecord[]
  readonly bargeIns: readonly BargeInRecord[]
  readonly tools: readonly {
    readonly name: string
    readonly startMs: number
    readonly ms: number
    readonly ok: boolean
  }[]
}

/** The timeline of a call that has ended. */
export function timelineOf(record: CallRecord, traceId: string | null): CallTimelineView {
  return {
    version: CALL_TIMELINE_VERSION,
    callSid: record.callSid,
    agent: record.agent,
    backend: record.backend,
    live: false,
    startedAt: record.startedAt,
    streamOpenedMs: streamOpenedMs(record.timeline),
    traceId,
    timeline: record.timeline,
    timelineDropped: record.timelineDropped,
    turns: record.turns,
    bargeIns: record.bargeIns,
    tools: record.toolCalls.map(({ name, startMs, ms, ok }) => ({ name, startMs, ms, ok })),
  }
}

/** A call that changed its worker has several such marks; the first one counts. */
export function streamOpenedMs(marks: readonly TimelineMark[]): number | null {
  return marks.find((mark) => mark.name === 'stream-opened')?.atMs ?? null
}
