import { REJECTION_LINES_BURST, REJECTION_LINES_PER_S } from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import { WEBHOOK_REJECTIONS } from '../telemetry/metrics.js'
import type { WebhookRejection, WebhookRoute } from '../telemetry/metrics.js'
import type { HttpStatus } from './http-exchange.js'
import { RateLimit } from './rate-limit.js'

/** A request that the public port turned away, as the operator is told of it; nothing of its body. */
export interface RejectedRequest {
  readonly reason: WebhookRejection
  /** In words, as its sender was told. */
  readonly why: string
  readonly status: HttpStatus
  /** Null: no webhook's path. */
  readonly route: WebhookRoute | null
  /** The agent that the URL names, whether there is one of that name or not; null: none. */
  readonly agent: string | null
  readonly address: string
}

/**
 * Says why webhooks are rejected: a carrier whose secret is wrong looks just like a stranger, and its callers hear nothing. A
 * flood writes a few lines for each reason, and how many requests they stand for.
 */
export class RejectionLog {
  readonly #log: Log
  readonly #lines = new RateLimit({ perSecond: REJECTION_LINES_PER_S, burst: REJECTION_LINES_BURST, keysMax: WEBHOOK_REJECTIONS.length })
  readonly #suppressed = new Map<WebhookRejection, number>()

  constructor(log: Log) {
    this.#log = log
  }

  note(rejected: RejectedRequest, nowMs: number): void {
    const { reason } = rejected
    const suppressed = this.#suppressed.get(reason) ?? 0
    if (this.#lines.take(reason, nowMs) > 0) {
      this.#suppressed.set(reason, suppressed + 1)
      return
    }
    this.#suppressed.delete(reason)
    this.#log.warn({ ...rejected, ...(suppressed === 0 ? {} : { suppressed }) }, 'A request was turned away')
  }

  /** Says what was suppressed as soon as there may be a line again: a flood that has ended is told to its last request. */
  sweep(nowMs: number): void {
    for (const [reason, suppressed] of this.#suppressed) {
      if (this.#lines.take(reason, nowMs) > 0) continue
      this.#suppressed.delete(reason)
      this.#log.warn({ reason, suppressed }, 'More requests were turned away for the same reason')
    }
  }
}
