import { GatewayError } from '../core/errors.js'
import { parseBody } from './body.js'
import type { Fields } from './body.js'
import { idOf, names, readCallFields, shownText, textOf } from './call-fields.js'
import type { CallFields } from './call-fields.js'

/** An event of the carrier's, in any of its shapes; the events URL gets them, and the voice URL may. */
export interface CarrierEvent extends CallFields {
  /** One event has one key, however often it is delivered. */
  readonly dedupeKey: string
  /** As written, for records; null when longer than 64 characters or with spaces in it. */
  readonly occurredAt: string | null
  /** The carrier's words for why a call ended (`normal_clearing`, `no_answer`). */
  readonly hangupCause: string | null
  readonly failureReason: string | null
  /** A recording that can be fetched; only with `call.recording.ready`. */
  readonly recording: CarrierRecording | null
}

export interface CarrierRecording {
  readonly recordingId: string
  /** Presigned and short-lived: a secret, never logged. */
  readonly downloadUrl: string | null
  readonly durationS: number | null
}

const OCCURRED_AT = names('occurredAt', 'timestamp')
const HANGUP_CAUSE = names('hangupCause')
const FAILURE_REASON = names('failureReason', 'failureCode')
const RECORDING_ID = names('recordingId')
const DOWNLOAD_URL = names('downloadUrl')
const TEXT_CHARS_MAX = 64
const URL_CHARS_MAX = 4096

/**
 * Reads an event: `{kind, event_id, data}`, `{event_kind, event_id, payload}`, or the PBX's own flat body, which
 * lands at the events URL too. An event of something that is no call has a `kind` and a null `callSid`.
 *
 * @throws GatewayError BODY_TOO_LARGE, CONTENT_TYPE, or WEBHOOK_MALFORMED (also for neither a kind nor a call)
 */
export function parseEvent(contentType: string | undefined, body: Uint8Array): CarrierEvent {
  const event = readEvent(parseBody(contentType, body))
  if (event.kind === null && event.callSid === null) {
    throw new GatewayError('WEBHOOK_MALFORMED',
      'event names neither a kind (kind, event_kind) nor a call (sessionId, call_id)')
  }
  return event
}

/** What a body's fields tell, whichever URL they came to and whether they name a call or not. */
export function readEvent(fields: Fields): CarrierEvent {
  const call = readCallFields(fields)
  const occurredAt = idOf(textOf(fields, OCCURRED_AT), TEXT_CHARS_MAX)
  return {
    ...call,
    dedupeKey: dedupeKeyOf(call, occurredAt),
    occurredAt,
    hangupCause: shownText(textOf(fields, HANGUP_CAUSE), TEXT_CHARS_MAX),
    failureReason: shownText(textOf(fields, FAILURE_REASON), TEXT_CHARS_MAX),
    recording: recordingOf(fields, call.durationS),
  }
}

/** Without an id an event is what it says: a call reaches each state once, a stream starts and stops once. */
function dedupeKeyOf(call: CallFields, occurredAt: string | null): string {
  if (call.eventId !== null) return `id:${call.eventId}`
  const parts = [call.callSid, call.kind, call.stateText, call.streamSid, call.digits, occurredAt]
  return parts.map((part) => part ?? '').join('|')
}

function recordingOf(fields: Fields, durationS: number | null): CarrierRecording | null {
  const recordingId = idOf(textOf(fields, RECORDING_ID), TEXT_CHARS_MAX)
  const url = textOf(fields, DOWNLOAD_URL)
  if (recordingId === null) return null
  const usable = url !== null && url.length <= URL_CHARS_MAX && /^https:\/\//i.test(url)
  return { recordingId, downloadUrl: usable ? url : null, durationS }
}
