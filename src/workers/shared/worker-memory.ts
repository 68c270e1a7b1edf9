import { createHook } from 'node:async_hooks'
import { getHeapStatistics } from 'node:v8'
import type { Environment } from '../../agents/file/template.js'
import type { BackendSettings } from '../../backends/registry.js'
import { FRAME_HISTOGRAM_BYTES } from '../../telemetry/frame-histogram.js'
import { SLOWEST_FRAME_BYTES } from '../../telemetry/slowest-frame.js'
import type { MediaAssets } from './media-assets.js'

/** Data that piscina passes to each media worker. */
export interface WorkerData {
  readonly memories: WorkerMemories
  readonly assets: MediaAssets
  /** Variables that tool templates may read. */
  readonly env: Environment
  readonly backends: BackendSettings
  /** Where fixed phrases in the voices of cascades are kept; null: they are not. */
  readonly phrasesFolder: string | null
  /** Memory of `LookupCounts`, shared by all workers. */
  readonly lookups: SharedArrayBuffer
  /** Memory of `SocketsRead`, shared by all workers. */
  readonly socketsRead: SharedArrayBuffer
  /** Limit of the worker's heap, and of its memory outside the heap, MiB. */
  readonly memoryMb: number
  /** `homeCountry` of the main thread. */
  readonly country: string
}

/**
 * The shared memory of a pool's workers. A worker claims the first free one when it starts. The memory of a dead worker
 * is released, and its successor continues the same series.
 */
export interface WorkerMemories {
  /** One Int32 for each memory: the thread that owns it, 0 for none. */
  readonly owners: SharedArrayBuffer
  readonly memories: readonly WorkerMemory[]
}

/** Int32 words of a pulse. */
const RUNNING = 0
const HEAVIEST = 1
/** Float64 numbers of a pulse, behind the words. */
const BEAT_AT_MS = 0
const BUFFER_BYTES = 1

const WORDS_BYTES = 8
const PULSE_BYTES = WORDS_BYTES + 2 * Float64Array.BYTES_PER_ELEMENT

/** The ordinal of no call. */
export const NO_CALL = 0

/**
 * A media worker's state in shared memory, where the main thread can read it even when the worker no longer answers.
 * The worker writes; the main thread reads, and clears the memory when the worker is gone.
 */
export class WorkerPulse {
  readonly #words: Int32Array
  readonly #numbers: Float64Array

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, WORDS_BYTES / Int32Array.BYTES_PER_ELEMENT)
    this.#numbers = new Float64Array(memory, WORDS_BYTES)
  }

  /**
   * Ordinal of the call whose code runs now, `NO_CALL` for none. Plain stores: it is written several times a tick for
   * each call.
   */
  get running(): number {
    return this.#words[RUNNING] as number
  }

  set running(call: number) {
    this.#words[RUNNING] = call
  }

  /**
   * Ordinal of the call whose code took most memory while the worker was short of it; `NO_CALL` when it is not short, or
   * no call stands out.
   */
  get heaviest(): number {
    return this.#words[HEAVIEST] as number
  }

  set heaviest(call: number) {
    this.#words[HEAVIEST] = call
  }

  /** Common-clock time of the last beat; 0 before the first. */
  get beatAtMs(): number {
    return this.#numbers[BEAT_AT_MS] as number
  }

  /** Bytes that the worker's code held outside the heap at the last beat. */
  get bufferBytes(): number {
    return this.#numbers[BUFFER_BYTES] as number
  }

  beat(nowMs: number, bufferBytes: number): void {
    this.#numbers[BUFFER_BYTES] = bufferBytes
    this.#numbers[BEAT_AT_MS] = nowMs
  }

  clear(): void {
    this.#words.fill(0)
    this.#numbers.fill(0)
  }
}

/**
 * Up to when the main thread has read the carrier's sockets. It writes, the workers read: a packet that is missing while the
 * main thread stands still (a collection of garbage of 20 ms, or no processor) is not late, but not read yet.
 */
export class SocketsRead {
  readonly memory: SharedArrayBuffer
  readonly #untilMs: Float64Array
  #tickedAtMs = 0

  constructor(memory = new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory
    this.#untilMs = new Float64Array(memory)
  }

  /** Common-clock time; 0 before the second tick. */
  get untilMs(): number {
    return this.#untilMs[0] as number
  }

  /** A tick of the main thread begins: between this one and the one before, its loop has read what had come by then. */
  ticked(nowMs: number): void {
    this.#untilMs[0] = this.#tickedAtMs
    this.#tickedAtMs = nowMs
  }
}

/**
 * A call stands out when its code took this share of the worker's memory limit while the worker was short of memory.
 */
const HEAVY_SHARE = 0.1
/** Callbacks nested deeper than this mean that an exception has broken the count. */
const NESTED_MAX = 256

/**
 * Keeps in the pulse which call's code runs. When the worker exits, spins or runs out of memory, the main thread reads
 * there which call most likely caused it. `enter` and `leave` bracket what the worker calls itself; a call's timers,
 * promises and sockets are followed from the first call with foreign code (`followCallbacks`).
 */
export class RunningCode {
  readonly #pulse: WorkerPulse
  readonly #callOfContext: () => number
  readonly #heavyBytes: number
  readonly #outer: number[] = []
  /** Bytes by call while the worker is short of memory; otherwise null. */
  #grown: Map<number, number> | null = null
  #inUseBytes = 0
  #follows = false

  /**
   * @param callOfContext  the call that started the code which runs now, `NO_CALL` for none
   * @param memoryBytes  the worker's memory limit
   */
  constructor(pulse: WorkerPulse, callOfContext: () => number, memoryBytes: number) {
    this.#pulse = pulse
    this.#callOfContext = callOfContext
    this.#heavyBytes = memoryBytes * HEAVY_SHARE
  }

  /** From now on a call's code runs. @returns the argument for `leave` */
  enter(call: number): number {
    const before = this.#pulse.running
    if (this.#grown !== null) this.#measure(this.#grown, before)
    this.#pulse.running = call
    return before
  }

  leave(before: number): void {
    if (this.#grown !== null) this.#measure(this.#grown, this.#pulse.running)
    this.#pulse.running = before
  }

  /**
   * Also follows every callback of a call. It costs about 0.7 µs a callback, so it starts only with the first call that
   * has foreign code.
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

  /**
   * Measures the memory of each call's code while the worker is `short` of memory. One measurement costs 1 µs, so not
   * otherwise.
   */
  measureWhile(short: boolean): void {
    if (short === (this.#grown !== null)) return
    this.#grown = short ? new Map() : null
    this.#inUseBytes = inUseBytes()
    this.#pulse.heaviest = NO_CALL
  }

  /**
   * Adds the growth since the last measurement to `call`. Memory that a collection freed is subtracted from no call.
   */
  #measure(grown: Map<number, number>, call: number): void {
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

/** Memory that one worker writes for the main thread: its histograms and its pulse. */
interface WorkerMemory {
  readonly tickLateness: SharedArrayBuffer
  readonly tickBusy: SharedArrayBuffer
  readonly latencyIn: SharedArrayBuffer
  /** The call of the slowest frame on its way in. */
  readonly slowestIn: SharedArrayBuffer
  readonly latencyOut: SharedArrayBuffer
  readonly pulse: SharedArrayBuffer
}

export function makeWorkerMemories(workers: number): WorkerMemories {
  // One more than workers: a successor may start before the memory of its predecessor is released.
  const count = workers + 1
  const histogram = (): SharedArrayBuffer => new SharedArrayBuffer(FRAME_HISTOGRAM_BYTES)
  return {
    owners: new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT),
    memories: Array.from({ length: count }, () => ({
      tickLateness: histogram(),
      tickBusy: histogram(),
      latencyIn: histogram(),
      slowestIn: new SharedArrayBuffer(SLOWEST_FRAME_BYTES),
      latencyOut: histogram(),
      pulse: new SharedArrayBuffer(PULSE_BYTES),
    })),
  }
}

/** For the worker. With no memory free (two deaths at once) the last one is shared, and its counts are approximate. */
export function claimWorkerMemory({ owners, memories }: WorkerMemories, thread: number): WorkerMemory {
  const claims = new Int32Array(owners)
  let index = 0
  while (index < claims.length - 1 && Atomics.compareExchange(claims, index, 0, thread) !== 0) index++
  return memories[index] as WorkerMemory
}

/** For the main thread: the threads that have a memory, alive or not, and their pulses. */
export function workersWithMemory({
  owners,
  memories,
}: WorkerMemories): { readonly thread: number; readonly pulse: WorkerPulse }[] {
  const claims = new Int32Array(owners)
  return memories.flatMap(({ pulse }, index) => {
    const thread = Atomics.load(claims, index)
    return thread === 0 ? [] : [{ thread, pulse: new WorkerPulse(pulse) }]
  })
}

/** For the main thread, when that thread is gone. */
export function releaseWorkerMemory({ owners }: WorkerMemories, thread: number, pulse: WorkerPulse): void {
  pulse.clear()
  const claims = new Int32Array(owners)
  const index = claims.indexOf(thread)
  if (index !== -1) Atomics.store(claims, index, 0)
}
