import { GatewayError } from '../core/errors.js'
import { isCallSid, parseCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { StreamStatusEvent } from './actions.js'
import { STREAM_SID, idOf, names, parseBody, readCallFields, shownText, textOf } from './call-fields.js'
import type { CallFields, Fields } from './call-fields.js'
import { carrierState } from './carrier-state.js'
import { sameNumber } from './phone.js'

/** An event of the carrier's, in any of its shapes; the events URL gets them, and the voice URL may. */
export interface CarrierEvent extends CallFields {
  /** The same for every delivery of one event. */
  readonly dedupeKey: string
}

const OCCURRED_AT = names('occurredAt', 'timestamp')
const OCCURRED_AT_CHARS_MAX = 64

/**
 * Reads an event: `{kind, event_id, data}`, `{event_kind, event_id, payload}`, or the PBX's own flat body, which
 * lands at the events URL too. An event of something that is no call has a `kind` and a null `callSid`.
 *
 * @throws GatewayError BODY_TOO_LARGE, CONTENT_TYPE, or WEBHOOK_MALFORMED (also for neither a kind nor a call)
 */
export function parseEvent(contentType: string | undefined, body: Uint8Array): CarrierEvent {
  const event = readEvent(parseBody(contentType, body))
  if (event.kind === null && event.callSid === null) {
    throw new GatewayError(
      'WEBHOOK_MALFORMED',
      'event names neither a kind (kind, event_kind) nor a call (sessionId, call_id)',
    )
  }
  return event
}

/** The event in a body's fields, for any URL, with or without a call. */
function readEvent(fields: Fields): CarrierEvent {
  const call = readCallFields(fields)
  return { ...call, dedupeKey: dedupeKeyOf(call, idOf(textOf(fields, OCCURRED_AT), OCCURRED_AT_CHARS_MAX)) }
}

/** Without an id the content is the key: a call reaches each state once, a stream starts and stops once. */
function dedupeKeyOf(call: CallFields, occurredAt: string | null): string {
  if (call.eventId !== null) return `id:${call.eventId}`
  const parts = [call.callSid, call.kind, call.stateText, call.streamSid, call.digits, occurredAt]
  return parts.map((part) => part ?? '').join('|')
}

/** A POST to the voice URL: a ringing call, one of its later states, or an event. */
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
 * As above, for the voice URL, which also gets events that are not about a call.
 * @returns null for such an event
 */
export function parseVoicePost(contentType: string | undefined, body: Uint8Array): Webhook | null {
  const event = readEvent(parseBody(contentType, body))
  if (event.sidGiven) return { ...event, callSid: parseCallSid(event.callSid) }
  if (event.kind === null) throw namesNoCall()
  return null
}

function namesNoCall(): GatewayError {
  return new GatewayError(
    'WEBHOOK_MALFORMED',
    'webhook names no call; expected one of sessionId, CallSid, CallId, call_sid, call_id',
  )
}

/**
 * Corrects caller and callee: browser calls arrive with our own number as the caller. On an outbound call
 * our number is the caller. Numbers are compared by digits only.
 *
 * @param ownedNumbers the numbers routed to this gateway; empty when unknown, then nothing is changed.
 */
export function normaliseParties<T extends Pick<Webhook, 'from' | 'to' | 'direction'>>(
  webhook: T,
  ownedNumbers: Iterable<string>,
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

/** A POST to a `statusCallback`. */
export interface StreamStatus {
  /** `unknown` is acknowledged like the others. */
  readonly event: StreamStatusEvent | 'unknown'
  /** From the body; null when it names none and the URL's token has to. */
  readonly callSid: CallSid | null
  readonly streamSid: string | null
  /** The carrier's words for what went wrong; at most 200 characters, numbers masked. */
  readonly error: string | null
  /** The same for every delivery of one status. */
  readonly dedupeKey: string
}

/** Fields that may hold the event; each is tried until one does, for `status` may speak of the call. */
const EVENT = ['streamEvent', 'streamStatus', 'event', 'status', 'callSessionState', 'kind', 'eventKind'].map((name) =>
  names(name),
)
const ERROR = names('streamError', 'error', 'errorMessage', 'errorText', 'reason', 'message')
const STREAM_SID_CHARS_MAX = 128
const ERROR_CHARS_MAX = 200

/**
 * Reads a stream status in any spelling that could be expected; its body was never published.
 *
 * @param callSid of the URL's token: used where the body names none, and part of the dedupe key.
 * @throws GatewayError BODY_TOO_LARGE, CONTENT_TYPE or WEBHOOK_MALFORMED
 */
export function parseStreamStatus(contentType: string | undefined, body: Uint8Array, callSid?: string): StreamStatus {
  const fields = parseBody(contentType, body)
  const named = readCallFields(fields).callSid ?? (isCallSid(callSid) ? callSid : null)
  const event = eventOf(EVENT.map((aliases) => textOf(fields, aliases)))
  const streamSid = idOf(textOf(fields, STREAM_SID), STREAM_SID_CHARS_MAX)
  return {
    event,
    callSid: named,
    streamSid,
    error: event === 'stream-error' ? shownText(textOf(fields, ERROR), ERROR_CHARS_MAX) : null,
    dedupeKey: `${named ?? ''}|${streamSid ?? ''}|${event}`,
  }
}

function eventOf(words: readonly (string | null)[]): StreamStatusEvent | 'unknown' {
  for (const word of words) {
    if (word === null) continue
    // `started` alone is as good as `stream-started` here.
    const state = carrierState(/stream/i.test(word) ? word : `stream-${word}`)
    if (state === 'stream-started' || state === 'stream-stopped' || state === 'stream-error') return state
  }
  return 'unknown'
}
