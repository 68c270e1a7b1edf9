import { setTimeout as sleep } from 'node:timers/promises'
import { SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api'
import type { Attributes, HrTime, SpanContext } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import type { Resource } from '@opentelemetry/resources'
import type { ReadableSpan, TimedEvent } from '@opentelemetry/sdk-trace-base'
import { ATTR_ERROR_TYPE, ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions'
import {
  ATTR_GEN_AI_AGENT_NAME,
  ATTR_GEN_AI_AGENT_VERSION,
  ATTR_GEN_AI_CONVERSATION_ID,
  ATTR_GEN_AI_OPERATION_NAME,
  ATTR_GEN_AI_OUTPUT_TYPE,
  ATTR_GEN_AI_PROVIDER_NAME,
  ATTR_GEN_AI_REQUEST_MODEL,
  ATTR_GEN_AI_TOOL_NAME,
  ATTR_GEN_AI_TOOL_TYPE,
  ATTR_GEN_AI_USAGE_INPUT_TOKENS,
  ATTR_GEN_AI_USAGE_OUTPUT_TOKENS,
  ATTR_SERVICE_INSTANCE_ID,
} from '@opentelemetry/semantic-conventions/incubating'
import type { CallRecord, TimelineMark } from '../call/documents/record.js'
import type { Log } from './log.js'
import { CALL_SPAN, spanIdOf, traceIdOf } from './trace-id.js'

/** Spans of one call: they are made at its end, between two ticks. */
const SPANS_PER_CALL_MAX = 256
/** Spans that wait for the trace collector; more are dropped and counted. */
export const SPANS_QUEUED_MAX = 8192
/** Spans of one request: serialising them must not hold up a tick. */
const SPANS_PER_EXPORT = 64
const SPAN_EXPORT_EVERY_MS = 500
/** A trace collector that does not answer within this has failed. */
const SPAN_EXPORT_TIMEOUT_MS = 5000
/** How long a stopping process waits for the export of its last spans. */
const SPANS_LAST_MS = 2000

/** The call itself, set-up, greeting, backend and escalation. */
const OTHER_SPANS = 5

const SCOPE = { name: 'mkondo' } as const

/** Timeline steps whose detail holds only our own words and figures; others may quote a model or a caller. */
const PLAIN_DETAILS: ReadonlySet<string> = new Set([
  'webhook',
  'socket-closed',
  'first-frame',
  'barge-in-pause',
  'barge-in-resume',
  'barge-in',
  'speech-uncertain',
  'backend-speech-over-agent',
  'quieter-voice',
  'level-forgotten',
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

/** The names that the semantic conventions have for the providers of backends; any other is its own. */
const PROVIDERS: Readonly<Record<string, string>> = {
  openai: 'openai',
  'openai-live': 'openai',
  gemini: 'gcp.gemini',
}

/** Content of a call's span; times since the webhook. */
interface Span {
  readonly name: string
  /** Key of its id (`spanIdOf`). */
  readonly key: string
  /** The key of the span that it is a part of. Default: that of the call. */
  readonly parent?: string
  readonly fromMs: number
  readonly tookMs: number
  readonly attributes?: Attributes
  /** Default: true. */
  readonly ok?: boolean
}

/**
 * The spans of one ended call: the call itself, below it its set-up, each turn, the escalation and each connection of a
 * backend, and below a turn the tools and barge-ins that came before the next one. Timeline steps are events of the call's span. No words of caller or agent, no
 * arguments.
 */
function callSpans(record: CallRecord, resource: Resource): ReadableSpan[] {
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
      attributes: { 'call.sid': record.callSid, [ATTR_GEN_AI_CONVERSATION_ID]: record.callSid, ...attributes },
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
  return [wholeCall(record, streamMs), ...partsOf(record, streamMs)].slice(0, SPANS_PER_CALL_MAX).map(made)
}

/** @param streamMs  zero of turns and tools */
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
      'mkondo.end_reason': record.endReason,
      'mkondo.turns': turns.length,
      'mkondo.marks_dropped': record.timelineDropped,
      'mkondo.spans_left_out': Math.max(0, spans - SPANS_PER_CALL_MAX),
      [ATTR_GEN_AI_OPERATION_NAME]: 'invoke_agent',
      [ATTR_GEN_AI_AGENT_NAME]: record.agent,
      ...(record.agentVersion === null ? {} : { [ATTR_GEN_AI_AGENT_VERSION]: record.agentVersion }),
      [ATTR_GEN_AI_PROVIDER_NAME]: PROVIDERS[backend] ?? backend,
      [ATTR_GEN_AI_OUTPUT_TYPE]: 'speech',
      ...(model === null ? {} : { [ATTR_GEN_AI_REQUEST_MODEL]: model }),
      [ATTR_GEN_AI_USAGE_INPUT_TOKENS]: usage.inputTokens,
      [ATTR_GEN_AI_USAGE_OUTPUT_TOKENS]: usage.outputTokens,
    },
    ok: record.outcome !== 'failed',
  }
}

function partsOf(
  { timeline, turns, toolCalls, bargeIns, greetingMs, escalation }: CallRecord,
  streamMs: number,
): Span[] {
  const between = (name: string, key: string, fromMs: number | null, toMs: number | null): Span[] =>
    fromMs === null || toMs === null ? [] : [{ name, key, fromMs, tookMs: Math.max(0, toMs - fromMs) }]
  const at = (name: string): number | null => markAt(timeline, name)
  /** The turn that something after the stream's opening belongs to: the last one that had begun. */
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
      key: `tool ${index}`,
      ...within(startMs),
      fromMs: streamMs + startMs,
      tookMs: Math.max(0, ms),
      attributes: {
        [ATTR_GEN_AI_OPERATION_NAME]: 'execute_tool',
        [ATTR_GEN_AI_TOOL_NAME]: name,
        [ATTR_GEN_AI_TOOL_TYPE]: 'function',
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

/** A code such as `http` or `TOOL_TIMEOUT`: anything else might be somebody's words. */
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

/** `ExportResultCode.SUCCESS` of @opentelemetry/core, which is not a dependency of its own. */
const EXPORT_SUCCESS = 0

interface TraceExportOptions {
  /** Base address of an OTLP/HTTP collector, as `OTEL_EXPORTER_OTLP_ENDPOINT` gives it; `/v1/traces` is added. */
  readonly endpoint: string
  readonly version: string
  /** The name of this process among those of its fleet. */
  readonly instance: string
  readonly log: Log
}

/**
 * Ended calls as OpenTelemetry spans, to a collector. Off the audio's path: a call is turned into spans once, at its
 * end, they wait in a bounded queue, and a timer sends a few at a time, one request after the other. A slow or absent
 * collector costs only spans, and they are counted.
 */
export class TraceExport {
  /** Spans that a collector accepted, that it refused, and that did not fit into the queue. */
  exported = 0
  failed = 0
  dropped = 0
  readonly #exporter: OTLPTraceExporter
  readonly #resource: Resource
  readonly #log: Log
  readonly #queue: ReadableSpan[] = []
  readonly #timer: NodeJS.Timeout
  #sending: Promise<void> | null = null
  /** Spans of the request that runs. */
  #underWay = 0
  #closed = false
  #warned = false

  constructor(options: TraceExportOptions) {
    this.#log = options.log
    this.#exporter = new OTLPTraceExporter({
      url: `${options.endpoint.replace(/\/+$/, '')}/v1/traces`,
      timeoutMillis: SPAN_EXPORT_TIMEOUT_MS,
      concurrencyLimit: 1,
    })
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come after our own.
    this.#resource = resourceFromAttributes({
      [ATTR_SERVICE_NAME]: 'mkondo',
      [ATTR_SERVICE_VERSION]: options.version,
      [ATTR_SERVICE_INSTANCE_ID]: options.instance,
    }).merge(detectResources({ detectors: [envDetector] }))
    this.#timer = setInterval(() => this.#pass(), SPAN_EXPORT_EVERY_MS).unref()
  }

  /** Spans that wait. */
  get queued(): number {
    return this.#queue.length
  }

  /** The trace id of a call. */
  traceId(callSid: string): string {
    return traceIdOf(callSid)
  }

  /** Takes an ended call. */
  add(record: CallRecord): void {
    for (const span of callSpans(record, this.#resource)) {
      if (this.#queue.length >= SPANS_QUEUED_MAX) this.dropped++
      else this.#queue.push(span)
    }
  }

  /** Sends the queued spans within SPANS_LAST_MS, and closes the exporter. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    const limit = sleep(SPANS_LAST_MS, 'late', { ref: false })
    while (this.#queue.length > 0 || this.#sending !== null) {
      const failedBefore = this.failed
      this.#pass()
      if ((await Promise.race([this.#sending, limit])) === 'late' || this.failed > failedBefore) break
    }
    this.dropped += this.#queue.length + this.#underWay
    this.#queue.length = 0
    this.#closed = true
    void this.#exporter.shutdown()
  }

  #pass(): void {
    if (this.#sending !== null || this.#queue.length === 0) return
    const spans = this.#queue.splice(0, SPANS_PER_EXPORT)
    this.#underWay = spans.length
    this.#sending = new Promise<void>((resolve) => {
      this.#exporter.export(spans, (result) => {
        // `close` has counted these spans as dropped.
        if (this.#closed) return resolve()
        if ((result.code as number) === EXPORT_SUCCESS) {
          this.exported += spans.length
          this.#warned = false
        } else {
          this.#lost(spans.length, result.error)
        }
        resolve()
      })
    }).finally(() => {
      this.#underWay = 0
      this.#sending = null
    })
  }

  /** Logged once until an export succeeds: a collector that is down for a day must not fill the log. */
  #lost(spans: number, error: Error | undefined): void {
    this.failed += spans
    if (!this.#warned) this.#log.warn({ err: error, spans }, 'the trace collector did not accept spans')
    this.#warned = true
  }
}
