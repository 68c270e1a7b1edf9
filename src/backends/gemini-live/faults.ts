import { speaksOfKey, speaksOfQuota, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'

/** This service has no error messages: everything is a close code and a few words, cut off by the frame at 123 bytes. */
export function closeFault(service: string, code: number, words: string): VendorFault {
  const message = `${service}: closed with ${code}${words === '' ? '' : `: ${words}`}`
  if (speaksOfQuota(words)) return vendorFault('quota', message, true)
  if (speaksOfKey(words)) return vendorFault('auth', message, true)
  if (/resource.?exhausted|rate limit|too many requests/i.test(words) || code === 1013) return vendorFault('rate_limit', message, true)
  if (/deadline expired|session (duration|expired)|go ?away|aborted/i.test(words)) return vendorFault('session_expired', message, true)
  if (code === 1007 || code === 1008 || code === 1003) return vendorFault('bad_request', message, true)
  if (code === 1011) return vendorFault('internal', message, true)
  return vendorFault('network', message, true)
}
