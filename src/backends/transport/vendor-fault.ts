import { GatewayError } from '../../core/errors.js'
import type { ErrorCode } from '../../core/errors.js'
import { BACKEND_FAULT_CHARS_MAX } from '../../core/limits.js'
import { maskText } from '../../telemetry/redact.js'
import type { BackendErrorCode, BackendEvent } from '../backend.js'

/** A fault of a model's service in the gateway's own terms. */
export interface VendorFault {
  readonly code: BackendErrorCode
  /** For an operator; holds no key, no number and no word of a caller. */
  readonly message: string
  /** The session is of no use any more. */
  readonly fatal: boolean
  /** The same may succeed later without a change. */
  readonly retryable: boolean
}

type BackendErrorEvent = Extract<BackendEvent, { readonly type: 'error' }>

const GATEWAY_CODES: Readonly<Record<BackendErrorCode, ErrorCode>> = {
  auth: 'BACKEND_AUTH', rate_limit: 'BACKEND_RATE_LIMIT', quota: 'BACKEND_QUOTA', session_expired: 'BACKEND_SESSION_EXPIRED',
  bad_request: 'BACKEND_BAD_REQUEST', network: 'BACKEND_NETWORK', timeout: 'BACKEND_TIMEOUT', internal: 'BACKEND_INTERNAL',
}
const RETRYABLE: ReadonlySet<BackendErrorCode> = new Set(['rate_limit', 'session_expired', 'network', 'timeout', 'internal'])

/** A fault whose `retryable` follows from its code: keys, quotas and requests do not mend by themselves. */
export function vendorFault(code: BackendErrorCode, message: string, fatal: boolean): VendorFault {
  return { code, message, fatal, retryable: RETRYABLE.has(code) }
}

export function faultEvent(fault: VendorFault): BackendErrorEvent {
  return { type: 'error', code: fault.code, message: fault.message, fatal: fault.fatal, retryable: fault.retryable }
}

/** What `connect` rejects with. */
export function faultError(fault: VendorFault): GatewayError {
  return new GatewayError(GATEWAY_CODES[fault.code], fault.message, { retryable: fault.retryable })
}

/**
 * Words of a service, fit to be shown: without the key (services like to repeat it), masked as log lines are, on one
 * line and short.
 */
export function vendorText(text: string, secrets: readonly (string | null)[]): string {
  let clean = text
  for (const secret of secrets) {
    if (secret !== null && secret !== '') clean = clean.replaceAll(secret, '[redacted]').replaceAll(encodeURIComponent(secret), '[redacted]')
  }
  clean = maskText(clean).replace(/[\s\p{Cc}]+/gu, ' ').trim()
  return clean.length > BACKEND_FAULT_CHARS_MAX ? `${clean.slice(0, BACKEND_FAULT_CHARS_MAX)}…` : clean
}

/** A vendor's error code as a word: `insufficient_quota`. Empty for anything that is none. */
export function vendorWord(value: unknown): string {
  return typeof value === 'string' && /^[\w.[\]-]{1,96}$/.test(value) ? value : ''
}

/** An answer over HTTP that is no success, whether to an upgrade or to a request. */
export interface HttpRefusal {
  readonly status: number
  /** The first few KiB of the answer. */
  readonly body: string
  /** How long the service asks to be left alone (`Retry-After`), in milliseconds; null where it does not say. */
  readonly retryAfterMs?: number | null
}

// Both vendors answer 429 for two different things: slow down, and your account is empty.
const QUOTA_WORDS = /insufficient_quota|billing|exceeded your current quota|credit balance|payment required/i
// Google answers a wrong key with 400 and these words.
const KEY_WORDS = /api[ _]?key|invalid_api_key|unauthenticated|permission_denied|access token/i

/** Sorts a refusal over HTTP; `what` says what was tried. */
export function httpFault(what: string, refusal: HttpRefusal, secrets: readonly (string | null)[]): VendorFault {
  const { status, body, retryAfterMs = null } = refusal
  const words = vendorText(wordsOf(body), secrets)
  // In words that the circuit breaker reads, because they are also what an operator wants to read.
  const patience = retryAfterMs === null ? '' : `; retry after ${Math.ceil(retryAfterMs / 1000)} s`
  const message = `${what}: HTTP ${status}${words === '' ? '' : `: ${words}`}${patience}`
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

/** The sentence inside of `{"error":{"message":…}}`; the body itself when it is something else. */
function wordsOf(body: string): string {
  try {
    const parsed = JSON.parse(body) as { readonly error?: { readonly message?: unknown } | string } | null
    const error = parsed?.error
    if (typeof error === 'string') return error
    return typeof error?.message === 'string' ? error.message : ''
  } catch {
    // A proxy's page: its text helps, its markup does not.
    return body.replace(/<[^>]*>/g, ' ')
  }
}

/** Words of a fault that speak of an empty account rather than of too much haste. */
export function speaksOfQuota(text: string): boolean {
  return QUOTA_WORDS.test(text)
}

export function speaksOfKey(text: string): boolean {
  return KEY_WORDS.test(text)
}

/** Longest patience that a service may ask for; more is taken for that. */
const RETRY_AFTER_MS_MAX = 24 * 3_600_000

/**
 * `Retry-After` (RFC 9110: seconds, or a date) or OpenAI's `retry-after-ms`, in milliseconds; null where neither is there
 * or can be read.
 * @param header  gives a header's value by its name in lower case
 */
export function retryAfterOf(header: (name: string) => string | null | undefined, wallMs: number): number | null {
  const exact = Number(header('retry-after-ms') ?? NaN)
  const text = header('retry-after') ?? ''
  const ms = Number.isFinite(exact) ? exact : /^\d{1,9}$/.test(text) ? Number(text) * 1000 : text === '' ? NaN : Date.parse(text) - wallMs
  return Number.isNaN(ms) ? null : Math.min(RETRY_AFTER_MS_MAX, Math.max(0, ms))
}
