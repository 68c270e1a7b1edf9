import { assertNever } from '../core/assert.js'
import { GatewayError } from '../core/errors.js'
import { type XmlElement, xmlDocument, xmlText } from '../core/xml.js'

/** Maximum number of actions in one document; the carrier refuses more. docs/PROTOCOL.md 3. */
const VOICE_ACTIONS_MAX = 50
/**
 * Maximum sizes in bytes of a stream URL's host, its path with query, and the first frame's metadata. They are the
 * sizes of the lineage's buffers. docs/PROTOCOL.md 3.
 */
const STREAM_HOST_BYTES_MAX = 512
const STREAM_PATH_BYTES_MAX = 4096
const STREAM_METADATA_BYTES_MAX = 8192

/**
 * Sautikit's voice actions as values. `voiceXml` writes the actions as XML, which the carrier forwards to its PBX
 * unchanged. docs/PROTOCOL.md describes the attribute names and their pitfalls.
 */

export type StreamTrack = 'inbound_track' | 'outbound_track' | 'both_tracks'
export type StreamStatusEvent = 'stream-started' | 'stream-stopped' | 'stream-error'

export interface SayAction {
  readonly verb: 'say'
  readonly text: string
  readonly voice?: string
  /** BCP-47, for example `en-KE`. */
  readonly language?: string
}

export interface StreamAction {
  readonly verb: 'stream'
  /** `wss://…`, with a path before its query. */
  readonly url: string
  readonly track: StreamTrack
  /** True: the stream answers the call. False: the PBX hangs up after a second. */
  readonly connect: boolean
  /** Rate of the received audio and, as `bidirectionalSamplingRate`, of the sent audio. */
  readonly samplingRateHz: 8000 | 16000
  readonly name?: string
  /**
   * Flat JSON object. The carrier delivers it in the first text frame; according to other sources, as headers of the
   * handshake.
   */
  readonly headerMetadata?: Readonly<Record<string, string>>
  /** Opaque text for the first text frame. */
  readonly openMetadata?: string
  readonly statusCallback?: string
  readonly statusEvents?: readonly StreamStatusEvent[]
}

interface DialAction {
  readonly verb: 'dial'
  /** Numbers in E.164. One number is rung; several numbers ring at once. */
  readonly numbers: readonly string[]
  readonly callerId?: string
  readonly timeoutS?: number
}

interface GetDigitsAction {
  readonly verb: 'get-digits'
  readonly timeoutS?: number
  /** Maximum number of digits; 0 = no limit. Written as `maxDigits`. */
  readonly numDigits?: number
  readonly nested: readonly SayAction[]
}

interface ConferenceAction {
  readonly verb: 'conference'
  readonly name: string
  readonly startOnEnter?: boolean
  readonly endOnExit?: boolean
  readonly beep?: boolean
}

interface RedirectAction {
  readonly verb: 'redirect'
  readonly url: string
  readonly method?: 'GET' | 'POST'
}

interface RejectAction {
  readonly verb: 'reject'
  readonly reason?: 'rejected' | 'busy'
}

interface HangupAction {
  readonly verb: 'hangup'
}

export type VoiceAction =
  | SayAction
  | StreamAction
  | DialAction
  | GetDigitsAction
  | ConferenceAction
  | RedirectAction
  | RejectAction
  | HangupAction

/** Document without an action: the answer to every lifecycle event. */
export const EMPTY_RESPONSE = '<Response></Response>'

/**
 * Writes voice actions as the XML that the carrier forwards to its PBX (docs/PROTOCOL.md 3). Every text and attribute
 * is escaped; characters that XML 1.0 does not allow are removed. The carrier does not validate the XML, so this
 * function refuses documents that the carrier cannot process.
 * @returns a document; `EMPTY_RESPONSE` for no actions.
 * @throws GatewayError XML_INVALID with the action's index and the violated rule, never with numbers or words of a
 * call.
 */
export function voiceXml(actions: readonly VoiceAction[]): string {
  if (actions.length === 0) return EMPTY_RESPONSE
  if (actions.length > VOICE_ACTIONS_MAX) {
    throw new GatewayError(
      'XML_INVALID',
      `document has ${actions.length} actions; the carrier takes at most ${VOICE_ACTIONS_MAX}`,
    )
  }
  const content = actions.map((action, i) => elementOf(action, `action ${i + 1} (${action.verb})`))
  return xmlDocument({ name: 'Response', content })
}

function elementOf(action: VoiceAction, at: string): XmlElement {
  switch (action.verb) {
    case 'say':
      return sayElement(action, at)
    case 'stream':
      return streamElement(action, at)
    case 'dial':
      return dialElement(action, at)
    case 'get-digits':
      return getDigitsElement(action, at)
    case 'conference':
      return conferenceElement(action, at)
    case 'redirect':
      return redirectElement(action, at)
    case 'reject':
      return { name: 'Reject', attributes: { reason: action.reason } }
    case 'hangup':
      return { name: 'Hangup' }
    default:
      return assertNever(action)
  }
}

function sayElement(action: SayAction, at: string): XmlElement {
  const { voice, language } = action
  return { name: 'Say', attributes: { voice, language }, content: words(action.text, { at, name: 'text' }) }
}

function streamElement(action: StreamAction, at: string): XmlElement {
  const headerMetadata =
    action.headerMetadata === undefined || Object.keys(action.headerMetadata).length === 0
      ? undefined
      : JSON.stringify(action.headerMetadata)
  // Both texts are sent in the first frame.
  const metadataBytes = utf8Bytes(headerMetadata ?? '') + utf8Bytes(action.openMetadata ?? '')
  if (metadataBytes > STREAM_METADATA_BYTES_MAX) {
    throw invalid(at, `metadata is ${metadataBytes} bytes; at most ${STREAM_METADATA_BYTES_MAX} fit the first frame`)
  }
  const attributes = {
    name: action.name,
    url: streamUrl(action.url, at),
    track: action.track,
    connect: action.connect,
    // Rates of the received and the sent audio; the carrier requires both rates or no rate.
    outputSamplingRate: action.samplingRateHz,
    bidirectionalSamplingRate: action.samplingRateHz,
    openMetadata: action.openMetadata,
    headerMetadata,
    statusCallback: optionalUrl(action.statusCallback, { at, name: 'statusCallback' }),
    statusEvents: action.statusEvents?.join(' ') || undefined,
  }
  return { name: 'Stream', attributes }
}

function dialElement(action: DialAction, at: string): XmlElement {
  const [only, ...others] = action.numbers
  if (only === undefined) throw invalid(at, 'has no number to ring')
  action.numbers.forEach((number, i) => {
    phoneNumber(number, { at, name: `number ${i + 1}` })
  })
  const attributes = {
    callerId: action.callerId === undefined ? undefined : phoneNumber(action.callerId, { at, name: 'callerId' }),
    timeout: whole(action.timeoutS, { at, name: 'timeoutS', min: 1 }),
  }
  // Several numbers ring at once, and the first number that answers gets the call.
  return others.length > 0
    ? { name: 'Dial', attributes: { ...attributes, phoneNumbers: action.numbers.join(',') } }
    : { name: 'Dial', attributes, content: [{ name: 'Number', content: only }] }
}

function getDigitsElement(action: GetDigitsAction, at: string): XmlElement {
  if (action.nested.length > VOICE_ACTIONS_MAX) {
    throw invalid(at, `has ${action.nested.length} prompts; at most ${VOICE_ACTIONS_MAX}`)
  }
  const attributes = {
    maxDigits: whole(action.numDigits, { at, name: 'numDigits', min: 0 }),
    timeout: whole(action.timeoutS, { at, name: 'timeoutS', min: 1 }),
  }
  const content = action.nested.map((prompt, i) => elementOf(prompt, `${at} prompt ${i + 1} (${prompt.verb})`))
  return { name: 'GetDigits', attributes, content }
}

function conferenceElement(action: ConferenceAction, at: string): XmlElement {
  const { startOnEnter, endOnExit, beep } = action
  const attributes = { startOnEnter, endOnExit, beep }
  return { name: 'Conference', attributes, content: words(action.name, { at, name: 'name' }) }
}

function redirectElement(action: RedirectAction, at: string): XmlElement {
  const { method, url } = action
  return { name: 'Redirect', attributes: { method }, content: httpUrl(url, { at, name: 'url' }) }
}

interface Place {
  readonly at: string
  readonly name: string
}

function invalid(at: string, what: string): GatewayError {
  return new GatewayError('XML_INVALID', `${at} ${what}`)
}

function words(text: string, { at, name }: Place): string {
  if (xmlText(text).trim() === '') throw invalid(at, `has an empty ${name}`)
  return text
}

function whole(value: number | undefined, { at, name, min }: Place & { readonly min: number }): number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && value >= min)) return value
  throw invalid(at, `has ${name} ${value}; expected a whole number of at least ${min}`)
}

function phoneNumber(value: string, { at, name }: Place): string {
  if (/^\+?[0-9]{3,15}$/.test(value)) return value
  throw invalid(at, `${name} is not E.164 (+ and up to 15 digits, nothing else)`)
}

/** A URL may contain only characters of RFC 3986 and complete escapes, so that no parser has to repair it. */
const URL_TEXT = /^(?:[A-Za-z0-9._~:/?#[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+$/

function httpUrl(url: string, { at, name }: Place): string {
  if (utf8Bytes(url) > STREAM_PATH_BYTES_MAX) throw invalid(at, `${name} is longer than ${STREAM_PATH_BYTES_MAX} bytes`)
  if (URL_TEXT.test(url) && /^https?:\/\/[^/?#]/.test(url) && URL.canParse(url)) return url
  throw invalid(at, `${name} is not an absolute http or https URL with its special characters escaped`)
}

function optionalUrl(url: string | undefined, place: Place): string | undefined {
  return url === undefined ? undefined : httpUrl(url, place)
}

function streamUrl(url: string, at: string): string {
  const parts = /^wss?:\/\/([^/?#@]+)(\/[^#]*|\?[^#]*)?$/.exec(url)
  if (parts === null || !URL_TEXT.test(url) || !URL.canParse(url)) {
    throw invalid(at, 'url is not a ws or wss URL with its special characters escaped and without user and fragment')
  }
  const [, host = '', path] = parts
  // The PBX's URL parser accepts a query only after a path.
  if (path === undefined || path.startsWith('?')) throw invalid(at, 'url has no path: wss://host/path?query is needed')
  if (host.length > STREAM_HOST_BYTES_MAX) throw invalid(at, `url's host is longer than ${STREAM_HOST_BYTES_MAX} bytes`)
  if (path.length > STREAM_PATH_BYTES_MAX) throw invalid(at, `url's path is longer than ${STREAM_PATH_BYTES_MAX} bytes`)
  return url
}

function utf8Bytes(text: string): number {
  return new TextEncoder().encode(text).byteLength
}
