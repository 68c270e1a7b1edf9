import { GatewayError } from '../core/errors.js'
import { maskNumbersIn } from '../sautikit/phone.js'

/** Characters of the carrier's own sentence that are kept. */
const MESSAGE_CHARS_MAX = 300

export interface CarrierErrorFacts {
  readonly status?: number
  readonly carrierCode?: string | null
  readonly requestId?: string | null
  readonly retryable?: boolean
  readonly retryAfterS?: number | null
  /** True when no usable answer came at all. */
  readonly network?: boolean
  readonly cause?: unknown
}

/** What the carrier's REST API refused, or that it could not be reached. */
export class CarrierApiError extends GatewayError {
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
  /** The carrier's own code, such as `calls.not_found`; null when it gave none. */
  readonly carrierCode: string | null
  /** What the carrier's support asks for. */
  readonly requestId: string | null
  readonly retryAfterS: number | null

  constructor(message: string, facts: CarrierErrorFacts) {
    super(facts.network === true ? 'CARRIER_API_NETWORK' : 'CARRIER_API', message, {
      retryable: facts.retryable ?? false, ...(facts.cause === undefined ? {} : { cause: facts.cause }),
    })
    this.status = facts.status ?? 0
    this.carrierCode = facts.carrierCode ?? null
    this.requestId = facts.requestId ?? null
    this.retryAfterS = facts.retryAfterS ?? null
  }
}

/**
 * Reads both of the carrier's error shapes, `{ error: { code, message, request_id } }` and `{ code, reason }`, and
 * `{ error: "text" }` of what may stand in front of it.
 */
export function carrierRefusal(
  what: string, status: number, body: unknown, facts: Pick<CarrierErrorFacts, 'retryable' | 'retryAfterS'>,
): CarrierApiError {
  const outer = record(body)
  const inner = record(outer['error'])
  const code = textOf(inner['code']) ?? textOf(outer['code'])
  const message = textOf(inner['message'])
    ?? textOf(outer['reason']) ?? textOf(outer['message']) ?? textOf(outer['error'])
  const requestId = textOf(inner['request_id']) ?? textOf(outer['request_id'])
  const words = [code, message === null ? null : maskNumbersIn(message)].filter((word) => word !== null).join(': ')
  return new CarrierApiError(
    `${what}: refused with status ${status}${words === '' ? '' : ` (${words})`}`,
    { status, carrierCode: code, requestId, ...facts },
  )
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? value as Readonly<Record<string, unknown>> : {} // any object
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value.slice(0, MESSAGE_CHARS_MAX) : null
}
