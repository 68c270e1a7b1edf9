import { z } from 'zod'
import type { DocumentOf } from './document.js'
import type { WrittenRecord } from './call-search.js'
import { callRecordSchema, measuredMs, timelineMark } from './record.js'
import type { CallRecord, TimelineMark } from './record.js'

/**
 * State of a live call. `waiting`: the socket has not opened yet. `cut`: the stream is lost, but the carrier may still
 * request a document. `after`: the stream has ended, and an escalation is pending.
 */
export type LiveCallState = 'waiting' | 'streaming' | 'cut' | 'after' | 'ended'

/** A live call in a list. Phone numbers are masked. */
export interface LiveCallRow extends Pick<
  CallRecord,
  'callSid' | 'agent' | 'backend' | 'direction' | 'from' | 'to' | 'number' | 'startedAt' | 'durationMs'
> {
  readonly state: LiveCallState
  /**
   * Time from the caller's last word to the agent's first sound in the newest answered turn, in milliseconds; null
   * before the first answered turn.
   */
  readonly lastResponseMs: number | null
}

/** A live call in `GET /api/calls`. */
export type LiveCallView = LiveCallRow & Pick<CallRecord, 'transcript' | 'toolCalls' | 'rehomes'>

/** A call in a list of live and ended calls. */
export interface ListedCall extends Omit<LiveCallRow, 'state' | 'direction' | 'lastResponseMs'> {
  /** Value of `LiveCallState`. */
  readonly state: string
  readonly direction: string
  /** Absent for ended calls, and in lists of nodes that run an earlier version. */
  readonly lastResponseMs?: number | null
  /** Set for ended calls only. */
  readonly outcome?: string
  readonly endReason?: string
  /** Absent in rows of earlier builds. */
  readonly served?: string
  readonly turns?: number
  readonly recording?: boolean
  /** Summary of the call, if its agent is configured to write one. */
  readonly summary?: string | null
  readonly fields?: Readonly<Record<string, string | number | boolean | null>>
  /** Cost of the call, as far as it is known. Only in search results (`GET /api/find`). */
  readonly cost?: { readonly amount: number; readonly currency: string } | null
}

/** Returns the row of an ended call. */
export function endedRow(record: WrittenRecord): ListedCall {
  const { callSid, agent = '', backend = '', direction = '', from = '', to = '', number, startedAt } = record
  const { durationMs = 0, outcome, served, endReason, analysis } = record
  return {
    ...{ callSid, agent, backend, state: 'ended', direction, from, to },
    ...(number === undefined ? {} : { number }),
    ...{ startedAt, durationMs },
    ...(outcome === undefined ? {} : { outcome }),
    ...(endReason === undefined ? {} : { endReason }),
    ...(typeof served === 'string' ? { served } : {}),
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
  /** Name of the node; null if the gateway is not a node. */
  readonly node: string | null
}

/** Data of a node that the console shows above the list of calls. */
export interface NodeHead {
  readonly name: string | null
  readonly free: number
  readonly capacity: number
  readonly draining: boolean
  /** Reason why the node does not accept new calls; null if it accepts calls. */
  readonly notReady: string | null
}

/** An event of `GET /api/live`. */
export interface CallsEvent {
  readonly whole?: true
  readonly rows: readonly FleetRow[]
  readonly gone: readonly string[]
  readonly node: NodeHead
  /** Names of nodes that did not answer. */
  readonly silent: readonly string[]
}

/**
 * An event of `GET /api/calls/{sid}/live`, with the parts that changed. Nodes of an earlier version may not send some
 * parts.
 */
export interface CallEvent
  extends
    Partial<Pick<CallTimelineView, 'live' | 'streamOpenedMs' | 'turns' | 'bargeIns' | 'stages' | 'timelineDropped'>>,
    Partial<Pick<CallRecord, 'transcript' | 'toolCalls' | 'durationMs'>> {
  /** Head of the call; null if the call is over. */
  readonly head?: Omit<LiveCallView, 'transcript' | 'toolCalls' | 'durationMs'> | null
  readonly marks?: CallTimelineView['timeline']
}

/** A page of `GET /api/find`. */
export interface FoundView {
  /** Calls of the page, newest first. */
  readonly calls: readonly FleetRow[]
  /** Cursor of the next page; null on the last page. */
  readonly cursor: string | null
  /**
   * State of all nodes that keep calls, for this page and all earlier pages. `answered`: the node answered. `current`:
   * all records of the node are indexed.
   */
  readonly nodes: readonly { readonly name: string | null; readonly answered: boolean; readonly current: boolean }[]
  /**
   * True if the results may include calls of other numbers, because a masked number in a record can match several
   * numbers.
   */
  readonly alike: boolean
}

/** Version of the timeline's JSON; `schema/timeline.schema.json` describes that JSON. */
const CALL_TIMELINE_VERSION = 1

const { callSid, agent, agentVersion, turns, bargeIns, stages } = callRecordSchema.shape

/** Events of a live or ended call, with their times: `GET /api/calls/{sid}/timeline`. */
export const timelineSchema = z.object({
  version: z.literal(CALL_TIMELINE_VERSION),
  callSid,
  agent,
  agentVersion,
  backend: z.string().describe('Backend that answers, or answered last.'),
  live: z.boolean(),
  startedAt: z.iso.datetime().describe('Calendar time of the webhook. Times of marks count from there.'),
  streamOpenedMs: measuredMs
    .nullable()
    .describe(
      'Time from the webhook to the opening of the stream. Times of turns, barge-ins and tools count from there. Null before the stream opens.',
    ),
  traceId: z.string().nullable().describe('Trace ID of the call at the collector; null if no collector is set.'),
  timeline: z.array(timelineMark(measuredMs)),
  timelineDropped: z.int(),
  turns,
  bargeIns,
  stages,
  tools: z.array(z.object({ name: z.string(), startMs: measuredMs, ms: measuredMs, ok: z.boolean() })),
})
export type CallTimelineView = DocumentOf<typeof timelineSchema>

/** Returns the timeline of a call from its record. During the call, the record contains the events so far. */
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
    // Arguments are left out, because they may contain the caller's number.
    tools: record.toolCalls.map(({ name, startMs, ms, ok }) => ({ name, startMs, ms, ok })),
  }
}

/** Returns the time of the first `stream-opened` mark. A call that changed its worker has several of these marks. */
export function streamOpenedMs(marks: readonly TimelineMark[]): number | null {
  return marks.find((mark) => mark.name === 'stream-opened')?.atMs ?? null
}
