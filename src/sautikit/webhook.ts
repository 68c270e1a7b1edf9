import { GatewayError } from '../core/errors.js'
import { parseCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { parseBody } from './body.js'
import { readEvent } from './events.js'
import type { CarrierEvent } from './events.js'
import { sameNumber } from './phone.js'

/** A POST to the voice URL: a call that rings, one of its later edges, or an event of it. */
export interface Webhook extends CarrierEvent {
  readonly callSid: CallSid
}

/**
 * Reads the body of a voice webhook in any of its shapes (docs/PROTOCOL.md 1).
 *
 * @param contentType the request's `Content-Type`; absent, the body's first character decides.
 * @param body the raw bytes, as the signature was checked over; not kept.
 * @throws GatewayError BODY_TOO_LARGE (413), CONTENT_TYPE (415) or WEBHOOK_MALFORMED (400); the message names
 *   what is wrong and what is allowed and holds nothing of the body.
 */
export function parseWebhook(contentType: string | undefined, body: Uint8Array): Webhook {
  const webhook = parseVoicePost(contentType, body)
  if (webhook === null) throw namesNoCall()
  return webhook
}

/**
 * The same for the voice URL, where events of something that is no call arrive too.
 * @returns null for such an event
 */
export function parseVoicePost(contentType: string | undefined, body: Uint8Array): Webhook | null {
  const event = readEvent(parseBody(contentType, body))
  if (event.sidGiven) return { ...event, callSid: parseCallSid(event.callSid) }
  if (event.kind === null) throw namesNoCall()
  return null
}

function namesNoCall(): GatewayError {
  return new GatewayError('WEBHOOK_MALFORMED',
    'webhook names no call; expected one of sessionId, CallSid, CallId, call_sid, call_id')
}

/**
 * Puts caller and callee right: browser calls arrive with our own number as the caller. An outbound call has our
 * number there by right. Numbers are compared by digits only.
 *
 * @param ownedNumbers the numbers routed to this gateway; empty when unknown, then nothing is changed.
 */
export function normaliseParties<T extends Pick<Webhook, 'from' | 'to' | 'direction'>>(
  webhook: T, ownedNumbers: Iterable<string>,
): T {
  if (webhook.direction === 'outbound') return webhook
  let callerIsOurs = false
  let calleeIsOurs = false
  for (const owned of ownedNumbers) {
    callerIsOurs ||= sameNumber(owned, webhook.from)
    calleeIsOurs ||= sameNumber(owned, webhook.to)
  }
  return callerIsOurs && !calleeIsOurs ? { ...webhook, from: webhook.to, to: webhook.from } : webhook
}
