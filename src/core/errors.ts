import type { ERRORS } from './error-codes.js'

type Groups = typeof ERRORS
/** A key of the table in `error-codes.ts`. */
export type ErrorCode = { [Group in keyof Groups]: keyof Groups[Group] }[keyof Groups]

/** Options of a `GatewayError`, in addition to its message. */
interface GatewayErrorOptions {
  /** True if the request may succeed when it is repeated later. */
  readonly retryable?: boolean
  readonly cause?: unknown
}

/**
 * An operational error: a fault outside the program that a person can repair. The message names the attempted action,
 * the value (never a secret, a phone number or a caller's words), and the allowed values. For mistakes in the program,
 * use an assertion (`assert.ts`).
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

/** Returns the text of any thrown value; libsamplerate-js throws strings. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** Returns the code of a failed system call, such as `ENOENT`. */
export function systemCodeOf(thrown: unknown): string {
  return (thrown as NodeJS.ErrnoException).code ?? 'an unknown fault'
}

/**
 * Returns the result of `read`, or `absent` if the file or folder does not exist.
 * @throws every other error of `read`
 */
export function whereThere<Read, Absent>(read: () => Read, absent: Absent): Read | Absent {
  try {
    return read()
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return absent
    throw thrown
  }
}

/** Returns the cause of a failed request, because the error of `fetch` only says that it failed. */
export function networkCauseOf(thrown: unknown): string {
  return messageOf(thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown)
}
