import type { StreamFault } from '../call/events.js'
import { CARRIER_FRAME_BYTES_MAX, SOCKET_IDLE_S } from '../core/limits.js'

/** Why an audio socket closed, as it is counted. */
export type CloseCause =
  | 'carrier'
  | 'carrier-error'
  | 'lost'
  | 'protocol'
  | 'too-big'
  | 'gateway'
  | 'carrier-silent'
  | 'carrier-abuse'
  | 'backpressure'
  | 'flushed'
  | 'shutdown'
  | 'refused'

/** A socket's end, as the call is told of it. */
export interface SocketEnd {
  readonly cause: CloseCause
  /** The carrier's close code, or the one of RFC 6455 for what it did wrong; 1006 where nobody said anything. */
  readonly code: number
  /** Absent where the socket was closed in order. */
  readonly fault?: StreamFault
}

/** Close codes of a carrier whose caller hung up, or whose stream was stopped: normal, going away, none given. */
const HANG_UP_CODES: ReadonlySet<number> = new Set([1000, 1001, 1005])

/** What uWebSockets.js says, in words alone, when it cuts a socket by itself. */
const CUTS: ReadonlyMap<string, Required<SocketEnd>> = new Map([
  ['Received too big message', broken('too-big', 1009, `a frame of more than ${CARRIER_FRAME_BYTES_MAX} bytes`)],
  ['Received invalid WebSocket frame', broken('protocol', 1002, 'bytes that are no WebSocket frame')],
  ['Received invalid UTF-8', broken('protocol', 1007, 'a text frame that is not UTF-8')],
  ['Received invalid close payload', broken('protocol', 1002, 'a close frame whose code or reason is not allowed')],
  ['WebSocket timed out from inactivity', {
    cause: 'carrier-silent', code: 1006, fault: { reason: 'carrier-silent', detail: `nothing for ${SOCKET_IDLE_S} s, not even an answer to a ping` },
  }],
])

/** The end of a socket that we did not close. @param said  by uWebSockets.js */
export function endOfSocket(code: number, said: string): SocketEnd {
  if (HANG_UP_CODES.has(code)) return { cause: 'carrier', code }
  if (code !== 1006) return { cause: 'carrier-error', code, fault: { reason: 'carrier-error', detail: `the carrier closed with code ${code}` } }
  return CUTS.get(said) ?? { cause: 'lost', code, fault: { reason: 'socket-lost', detail: 'the connection ended without a close frame' } }
}

/** The end of a socket that we closed. For what the carrier did the call has been told already. */
export function endOfOurs(cause: CloseCause, code: number): SocketEnd {
  return cause === 'shutdown' ? { cause, code, fault: { reason: 'drain-limit', detail: 'the process ends' } } : { cause, code }
}

function broken(cause: CloseCause, code: number, detail: string): Required<SocketEnd> {
  return { cause, code, fault: { reason: 'carrier-protocol', detail } }
}
