import { isCallSid } from '../core/ids.js'
import { JSON_DEPTH_MAX, TEXT_FRAME_BYTES_MAX } from '../core/limits.js'
import { foldKey, isJsonObject, jsonSpan, names, parseJson, parseJsonObject } from './call-fields.js'
import type { JsonObject } from './call-fields.js'

/**
 * Maximum number of messages that are read from one text frame. The rest of the frame counts as one unreadable message.
 */
export const TEXT_FRAME_MESSAGES_MAX = 64

/** Supported audio subprotocols; the first is Sautikit's. */
const SUBPROTOCOLS = ['audio.drachtio.org', 'audio.jambonz.org'] as const
export type Subprotocol = (typeof SUBPROTOCOLS)[number]

/** Maximum length of the offered names in characters; clients offer only a few. */
const OFFER_CHARS_MAX = 1024

/**
 * @returns the subprotocol to echo, exactly as offered; null if the list contains no supported subprotocol. In that
 * case the upgrade must be refused, because the carrier treats any other answer as a failure. Names are compared as RFC
 * 6455 requires: whole and case-sensitive.
 * @param header `Sec-WebSocket-Protocol`, several headers joined by commas.
 */
export function offersSubprotocol(header: string | undefined): Subprotocol | null {
  if (header === undefined || header.length > OFFER_CHARS_MAX) return null
  const offered = header.split(',').map((name) => name.trim())
  return SUBPROTOCOLS.find((ours) => offered.includes(ours)) ?? null
}

/** Headers that are not metadata: usual HTTP headers, headers of proxies, and secrets. */
const NOT_METADATA = new RegExp(
  '^(?:' +
    'host|connection|upgrade|origin|pragma|cache-control|accept(?:-.*)?|user-agent|content-.*|te|via|forwarded|date' +
    '|sec-.*|x-forwarded-.*|x-real-ip|x-request-id|cf-.*|traceparent|tracestate|authorization|proxy-.*|cookie' +
    ')$',
)

/**
 * @returns metadata in the headers of an upgrade request, as `uWebSockets.js` or Node give them: the call SID, if the
 * carrier sends it there. Null if no header is metadata
 */
export function handshakeMetadata(headers: Iterable<readonly [string, string | undefined]>): StreamMetadata | null {
  const own = [...headers].filter(([name, value]) => value !== undefined && !NOT_METADATA.test(name.toLowerCase()))
  const sids = own.filter(([name]) => CALL_SID.includes(foldKey(name.toLowerCase().replace(/^x-(?:sautikit-)?/, ''))))
  const callSid = sids.map(([, value]) => value?.trim()).find(isCallSid) ?? null
  return own.length === 0 ? null : { type: 'metadata', callSid }
}

/**
 * The carrier's data about a stream, sent when the stream begins. The URL's token identifies the call; the SID is
 * compared with the token.
 */
interface StreamMetadata {
  readonly type: 'metadata'
  readonly callSid: string | null
}

/**
 * Text frames on the media socket. One frame may hold several JSON values in a row, or text that is not JSON; see
 * docs/PROTOCOL.md.
 */
export type StreamText =
  /** The first frame, in any of its formats. */
  | StreamMetadata
  /** Answer to a mark, or report of a cleared mark. */
  | { readonly type: 'mark'; readonly name: string; readonly event: 'playout' | 'cleared' }
  | { readonly type: 'dtmf'; readonly digit: string }
  /** JSON of an unknown type; counted and ignored. */
  | { readonly type: 'unknown'; readonly name: string }
  /** Neither JSON nor a metadata text; counted and ignored. */
  | { readonly type: 'garbage' }

/**
 * Message that stops the carrier's playout and empties its queue. The carrier may also drop audio of the next 60 ms.
 */
export const KILL_AUDIO = '{"type":"killAudio"}'

/** Maximum length of an accepted mark name in characters. */
const MARK_NAME_CHARS_MAX = 128
const TYPE_NAME_CHARS_MAX = 64

/**
 * Reads one text frame. Never throws: a frame's contents become messages, in order, and unreadable parts become
 * `garbage`.
 * @param isFirst true for the first text frame of a socket (audio may have come before it). Its first object that is
 * not an event is the metadata; a frame that is not JSON is metadata as a whole.
 * @returns empty for a frame of white space.
 */
export function parseStreamText(text: string, isFirst: boolean): StreamText[] {
  if (tooLarge(text)) return [{ type: 'garbage' }]
  const messages: StreamText[] = []
  let awaitsMetadata = isFirst
  let at = skipSpace(text, 0)
  while (at < text.length) {
    const piece = nextObject(text, at)
    if (piece === null && messages.length === 0 && isFirst) return [{ type: 'metadata', callSid: null }]
    if (piece === null || piece === 'too-deep' || messages.length === TEXT_FRAME_MESSAGES_MAX) {
      messages.push({ type: 'garbage' })
      break
    }
    const message = eventOf(piece.object)
    if (message.type === 'unknown' && awaitsMetadata) {
      awaitsMetadata = false
      messages.push(metadataOf(piece.object))
    } else {
      messages.push(message)
    }
    at = skipSpace(text, piece.end)
  }
  return messages
}

function tooLarge(text: string): boolean {
  if (text.length > TEXT_FRAME_BYTES_MAX) return true
  // A UTF-16 unit is at most 3 bytes of UTF-8, so most frames can be accepted without encoding.
  return text.length * 3 > TEXT_FRAME_BYTES_MAX && new TextEncoder().encode(text).byteLength > TEXT_FRAME_BYTES_MAX
}

function skipSpace(text: string, from: number): number {
  let at = from
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++
  return at
}

interface Piece {
  readonly object: JsonObject
  /** Index after the object's last character. */
  readonly end: number
}

/** @returns the JSON object that begins at `at`; null if no object begins there */
function nextObject(text: string, at: number): Piece | 'too-deep' | null {
  if (text[at] !== '{') return null
  const { end, depth } = jsonSpan(text, at)
  if (depth > JSON_DEPTH_MAX) return 'too-deep'
  if (end === -1) return null
  const object = parseJson(text.slice(at, end))
  return isJsonObject(object) ? { object, end } : null
}

// --- events -----------------------------------------------------------------------------------------------

function eventOf(object: JsonObject): StreamText {
  const fields = folded(object)
  const name = textAt(fields, 'type') ?? textAt(fields, 'event') ?? ''
  const data = objectAt(fields, 'data') ?? objectAt(fields, 'mark') ?? objectAt(fields, 'dtmf') ?? fields
  switch (name.toLowerCase()) {
    case 'mark': {
      const mark = textAt(data, 'name')
      const event = textAt(data, 'event')?.toLowerCase()
      if (mark !== null && mark.length <= MARK_NAME_CHARS_MAX && (event === 'playout' || event === 'cleared')) {
        return { type: 'mark', name: mark, event }
      }
      break
    }
    case 'dtmf': {
      const digit = (textAt(data, 'digit') ?? textAt(data, 'dtmf') ?? textAt(fields, 'dtmf') ?? '').trim().toUpperCase()
      if (/^[0-9*#A-D]$/.test(digit)) return { type: 'dtmf', digit }
      break
    }
    // Everything else is an unknown type.
  }
  return { type: 'unknown', name: name.replace(/[^\x21-\x7e]/g, '').slice(0, TYPE_NAME_CHARS_MAX) }
}

// --- metadata ---------------------------------------------------------------------------------------------

const CALL_SID = names('callSid', 'sessionId', 'callId')

/**
 * Finds the SID: first in the carrier's own field, then in the fields that the gateway has sent and the carrier
 * returns.
 */
function metadataOf(object: JsonObject): StreamMetadata {
  const top = folded(object)
  const layers = [top, ...['metadata', 'openmetadata', 'headers'].map((name) => objectAt(top, name))]
  const texts = layers.flatMap((layer) => (layer === null ? [] : CALL_SID.map((name) => textAt(layer, name))))
  const callSid = texts.find((text) => text !== null)?.trim()
  return { type: 'metadata', callSid: isCallSid(callSid) ? callSid : null }
}

// --- reading loosely --------------------------------------------------------------------------------------

type FoldedObject = ReadonlyMap<string, unknown>

/** An object with folded keys. If two keys become equal, the value of the first key is used. */
function folded(object: JsonObject): FoldedObject {
  const map = new Map<string, unknown>()
  for (const [name, value] of Object.entries(object)) {
    const key = foldKey(name)
    if (!map.has(key)) map.set(key, value)
  }
  return map
}

function scalarText(value: unknown): string | null {
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : null
}

/** The value of a key as text; null if it is absent, blank, or not a scalar. */
function textAt(fields: FoldedObject, key: string): string | null {
  const text = scalarText(fields.get(key))
  return text === null || text.trim() === '' ? null : text
}

/** An object, or an object that was sent as a string of JSON. */
function objectAt(fields: FoldedObject, key: string): FoldedObject | null {
  const value = fields.get(key)
  const object = typeof value === 'string' ? parseJsonObject(value, JSON_DEPTH_MAX) : value
  return isJsonObject(object) ? folded(object) : null
}
