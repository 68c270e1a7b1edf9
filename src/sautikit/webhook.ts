import { GatewayError } from '../core/errors.js'
import { parseCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { parseBody } from './body.js'
import { readCallFields } from './call-fields.js'
import type { CallFields } from './call-fields.js'
import { sameNumber } from './phone.js'

/** A POST to the voice URL: a call that rings, one of its later edges, or an event that took the wrong door. */
export interface Webhook extends CallFields {
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
  const call = readCallFields(parseBody(contentType, body))
  if (!call.sidGiven) {
    throw new GatewayError('WEBHOOK_MALFORMED',
      'webhook names no call; expected one of sessionId, CallSid, CallId, call_sid, call_id')
  }
  return { ...call, callSid: parseCallSid(call.callSid) }
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
