import { SHARED_CALL_BYTES, SHARED_CALL_HEAD_BYTES } from './shared-call-layout.js'

/**
 * Number of calls that share one slab. A slab has 45 MB, because glibc maps blocks of 32 MB or more as fresh pages
 * (mallopt(3), M_MMAP_THRESHOLD).
 */
export const CALL_SLAB_CALLS = 128

/** Location of one call's shared memory. */
export interface CallMemory {
  readonly buffer: SharedArrayBuffer
  readonly at: number
}

const PAGE_BYTES = 4096
const SLOT_BYTES = Math.ceil(SHARED_CALL_BYTES / PAGE_BYTES) * PAGE_BYTES

/**
 * Shared memory of all calls, many in one slab. The system maps a slab as pages that cost nothing before they are
 * touched, and a call touches few pages. If a call's 340 KB came from malloc's heap, all its pages would be touched,
 * because this memory is filled with zeros.
 */
export class CallMemoryPool {
  /** Slots in use. */
  lent = 0
  readonly #free: CallMemory[] = []

  take(): CallMemory {
    if (this.#free.length === 0) this.#grow()
    const memory = this.#free.pop() as CallMemory
    this.lent++
    // Clears the counts of the previous call. Its samples cannot be reached without these counts.
    new Uint8Array(memory.buffer, memory.at, SHARED_CALL_HEAD_BYTES).fill(0)
    return memory
  }

  /** Takes back a call's memory, which the next call gets. Call it only when no thread uses the memory any more. */
  give(memory: CallMemory): void {
    this.lent--
    this.#free.push(memory)
  }

  #grow(): void {
    const buffer = new SharedArrayBuffer(CALL_SLAB_CALLS * SLOT_BYTES)
    // The free slots are a stack: a returned slot is used again first, and an untouched slot last.
    for (let slot = CALL_SLAB_CALLS - 1; slot >= 0; slot--) this.#free.push({ buffer, at: slot * SLOT_BYTES })
  }
}
