import { forgetOldest } from '../../../core/forget-oldest.js'
import { BACKEND_TOOL_CALLS_KEPT } from '../../../core/limits.js'
import type { WireFunctionResponse } from './wire.js'

/** A tool call of the model. `blocking`: true if the model waits for the result before it continues. */
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
 * The tool calls of one session that have no result yet. The results of a message's blocking tool calls are sent
 * together, as a batch. Each other result is sent separately. A cancelled tool call does not need a result.
 */
export class ToolBatches {
  readonly #calls = new Map<string, { readonly call: OpenCall; readonly batch: Batch }>()
  /** Tool calls whose result was sent. If a cancellation arrives later, the model does not use the result. */
  readonly #answered = new Set<string>()

  /** @returns the new tool calls. Some models repeat a tool call that is still open */
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

  /** @returns the batch's results if `response` completes the batch; otherwise an empty list */
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
   * @returns each cancelled tool call once, even if its result was already sent; and the results of batches that are
   * now complete
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
