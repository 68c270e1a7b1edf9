import { SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api'
import type { Attributes, HrTime, SpanContext } from '@opentelemetry/api'
import type { Resource } from '@opentelemetry/resources'
import type { ReadableSpan, TimedEvent } from '@opentelemetry/sdk-trace-base'
import { ATTR_ERROR_TYPE } from '@opentelemetry/semantic-conventions'
import type { LoggedToolCall } from '../call/documents/log-entry.js'
import type { CallRecord, TimelineMark } from '../call/documents/record.js'
import { GEN_AI, GEN_AI_PROVIDERS } from './gen-ai.js'
import { CALL_SPAN, spanIdOf, toolSpanKey, traceIdOf } from './trace-id.js'

/** Maximum number of spans of one call. All spans of a call are made at the call's end, between two ticks. */
const SPANS_PER_CALL_MAX = 256

/** Number of spans reserved for the call, its set-up, its greeting, its backend and its escalation. */
const OTHER_SPANS = 5

const SCOPE = { name: 'mkondo' } as const

/** Timeline steps whose detail contains only our own words and figures. Other details may quote a model or a caller. */
const PLAIN_DETAILS: ReadonlySet<string> = new Set([
  'webhook',
  'socket-closed',
  'first-frame',
  'barge-in-duck',
  'barge-in-pause',
  'barge-in-resume',
  'barge-in',
  'speech-uncertain',
  'backend-speech-over-agent',
  'quieter-voice',
  'level-forgotten',
  'voice-stands-out',
  'words-of-another',
  'agent-silent',
  'asked-to-wait',
  'put-on-hold',
  'put-on-hold-over',
  'silence-prompt',
  'carrier-state',
  'agent-sound',
  'backend-connect',
  'backend-error',
  'backend-failover',
  'carrier-stall',
  'audio-dropped',
  'underrun',
  'worker-lost',
  'tool-start',
  'tool-end',
  'escalation-step',
  'escalation',
  'bridged',
])

/** Span of a call. Times count from the webhook. */
interface Span {
  readonly name: string
  /** Key of the span's id (`spanIdOf`). */
  readonly key: string
  /** Key of the span that contains this span; by default the call's span. */
  readonly parent?: string
  readonly fromMs: number
  readonly tookMs: number
  readonly attributes?: Attributes
  /** Default: true. */
  readonly ok?: boolean
}

/**
 * Spans of an ended call. The call's span contains its set-up, each turn, the escalation, and each connection of a
 * backend. A turn's span contains the turn's tools and barge-ins. Timeline steps are events of the call's span. Words
 * and arguments are left out.
 */
export function callSpans(record: CallRecord, log: ToolCallLog, resource: Resource): ReadableSpan[] {
  const traceId = traceIdOf(record.callSid)
  const contextOf = (key: string): SpanContext => ({
    traceId,
    spanId: spanIdOf(traceId, key),
    traceFlags: TraceFlags.SAMPLED,
  })
  const startedWallMs = Date.parse(record.startedAt)
  const time = (ms: number): HrTime => hrTime(startedWallMs + ms)
  const made = ({ name, key, parent = CALL_SPAN, fromMs, tookMs, attributes, ok = true }: Span): ReadableSpan => {
    const isRoot = key === CALL_SPAN
    const context = contextOf(key)
    return {
      name,
      kind: isRoot ? SpanKind.SERVER : SpanKind.INTERNAL,
      spanContext: () => context,
      ...(isRoot ? {} : { parentSpanContext: contextOf(parent) }),
      startTime: time(fromMs),
      endTime: time(fromMs + tookMs),
      duration: hrTime(tookMs),
      ended: true,
      status: { code: ok ? SpanStatusCode.UNSET : SpanStatusCode.ERROR },
      attributes: { 'call.sid': record.callSid, [GEN_AI.conversationId]: record.callSid, ...attributes },
      links: [],
      events: isRoot ? record.timeline.map((mark) => eventOf(mark, time(mark.atMs))) : [],
      resource,
      instrumentationScope: SCOPE,
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
    }
  }
  const streamMs = markAt(record.timeline, 'stream-opened') ?? 0
  return [wholeCall(record, streamMs), ...partsOf(record, toolKeys(log), streamMs)]
    .slice(0, SPANS_PER_CALL_MAX)
    .map(made)
}

/** @param streamMs time from which the times of turns and tools count */
function wholeCall(record: CallRecord, streamMs: number): Span {
  const { turns, toolCalls, bargeIns, timeline, usage, backend } = record
  const models = record.cost?.models ?? []
  const model = (models.find((one) => one.backend === backend) ?? models[0])?.model ?? null
  const spans = turns.length + toolCalls.length + bargeIns.length + OTHER_SPANS
  return {
    name: 'call',
    key: CALL_SPAN,
    fromMs: 0,
    tookMs: Math.max(streamMs + record.durationMs, ...timeline.map(({ atMs }) => atMs)),
    attributes: {
      'mkondo.agent': record.agent,
      'mkondo.backend': record.backend,
      'mkondo.outcome': record.outcome,
      ...(record.served === null ? {} : { 'mkondo.served': record.served }),
      'mkondo.end_reason': record.endReason,
      'mkondo.turns': turns.length,
      'mkondo.marks_dropped': record.timelineDropped,
      'mkondo.spans_left_out': Math.max(0, spans - SPANS_PER_CALL_MAX),
      [GEN_AI.operationName]: 'invoke_agent',
      [GEN_AI.agentName]: record.agent,
      ...(record.agentVersion === null ? {} : { [GEN_AI.agentVersion]: record.agentVersion }),
      [GEN_AI.providerName]: GEN_AI_PROVIDERS[backend] ?? backend,
      [GEN_AI.outputType]: 'speech',
      ...(model === null ? {} : { [GEN_AI.requestModel]: model }),
      [GEN_AI.usageInputTokens]: usage.inputTokens,
      [GEN_AI.usageOutputTokens]: usage.outputTokens,
    },
    ok: record.outcome !== 'failed',
  }
}

function partsOf(
  { timeline, turns, toolCalls, bargeIns, greetingMs, escalation }: CallRecord,
  keys: readonly string[],
  streamMs: number,
): Span[] {
  const between = (name: string, key: string, fromMs: number | null, toMs: number | null): Span[] =>
    fromMs === null || toMs === null ? [] : [{ name, key, fromMs, tookMs: Math.max(0, toMs - fromMs) }]
  const at = (name: string): number | null => markAt(timeline, name)
  /**
   * Turn to which an event after the stream's opening belongs: the last turn that had begun at the time of the event.
   */
  const within = (atMs: number): Pick<Span, 'parent'> => {
    const index = turns.findLastIndex(({ callerStoppedMs }) => callerStoppedMs <= atMs)
    return index < 0 ? {} : { parent: turnKey(index) }
  }
  const greetedMs = greetingMs === null ? null : streamMs + greetingMs
  const escalatedMs = at('escalation')
  return [
    ...between('set-up', 'set-up', 0, at('first-frame')),
    ...between('greeting', 'greeting', streamMs, greetedMs),
    ...between('backend connect', 'connect', at('backend-connect'), at('backend-ready')),
    ...turns.map(({ callerStoppedMs, firstSoundMs, answerMs, ear }, index) => ({
      name: 'turn',
      key: turnKey(index),
      fromMs: streamMs + callerStoppedMs,
      tookMs: Math.max(0, ear?.answerMs ?? answerMs ?? firstSoundMs ?? 0),
      attributes: {
        'mkondo.turn': index + 1,
        ...(firstSoundMs === null ? {} : { 'mkondo.first_sound_ms': firstSoundMs }),
        ...(answerMs === null ? {} : { 'mkondo.answer_ms': answerMs }),
        ...(ear?.answerMs == null ? {} : { 'mkondo.ear_answer_ms': ear.answerMs }),
      },
      ok: answerMs !== null,
    })),
    ...toolCalls.map(({ name, startMs, ms, ok, error }, index) => ({
      name: `execute_tool ${name}`,
      key: keys[index] ?? `tool ${index}`,
      ...within(startMs),
      fromMs: streamMs + startMs,
      tookMs: Math.max(0, ms),
      attributes: {
        [GEN_AI.operationName]: 'execute_tool',
        [GEN_AI.toolName]: name,
        [GEN_AI.toolType]: 'function',
        ...(ok ? {} : { [ATTR_ERROR_TYPE]: errorTypeOf(error) }),
      },
      ok,
    })),
    ...bargeIns.map(({ atMs, stopMs, committed }, index) => ({
      name: 'barge-in',
      key: `barge-in ${index}`,
      ...within(atMs),
      fromMs: streamMs + atMs,
      tookMs: Math.max(0, stopMs ?? 0),
      attributes: { 'mkondo.committed': committed },
    })),
    ...(escalation === null
      ? []
      : between('escalation', 'escalation', escalatedMs, at('escalation-settled') ?? escalatedMs)
    ).map((span) => ({
      ...span,
      attributes: {
        'mkondo.strategy': escalation?.strategy ?? 'none',
        'mkondo.escalation_outcome': escalation?.outcome ?? 'none',
      },
      ok: escalation?.outcome === 'answered',
    })),
  ]
}

const turnKey = (index: number): string => `turn ${index}`

/** Tool calls of a record, read from the call's log, in the order of the record. */
export type ToolCallLog = readonly Pick<LoggedToolCall, 'callId' | 'end'>[]

/** Keys of the tools' spans: the same keys that the tools' requests sent in `traceparent`. */
function toolKeys(log: ToolCallLog): string[] {
  const uses = new Map<string, number>()
  return log.map(({ callId, end }, index) => {
    // A refused tool did not run, so it sent no request.
    if (end === 'refused') return `refused ${index}`
    const use = uses.get(callId) ?? 0
    uses.set(callId, use + 1)
    return toolSpanKey(callId, use)
  })
}

/** Code such as `http` or `TOOL_TIMEOUT`. Any other text is left out, because a person may have said it. */
function errorTypeOf(error: string | undefined): string {
  return error !== undefined && /^[A-Za-z_]{1,40}$/.test(error) ? error : '_OTHER'
}

function eventOf({ name, detail }: TimelineMark, time: HrTime): TimedEvent {
  const plain = detail !== undefined && PLAIN_DETAILS.has(name)
  return { name, time, ...(plain ? { attributes: { detail } } : {}) }
}

function markAt(marks: readonly TimelineMark[], name: string): number | null {
  return marks.find((mark) => mark.name === name)?.atMs ?? null
}

/** Seconds and nanoseconds. */
function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000)
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)]
}
