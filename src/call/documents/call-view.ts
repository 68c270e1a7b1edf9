import { z } from 'zod'
import type { DocumentOf } from './document.js'
import type { WrittenRecord } from './call-search.js'
import { callRecordSchema, measuredMs, timelineMark } from './record.js'
import type { CallRecord, TimelineMark } from './record.js'

/**
 * `waiting` for its socket, `streaming`, `cut` while its stream is lost and the carrier may ask how it goes on, `after`
 * the stream while an escalation is pending, `ended`.
 */
export type LiveCallState = 'waiting' | 'streaming' | 'cut' | 'after' | 'ended'

/** One live call in a list. Numbers are masked. */
export interface LiveCallRow extends Pick<
  CallRecord,
  'callSid' | 'agent' | 'backend' | 'direction' | 'from' | 'to' | 'number' | 'startedAt' | 'durationMs'
> {
  readonly state: LiveCallState
  /** From the caller's last word to the agent's first sound, in the newest turn that has one; null before. */
  readonly lastResponseMs: number | null
}

/** A live call in `GET /api/calls`. */
export type LiveCallView = LiveCallRow & Pick<CallRecord, 'transcript' | 'toolCalls' | 'rehomes'>

/** A call in a list of live and ended calls. */
export interface ListedCall extends Omit<LiveCallRow, 'state' | 'direction' | 'lastResponseMs'> {
  /** A `LiveCallState`. */
  readonly state: string
  readonly direction: string
  /** Absent in lists of nodes that run an earlier version, and of ended calls. */
  readonly lastResponseMs?: number | null
  /** Set for ended calls only. */
  readonly outcome?: string
  readonly endReason?: string
  readonly turns?: number
  readonly recording?: boolean
  /** Summary of the call, where its agent asks for it. */
  readonly summary?: string | null
  readonly fields?: Readonly<Record<string, string | number | boolean | null>>
  /** Known cost of the call, in results of a search (`GET /api/find`). */
  readonly cost?: { readonly amount: number; readonly currency: string } | null
}

/** The row of an ended call. */
export function endedRow(record: WrittenRecord): ListedCall {
  const { callSid, agent = '', backend = '', direction = '', from = '', to = '', number, startedAt } = record
  const { durationMs = 0, outcome, endReason, analysis } = record
  return {
    ...{ callSid, agent, backend, state: 'ended', direction, from, to },
    ...(number === undefined ? {} : { number }),
    ...{ startedAt, durationMs },
    ...(outcome === undefined ? {} : { outcome }),
    ...(endReason === undefined ? {} : { endReason }),
    ...{ turns: record.turns?.length ?? 0, recording: (record.recording ?? null) !== null },
    ...(analysis === null || analysis === undefined
      ? {}
      : {
          summary: analysis.summary,
          fields: Object.fromEntries(Object.entries(analysis.fields).map(([name, { value }]) => [name, value])),
        }),
  }
}

/** A call in a list over all nodes. */
export interface FleetRow extends ListedCall {
  /** Null where the gateway is no node. */
  readonly node: string | null
}

/** A node's data for the head of the console, beside the calls. */
export interface NodeHead {
  readonly name: string | null
  readonly free: number
  readonly capacity: number
  readonly draining: boolean
  /** Why it takes no new call; null: it takes one. */
  readonly notReady: string | null
}

/** An event of `GET /api/live`. */
export interface CallsEvent {
  readonly whole?: true
  readonly rows: readonly FleetRow[]
  readonly gone: readonly string[]
  readonly node: NodeHead
  /** Nodes that did not answer. */
  readonly silent: readonly string[]
}

/** An event of `GET /api/calls/{sid}/live`: the parts that have changed. Nodes that run an earlier version may lack some. */
export interface CallEvent
  extends
    Partial<Pick<CallTimelineView, 'live' | 'streamOpenedMs' | 'turns' | 'bargeIns' | 'stages' | 'timelineDropped'>>,
    Partial<Pick<CallRecord, 'transcript' | 'toolCalls' | 'durationMs'>> {
  /** Null: the call is over. */
  readonly head?: Omit<LiveCallView, 'transcript' | 'toolCalls' | 'durationMs'> | null
  readonly marks?: CallTimelineView['timeline']
}

/** A page of `GET /api/find`. */
export interface FoundView {
  /** Newest first. */
  readonly calls: readonly FleetRow[]
  /** Cursor of the next page; null: there is none. */
  readonly cursor: string | null
  /** All nodes that keep calls, and whether each has answered, with all of its records indexed, for this page and all before it. */
  readonly nodes: readonly { readonly name: string | null; readonly answered: boolean; readonly current: boolean }[]
  /** True if calls of other numbers, which records show in the same way as the one that is looked for, may be in this page or one before it. */
  readonly alike: boolean
}

/** Version of the timeline's JSON; `schema/timeline.schema.json` describes it. */
const CALL_TIMELINE_VERSION = 1

const { callSid, agent, agentVersion, turns, bargeIns, stages } = callRecordSchema.shape

/** Events of a call with their times, live or ended: `GET /api/calls/{sid}/timeline`. */
export const timelineSchema = z.object({
  version: z.literal(CALL_TIMELINE_VERSION),
  callSid,
  agent,
  agentVersion,
  backend: z.string().describe('The one that answers, or answered last.'),
  live: z.boolean(),
  startedAt: z.iso.datetime().describe('Calendar time of the webhook: zero of the marks.'),
  streamOpenedMs: measuredMs.nullable().describe('Since the webhook: zero of turns, barge-ins and tools. Null before.'),
  traceId: z.string().nullable().describe('The trace that a collector knows this call by; null where none is set.'),
  timeline: z.array(timelineMark(measuredMs)),
  timelineDropped: z.int(),
  turns,
  bargeIns,
  stages,
  tools: z.array(z.object({ name: z.string(), startMs: measuredMs, ms: measuredMs, ok: z.boolean() })),
})
export type CallTimelineView = DocumentOf<typeof timelineSchema>

/** The timeline of a call: of its record, or of what its record would have now. */
export function timelineOf(
  record: Pick<CallRecord, 'toolCalls' | Exclude<keyof CallTimelineView & keyof CallRecord, 'version'>>,
  traceId: string | null,
  live = false,
): CallTimelineView {
  const { callSid, agent, agentVersion, backend, startedAt, timeline, timelineDropped, turns, bargeIns, stages } =
    record
  return {
    version: CALL_TIMELINE_VERSION,
    ...{ callSid, agent, agentVersion, backend, live, startedAt, streamOpenedMs: streamOpenedMs(timeline), traceId },
    ...{ timeline, timelineDropped, turns, bargeIns, stages },
    // Without their arguments, which may hold the caller's number.
    tools: record.toolCalls.map(({ name, startMs, ms, ok }) => ({ name, startMs, ms, ok })),
  }
}

/** A call that changed its worker has several such marks; the first one counts. */
export function streamOpenedMs(marks: readonly TimelineMark[]): number | null {
  return marks.find((mark) => mark.name === 'stream-opened')?.atMs ?? null
}
