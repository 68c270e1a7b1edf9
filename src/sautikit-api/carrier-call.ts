import { z } from 'zod'
import type { CarrierDetail } from '../call/documents/record.js'
import { CarrierApiError, objectOf, textIn } from './http.js'

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? null)
const number = z
  .number()
  .nullish()
  .transform((value) => value ?? null)

/**
 * Answer with a call. The carrier may add fields. The used fields must have the right type; any used field may be
 * absent.
 */
const detailSchema = z.object({
  id: text,
  session_id: text,
  direction: text,
  local_e164: text,
  remote_e164: text,
  status: text,
  started_at: text,
  answered_at: text,
  ended_at: text,
  duration_seconds: number,
  cost_minor: number,
  cost_currency: text,
  rate_per_minute_minor: number,
  failure_code: text,
  hangup_cause: text,
  events: z
    .array(z.unknown())
    .nullish()
    .transform((value) => value ?? []),
})

/** The carrier's call detail record: the part stored in a call's record, and the call's SID. */
export interface CarrierCall extends Omit<CarrierDetail, 'recording' | 'recordingState' | 'fetchedAt'> {
  readonly callSid: string | null
  readonly direction: string | null
  /** E.164. Never logged. */
  readonly localNumber: string | null
  readonly remoteNumber: string | null
}

/**
 * @param body  `{ call: {…} }`, or the record itself
 * @throws CarrierApiError for any other body
 */
export function parseCarrierCall(body: unknown): CarrierCall {
  const inner = typeof body === 'object' && body !== null && 'call' in body ? body.call : body
  const parsed = detailSchema.safeParse(inner)
  if (!parsed.success || (parsed.data.id ?? parsed.data.session_id) === null) {
    const at = parsed.success ? 'id' : parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
    throw new CarrierApiError(
      `GET /v1/calls: the answer is not a call detail record (at ${at === '' ? 'its top' : at})`,
      { status: 200 },
    )
  }
  const detail = parsed.data
  return {
    callId: detail.id,
    callSid: detail.session_id,
    direction: detail.direction,
    localNumber: detail.local_e164,
    remoteNumber: detail.remote_e164,
    status: detail.status,
    startedAt: detail.started_at,
    answeredAt: detail.answered_at,
    endedAt: detail.ended_at,
    durationS: detail.duration_seconds,
    costMinor: detail.cost_minor,
    costCurrency: detail.cost_currency,
    ratePerMinuteMinor: detail.rate_per_minute_minor,
    failureCode: detail.failure_code,
    hangupCause: detail.hangup_cause ?? causeIn(detail.events),
  }
}

/** True when the record is final. */
export function isFinal(call: CarrierCall): boolean {
  if (call.status !== null && /^(ringing|answered|in.progress|queued|initiated)$/i.test(call.status)) return false
  return call.endedAt !== null || call.durationS !== null || call.status !== null
}

/** The cause in a call's last event. */
function causeIn(events: readonly unknown[]): string | null {
  for (const event of [...events].reverse()) {
    const cause = textIn(objectOf(objectOf(event)['payload']), 'hangup_cause', 'cause')
    if (cause !== null) return cause
  }
  return null
}
