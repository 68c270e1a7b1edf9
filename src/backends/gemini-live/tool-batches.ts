import { forgetOldest } from '../../core/forget-oldest.js'
import { BACKEND_TOOL_CALLS_KEPT } from '../../core/limits.js'
import type { WireFunctionResponse } from './wire.js'

/** A tool call of the model. `blocking`: the model waits for its result before it goes on. */
export interface OpenCall {
  readonly id: string
  readonly name: string
  readonly blocking: boolean
}

interface Batch {
  readonly open: Set<string>
  readonly answers: WireFunctionResponse[]
}

/**
 * The tool calls of one session that have no result. Blocking calls of one message are a batch, whose results are sent
 * together; the result of a call that does not block is sent alone. A call that the service cancelled needs no result.
 */
export class ToolBatches {
  readonly #calls = new Map<string, { readonly call: OpenCall; readonly batch: Batch }>()
  /** Calls whose result was sent: a cancellation that crosses it makes it worthless. */
  readonly #answered = new Set<string>()

  /** @returns the calls that are new; some models repeat a call that is still open */
  add(calls: readonly OpenCall[]): OpenCall[] {
    const fresh = calls.filter(
      ({ id }, index) => !this.#calls.has(id) && calls.findIndex((other) => other.id === id) === index,
    )
    const together: Batch = { open: new Set(), answers: [] }
    for (const call of fresh) {
      const batch = call.blocking ? together : { open: new Set<string>(), answers: [] }
      batch.open.add(call.id)
      this.#calls.set(call.id, { call, batch })
      forgetOldest(this.#calls, BACKEND_TOOL_CALLS_KEPT)
    }
    return fresh
  }

  find(id: string): OpenCall | undefined {
    return this.#calls.get(id)?.call
  }

  get blockingIds(): string[] {
    return [...this.#calls.values()].filter(({ call }) => call.blocking).map(({ call }) => call.id)
  }

  /** @returns the results to send now: those of the batch, when this was its last one; else none */
  answer(response: WireFunctionResponse): readonly WireFunctionResponse[] {
    const known = this.#calls.get(response.id)
    if (known === undefined) return []
    this.#calls.delete(response.id)
    const { open, answers } = known.batch
    open.delete(response.id)
    answers.push(response)
    if (open.size > 0) return []
    for (const { id } of answers) {
      this.#answered.add(id)
      forgetOldest(this.#answered, BACKEND_TOOL_CALLS_KEPT)
    }
    return answers
  }

  /**
   * @returns the calls that were open or whose result crossed the cancellation, each once, and the results of batches
   *   that are complete without them
   */
  cancel(ids: readonly string[]): { readonly cancelled: string[]; readonly complete: WireFunctionResponse[] } {
    const cancelled: string[] = []
    const complete: WireFunctionResponse[] = []
    for (const id of ids) {
      const known = this.#calls.get(id)
      if (known === undefined) {
        if (this.#answered.delete(id)) cancelled.push(id)
        continue
      }
      this.#calls.delete(id)
      cancelled.push(id)
      const { open, answers } = known.batch
      open.delete(id)
      if (open.size === 0) complete.push(...answers)
    }
    return { cancelled, complete }
  }
}
