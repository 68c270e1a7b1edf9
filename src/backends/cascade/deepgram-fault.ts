import { vendorFault, vendorText, vendorWord } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { serviceFault } from './stage-socket.js'
import type { StageMessage } from './stage-socket.js'

/** The fault for an `Error` of Deepgram's, of recogniser and voice alike; null for any other message. */
export function deepgramFault(
  { type, code, description }: StageMessage,
  what: string,
  apiKey: string,
): VendorFault | null {
  if (type !== 'Error') return null
  const word = vendorWord(code)
  const text = typeof description === 'string' ? vendorText(description, [apiKey]) : ''
  const message = `${what}: ${word}${text === '' ? '' : `: ${text}`}`
  // NET-0001: nothing came for too long. The other NET codes are the service's own.
  if (word === 'NET-0001') return vendorFault('session_expired', message, false)
  if (word.startsWith('NET-')) return vendorFault('internal', message, false)
  return serviceFault(vendorFault('bad_request', message, false))
}
