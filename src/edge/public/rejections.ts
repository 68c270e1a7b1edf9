import { WEBHOOK_BODY_BYTES_MAX } from '../../core/limits.js'
import type { WallClock } from '../../core/clock.js'
import type { RefusalReason, WebhookRejection } from '../../telemetry/metric-labels.js'
import { errorReply } from '../http/reply.js'
import type { BodyFault } from '../http/http-exchange.js'
import type { HttpErrorCode, HttpStatus, Reply } from '../http/reply.js'

/** Maximum number of refusals that `GET /api/calls` shows. */
const REFUSALS_KEPT = 200

/** Rejected request: the answer, and the reason under which it is counted. */
export interface Rejection {
  readonly reason: WebhookRejection
  /** Reason as text, as in the answer. It does not contain any part of the body. */
  readonly why: string
  readonly reply: Reply
}

/** The answer to a webhook. */
export type WebhookAnswer = Reply | Rejection

/** Answers for each reason why a body was not read. */
export const BODY_FAULTS: Readonly<Record<BodyFault, Rejection>> = {
  'too-large': rejection(
    'too-large',
    413,
    'BODY_TOO_LARGE',
    `the body is larger than ${WEBHOOK_BODY_BYTES_MAX} bytes`,
    { close: true },
  ),
  'too-slow': rejection('too-slow', 408, 'BODY_TOO_SLOW', 'the body did not come in time', { close: true }),
  busy: rejection('rate-limit', 503, 'BUSY', 'too many requests wait for their bodies', {
    headers: [['Retry-After', '1']],
    close: true,
  }),
  evicted: rejection('evicted', 503, 'BUSY', 'the body came too slowly, and others needed its place', {
    headers: [['Retry-After', '1']],
    close: true,
  }),
}

/** Call that got no stream, or socket that was not opened. */
interface Refusal {
  /** Calendar time of the refusal, ISO 8601. */
  readonly at: string
  readonly reason: RefusalReason
  /** Reason of the refusal, with the deciding figures. */
  readonly why: string
  /** Call SID; null if the request named no call, or was not proven. */
  readonly callSid: string | null
  readonly agent: string | null
}

/** Last refusals, for the operator. Refused calls also have a record; refused sockets do not. */
export class Refusals {
  /** Number of older refusals that were dropped. */
  dropped = 0
  readonly #wallClock: WallClock
  readonly #kept: Refusal[] = []

  constructor(wallClock: WallClock) {
    this.#wallClock = wallClock
  }

  note(refused: Omit<Refusal, 'at'>): void {
    this.#kept.push({ at: new Date(this.#wallClock()).toISOString(), ...refused })
    if (this.#kept.length <= REFUSALS_KEPT) return
    this.#kept.shift()
    this.dropped++
  }

  /** Newest first. */
  get newest(): readonly Refusal[] {
    return this.#kept.toReversed()
  }
}

export function rejection(
  reason: WebhookRejection,
  status: HttpStatus,
  code: HttpErrorCode,
  message: string,
  extra: Parameters<typeof errorReply>[3] = {},
): Rejection {
  return { reason, why: message, reply: errorReply(status, code, message, extra) }
}
