import { GatewayError } from '../../core/errors.js'
import { BACKEND_RATES } from '../../core/limits.js'
import { maskText } from '../../telemetry/redact.js'
import type { BackendErrorCode, BackendEvent } from '../backend.js'

/** Maximum number of stored characters of a service's error text. */
const BACKEND_FAULT_CHARS_MAX = 200

type BackendErrorEvent = Extract<BackendEvent, { readonly type: 'error' }>

/** A fault of a service, with the gateway's own code and a text for an operator. */
export type VendorFault = Omit<BackendErrorEvent, 'type'>

/** True if another attempt may succeed. False for a wrong API key, an empty account and a bad request. */
const RETRYABLE: Readonly<Record<BackendErrorCode, boolean>> = {
  auth: false,
  rate_limit: true,
  quota: false,
  session_expired: true,
  bad_request: false,
  network: true,
  timeout: true,
  overrun: false,
  internal: true,
}

/** Makes a fault; its code determines `retryable`. */
export function vendorFault(code: BackendErrorCode, message: string, fatal: boolean): VendorFault {
  return { code, message, fatal, retryable: RETRYABLE[code] }
}

/** The fault of a service that sends more data than BACKEND_RATES allow. Another attempt would have the same result. */
export function overrunFault(what: string): VendorFault {
  const { messagesPerS, bytesPerS } = BACKEND_RATES
  return vendorFault(
    'overrun',
    `${what} sends too much: at most ${messagesPerS} messages and ${bytesPerS} bytes a second are read`,
    true,
  )
}

/** Only these fields are copied, because other fields that a custom backend adds to an error must not reach a log. */
export function faultEvent({ code, message, fatal, retryable }: VendorFault): BackendErrorEvent {
  return { type: 'error', code, message, fatal, retryable }
}

/** The error with which `connect` rejects. */
export function faultError(fault: VendorFault): GatewayError {
  const code = `BACKEND_${fault.code.toUpperCase()}` as `BACKEND_${Uppercase<BackendErrorCode>}`
  return new GatewayError(code, fault.message, { retryable: fault.retryable })
}

/** The fault code of an error from `faultError`; `internal` for any other error. */
export function faultCodeOf(error: GatewayError): BackendErrorCode {
  const code = /^BACKEND_(.*)/.exec(error.code)?.[1]?.toLowerCase() ?? ''
  return Object.hasOwn(RETRYABLE, code) ? (code as BackendErrorCode) : 'internal'
}

/**
 * @returns a service's text that is safe to show. The API key is removed, and the text is masked like a log line. The
 * result is one line with at most BACKEND_FAULT_CHARS_MAX characters
 */
export function vendorText(text: string, secrets: readonly (string | null)[]): string {
  let clean = text
  for (const secret of secrets) {
    if (secret !== null && secret !== '')
      clean = clean.replaceAll(secret, '[redacted]').replaceAll(encodeURIComponent(secret), '[redacted]')
  }
  clean = maskText(clean)
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .trim()
  return clean.length > BACKEND_FAULT_CHARS_MAX ? `${clean.slice(0, BACKEND_FAULT_CHARS_MAX)}…` : clean
}

/** @returns a vendor's error code, such as `insufficient_quota`; empty if the value is not an error code */
export function vendorWord(value: unknown): string {
  return typeof value === 'string' && /^[\w.[\]-]{1,96}$/.test(value) ? value : ''
}

/** An HTTP response that is not a success, to an upgrade or to a request. */
export interface HttpRefusal {
  readonly status: number
  /** The first few KiB of the response. */
  readonly body: string
  /** Time of the header `Retry-After` in milliseconds; null if the header is missing. */
  readonly retryAfterMs?: number | null
}

// Texts that mean an empty account. They are needed because services answer 429 both to too many requests and to an
// empty account.
const QUOTA_WORDS = /insufficient_quota|billing|exceeded your current quota|credit balance|payment required/i
// Texts that mean a wrong API key. Some services send these texts with the status 400.
const KEY_WORDS = /api[ _]?key|invalid_api_key|unauthenticated|permission_denied|access token/i

/**
 * @returns the fault for an HTTP refusal
 * @param what  the attempted action; the fault's message begins with this text
 */
export function httpFault(what: string, refusal: HttpRefusal, secrets: readonly (string | null)[]): VendorFault {
  const { status, body, retryAfterMs = null } = refusal
  const words = vendorText(wordsOf(body), secrets)
  // The waiting time is written into the message for an operator. `retryAfterMs` of the circuit breaker parses this
  // message.
  const retryText = retryAfterMs === null ? '' : `; retry after ${Math.ceil(retryAfterMs / 1000)} s`
  const message = `${what}: HTTP ${status}${words === '' ? '' : `: ${words}`}${retryText}`
  return vendorFault(codeOfStatus(status, body), message, true)
}

function codeOfStatus(status: number, body: string): BackendErrorCode {
  if (status === 401 || status === 403) return QUOTA_WORDS.test(body) ? 'quota' : 'auth'
  if (status === 402) return 'quota'
  if (status === 429) return QUOTA_WORDS.test(body) ? 'quota' : 'rate_limit'
  if (status === 408 || status === 504) return 'timeout'
  if (status >= 500) return 'internal'
  return KEY_WORDS.test(body) && status === 400 ? 'auth' : 'bad_request'
}

/**
 * The message in `{"error":{"message":…}}`, or in `err_msg`, `detail` or `message`. If the body is not JSON, the result
 * is its whole text. If `detail` is a list (FastAPI), its field `input` is not read, because it repeats the request.
 */
function wordsOf(body: string): string {
  try {
    const {
      error,
      err_msg: words,
      detail,
      message: own,
    } = Object(JSON.parse(body)) as Readonly<Record<string, unknown>>
    const told = error ?? words ?? detail ?? own
    if (Array.isArray(told))
      return told
        .slice(0, LISTED_MAX)
        .map(listedWords)
        .filter((text) => text !== '')
        .join('; ')
    const { message = told } = Object(told) as { readonly message?: unknown }
    return typeof message === 'string' ? message : ''
  } catch {
    // Markup is removed, because a proxy may answer with an HTML page.
    return body.replace(/<[^>]*>/g, ' ')
  }
}

/** Maximum number of faults of a list that are shown. */
const LISTED_MAX = 4

function listedWords(listed: unknown): string {
  const { loc, msg } = Object(listed) as { readonly loc?: unknown; readonly msg?: unknown }
  if (typeof msg !== 'string') return ''
  const path = Array.isArray(loc) ? loc.filter((part) => typeof part === 'string' || typeof part === 'number') : []
  return path.length === 0 ? msg : `${path.join('.')}: ${msg}`
}

/** True if a service's text is about an empty account, not about too many requests. */
export function speaksOfQuota(text: string): boolean {
  return QUOTA_WORDS.test(text)
}

export function speaksOfKey(text: string): boolean {
  return KEY_WORDS.test(text)
}

/** Makes the fault for a close by a service. `reason` is safe to show. */
export type CloseFault = (service: string, code: number, reason: string) => VendorFault

/**
 * @param meaningOf  returns the fault that a close by this service means; null if only the close code counts (RFC 6455,
 * 7.4.1)
 */
export function closeFaults(meaningOf: (code: number, reason: string) => BackendErrorCode | null): CloseFault {
  return (service, code, reason) => {
    const message = `${service}: closed with ${code}${reason === '' ? '' : `: ${reason}`}`
    return vendorFault(meaningOf(code, reason) ?? CLOSE_CODES[code] ?? 'network', message, true)
  }
}

const CLOSE_CODES: Readonly<Record<number, BackendErrorCode>> = {
  1003: 'bad_request',
  1007: 'bad_request',
  1008: 'bad_request',
  1011: 'internal',
  1013: 'rate_limit',
}

/** Maximum accepted `Retry-After` in ms; a longer time is replaced by this maximum. */
const RETRY_AFTER_MS_MAX = 24 * 3_600_000

/**
 * @returns the time in ms from `Retry-After` (RFC 9110: seconds, or a date) or from `retry-after-ms`; null if no header
 * is valid
 * @param header  returns a header's value by its lower-case name
 */
export function retryAfterOf(header: (name: string) => string | null | undefined, wallMs: number): number | null {
  const exact = Number(header('retry-after-ms') ?? NaN)
  const text = header('retry-after') ?? ''
  const ms = Number.isFinite(exact)
    ? exact
    : /^\d{1,9}$/.test(text)
      ? Number(text) * 1000
      : text === ''
        ? NaN
        : Date.parse(text) - wallMs
  return Number.isNaN(ms) ? null : Math.min(RETRY_AFTER_MS_MAX, Math.max(0, ms))
}
