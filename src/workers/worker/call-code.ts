import { messageOf } from '../../core/errors.js'
import type { CallEnd } from '../shared/call-messages.js'
import type { WorkerCall } from './worker-call.js'

/** The code of one call, from the loading of its backend on; a fault in it fails this call alone. */
export class CallCode {
  readonly ordinal: number
  /** Resolves when the call failed before its `WorkerCall` existed. */
  readonly failedEarly: Promise<CallEnd>
  #call: WorkerCall | null = null
  #failed: CallEnd | null = null
  #fail!: (end: CallEnd) => void

  constructor(ordinal: number) {
    this.ordinal = ordinal
    this.failedEarly = new Promise((resolve) => {
      this.#fail = resolve
    })
  }

  /** @returns false when the code has failed already, and the call's end was reported */
  runsIn(call: WorkerCall): boolean {
    this.#call = call
    return this.#failed === null
  }

  fail(thrown: unknown): void {
    if (this.#call !== null) return this.#call.fail(thrown)
    this.#failed ??= { type: 'fault', fault: messageOf(thrown) }
    this.#fail(this.#failed)
  }
}
