import type { CallSid } from '../core/ids.js'
import { parseEvent, parseStreamStatus, parseVoicePost, parseWebhook } from '../sautikit/webhook.js'
import type { WebhookRoute } from '../telemetry/metrics.js'
import { isRejection } from './webhook-guard.js'
import type { WebhookGuard } from './webhook-guard.js'
import type { Rejection, WebhookRequest } from './webhook-request.js'

/** What a webhook that could be proven speaks of. */
export interface Subject {
  readonly callSid: CallSid
  /** The order of ours that the call comes from, as the carrier knows it. */
  readonly orderId: string | null
}

/**
 * The call that a webhook speaks of, once it is proven whose it is; nothing is done with it yet.
 * @returns null when it names none, or cannot be read
 */
export function subjectOf(guard: WebhookGuard, route: WebhookRoute, request: WebhookRequest): Subject | Rejection | null {
  const byCarrier = route === 'voice' || route === 'events'
  const proof = byCarrier ? guard.proveSignature(request) : guard.prove(request, route)
  if (isRejection(proof)) return proof
  if (proof.callSid !== null) return { callSid: proof.callSid, orderId: null }
  try {
    switch (route) {
      case 'voice': {
        const webhook = parseVoicePost(request.contentType, request.body)
        return webhook === null ? null : { callSid: webhook.callSid, orderId: webhook.clientRequestId ?? request.label ?? null }
      }
      case 'events': {
        const { callSid, clientRequestId } = parseEvent(request.contentType, request.body)
        return callSid === null ? null : { callSid, orderId: clientRequestId }
      }
      case 'stream-status': {
        const { callSid } = parseStreamStatus(request.contentType, request.body)
        return callSid === null ? null : { callSid, orderId: null }
      }
      case 'after-stream':
        return { callSid: parseWebhook(request.contentType, request.body).callSid, orderId: null }
      case 'human':
        return null // only the token names the caller's call
    }
  } catch {
    return null // whoever answers says what is wrong with it
  }
}
