import { SHARED_CALL_BYTES, SHARED_CALL_HEAD_BYTES } from './shared-call-layout.js'

/**
 * Calls whose shared memory is one piece: 45 MB of addresses. glibc gives pieces of 32 MB and more as fresh pages
 * whatever was freed before (mallopt(3), M_MMAP_THRESHOLD).
 */
export const CALL_SLAB_CALLS = 128

/** The place of one call's shared memory. */
export interface CallMemory {
  readonly buffer: SharedArrayBuffer
  readonly at: number
}

const PAGE_BYTES = 4096
const SLOT_BYTES = Math.ceil(SHARED_CALL_BYTES / PAGE_BYTES) * PAGE_BYTES

/**
 * The shared memory of all calls, many in one slab. A slab is so large that the system maps it as pages that cost
 * nothing until they are touched, and a call touches only a few. The 340 KB of a single call would come from malloc's
 * heap, which fills them with zeros, so that all of them cost memory.
 */
export class CallMemoryPool {
  /** Slots in use. */
  lent = 0
  readonly #free: CallMemory[] = []

  take(): CallMemory {
    if (this.#free.length === 0) this.#grow()
    const memory = this.#free.pop() as CallMemory
    this.lent++
    // Clears the counts of the previous call. Its samples cannot be reached without them.
    new Uint8Array(memory.buffer, memory.at, SHARED_CALL_HEAD_BYTES).fill(0)
    return memory
  }

  /** Only when no thread uses the memory any more: the next call gets it. */
  give(memory: CallMemory): void {
    this.lent--
    this.#free.push(memory)
  }

  #grow(): void {
    const buffer = new SharedArrayBuffer(CALL_SLAB_CALLS * SLOT_BYTES)
    // A stack: slots are given from the first one on, and a returned slot before one that was never touched.
    for (let slot = CALL_SLAB_CALLS - 1; slot >= 0; slot--) this.#free.push({ buffer, at: slot * SLOT_BYTES })
  }
}
