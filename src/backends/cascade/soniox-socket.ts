import { httpFault, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { serviceFault, socketUrl, StageSocket } from './stage-socket.js'
import type { StageMessage } from './stage-socket.js'

interface SonioxSocketOptions {
  /** Begins messages of faults. */
  readonly what: string
  readonly baseUrl: string
  readonly path: 'transcribe-websocket' | 'tts-websocket'
  /** Goes in the first message. */
  readonly apiKey: string
  readonly connectTimeoutMs?: number | undefined
  readonly message: (message: StageMessage) => void
  readonly lost: (fault: VendorFault) => void
}

/** Soniox's connections, of recogniser and voice alike. */
export function sonioxSocket({ baseUrl, path, ...options }: SonioxSocketOptions): StageSocket {
  return new StageSocket({
    ...options,
    url: socketUrl(baseUrl, path),
    // An error of one utterance has its id, and is for whoever speaks it.
    faultOf: (message) => (message['stream_id'] === undefined ? sonioxFault(message, options) : null),
  })
}

/** The fault for an error of the service; null for any other message. */
export function sonioxFault(
  { error_code: code, error_message: text }: StageMessage,
  { what, apiKey }: { readonly what: string; readonly apiKey: string },
): VendorFault | null {
  if (code === undefined && text === undefined) return null
  const status = typeof code === 'number' ? code : 500
  const fault = httpFault(what, { status, body: typeof text === 'string' ? text : '' }, [apiKey])
  // 408: idle for too long; 503: the service restarts, and wants a new session.
  if (status === 408 || status === 503) return vendorFault('session_expired', fault.message, false)
  return serviceFault(fault)
}
