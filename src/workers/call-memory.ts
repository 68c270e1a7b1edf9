import { CALL_SLAB_CALLS } from '../core/limits.js'
import { SHARED_CALL_BYTES, SHARED_CALL_HEAD_BYTES } from './shared-call.js'

/** Where the shared memory of one call lies. */
export interface CallMemory {
  readonly buffer: SharedArrayBuffer
  readonly at: number
}

const PAGE_BYTES = 4096
const SLOT_BYTES = Math.ceil(SHARED_CALL_BYTES / PAGE_BYTES) * PAGE_BYTES

/**
 * The shared memory of all calls, many to a slab. A slab is so large that the system gives it as pages that cost nothing
 * until they are touched, which of a call are a few; the 320 KB of one call by itself come out of malloc's own heap, where
 * they are filled with zeros and cost what they are long.
 */
export class CallMemoryPool {
  /** Slots that are lent. */
  lent = 0
  readonly #free: CallMemory[] = []

  take(): CallMemory {
    if (this.#free.length === 0) this.#grow()
    const memory = this.#free.pop() as CallMemory
    this.lent++
    // The counts of the call before; its samples are behind them and out of reach.
    new Uint8Array(memory.buffer, memory.at, SHARED_CALL_HEAD_BYTES).fill(0)
    return memory
  }

  /** Only when no thread has a use for it any more: the next call gets it. */
  give(memory: CallMemory): void {
    this.lent--
    this.#free.push(memory)
  }

  #grow(): void {
    const buffer = new SharedArrayBuffer(CALL_SLAB_CALLS * SLOT_BYTES)
    // The first slot is lent first, and one that was just given back before one that was never touched.
    for (let slot = CALL_SLAB_CALLS - 1; slot >= 0; slot--) this.#free.push({ buffer, at: slot * SLOT_BYTES })
  }
}
