import { GatewayError } from '../core/errors.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { JSON_DEPTH_MAX, WEBHOOK_BODY_BYTES_MAX } from '../core/limits.js'
import { carrierState, isTerminal } from './carrier-state.js'
import type { CarrierState } from './carrier-state.js'
import { maskNumbersIn, normaliseNumber } from './phone.js'

/** Maximum number of fields of one webhook, including nested fields; the carrier's webhooks have about 20. */
const WEBHOOK_FIELDS_MAX = 256

// --- JSON from outside: its depth is measured before it is parsed
// ---------------------------------------------------------------

export type JsonObject = Readonly<Record<string, unknown>>

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Extent of one object or array in a text. */
interface JsonSpan {
  /** Index after the value's last character; -1 if the text ends within the value. */
  readonly end: number
  /** Maximum depth of nesting within the value; 1 for a flat object. */
  readonly depth: number
}

/**
 * Finds the end of the object or array that begins at `start`, by brackets and quotes only. The JSON may be invalid.
 * Needs one pass and no recursion.
 */
export function jsonSpan(text: string, start: number): JsonSpan {
  let open = 0
  let depth = 0
  let quoted = false
  for (let i = start; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (quoted) {
      if (c === 0x5c)
        i++ // a backslash and the character that it escapes
      else if (c === 0x22) quoted = false
    } else if (c === 0x22) {
      quoted = true
    } else if (c === 0x7b || c === 0x5b) {
      open++
      if (open > depth) depth = open
    } else if (c === 0x7d || c === 0x5d) {
      open--
      if (open === 0) return { end: i + 1, depth }
    }
  }
  return { end: -1, depth }
}

/** The value of `text`, or undefined when it is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined // JSON has no undefined, so this cannot be mistaken for a value
  }
}

/** @returns the object in `text`; undefined for any other text, and for an object deeper than `depthMax` */
export function parseJsonObject(text: string, depthMax: number): JsonObject | undefined {
  const start = text.search(/\S/)
  if (start === -1 || text[start] !== '{') return undefined
  const span = jsonSpan(text, start)
  if (span.end === -1 || span.depth > depthMax) return undefined
  const value = parseJson(text)
  return isJsonObject(value) ? value : undefined
}

/**
 * The fields of a webhook body. Keys are folded (lower case, without `_`, `-` and `[]`), so that `CallSid`, `callSid`
 * and `call_sid` are one key. Values are text. They are in a Map, so that no key can refer to a prototype.
 */
export type Fields = ReadonlyMap<string, string | Fields>

/** The key under which `name` is found in `Fields`. */
export function foldKey(name: string): string {
  return name.toLowerCase().replace(/[_-]|\[\]$/g, '')
}

/**
 * Reads a webhook body as form or JSON, by its content type, or otherwise by its first character. For a repeated field,
 * the first value that is not empty is used; for a list, the first element. Errors quote no part of the body.
 * @throws GatewayError BODY_TOO_LARGE, CONTENT_TYPE or WEBHOOK_MALFORMED
 */
export function parseBody(contentType: string | undefined, body: Uint8Array): Fields {
  if (body.byteLength > WEBHOOK_BODY_BYTES_MAX) {
    throw new GatewayError(
      'BODY_TOO_LARGE',
      `webhook body is ${body.byteLength} bytes; at most ${WEBHOOK_BODY_BYTES_MAX} are read`,
    )
  }
  const format = formatOf(contentType, body)
  const text = decodeUtf8(body)
  if (text.trim() === '') throw malformed('is empty')
  return format === 'json' ? readJson(text) : readForm(text)
}

function malformed(what: string): GatewayError {
  return new GatewayError('WEBHOOK_MALFORMED', `webhook body ${what}`)
}

function formatOf(contentType: string | undefined, body: Uint8Array): 'form' | 'json' {
  if (contentType === undefined || contentType.trim() === '') {
    const first = body.find((byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d)
    return first === 0x7b ? 'json' : 'form'
  }
  const [type = '', ...parameters] = contentType
    .slice(0, 256)
    .toLowerCase()
    .split(';')
    .map((part) => part.trim())
  for (const parameter of parameters) {
    const charset = /^charset\s*=\s*"?([^"\s]*)"?$/.exec(parameter)?.[1]
    if (charset !== undefined && !['utf-8', 'utf8', 'us-ascii'].includes(charset)) {
      throw new GatewayError('CONTENT_TYPE', 'webhook charset is not supported; allowed: utf-8, us-ascii')
    }
  }
  if (type === 'application/x-www-form-urlencoded') return 'form'
  if (/^(?:application|text)\/json$|^application\/[a-z0-9.-]+\+json$/.test(type)) return 'json'
  throw new GatewayError(
    'CONTENT_TYPE',
    'webhook content type is not supported; allowed: application/x-www-form-urlencoded, application/json',
  )
}

function decodeUtf8(body: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch (thrown) {
    throw new GatewayError('WEBHOOK_MALFORMED', 'webhook body is not valid UTF-8', { cause: thrown })
  }
}

function readForm(text: string): Fields {
  const pairs = text.trim().split('&')
  if (pairs.length > WEBHOOK_FIELDS_MAX) throw tooManyFields()
  const fields = new Map<string, string | Fields>()
  for (const pair of pairs) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    if (equals === -1) continue // a part without `=` is not a field
    const key = foldKey(decodeFormText(pair.slice(0, equals)))
    let value = decodeFormText(pair.slice(equals + 1))
    // If a sender does not escape the `+` of a number, form decoding makes it a space.
    if (/^ [0-9]{7,15}$/.test(value)) value = `+${value.slice(1)}`
    add(fields, key, value)
  }
  if (fields.size === 0) throw malformed('has no fields; expected a form such as sessionId=…&callSessionState=…')
  return fields
}

function decodeFormText(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (thrown) {
    throw new GatewayError('WEBHOOK_MALFORMED', 'webhook body has a % escape that is not UTF-8', { cause: thrown })
  }
}

function readJson(text: string): Fields {
  const start = text.search(/\S/)
  if (text[start] !== '{') throw malformed('is not a JSON object')
  const span = jsonSpan(text, start)
  if (span.depth > JSON_DEPTH_MAX) throw malformed(`is JSON nested deeper than ${JSON_DEPTH_MAX}`)
  const value = span.end === -1 ? undefined : parseJson(text)
  if (!isJsonObject(value)) throw malformed('is not valid JSON')
  return readObject(value, { count: 0 })
}

/** All levels of a body share `seen`, so that nested fields count towards the limit too. */
function readObject(object: JsonObject, seen: { count: number }): Fields {
  const fields = new Map<string, string | Fields>()
  for (const [name, value] of Object.entries(object)) {
    if (++seen.count > WEBHOOK_FIELDS_MAX) throw tooManyFields()
    const first: unknown = Array.isArray(value) ? value[0] : value
    if (isJsonObject(first)) add(fields, foldKey(name), readObject(first, seen))
    else if (typeof first === 'string') add(fields, foldKey(name), first)
    else if (typeof first === 'number' || typeof first === 'boolean') add(fields, foldKey(name), String(first))
  }
  return fields
}

function add(fields: Map<string, string | Fields>, key: string, value: string | Fields): void {
  const present = fields.get(key)
  if (present === undefined || (typeof present === 'string' && present.trim() === '')) fields.set(key, value)
}

function tooManyFields(): GatewayError {
  return malformed(`has more than ${WEBHOOK_FIELDS_MAX} fields`)
}

/** The data of a carrier's webhook about a call, independent of its URL and shape. */
export interface CallFields {
  /** SID; null if absent or unusable. `sidGiven` distinguishes these cases. */
  readonly callSid: CallSid | null
  readonly sidGiven: boolean
  /**
   * True if the SID is the PBX's own SID, as its field name (`sessionId`, `callSid`) or its form shows. A `call_id` may
   * be an id of the REST API.
   */
  readonly sidOfPbx: boolean
  /** `+254…` if recognisable (`normaliseNumber`); empty if withheld or absent. */
  readonly from: string
  readonly to: string
  readonly state: CarrierState
  /** The carrier's own name of the state, printable ASCII, at most 64 characters; for records. */
  readonly stateText: string | null
  /** Kind of event, such as `call.completed`; null for the PBX's own flat bodies. */
  readonly kind: string | null
  readonly eventId: string | null
  readonly streamSid: string | null
  readonly direction: 'inbound' | 'outbound' | null
  readonly durationS: number | null
  /**
   * DTMF digits after `<GetDigits>`: `0-9 * # A-D`. Empty if no digit was pressed; null if there was no `<GetDigits>`.
   */
  readonly digits: string | null
  /** The gateway's own label of an outbound call, returned unchanged. */
  readonly clientRequestId: string | null
}

/** Lists of alternative field names, best first. The first name of each list was seen on real calls. */
const CALL_SID = names('sessionId', 'callSid', 'callId')
const SESSION_SID = names('sessionId', 'callSid')
/** Form in which the PBX writes session ids now: `HD_` and 12 hexadecimal digits. */
const PBX_SID = /^HD_[0-9a-f]+$/i
const FROM = names('callerNumber', 'from', 'caller')
const TO = names('clientDialedNumber', 'destinationNumber', 'to', 'called')
const STATE = names('callSessionState', 'callState', 'callStatus', 'status')
const STREAM_STATE = names('streamEvent', 'streamStatus')
const KIND = names('kind', 'eventKind')
const EVENT_ID = names('eventId')
export const STREAM_SID = names('streamSid', 'streamId')
const DIRECTION = names('direction', 'callDirection')
const DURATION = names('durationInSeconds', 'durationSeconds', 'callDuration', 'duration')
const DIGITS = names('digits', 'dtmfDigits', 'dtmf')
const CLIENT_REQUEST_ID = names('clientRequestId')
const FAILURE = names('failureReason', 'failureCode', 'hangupCause')

/**
 * Objects of an envelope that may contain the call's own fields: `{kind, data: {…}}`, `{event_kind, payload: {…}}`,
 * `{call: {…}}`. They may be nested. Every format is accepted at every URL.
 */
const ENVELOPES = ['data', 'payload', 'call'] as const
/** Names of the call's id inside an object `call`. In other objects these names may belong to other ids. */
const ID_OF_CALL = names('sid', 'id')

/** The carrier's own limit of `client_request_id`, in characters. */
const CLIENT_REQUEST_ID_CHARS_MAX = 5000
const SHORT_TEXT_CHARS_MAX = 64
const EVENT_ID_CHARS_MAX = 128
const DIGITS_MAX = 64
/** States that are less precise than the cause of the end. */
const CAUSED: readonly CarrierState[] = ['failed', 'unknown']

export function names(...aliases: readonly string[]): readonly string[] {
  return aliases.map(foldKey)
}

/**
 * @returns the first field in `aliases` with a value that is not blank: at the top level, then inside the envelope's
 * objects
 */
export function textOf(fields: Fields, aliases: readonly string[]): string | null {
  for (const alias of aliases) {
    const value = fields.get(alias)
    if (typeof value === 'string' && value.trim() !== '') return value
  }
  for (const envelope of ENVELOPES) {
    const inner = fields.get(envelope)
    if (inner === undefined || typeof inner === 'string') continue
    const value = textOf(inner, aliases)
    if (value !== null) return value
  }
  return null
}

/** Returns the call's SID: a field with an unambiguous name, or the id in a `call` object. */
function callSidOf(fields: Fields): string | null {
  return textOf(fields, CALL_SID) ?? idInCallObject(fields)
}

function idInCallObject(fields: Fields): string | null {
  for (const envelope of ENVELOPES) {
    const inner = fields.get(envelope)
    if (inner === undefined || typeof inner === 'string') continue
    const id = (envelope === 'call' ? textOf(inner, ID_OF_CALL) : null) ?? idInCallObject(inner)
    if (id !== null) return id
  }
  return null
}

/** @returns a text of the carrier that may be shown and logged: printable ASCII, numbers masked, cut to `charsMax` */
export function shownText(value: string | null, charsMax: number): string | null {
  if (value === null) return null
  const printable = value
    .replace(/[^\x20-\x7e]/g, '')
    .trim()
    .slice(0, charsMax)
  return printable === '' ? null : maskNumbersIn(printable)
}

/** @returns an identifier from the carrier for use in a map key: visible ASCII within `charsMax`; otherwise null */
export function idOf(value: string | null, charsMax: number): string | null {
  const id = value?.trim() ?? ''
  return id.length <= charsMax && /^[\x21-\x7e]+$/.test(id) ? id : null
}

export function readCallFields(fields: Fields): CallFields {
  const sid = callSidOf(fields)?.trim() ?? null
  const kind = kindOf(textOf(fields, KIND))
  const stateText = stateWord(textOf(fields, STATE), textOf(fields, STREAM_STATE)) ?? kind
  return {
    callSid: isCallSid(sid) ? sid : null,
    sidGiven: sid !== null,
    sidOfPbx: textOf(fields, SESSION_SID) !== null || PBX_SID.test(sid ?? ''),
    from: normaliseNumber(textOf(fields, FROM) ?? ''),
    to: normaliseNumber(textOf(fields, TO) ?? ''),
    state: stateOf(stateText, kind, textOf(fields, FAILURE)),
    stateText: shownText(stateText, SHORT_TEXT_CHARS_MAX),
    kind,
    eventId: idOf(textOf(fields, EVENT_ID), EVENT_ID_CHARS_MAX),
    streamSid: idOf(textOf(fields, STREAM_SID), EVENT_ID_CHARS_MAX),
    direction: directionOf(textOf(fields, DIRECTION)),
    durationS: secondsOf(textOf(fields, DURATION)),
    digits: digitsPressed(textOf(fields, DIGITS)) ?? (DIGITS.some((name) => fields.get(name) === '') ? '' : null),
    clientRequestId: textOf(fields, CLIENT_REQUEST_ID)?.slice(0, CLIENT_REQUEST_ID_CHARS_MAX) ?? null,
  }
}

/**
 * @returns an event's kind such as `call.completed`; null for a text without a dot, because a field of the PBX has the
 * same name
 */
function kindOf(value: string | null): string | null {
  const kind = value?.trim().toLowerCase() ?? ''
  if (kind.length > SHORT_TEXT_CHARS_MAX || !kind.includes('.')) return null
  return /^[a-z]+(?:[._-][a-z]+)+$/.test(kind) ? kind : null
}

/**
 * A stream event is more precise than the state of a running leg (`Answered`). The end of the leg takes precedence over
 * a stream event.
 */
function stateWord(legState: string | null, streamState: string | null): string | null {
  if (streamState === null || isTerminal(carrierState(legState))) return legState
  return streamState.toLowerCase().includes('stream') ? streamState : `stream-${streamState}`
}

/**
 * If an event's kind is not about the leg, the state is `unknown`. For a failure, the cause gives the precise state.
 */
function stateOf(stateText: string | null, kind: string | null, failure: string | null): CarrierState {
  if (kind !== null && carrierState(kind) === 'unknown') return 'unknown'
  const own = carrierState(stateText)
  const state = own === 'unknown' ? carrierState(kind) : own
  if (!CAUSED.includes(state)) return state
  const cause = carrierState(failure)
  return cause === 'busy' || cause === 'no-answer' || cause === 'refused' ? cause : state
}

function directionOf(value: string | null): 'inbound' | 'outbound' | null {
  const word = value?.trim().toLowerCase() ?? ''
  if (word.startsWith('in')) return 'inbound'
  return word.startsWith('out') ? 'outbound' : null
}

function secondsOf(value: string | null): number | null {
  const text = value?.trim() ?? ''
  return /^[0-9]{1,7}(\.[0-9]{1,6})?$/.test(text) ? Number(text) : null
}

function digitsPressed(value: string | null): string | null {
  const keys = value?.trim().toUpperCase() ?? ''
  return keys.length <= DIGITS_MAX && /^[0-9*#A-D]+$/.test(keys) ? keys : null
}
