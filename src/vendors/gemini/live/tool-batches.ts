import { forgetOldest } from '../../../core/forget-oldest.js'
import { BACKEND_TOOL_CALLS_KEPT } from '../../../core/limits.js'
import { CallIds } from '../../../backends/transport/call-ids.js'
import { sameJson } from '../../../call/tools/tool-ledger.js'
import type { WireFunctionResponse } from './wire.js'

/** A tool call of the model. `blocking`: true if the model waits for the result before it continues. */
export interface OpenCall {
  /** Unique in the session. */
  readonly id: string
  readonly name: string
  readonly args: unknown
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
  readonly #ids = new CallIds()
  /** Tool calls whose result was sent. If a cancellation arrives later, the model does not use the result. */
  readonly #answered = new Set<string>()

  /**
   * @param calls  tool calls of one message, with the service's ids
   * @returns the new tool calls. Some models repeat a tool call that is still open
   */
  add(calls: readonly OpenCall[]): OpenCall[] {
    const fresh = calls.flatMap((call) => {
      const open = this.find(this.#ids.newest(call.id))
      if (open !== undefined && open.name === call.name && sameJson(open.args, call.args)) return []
      const id = this.#ids.take(call.id, calls)
      return id === null ? [] : [{ ...call, id }]
    })
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

  /**
   * @param id  id of the tool call, as `add` returned it
   * @returns the batch's results if `response` completes the batch; otherwise an empty list
   */
  answer(id: string, response: Omit<WireFunctionResponse, 'id'>): readonly WireFunctionResponse[] {
    const known = this.#calls.get(id)
    if (known === undefined) return []
    this.#calls.delete(id)
    const { open, answers } = known.batch
    open.delete(id)
    answers.push({ ...response, id: this.#ids.serviceId(id) })
    if (open.size > 0) return []
    for (const { id } of answers) {
      this.#answered.add(this.#ids.newest(id))
      forgetOldest(this.#answered, BACKEND_TOOL_CALLS_KEPT)
    }
    return answers
  }

  /**
   * @param serviceIds  the service's ids
   * @returns each cancelled tool call once, even if its result was already sent; and the results of batches that are
   * now complete
   */
  cancel(serviceIds: readonly string[]): { readonly cancelled: string[]; readonly complete: WireFunctionResponse[] } {
    const cancelled: string[] = []
    const complete: WireFunctionResponse[] = []
    for (const id of serviceIds.map((serviceId) => this.#ids.newest(serviceId))) {
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
