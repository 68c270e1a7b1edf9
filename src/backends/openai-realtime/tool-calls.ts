import { BACKEND_TOOL_CALLS_KEPT } from '../../core/limits.js'
import type { LedgerResponse } from './response-ledger.js'
import type { WireItem } from './wire.js'

export interface WrittenCall {
  readonly callId: string
  readonly name: string
  readonly argumentsText: string
}

interface Entry {
  readonly response: LedgerResponse
  state: 'written' | 'told' | 'answered'
  readonly call: WrittenCall
}

/** A call that is fully written and about which nothing more comes is believed after this. */
export const WRITTEN_CALL_MS = 100

/**
 * Tool calls of one session. The service says that the arguments are complete even when the response was cancelled in
 * the middle of them; a call counts only when its item, or its response, ended well.
 *
 *     (new)   --arguments.done--> written
 *     written --output_item.done, not incomplete | response.done completed | nothing more comes--> told
 *     written --response cancelled or failed--> gone
 *     told    --answer--> answered, once
 */
export class ToolCalls {
  readonly #calls = new Map<string, Entry>()
  /** Names by item, for servers that leave them out of `arguments.done`. */
  readonly #names = new Map<string, { readonly callId: string; readonly name: string }>()

  named(item: WireItem): void {
    if (item.type !== 'function_call' || item.id === undefined || item.call_id === undefined || item.name === undefined) return
    this.#names.set(item.id, { callId: item.call_id, name: item.name })
    forgetOldest(this.#names)
  }

  /** @returns false when this call is known, or nobody ever said its name */
  written(response: LedgerResponse, call: { readonly callId: string; readonly itemId: string | undefined; readonly name: string | undefined; readonly argumentsText: string }): boolean {
    if (this.#calls.has(call.callId)) return false
    const name = call.name ?? (call.itemId === undefined ? undefined : this.#names.get(call.itemId)?.name)
    if (name === undefined) return false
    this.#calls.set(call.callId, { response, state: 'written', call: { callId: call.callId, name, argumentsText: call.argumentsText } })
    forgetOldest(this.#calls)
    return true
  }

  /** Those of the response that were only written, and are true now. */
  believe(response: LedgerResponse, callId: string | null): WrittenCall[] {
    const believed: WrittenCall[] = []
    for (const entry of this.#calls.values()) {
      if (entry.response !== response || entry.state !== 'written') continue
      if (callId !== null && entry.call.callId !== callId) continue
      entry.state = 'told'
      believed.push(entry.call)
    }
    return believed
  }

  /** @returns how many were given up */
  giveUp(response: LedgerResponse, callId: string | null): number {
    let count = 0
    for (const [id, entry] of this.#calls) {
      if (entry.response !== response || entry.state !== 'written' || (callId !== null && id !== callId)) continue
      this.#calls.delete(id)
      count++
    }
    return count
  }

  /** @returns the response that asked, or null for a call that nobody made or that has its answer */
  answer(callId: string): LedgerResponse | null {
    const entry = this.#calls.get(callId)
    if (entry === undefined || entry.state !== 'told') return null
    entry.state = 'answered'
    return entry.response
  }
}

function forgetOldest(map: Map<string, unknown>): void {
  if (map.size <= BACKEND_TOOL_CALLS_KEPT) return
  for (const key of map.keys()) {
    map.delete(key)
    return
  }
}
