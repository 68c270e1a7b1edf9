import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { carrierState, isTerminal } from './carrier-state.js'
import type { CarrierState } from './carrier-state.js'
import { foldKey } from './body.js'
import type { Fields } from './body.js'
import { maskNumbersIn, normaliseNumber } from './phone.js'

/** What the carrier's webhooks say about a call, whichever URL they came to and whichever shape they had. */
export interface CallFields {
  /** Null when absent or unusable; `sidGiven` tells which. */
  readonly callSid: CallSid | null
  readonly sidGiven: boolean
  /** The SID is the PBX's own, as its name (`sessionId`, `callSid`) or its spelling tells: a `call_id` may be the REST API's. */
  readonly sidOfPbx: boolean
  /** `+254…` where recognisable (`normaliseNumber`); empty when withheld or absent. */
  readonly from: string
  readonly to: string
  readonly state: CarrierState
  /** The carrier's own word for the state, printable ASCII, at most 64 characters; for records. */
  readonly stateText: string | null
  /** `call.completed` and so on; null for the PBX's own flat bodies. */
  readonly kind: string | null
  readonly eventId: string | null
  readonly streamSid: string | null
  readonly isActive: boolean | null
  readonly direction: 'inbound' | 'outbound' | null
  readonly durationS: number | null
  /** Keys that the caller pressed after `<GetDigits>`: `0-9 * # A-D`; empty when none was, null when none was asked for. */
  readonly digits: string | null
  /** Our own label of an outbound call, echoed verbatim. */
  readonly clientRequestId: string | null
}

/** Alias lists, best first. The first name of each is the one seen on live calls. */
const CALL_SID = names('sessionId', 'callSid', 'callId')
const SESSION_SID = names('sessionId', 'callSid')
/** How the PBX spells its session ids today: `HD_` and 12 hexadecimal digits. */
const PBX_SID = /^HD_[0-9a-f]+$/i
const FROM = names('callerNumber', 'from', 'caller')
const TO = names('clientDialedNumber', 'destinationNumber', 'to', 'called')
const STATE = names('callSessionState', 'callState', 'callStatus', 'status')
const STREAM_STATE = names('streamEvent', 'streamStatus')
const KIND = names('kind', 'eventKind')
const EVENT_ID = names('eventId')
const STREAM_SID = names('streamSid', 'streamId')
const ACTIVE = names('isActive')
const DIRECTION = names('direction', 'callDirection')
const DURATION = names('durationInSeconds', 'durationSeconds', 'callDuration', 'duration')
const DIGITS = names('digits', 'dtmfDigits', 'dtmf')
const CLIENT_REQUEST_ID = names('clientRequestId')
const FAILURE = names('failureReason', 'failureCode', 'hangupCause')

/**
 * Objects of an envelope that may hold the call's own fields: `{kind, data: {…}}`, `{event_kind, payload: {…}}`, `{call: {…}}`,
 * and one in the other. All readers of webhooks go through `textOf` and `readCallFields`, so each shape is read at every URL.
 */
const ENVELOPES = ['data', 'payload', 'call'] as const
/** What names the call in an object that is called `call`; elsewhere these may be ids of something else. */
const ID_OF_CALL = names('sid', 'id')

/** The carrier's own bound on `client_request_id`. */
const CLIENT_REQUEST_ID_CHARS_MAX = 5000
const SHORT_TEXT_CHARS_MAX = 64
const EVENT_ID_CHARS_MAX = 128
const DIGITS_MAX = 64
/** Words after which the cause of an end says more than the state itself. */
const CAUSED: readonly CarrierState[] = ['failed', 'unknown']

export function names(...aliases: readonly string[]): readonly string[] {
  return aliases.map(foldKey)
}

/** The first alias with a value that is not blank: at the top, then inside the envelope's objects. */
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

/** The call's SID, by a name that can mean nothing else, or as the id of a `call` object. */
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

/** A word of the carrier that may be shown and logged: printable ASCII, numbers masked, cut to `charsMax`. */
export function shownText(value: string | null, charsMax: number): string | null {
  if (value === null) return null
  const printable = value.replace(/[^\x20-\x7e]/g, '').trim().slice(0, charsMax)
  return printable === '' ? null : maskNumbersIn(printable)
}

/** An identifier of the carrier's that becomes part of a map key: visible ASCII within `charsMax`, else null. */
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
    isActive: flagOf(textOf(fields, ACTIVE)),
    direction: directionOf(textOf(fields, DIRECTION)),
    durationS: secondsOf(textOf(fields, DURATION)),
    digits: digitsPressed(textOf(fields, DIGITS)) ?? (DIGITS.some((name) => fields.get(name) === '') ? '' : null),
    clientRequestId: textOf(fields, CLIENT_REQUEST_ID)?.slice(0, CLIENT_REQUEST_ID_CHARS_MAX) ?? null,
  }
}

/** `call.completed`; anything without a dot is no kind of event (a PBX field of the same name). */
function kindOf(value: string | null): string | null {
  const kind = value?.trim().toLowerCase() ?? ''
  if (kind.length > SHORT_TEXT_CHARS_MAX || !kind.includes('.')) return null
  return /^[a-z]+(?:[._-][a-z]+)+$/.test(kind) ? kind : null
}

/** A stream's edge says more than the state of the leg that goes on (`Answered`), but not more than its end. */
function stateWord(legState: string | null, streamState: string | null): string | null {
  if (streamState === null || isTerminal(carrierState(legState))) return legState
  return streamState.toLowerCase().includes('stream') ? streamState : `stream-${streamState}`
}

/** An event's kind decides when it is about something else than the leg; a failure's cause makes it precise. */
function stateOf(stateText: string | null, kind: string | null, failure: string | null): CarrierState {
  if (kind !== null && carrierState(kind) === 'unknown') return 'unknown'
  const own = carrierState(stateText)
  const state = own === 'unknown' ? carrierState(kind) : own
  if (!CAUSED.includes(state)) return state
  const cause = carrierState(failure)
  return cause === 'busy' || cause === 'no-answer' ? cause : state
}

function flagOf(value: string | null): boolean | null {
  const word = value?.trim().toLowerCase()
  if (word === '1' || word === 'true' || word === 'yes') return true
  if (word === '0' || word === 'false' || word === 'no') return false
  return null
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
