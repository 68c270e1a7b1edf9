import { messageOf } from '../../core/errors.js'
import type { CallEnd } from '../shared/call-messages.js'
import type { WorkerCall } from './worker-call.js'

/** Code of one call, from the loading of its backend on. A fault in this code fails only this call. */
export class CallCode {
  readonly ordinal: number
  /** Resolves if the call fails before its `WorkerCall` exists. */
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

  /** @returns false if the code has already failed and the call's end was reported */
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
