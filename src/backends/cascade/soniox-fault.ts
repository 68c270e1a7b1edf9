import { httpFault, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { serviceFault } from './stage-socket.js'
import type { StageMessage } from './stage-socket.js'

/** The fault for an error of Soniox', of recogniser and voice alike; null for any other message. */
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
