import { setTimeout as sleep } from 'node:timers/promises'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import type { Resource } from '@opentelemetry/resources'
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base'
import { ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions'
import { ATTR_SERVICE_INSTANCE_ID } from '@opentelemetry/semantic-conventions/incubating'
import type { CallRecord } from '../call/documents/record.js'
import type { Log } from './log.js'
import { traceIdOf } from './trace-id.js'
import { callSpans, type ToolCallLog } from './call-spans.js'

/** Spans that wait for the trace collector; more are dropped and counted. */
export const SPANS_QUEUED_MAX = 8192
/** Spans of one request: serialising them must not hold up a tick. */
const SPANS_PER_EXPORT = 64
const SPAN_EXPORT_EVERY_MS = 500
/** A trace collector that does not answer within this has failed. */
const SPAN_EXPORT_TIMEOUT_MS = 5000
/** How long a stopping process waits for the export of its last spans. */
const SPANS_LAST_MS = 2000

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
  add(record: CallRecord, tools: ToolCallLog): void {
    for (const span of callSpans(record, tools, this.#resource)) {
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
