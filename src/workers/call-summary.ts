import type { CallRecord, EndReason, StopRecord } from '../call/record.js'
import type { LogFields } from '../telemetry/log.js'

/** Ends whose detail a model has worded: it may quote the caller, and does not go into a log. */
const WORDED_BY_A_MODEL: ReadonlySet<EndReason> = new Set(['agent-goodbye', 'escalated'])

/** The one line that a log has of an ended call: how it came out, how it felt, and what went wrong. */
export function callSummary(record: CallRecord): LogFields {
  const { turns, bargeIns, audio } = record
  return {
    outcome: record.outcome,
    reason: record.endReason,
    ...(WORDED_BY_A_MODEL.has(record.endReason) ? {} : { detail: record.endDetail }),
    backend: record.backend,
    duration_ms: Math.round(record.durationMs),
    greeting_ms: record.greetingMs,
    turns: turns.length,
    turns_unanswered: turns.filter((turn) => turn.answerMs === null).length,
    ...spread('first_sound', turns.map((turn) => turn.firstSoundMs)),
    ...spread('answer', turns.map((turn) => turn.answerMs)),
    tools: record.toolCalls.length,
    tools_failed: record.toolCalls.filter((call) => !call.ok).length,
    barge_ins: bargeIns.filter((made) => made.committed).length,
    ...spread('barge_in_stop', bargeIns.map((made) => (made.committed ? made.stopMs : null))),
    escalation: record.escalation?.outcome ?? null,
    stops: stopsByKind(record.stops),
    rehomes: record.rehomes,
    underruns: audio.underruns,
    frames_dropped: audio.framesDropped,
    frames_concealed: audio.framesConcealed,
    marks_dropped: record.timelineDropped,
  }
}

/** Median and worst of what was measured; nothing where nothing was. */
function spread(name: string, valuesMs: readonly (number | null)[]): LogFields {
  const sorted = valuesMs.filter((value) => value !== null).sort((a, b) => a - b)
  const worst = sorted.at(-1)
  if (worst === undefined) return {}
  return { [`${name}_p50_ms`]: sorted[Math.floor((sorted.length - 1) / 2)], [`${name}_max_ms`]: worst }
}

function stopsByKind(stops: readonly StopRecord[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { kind } of stops) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}
