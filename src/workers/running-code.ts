import { createHook } from 'node:async_hooks'
import { getHeapStatistics } from 'node:v8'
import { NO_CALL } from './worker-pulse.js'
import type { WorkerPulse } from './worker-pulse.js'

/** A call stands out when its code took this share of the worker's memory bound while the worker was short of it. */
const HEAVY_SHARE = 0.1
/** Callbacks that can be nested; deeper means that the count was lost with an exception. */
const NESTED_MAX = 256

/**
 * The worker's own note of which call's code runs, in memory that outlives it: when the worker exits, spins or runs out of
 * memory, the main thread reads there whose doing it most likely is. `enter` and `leave` bracket what the worker calls
 * itself; a call's timers, promises and sockets are followed from the first call with code of others (`followCallbacks`).
 */
export class RunningCode {
  readonly #pulse: WorkerPulse
  readonly #callOfContext: () => number
  readonly #heavyBytes: number
  readonly #outer: number[] = []
  /** Bytes by call while the worker is short of memory; else null. */
  #grown: Map<number, number> | null = null
  #inUseBytes = 0
  #follows = false

  /**
   * @param callOfContext  the call that the code which runs now was started by, `NO_CALL` for none
   * @param memoryBytes  the worker's memory bound
   */
  constructor(pulse: WorkerPulse, callOfContext: () => number, memoryBytes: number) {
    this.#pulse = pulse
    this.#callOfContext = callOfContext
    this.#heavyBytes = memoryBytes * HEAVY_SHARE
  }

  /** From now on a call's code runs. @returns what `leave` is to be given */
  enter(call: number): number {
    const before = this.#pulse.running
    if (this.#grown !== null) this.#weigh(this.#grown, before)
    this.#pulse.running = call
    return before
  }

  leave(before: number): void {
    if (this.#grown !== null) this.#weigh(this.#grown, this.#pulse.running)
    this.#pulse.running = before
  }

  /**
   * Notes it for every callback of a call too. About 0.7 µs a callback, so it begins with the first call that has code which is
   * not the gateway's own, and stays.
   */
  followCallbacks(): void {
    if (this.#follows) return
    this.#follows = true
    const outer = this.#outer
    createHook({
      before: () => {
        if (outer.length >= NESTED_MAX) outer.length = 0
        outer.push(this.enter(this.#callOfContext()))
      },
      after: () => this.leave(outer.pop() ?? NO_CALL),
    }).enable()
  }

  /** Weighs each call's code while `short` of memory; a look costs 1 µs, so not otherwise. */
  weighWhile(short: boolean): void {
    if (short === (this.#grown !== null)) return
    this.#grown = short ? new Map() : null
    this.#inUseBytes = inUseBytes()
    this.#pulse.heaviest = NO_CALL
  }

  /** Adds what is in use more than at the last look to `call`. What a collection gave back is nobody's. */
  #weigh(grown: Map<number, number>, call: number): void {
    const nowBytes = inUseBytes()
    const bytes = (grown.get(call) ?? 0) + Math.max(0, nowBytes - this.#inUseBytes)
    this.#inUseBytes = nowBytes
    if (call === NO_CALL) return
    grown.set(call, bytes)
    if (bytes > this.#heavyBytes && bytes > (grown.get(this.#pulse.heaviest) ?? 0)) this.#pulse.heaviest = call
  }
}

function inUseBytes(): number {
  const { used_heap_size: heap, external_memory: buffers } = getHeapStatistics()
  return heap + buffers
}
