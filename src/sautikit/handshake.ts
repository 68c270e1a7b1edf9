import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { foldKey } from './body.js'
import { names } from './call-fields.js'
import { flatHeaders } from './stream-messages.js'

/** The subprotocols whose audio we speak; the first is Sautikit's. */
export const SUBPROTOCOLS = ['audio.drachtio.org', 'audio.jambonz.org'] as const
export type Subprotocol = typeof SUBPROTOCOLS[number]

/** No client offers more than a few names. */
const OFFER_CHARS_MAX = 1024

/**
 * The subprotocol to echo, exactly as offered; null when none of ours is in the list, and the upgrade is to be
 * refused (the carrier takes any other answer for a failure). Names are compared as RFC 6455 says: whole and with
 * their case.
 *
 * @param header `Sec-WebSocket-Protocol`, several headers joined by commas.
 */
export function offersSubprotocol(header: string | undefined): Subprotocol | null {
  if (header === undefined || header.length > OFFER_CHARS_MAX) return null
  const offered = header.split(',').map((name) => name.trim())
  return SUBPROTOCOLS.find((ours) => offered.includes(ours)) ?? null
}

/** What the upgrade request said beyond WebSocket's own headers. */
export interface HandshakeMetadata {
  /** A call SID, should the carrier put one into a header; the URL's token decides, this is compared with it. */
  readonly callSid: CallSid | null
  /** `headerMetadata`, where the carrier sends it as headers; names in lower case. */
  readonly headers: Readonly<Record<string, string>>
}

/** Headers of every HTTP request and of proxies, which are no metadata, and those that are secrets. */
const NOT_METADATA = new RegExp('^(?:'
  + 'host|connection|upgrade|origin|pragma|cache-control|accept(?:-.*)?|user-agent|content-.*|te|via|forwarded|date'
  + '|sec-.*|x-forwarded-.*|x-real-ip|x-request-id|cf-.*|traceparent|tracestate|authorization|proxy-.*|cookie'
  + ')$')

const CALL_SID = names('callSid', 'sessionId', 'callId')

/** Reads metadata from the headers of an upgrade request, as `uWebSockets.js` or Node give them. */
export function handshakeMetadata(headers: Iterable<readonly [string, string | undefined]>): HandshakeMetadata {
  const own: [string, string][] = []
  let callSid: CallSid | null = null
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (value === undefined || NOT_METADATA.test(lower)) continue
    own.push([lower, value])
    const key = foldKey(lower.replace(/^x-(?:sautikit-)?/, ''))
    if (callSid === null && CALL_SID.includes(key) && isCallSid(value.trim())) callSid = value.trim() as CallSid
  }
  return { callSid, headers: flatHeaders(own) }
}
