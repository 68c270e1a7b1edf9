import { CALL_OUTPUTS_QUEUED_MAX } from '../core/limits.js'
import type { CallOutput } from './events.js'

/** Outputs in order until they are drained. Past the bound only those that inform are dropped, never those that act. */
export class Outputs {
  dropped = 0
  #queue: CallOutput[] = []
  #head = 0

  push(output: CallOutput): void {
    const informs = output.type === 'mark' || output.type === 'checkpoint-due'
    if (informs && this.#queue.length - this.#head >= CALL_OUTPUTS_QUEUED_MAX) {
      this.dropped++
      return
    }
    this.#queue.push(output)
  }

  poll(): CallOutput | null {
    const output = this.#queue[this.#head]
    if (output === undefined) return null
    this.#head++
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0
      this.#head = 0
    }
    return output
  }
}
