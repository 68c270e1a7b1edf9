import { GatewayError } from '../core/errors.js'
import { isCallSid, parseCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { StreamStatusEvent } from './actions.js'
import { STREAM_SID, idOf, names, parseBody, readCallFields, shownText, textOf } from './call-fields.js'
import type { CallFields, Fields } from './call-fields.js'
import { carrierState } from './carrier-state.js'
import { sameNumber } from './phone.js'

/** An event of the carrier, in any of its formats. Events arrive at the events URL, and may arrive at the voice URL. */
export interface CarrierEvent extends CallFields {
  /** Equal for every delivery of one event. */
  readonly dedupeKey: string
  /** Content of an event about the workspace; absent for any other event. */
  readonly account?: AccountEvent
}

/** An event about the workspace's wallet, or about its storage of recordings. */
export type AccountEvent =
  | {
      readonly kind: 'wallet.low_balance' | 'wallet.top_up'
      /** Balance in minor units of the wallet's currency; null if the event names none. */
      readonly balanceMinor: number | null
    }
  | {
      readonly kind: 'storage.tier_changed'
      /** Gigabytes that the workspace may store now; null if the event names none. */
      readonly tierGb: number | null
      readonly previousTierGb: number | null
    }

const BALANCE = names('balanceMinor')
const TIER = names('newTierGb', 'tierGb')
const PREVIOUS_TIER = names('previousTierGb')
const OCCURRED_AT = names('occurredAt', 'timestamp')
const OCCURRED_AT_CHARS_MAX = 64

/**
 * Reads an event: `{kind, event_id, data}`, `{event_kind, event_id, payload}`, or the PBX's own flat body, which also
 * arrives at the events URL. An event that is not about a call has a `kind` and a null `callSid`.
 * @throws GatewayError BODY_TOO_LARGE, CONTENT_TYPE, or WEBHOOK_MALFORMED (also for a body without a kind and without a
 * call)
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

/** @returns the event in a body's fields. The body may come from any URL, and its event need not be about a call */
function readEvent(fields: Fields): CarrierEvent {
  const call = readCallFields(fields)
  const account = accountEventOf(call.kind, fields)
  return {
    ...call,
    dedupeKey: dedupeKeyOf(call, idOf(textOf(fields, OCCURRED_AT), OCCURRED_AT_CHARS_MAX)),
    ...(account === null ? {} : { account }),
  }
}

function accountEventOf(kind: string | null, fields: Fields): AccountEvent | null {
  const figure = (aliases: readonly string[]): number | null => {
    const text = textOf(fields, aliases)
    return text !== null && /^-?\d{1,15}$/.test(text) ? Number(text) : null
  }
  switch (kind) {
    case 'wallet.low_balance':
    case 'wallet.top_up':
      return { kind, balanceMinor: figure(BALANCE) }
    case 'storage.tier_changed':
      return { kind, tierGb: figure(TIER), previousTierGb: figure(PREVIOUS_TIER) }
    default:
      return null
  }
}

/**
 * If there is no id, the content is the key, because a call reaches each state once, and a stream starts and stops
 * once.
 */
function dedupeKeyOf(call: CallFields, occurredAt: string | null): string {
  if (call.eventId !== null) return `id:${call.eventId}`
  const parts = [call.callSid, call.kind, call.stateText, call.streamSid, call.digits, occurredAt]
  return parts.map((part) => part ?? '').join('|')
}

/** A POST to the voice URL: a ringing call, a later state of the call, or an event. */
export interface Webhook extends CarrierEvent {
  readonly callSid: CallSid
}

/**
 * Reads the body of a voice webhook in any of its formats (docs/PROTOCOL.md 1).
 * @param contentType the request's `Content-Type`; if absent, the body's first character decides.
 * @param body the raw bytes over which the signature was checked; not stored.
 * @throws GatewayError BODY_TOO_LARGE (413), CONTENT_TYPE (415) or WEBHOOK_MALFORMED (400). The message names the fault
 * and the allowed form, and quotes no part of the body.
 */
export function parseWebhook(contentType: string | undefined, body: Uint8Array): Webhook {
  const webhook = parseVoicePost(contentType, body)
  if (webhook === null) throw namesNoCall()
  return webhook
}

/**
 * Reads the body of a POST to the voice URL, which also receives events that are not about a call.
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
 * Corrects caller and callee: browser calls arrive with the gateway's own number as the caller. On an outbound call the
 * gateway's number is the caller. Numbers are compared by digits only.
 * @param ownedNumbers the numbers routed to this gateway; if empty, caller and callee stay unchanged.
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
  /** `unknown` is acknowledged like every event. */
  readonly event: StreamStatusEvent | 'unknown'
  /** SID from the body. Null if the body does not contain the SID; the URL's token must then contain it. */
  readonly callSid: CallSid | null
  readonly streamSid: string | null
  /** The carrier's description of the fault; at most 200 characters, numbers masked. */
  readonly error: string | null
  /** Equal for every delivery of one status. */
  readonly dedupeKey: string
}

/**
 * Fields that may contain the event. They are tried in this order, because `status` may describe the call and not the
 * stream.
 */
const EVENT = ['streamEvent', 'streamStatus', 'event', 'status', 'callSessionState', 'kind', 'eventKind'].map((name) =>
  names(name),
)
const ERROR = names('streamError', 'error', 'errorMessage', 'errorText', 'reason', 'message')
const STREAM_SID_CHARS_MAX = 128
const ERROR_CHARS_MAX = 200

/**
 * Reads a stream status in any expected spelling, because the carrier has not published the body's format.
 * @param callSid  SID from the URL's token. It is used if the body contains no SID, and it is a part of the dedupe key.
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
    // In this field, `started` alone means `stream-started` too.
    const state = carrierState(/stream/i.test(word) ? word : `stream-${word}`)
    if (state === 'stream-started' || state === 'stream-stopped' || state === 'stream-error') return state
  }
  return 'unknown'
}
