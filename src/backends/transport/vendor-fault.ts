import { GatewayError } from '../../core/errors.js'
import { BACKEND_RATES } from '../../core/limits.js'
import { maskText } from '../../telemetry/redact.js'
import type { BackendErrorCode, BackendEvent } from '../backend.js'

/** A service's error text: characters that are kept. */
const BACKEND_FAULT_CHARS_MAX = 200

type BackendErrorEvent = Extract<BackendEvent, { readonly type: 'error' }>

/** A fault of a model's service in the gateway's own terms, and for an operator. */
export type VendorFault = Omit<BackendErrorEvent, 'type'>

/** True if another attempt may succeed: a wrong key, an empty account or a bad request stays one. */
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

/** A fault whose `retryable` follows from its code. */
export function vendorFault(code: BackendErrorCode, message: string, fatal: boolean): VendorFault {
  return { code, message, fatal, retryable: RETRYABLE[code] }
}

/** The fault of a service that sends more than BACKEND_RATES allow. It would do so again. */
export function overrunFault(what: string): VendorFault {
  const { messagesPerS, bytesPerS } = BACKEND_RATES
  return vendorFault(
    'overrun',
    `${what} sends too much: at most ${messagesPerS} messages and ${bytesPerS} bytes a second are read`,
    true,
  )
}

/** Has these fields only: what else a backend of one's own puts into an error does not reach a journal. */
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
 * A service's text made safe to show: without the key (services repeat it in errors), masked like a log line, on one
 * line, and at most BACKEND_FAULT_CHARS_MAX long.
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

/** A vendor's error code, such as `insufficient_quota`; empty for a value that is not one. */
export function vendorWord(value: unknown): string {
  return typeof value === 'string' && /^[\w.[\]-]{1,96}$/.test(value) ? value : ''
}

/** An HTTP response that is not a success, to an upgrade or to a request. */
export interface HttpRefusal {
  readonly status: number
  /** The first few KiB of the response. */
  readonly body: string
  /** `Retry-After` in milliseconds; null without one. */
  readonly retryAfterMs?: number | null
}

// Both vendors answer 429 to too many requests and also to an empty account.
const QUOTA_WORDS = /insufficient_quota|billing|exceeded your current quota|credit balance|payment required/i
// Google answers 400 with these words to a wrong key.
const KEY_WORDS = /api[ _]?key|invalid_api_key|unauthenticated|permission_denied|access token/i

/** The fault for an HTTP refusal; `what` begins its message: what was tried. */
export function httpFault(what: string, refusal: HttpRefusal, secrets: readonly (string | null)[]): VendorFault {
  const { status, body, retryAfterMs = null } = refusal
  const words = vendorText(wordsOf(body), secrets)
  // As text, because an operator reads it; `retryAfterMs` of the circuit breaker parses it.
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

/** The message in `{"error":{"message":…}}`; the text of a body that is not JSON. */
function wordsOf(body: string): string {
  try {
    const parsed = JSON.parse(body) as { readonly error?: { readonly message?: unknown } | string } | null
    const error = parsed?.error
    if (typeof error === 'string') return error
    return typeof error?.message === 'string' ? error.message : ''
  } catch {
    // A proxy's HTML page: keep its text, remove its markup.
    return body.replace(/<[^>]*>/g, ' ')
  }
}

/** True if a fault's text is about an empty account, not about too many requests. */
export function speaksOfQuota(text: string): boolean {
  return QUOTA_WORDS.test(text)
}

export function speaksOfKey(text: string): boolean {
  return KEY_WORDS.test(text)
}

/** The fault that a close by a service stands for. `reason` is safe to show. */
export type CloseFault = (service: string, code: number, reason: string) => VendorFault

/** @param meaningOf  what a service means by a close; null where only the code tells (RFC 6455, 7.4.1) */
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

/** The longest `Retry-After` that is honoured; a longer one is cut to it. */
const RETRY_AFTER_MS_MAX = 24 * 3_600_000

/**
 * `Retry-After` (RFC 9110: seconds, or a date) or OpenAI's `retry-after-ms`, in milliseconds; null without a valid one.
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
