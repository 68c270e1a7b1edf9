import { BACKEND_TOOL_CALLS_KEPT } from '../../core/limits.js'
import type { WireFunctionResponse } from './wire.js'

interface Batch {
  readonly open: Set<string>
  readonly answers: WireFunctionResponse[]
}

/**
 * Tool calls come in batches, and the model waits for all answers of one: they go back together. A call that the
 * service took back needs none.
 */
export class ToolBatches {
  readonly #calls = new Map<string, { readonly name: string; readonly batch: Batch }>()

  asked(calls: readonly { readonly id: string; readonly name: string }[]): void {
    const batch: Batch = { open: new Set(calls.map((call) => call.id)), answers: [] }
    for (const { id, name } of calls) this.#calls.set(id, { name, batch })
    for (const id of this.#calls.keys()) {
      if (this.#calls.size <= BACKEND_TOOL_CALLS_KEPT) break
      this.#calls.delete(id)
    }
  }

  /** @returns the whole batch when this was its last answer, else null */
  answer(id: string, response: WireFunctionResponse['response']): readonly WireFunctionResponse[] | null {
    const call = this.#calls.get(id)
    if (call === undefined || !call.batch.open.delete(id)) return null
    this.#calls.delete(id)
    call.batch.answers.push({ id, name: call.name, response })
    return call.batch.open.size === 0 ? call.batch.answers : null
  }

  /** @returns those that were open, and what of their batches is complete without them */
  cancel(ids: readonly string[]): { readonly cancelled: string[]; readonly complete: WireFunctionResponse[] } {
    const cancelled: string[] = []
    const complete: WireFunctionResponse[] = []
    for (const id of ids) {
      const call = this.#calls.get(id)
      if (call === undefined || !call.batch.open.delete(id)) continue
      this.#calls.delete(id)
      cancelled.push(id)
      if (call.batch.open.size === 0) complete.push(...call.batch.answers)
    }
    return { cancelled, complete }
  }
}
