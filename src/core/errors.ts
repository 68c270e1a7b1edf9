import type { ERRORS } from './error-codes.js'

type Groups = typeof ERRORS
/** A key of the table in `error-codes.ts`. */
export type ErrorCode = { [Group in keyof Groups]: keyof Groups[Group] }[keyof Groups]

/** How a `GatewayError` is made, besides its sentence. */
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

/** The code of a failed system call: `ENOENT`. */
export function systemCodeOf(thrown: unknown): string {
  return (thrown as NodeJS.ErrnoException).code ?? 'an unknown fault'
}

/** Result of a read, or the other value where there is no such file or folder. @throws what else the read throws */
export function whereThere<Read, Absent>(read: () => Read, absent: Absent): Read | Absent {
  try {
    return read()
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return absent
    throw thrown
  }
}

/** Why a request failed: `fetch` itself says no more than that it did. */
export function networkCauseOf(thrown: unknown): string {
  return messageOf(thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown)
}
