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

/** Maximum number of spans that wait for the trace collector. Further spans are dropped and counted. */
export const SPANS_QUEUED_MAX = 8192
/** Number of spans in one request. It is small, so that serialising the spans does not delay a tick. */
const SPANS_PER_EXPORT = 64
const SPAN_EXPORT_EVERY_MS = 500
/** Time in ms without an answer after which a request to the trace collector counts as failed. */
const SPAN_EXPORT_TIMEOUT_MS = 5000
/** Time in ms for which a stopping process waits until its last spans are exported. */
const SPANS_LAST_MS = 2000

/** `ExportResultCode.SUCCESS` of @opentelemetry/core. That package is not a dependency of the gateway. */
const EXPORT_SUCCESS = 0

interface TraceExportOptions {
  /**
   * Base address of an OTLP/HTTP collector, in the form of `OTEL_EXPORTER_OTLP_ENDPOINT`. `/v1/traces` is added to it.
   */
  readonly endpoint: string
  readonly version: string
  /** Name of this process in its fleet. */
  readonly instance: string
  readonly log: Log
}

/**
 * Exports ended calls as OpenTelemetry spans to a collector, without delaying audio. A call's spans are made at the
 * call's end. They wait in a bounded queue, from which a timer sends a few at a time. If the collector is slow or
 * absent, spans are dropped and counted, but calls are not affected.
 */
export class TraceExport {
  /** Number of spans that a collector accepted. */
  exported = 0
  /** Number of spans that were sent and that the collector did not accept. */
  failed = 0
  /** Number of spans that did not fit into the queue, or were not sent by the end of the process. */
  dropped = 0
  readonly #exporter: OTLPTraceExporter
  readonly #resource: Resource
  readonly #log: Log
  readonly #queue: ReadableSpan[] = []
  readonly #timer: NodeJS.Timeout
  #sending: Promise<void> | null = null
  /** Number of spans of the running request. */
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
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override our own attributes.
    this.#resource = resourceFromAttributes({
      [ATTR_SERVICE_NAME]: 'mkondo',
      [ATTR_SERVICE_VERSION]: options.version,
      [ATTR_SERVICE_INSTANCE_ID]: options.instance,
    }).merge(detectResources({ detectors: [envDetector] }))
    this.#timer = setInterval(() => this.#pass(), SPAN_EXPORT_EVERY_MS).unref()
  }

  /** Number of waiting spans. */
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

  /**
   * Counts lost spans. Only the first loss after a success is logged, because a collector that is down for a day must
   * not fill the log.
   */
  #lost(spans: number, error: Error | undefined): void {
    this.failed += spans
    if (!this.#warned) this.#log.warn({ err: error, spans }, 'the trace collector did not accept spans')
    this.#warned = true
  }
}
