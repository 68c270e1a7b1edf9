import { speaksOfKey, speaksOfQuota, vendorFault, vendorText, vendorWord } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import type { WireError } from './wire.js'

/** Errors that say only that two messages crossed on the way: counted, not told. */
const RACES: ReadonlySet<string> = new Set([
  'response_cancel_not_active', 'conversation_already_has_active_response', 'input_audio_buffer_commit_empty',
  'item_truncate_invalid_item_id', 'item_not_found',
])

export function isBusy(error: WireError): boolean {
  return error.code === 'conversation_already_has_active_response' || /already has an active response/i.test(error.message ?? '')
}

export function isRace(error: WireError): boolean {
  return RACES.has(error.code ?? '') || isBusy(error)
}

/**
 * An `error` event, or the error inside of a failed response.
 * @param ready  false: it answers the session's own configuration, and no caller has said a word that it could repeat
 */
export function wireFault(service: string, error: WireError, ready: boolean, secrets: readonly (string | null)[]): VendorFault {
  const word = vendorWord(error.code) || vendorWord(error.type)
  const param = vendorWord(error.param)
  const named = `${service}: ${word === '' ? 'error' : word}${param === '' ? '' : ` (${param})`}`
  const message = ready ? named : `${named}: ${vendorText(error.message ?? '', secrets)}`
  const kind = `${error.code ?? ''} ${error.type ?? ''}`
  if (/insufficient_quota|billing/.test(kind) || speaksOfQuota(error.message ?? '')) return vendorFault('quota', message, true)
  if (/invalid_api_key|authentication|unauthorized|permission/.test(kind)) return vendorFault('auth', message, true)
  if (/session_expired/.test(kind)) return vendorFault('session_expired', message, true)
  if (/rate_limit/.test(kind)) return vendorFault('rate_limit', message, !ready)
  if (/timeout/.test(kind)) return vendorFault('timeout', message, !ready)
  if (/server_error|internal/.test(kind)) return vendorFault('internal', message, !ready)
  return vendorFault('bad_request', message, !ready)
}

/** A close that we did not ask for. */
export function closeFault(service: string, code: number, words: string): VendorFault {
  const message = `${service}: closed with ${code}${words === '' ? '' : `: ${words}`}`
  if (/session_expired|maximum duration|session.*(limit|expired)/i.test(words)) return vendorFault('session_expired', message, true)
  if (speaksOfQuota(words)) return vendorFault('quota', message, true)
  if (code === 3000 || speaksOfKey(words)) return vendorFault('auth', message, true)
  if (/rate.?limit/i.test(words) || code === 1013) return vendorFault('rate_limit', message, true)
  if (code === 1007 || code === 1008 || code === 1003) return vendorFault('bad_request', message, true)
  if (code === 1011) return vendorFault('internal', message, true)
  return vendorFault('network', message, true)
}
