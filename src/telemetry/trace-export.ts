import { setTimeout as sleep } from 'node:timers/promises'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import type { Resource } from '@opentelemetry/resources'
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base'
import { ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions'
import { SPANS_PER_EXPORT, SPANS_QUEUED_MAX, SPANS_LAST_MS, SPAN_EXPORT_EVERY_MS, SPAN_EXPORT_TIMEOUT_MS } from '../core/limits.js'
import type { CallRecord } from '../call/record.js'
import { callSpans, traceIdOf } from './call-spans.js'
import type { Log } from './log.js'

/** `ExportResultCode.SUCCESS` of @opentelemetry/core, which is not a dependency of its own. */
const EXPORT_SUCCESS = 0

interface TraceExportOptions {
  /** Base address of an OTLP/HTTP collector, as `OTEL_EXPORTER_OTLP_ENDPOINT` gives it; `/v1/traces` is added. */
  readonly endpoint: string
  readonly version: string
  readonly log: Log
}

/**
 * Ended calls as OpenTelemetry spans, to a collector. Off the audio's path: a call is turned into spans once, at its end,
 * they wait in a bounded queue, and a timer sends a few at a time, one request after the other. A collector that is slow
 * or gone costs spans, which are counted, and nothing else.
 */
export class TraceExport {
  /** Spans that a collector took, that it did not take, and that found no room. */
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
  #told = false

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

  /** The trace that a call will be found by, from its beginning on. */
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

  /** Sends what waits, as far as SPANS_LAST_MS allow, and lets go of the collector. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    const limit = sleep(SPANS_LAST_MS, 'late', { ref: false })
    while (this.#queue.length > 0 || this.#sending !== null) {
      const failedBefore = this.failed
      this.#pass()
      if (await Promise.race([this.#sending, limit]) === 'late' || this.failed > failedBefore) break
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
        // What was given up at the end is counted already.
        if (this.#closed) return resolve()
        if (result.code as number === EXPORT_SUCCESS) {
          this.exported += spans.length
          this.#told = false
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

  /** Said once until it works again: a collector that is down for a day must not fill the log. */
  #lost(spans: number, error: Error | undefined): void {
    this.failed += spans
    if (!this.#told) this.#log.warn({ err: error, spans }, 'the trace collector did not take spans')
    this.#told = true
  }
}
