/**
 * Every error code Mkondo reports, in one place. Codes are part of what operators search logs for: they are
 * never renamed, only added. `docs/CLOSURES.md` says what each one does to a call.
 */
export type ErrorCode =
  // configuration and start-up (exit code 2)
  | 'CONFIG_INVALID'
  | 'AGENT_INVALID'
  | 'AGENT_UNKNOWN'
  | 'BACKEND_KEY_MISSING'
  | 'PORT_IN_USE'
  // the carrier's side
  | 'WEBHOOK_UNSIGNED'
  | 'WEBHOOK_STALE'
  | 'WEBHOOK_MALFORMED'
  | 'BODY_TOO_LARGE'
  | 'CONTENT_TYPE'
  | 'RATE_LIMITED'
  | 'TOKEN_MISSING'
  | 'TOKEN_INVALID'
  | 'TOKEN_EXPIRED'
  | 'TOKEN_USED'
  | 'SUBPROTOCOL'
  | 'XML_INVALID'
  // admission and calls in progress
  | 'CAPACITY'
  | 'DRAINING'
  | 'DUPLICATE_CALL'
  | 'CALL_UNKNOWN'
  | 'CALL_FAULT'
  | 'KEPT_CALL_INVALID'
  | 'WORKER_DIED'
  // backends
  | 'BACKEND_AUTH'
  | 'BACKEND_RATE_LIMIT'
  | 'BACKEND_QUOTA'
  | 'BACKEND_SESSION_EXPIRED'
  | 'BACKEND_BAD_REQUEST'
  | 'BACKEND_NETWORK'
  | 'BACKEND_TIMEOUT'
  | 'BACKEND_INTERNAL'
  | 'BACKEND_CLOSED'
  // tools
  | 'TOOL_UNKNOWN'
  | 'TOOL_ARGUMENTS'
  | 'TOOL_TIMEOUT'
  | 'TOOL_HTTP'
  | 'TOOL_RESPONSE'
  | 'TOOL_FORBIDDEN_HOST'
  | 'TOOL_CANCELLED'
  | 'TOOL_UNVERIFIED'
  | 'TOOL_UNBOUND'
  | 'TOOL_LOCKED'
  | 'TOOL_UNCERTAIN'
  | 'TOOL_NOT_OWNER'
  // speech
  | 'SPEECH_BUSY'
  | 'SPEECH_FAULT'
  // the carrier's REST API
  | 'CARRIER_API'
  | 'CARRIER_API_NETWORK'
  // calls that we place
  | 'CALL_REFUSED'
  | 'CAMPAIGN_UNKNOWN'
  // the store that the nodes of a fleet share: it cannot be used now; it does not take or give this one entry
  | 'STORE_DOWN'
  | 'STORE_REFUSED'
  // the object storage: it does not answer, or has something else than what was stored
  | 'STORAGE'
  // files
  | 'WAV_INVALID'
  | 'SCRIPT_INVALID'
  | 'JOURNAL_INVALID'

/** What `GatewayError` needs besides its sentence. */
interface GatewayErrorOptions {
  /** True when the same request may succeed later without a change. */
  readonly retryable?: boolean
  readonly cause?: unknown
}

/**
 * An operating error: something outside went wrong, and someone can act on it. The message says what was tried,
 * with which value (never a secret, a phone number or a caller's words), and what is allowed. Programmer errors
 * are assertions instead (`assert.ts`).
 */
export class GatewayError extends Error {
  readonly code: ErrorCode
  readonly retryable: boolean

  constructor(code: ErrorCode, message: string, options: GatewayErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'GatewayError'
    this.code = code
    this.retryable = options.retryable ?? false
  }
}

/** The text of anything that was thrown; libsamplerate-js throws strings. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** Why a request failed: `fetch` itself says no more than that it did. */
export function networkCauseOf(thrown: unknown): string {
  return messageOf(thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown)
}
