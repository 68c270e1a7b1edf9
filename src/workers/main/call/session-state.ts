import type { CallResult } from '../../../call/documents/kept-call.js'
import type { FromCall } from '../../shared/call-messages.js'

/** Last state that a call's session reported. It outlives the session's worker. */
export class SessionState {
  /** Checkpoint from which another worker would continue, together with the log. */
  saved: Extract<FromCall, { type: 'log' }>['saved'] = null
  /** Result of the session; null while a session runs, or if the session ended without a result. */
  result: CallResult | null = null

  /** Tag of the call's language; undefined until the first report. */
  get language(): string | undefined {
    return this.result?.language ?? this.saved?.checkpoint.language
  }

  /** The verified identity of the caller; null if unverified. */
  get identity(): Readonly<Record<string, unknown>> | null {
    return this.saved?.checkpoint.identity ?? null
  }
}
