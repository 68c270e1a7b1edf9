import type { CallResult } from '../../../call/documents/kept-call.js'
import type { FromCall } from '../../shared/call-messages.js'

/** State that a call's session has reported last: it outlives the session's worker. */
export class SessionState {
  /** With the log, the state from which another worker would continue. */
  saved: Extract<FromCall, { type: 'log' }>['saved'] = null
  /** Null while a session runs, or where none came to its end. */
  result: CallResult | null = null

  /** Tag of the language that the call is in; undefined before any of it was heard of. */
  get language(): string | undefined {
    return this.result?.language ?? this.saved?.checkpoint.language
  }

  /** The verified identity of the caller; null while there is none. */
  get identity(): Readonly<Record<string, unknown>> | null {
    return this.saved?.checkpoint.identity ?? null
  }
}
