import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { StreamStatusEvent } from './actions.js'
import { parseBody } from './body.js'
import { idOf, names, readCallFields, shownText, textOf } from './call-fields.js'
import { carrierState } from './carrier-state.js'

/** A POST to a `statusCallback`. */
export interface StreamStatus {
  /** `unknown` is to be acknowledged like the others. */
  readonly event: StreamStatusEvent | 'unknown'
  /** From the body; null when it names none and the URL's token has to. */
  readonly callSid: CallSid | null
  readonly streamSid: string | null
  /** The `name` of the Stream action, echoed; at most 128 characters, numbers masked. */
  readonly name: string | null
  /** The carrier's words for what went wrong; at most 200 characters, numbers masked. */
  readonly error: string | null
  /** One edge has one key, however often it is delivered. */
  readonly dedupeKey: string
}

/** Fields that may hold the event; each is tried until one does, for `status` may speak of the call. */
const EVENT = ['streamEvent', 'streamStatus', 'event', 'status', 'callSessionState', 'kind', 'eventKind'].map((name) => names(name))
const NAME = names('streamName', 'name')
const ERROR = names('streamError', 'error', 'errorMessage', 'errorText', 'reason', 'message')
const STREAM_SID = names('streamSid', 'streamId')
const NAME_CHARS_MAX = 128
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
  const streamSid = idOf(textOf(fields, STREAM_SID), NAME_CHARS_MAX)
  return {
    event,
    callSid: named,
    streamSid,
    name: shownText(textOf(fields, NAME), NAME_CHARS_MAX),
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
