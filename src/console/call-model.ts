import type { CallEvent, CallTimelineView } from '../call/documents/call-view.js'
import type {
  BargeInRecord,
  CallRecord,
  StageRecord,
  TimelineMark,
  ToolCallRecord,
  TranscriptEntry,
  TurnRecord,
} from '../call/documents/record.js'
import { turnStepsOf } from '../call/why/turn-steps.js'

/**
 * A live or ended call in the form that its page shows. Times are in ms since the webhook. Times that the gateway
 * counts from the stream's opening are increased by `zeroMs`.
 */
export interface CallModel {
  readonly sid: string
  readonly live: boolean
  readonly agent: string
  readonly backend: string
  readonly state: string
  readonly from: string
  readonly to: string
  readonly startedAt: string
  /** Time at which the stream opened. */
  readonly zeroMs: number
  /** End of the time axis. */
  readonly endMs: number
  /** Duration in ms since the stream opened. For a live call it is the duration at `atMs` on this browser's clock. */
  readonly durationMs: number
  readonly atMs: number
  readonly transcript: readonly TranscriptEntry[]
  readonly tools: readonly ToolCallRecord[]
  readonly turns: readonly TurnRecord[]
  readonly bargeIns: readonly BargeInRecord[]
  /** Stages through which the call went; empty if the agent has no stages. */
  readonly stages: readonly StageRecord[]
  readonly marks: readonly TimelineMark[]
  readonly marksDropped: number
  readonly traceId: string | null
  /** Null while the call is live. */
  readonly record: CallRecord | null
}

export function ofRecord(record: CallRecord, timeline: CallTimelineView): CallModel {
  const zeroMs = timeline.streamOpenedMs ?? 0
  return {
    sid: record.callSid,
    live: false,
    agent: record.agent,
    backend: record.backend,
    state: 'ended',
    from: record.from,
    to: record.to,
    startedAt: record.startedAt,
    zeroMs,
    endMs: Math.max(zeroMs + record.durationMs, record.timeline.at(-1)?.atMs ?? 0, 1000),
    durationMs: record.durationMs,
    atMs: 0,
    transcript: record.transcript,
    tools: record.toolCalls,
    turns: record.turns,
    bargeIns: record.bargeIns,
    stages: record.stages ?? [],
    marks: record.timeline,
    marksDropped: record.timelineDropped,
    traceId: timeline.traceId,
    record,
  }
}

/** Call after an event; null until the first event with the call's data has come. */
export function withEvent(before: CallModel | null, sid: string, event: CallEvent): CallModel | null {
  const head = event.head ?? before
  if (head === null || head === undefined) return before
  const atMs = performance.now()
  const zeroMs = event.streamOpenedMs ?? before?.zeroMs ?? 0
  const opened = before !== null && before.durationMs === 0 && typeof event.streamOpenedMs === 'number'
  const sinceStartMs = before === null ? 0 : before.durationMs + (before.durationMs > 0 ? atMs - before.atMs : 0)
  const durationMs = event.durationMs ?? (opened ? 1 : sinceStartMs)
  const marks = event.marks ?? before?.marks ?? []
  return {
    sid,
    live: event.live ?? before?.live ?? true,
    agent: head.agent,
    backend: head.backend,
    state: head.state,
    from: head.from,
    to: head.to,
    startedAt: head.startedAt,
    zeroMs,
    endMs: Math.max(zeroMs + durationMs, marks.at(-1)?.atMs ?? 0, 1000),
    durationMs,
    atMs,
    transcript: event.transcript ?? before?.transcript ?? [],
    tools: event.toolCalls ?? before?.tools ?? [],
    turns: event.turns ?? before?.turns ?? [],
    bargeIns: event.bargeIns ?? before?.bargeIns ?? [],
    stages: event.stages ?? before?.stages ?? [],
    marks,
    marksDropped: event.timelineDropped ?? before?.marksDropped ?? 0,
    traceId: null,
    record: null,
  }
}

// --- the waterfall ------------------------------------------------------------------------------------------

export type Lane = 'caller' | 'vad' | 'backend' | 'tools' | 'agent' | 'bargeIn' | 'marks'

/** Item on the time axis. */
export interface Bar {
  readonly lane: Lane
  readonly fromMs: number
  /** End of the item. A moment has the same start and end. */
  readonly toMs: number
  readonly label: string
  /**
   * `unheard`: part of the agent's speech that the caller did not hear. `failed`: a failed tool. `resumed`: a barge-in
   * after which the agent continued.
   */
  readonly kind: 'plain' | 'unheard' | 'failed' | 'resumed' | 'wait'
  readonly detail: string
}

/** Marks that the lane of marks leaves out, because another lane shows them or because they are not needed. */
const SHOWN_ELSEWHERE = new Set([
  'caller-speech',
  'caller-speech-end',
  'tool-start',
  'tool-end',
  'backend-connect',
  'backend-ready',
  'backend-response',
  'caller-words',
  'agent-words',
  'agent-audio',
  'agent-sound',
  'barge-in',
  'barge-in-duck',
  'barge-in-pause',
  'barge-in-resume',
  'kick-off',
  'stream-metadata',
])

/** All bars of the waterfall, for each lane in order of time. */
export function barsOf(call: CallModel, words: (mark: string) => string): Bar[] {
  const { zeroMs, marks } = call
  const bars: Bar[] = []
  const add = (lane: Lane, fromMs: number, toMs: number, label: string, more: Partial<Bar> = {}): void => {
    bars.push({ lane, fromMs, toMs: Math.max(fromMs, toMs), label, kind: 'plain', detail: '', ...more })
  }
  for (const { role, text, startMs, endMs, interrupted, playedMs } of call.transcript) {
    const from = zeroMs + startMs
    const to = zeroMs + endMs
    if (role === 'caller') add('caller', from, to, text)
    else {
      const heard = interrupted === true && playedMs !== undefined ? Math.min(to, from + playedMs) : to
      add('agent', from, heard, text)
      if (heard < to) add('agent', heard, to, text, { kind: 'unheard' })
    }
  }
  for (const tool of call.tools) {
    const from = zeroMs + tool.startMs
    const kind = tool.ok ? 'plain' : 'failed'
    add('tools', from, from + tool.ms, tool.name, { kind, detail: tool.error ?? JSON.stringify(tool.args) })
  }
  for (const { atMs, stopMs, committed, why } of call.bargeIns) {
    const from = zeroMs + atMs
    const kind = committed ? 'plain' : 'resumed'
    add('bargeIn', from, from + (stopMs ?? 0), words(committed ? 'barge-in' : 'barge-in-resume'), { kind, detail: why })
  }
  pair(marks, 'caller-speech', 'caller-speech-end', call.endMs, (from, to, detail) =>
    add('vad', from, to, words('caller-speech'), { detail }),
  )
  pair(marks, 'backend-connect', 'backend-ready', call.endMs, (from, to, detail) =>
    add('backend', from, to, words('backend-connect'), { kind: 'wait', detail }),
  )
  pair(marks, 'backend-response', 'agent-audio', call.endMs, (from, to, detail) =>
    add('backend', from, to, words('backend-response'), { detail }),
  )
  for (const { name, atMs, detail } of marks) {
    if (!SHOWN_ELSEWHERE.has(name)) add('marks', atMs, atMs, words(name), { detail: detail ?? '' })
  }
  return bars
}

function pair(
  marks: readonly TimelineMark[],
  first: string,
  last: string,
  endMs: number,
  found: (fromMs: number, toMs: number, detail: string) => void,
): void {
  let from: TimelineMark | null = null
  for (const mark of marks) {
    if (mark.name === first) from ??= mark
    else if (mark.name === last && from !== null) {
      found(from.atMs, mark.atMs, mark.detail ?? from.detail ?? '')
      from = null
    }
  }
  if (from !== null) found(from.atMs, endMs, from.detail ?? '')
}

/** One turn and the steps of its wait, from the end of the caller's speech to the agent's answer. */
export interface ShownTurn {
  readonly index: number
  readonly fromMs: number
  readonly turn: TurnRecord
  /** Steps in the order in which the bar shows them; empty if the turn has no answer. */
  readonly steps: readonly { readonly name: StepName; readonly ms: number }[]
}

export const STEPS = ['endOfTurn', 'tools', 'backend', 'playout'] as const
type StepName = (typeof STEPS)[number]

export function turnsOf({ zeroMs, marks, turns, tools, durationMs }: CallModel): ShownTurn[] {
  const all = turnStepsOf({ zeroMs, timeline: marks, turns, toolCalls: tools, durationMs })
  return all.flatMap(({ stoppedAtMs, isAnswered, parts }, index) => {
    const turn = turns[index]
    if (turn === undefined) return []
    const steps = isAnswered ? STEPS.map((name) => ({ name, ms: parts[`${name}Ms`] })) : []
    return { index, fromMs: stoppedAtMs, turn, steps: steps.filter(({ ms }) => ms > 0) }
  })
}

// --- the transcript -----------------------------------------------------------------------------------------

/** A line beside the transcript: a tool, an interruption, or a decision of the gateway. */
export type Line =
  | { readonly type: 'words'; readonly atMs: number; readonly endMs: number; readonly entry: TranscriptEntry }
  | { readonly type: 'tool'; readonly atMs: number; readonly endMs: number; readonly tool: ToolCallRecord }
  | { readonly type: 'barge-in'; readonly atMs: number; readonly endMs: number; readonly bargeIn: BargeInRecord }
  | { readonly type: 'mark'; readonly atMs: number; readonly endMs: number; readonly mark: TimelineMark }

/** Marks that report a decision: the class of a sound, or the reason why a caller was not served. */
const DECISIONS: ReadonlySet<string> = new Set([
  'echo',
  'noise',
  'quieter-voice',
  'speech-uncertain',
  'voice-stands-out',
  'words-of-another',
  'agent-silent',
  'barge-in-duck',
  'barge-in-pause',
  'barge-in-resume',
  'barge-in',
  'not-understood',
  'asked-to-wait',
  'silence-prompt',
  'put-on-hold',
  'put-on-hold-over',
  'caller-speech-end',
  'carrier-stall',
  'audio-dropped',
  'underrun',
  'stage',
  'handover',
  'tool-refused',
  'tool-repeated',
  'tool-unstored',
  'escalation',
  'escalation-step',
  'escalation-attempt',
  'escalation-settled',
  'escalation-refused',
  'escalation-failed',
  'backend-failover',
  'backend-failed',
  'backend-error',
  'response-failed',
  'answer-cut',
  'answer-missing',
  'goodbye',
  'hang-up',
  'ended',
])

/** True for a stall of the carrier's audio that the caller did not hear. */
export function isUnheard(name: string, detail: string | undefined): boolean {
  return name === 'carrier-stall' && detail?.endsWith(', 0 frames made up') === true
}

/** True if a mark reports a decision. */
export function isDecision({ name, detail }: TimelineMark): boolean {
  return DECISIONS.has(name) && !isUnheard(name, detail)
}

export function linesOf(call: CallModel, withMarks: boolean): Line[] {
  const { zeroMs } = call
  const lines: Line[] = call.transcript.map((entry) => ({
    type: 'words',
    atMs: zeroMs + entry.startMs,
    endMs: zeroMs + entry.endMs,
    entry,
  }))
  for (const tool of call.tools)
    lines.push({ type: 'tool', atMs: zeroMs + tool.startMs, endMs: zeroMs + tool.startMs + tool.ms, tool })
  for (const bargeIn of call.bargeIns)
    lines.push({ type: 'barge-in', atMs: zeroMs + bargeIn.atMs, endMs: zeroMs + bargeIn.atMs, bargeIn })
  if (withMarks) {
    for (const mark of call.marks) {
      const said = mark.name === 'barge-in' || mark.name === 'barge-in-resume'
      if (isDecision(mark) && !said) lines.push({ type: 'mark', atMs: mark.atMs, endMs: mark.atMs, mark })
    }
  }
  return lines.sort((a, b) => a.atMs - b.atMs)
}
