import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api'
import type { Attributes, HrTime, SpanContext } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import type { Resource } from '@opentelemetry/resources'
import type { ReadableSpan, TimedEvent } from '@opentelemetry/sdk-trace-base'
import { ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions'
import type { CallRecord, TimelineMark } from '../call/documents/record.js'
import type { Log } from './log.js'

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

/**
 * The trace id of a call, derived from its SID: logs and exemplars name it while the call lives, the spans follow at
 * its end, and every process of a fleet derives the same one. 32 hex digits.
 */
function traceIdOf(callSid: string): string {
  return createHash('sha256').update(`mkondo call ${callSid}`).digest('hex').slice(0, 32)
}

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

/**
 * The spans of one ended call: the call itself, and below it its set-up, each turn, tool, barge-in, the escalation and
 * each connection of a backend. Timeline steps are events of the call's span. No words of caller or agent, no
 * arguments.
 */
function callSpans(record: CallRecord, resource: Resource): ReadableSpan[] {
  return new CallTrace(record, resource).spans
}

class CallTrace {
  readonly spans: ReadableSpan[] = []
  readonly #record: CallRecord
  readonly #resource: Resource
  readonly #traceId: string
  readonly #rootId: string
  readonly #startedWallMs: number
  /** Zero of turns and tools, since the webhook. */
  readonly #streamMs: number

  constructor(record: CallRecord, resource: Resource) {
    this.#record = record
    this.#resource = resource
    this.#traceId = traceIdOf(record.callSid)
    this.#startedWallMs = Date.parse(record.startedAt)
    this.#streamMs = markAt(record.timeline, 'stream-opened') ?? 0
    this.#rootId = this.#spanId('call')
    this.#root()
    this.#setup()
    this.#backends()
    record.turns.forEach((turn, index) => this.#turn(turn, index))
    record.toolCalls.forEach((call, index) => {
      this.#child(
        `tool ${call.name}`,
        `tool ${index}`,
        this.#streamMs + call.startMs,
        call.ms,
        { 'gen_ai.tool.name': call.name },
        call.ok,
      )
    })
    record.bargeIns.forEach((made, index) => {
      this.#child('barge-in', `barge-in ${index}`, this.#streamMs + made.atMs, made.stopMs ?? 0, {
        'mkondo.committed': made.committed,
      })
    })
    this.#escalation()
  }

  #root(): void {
    const record = this.#record
    const lastMs = record.timeline.reduce(
      (latest, mark) => Math.max(latest, mark.atMs),
      this.#streamMs + record.durationMs,
    )
    this.#add(
      'call',
      this.#rootId,
      null,
      0,
      lastMs,
      {
        'call.sid': record.callSid,
        'mkondo.agent': record.agent,
        'mkondo.backend': record.backend,
        'mkondo.outcome': record.outcome,
        'mkondo.end_reason': record.endReason,
        'mkondo.turns': record.turns.length,
        'mkondo.marks_dropped': record.timelineDropped,
        'mkondo.spans_left_out': Math.max(
          0,
          record.turns.length + record.toolCalls.length + record.bargeIns.length + OTHER_SPANS - SPANS_PER_CALL_MAX,
        ),
        'gen_ai.operation.name': 'invoke_agent',
        'gen_ai.agent.name': record.agent,
        'gen_ai.usage.input_tokens': record.usage.inputTokens,
        'gen_ai.usage.output_tokens': record.usage.outputTokens,
      },
      record.outcome !== 'failed',
      record.timeline.map((mark) => this.#event(mark)),
    )
  }

  #setup(): void {
    const firstFrameMs = markAt(this.#record.timeline, 'first-frame')
    if (firstFrameMs !== null) this.#child('set-up', 'set-up', 0, firstFrameMs, {})
    if (this.#record.greetingMs !== null)
      this.#child('greeting', 'greeting', this.#streamMs, this.#record.greetingMs, {})
  }

  #backends(): void {
    const { timeline } = this.#record
    const connectMs = markAt(timeline, 'backend-connect')
    const readyMs = markAt(timeline, 'backend-ready')
    if (connectMs !== null && readyMs !== null)
      this.#child('backend connect', 'connect', connectMs, readyMs - connectMs, {})
  }

  #turn(turn: CallRecord['turns'][number], index: number): void {
    const { callerStoppedMs, firstSoundMs, answerMs, ear } = turn
    const tookMs = ear?.answerMs ?? answerMs ?? firstSoundMs ?? 0
    this.#child(
      'turn',
      `turn ${index}`,
      this.#streamMs + callerStoppedMs,
      tookMs,
      {
        'mkondo.turn': index + 1,
        ...(firstSoundMs === null ? {} : { 'mkondo.first_sound_ms': firstSoundMs }),
        ...(answerMs === null ? {} : { 'mkondo.answer_ms': answerMs }),
        ...(ear?.answerMs === undefined || ear.answerMs === null ? {} : { 'mkondo.ear_answer_ms': ear.answerMs }),
      },
      answerMs !== null,
    )
  }

  #escalation(): void {
    const { escalation, timeline } = this.#record
    const fromMs = markAt(timeline, 'escalation')
    if (escalation === null || fromMs === null) return
    const toMs = markAt(timeline, 'escalation-settled') ?? fromMs
    this.#child(
      'escalation',
      'escalation',
      fromMs,
      toMs - fromMs,
      {
        'mkondo.strategy': escalation.strategy ?? 'none',
        'mkondo.escalation_outcome': escalation.outcome ?? 'none',
      },
      escalation.outcome === 'answered',
    )
  }

  #child(name: string, key: string, fromMs: number, tookMs: number, attributes: Attributes, ok = true): void {
    this.#add(
      name,
      this.#spanId(key),
      this.#rootId,
      fromMs,
      fromMs + Math.max(0, tookMs),
      {
        'call.sid': this.#record.callSid,
        ...attributes,
      },
      ok,
      [],
    )
  }

  #add(
    name: string,
    spanId: string,
    parentId: string | null,
    fromMs: number,
    toMs: number,
    attributes: Attributes,
    ok: boolean,
    events: TimedEvent[],
  ): void {
    if (this.spans.length >= SPANS_PER_CALL_MAX) return
    const context = this.#context(spanId)
    this.spans.push({
      name,
      kind: parentId === null ? SpanKind.SERVER : SpanKind.INTERNAL,
      spanContext: () => context,
      ...(parentId === null ? {} : { parentSpanContext: this.#context(parentId) }),
      startTime: this.#time(fromMs),
      endTime: this.#time(toMs),
      duration: hrTime(toMs - fromMs),
      ended: true,
      status: { code: ok ? SpanStatusCode.UNSET : SpanStatusCode.ERROR },
      attributes,
      links: [],
      events,
      resource: this.#resource,
      instrumentationScope: SCOPE,
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
    })
  }

  #event(mark: TimelineMark): TimedEvent {
    const plain = mark.detail !== undefined && PLAIN_DETAILS.has(mark.name)
    return { name: mark.name, time: this.#time(mark.atMs), ...(plain ? { attributes: { detail: mark.detail } } : {}) }
  }

  #context(spanId: string): SpanContext {
    return { traceId: this.#traceId, spanId, traceFlags: TraceFlags.SAMPLED }
  }

  /** Derived, so that every exporter makes the same spans of a call. */
  #spanId(key: string): string {
    return createHash('sha256').update(`${this.#traceId} ${key}`).digest('hex').slice(0, 16)
  }

  #time(sinceWebhookMs: number): HrTime {
    return hrTime(this.#startedWallMs + sinceWebhookMs)
  }
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
    this.#resource = resourceFromAttributes({ [ATTR_SERVICE_NAME]: 'mkondo', [ATTR_SERVICE_VERSION]: options.version })
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
