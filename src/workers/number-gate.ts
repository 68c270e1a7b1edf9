import type { AttemptGate, Verdict } from '../agents/verification-lock.js'
import type { FromCall } from './call-messages.js'

/**
 * The way of one call's `verify_caller` to the wrong answers of its number, which the main thread keeps for the calls of all
 * media workers. One attempt at a time, as `VerifyTool` takes them.
 */
export class NumberGate implements AttemptGate {
  readonly #post: (message: FromCall) => void
  #waiting: ((left: number) => void) | null = null

  constructor(post: (message: FromCall) => void) {
    this.#post = post
  }

  /** Never settles once the call is over: its tools are cancelled by their own signal. */
  take(): Promise<number> {
    return new Promise((resolve) => {
      this.#waiting = resolve
      this.#post({ type: 'verification-attempt' })
    })
  }

  /** What the main thread has answered. */
  answered(left: number): void {
    this.#waiting?.(left)
    this.#waiting = null
  }

  judged(verdict: Verdict): void {
    this.#post({ type: 'verification-verdict', verdict })
  }
}
