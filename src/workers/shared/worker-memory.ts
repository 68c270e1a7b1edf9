import { createHook } from 'node:async_hooks'
import { getHeapStatistics } from 'node:v8'
import type { Environment } from '../../agents/file/template.js'
import type { BackendSettings } from '../../backends/registry.js'
import { FRAME_HISTOGRAM_BYTES } from '../../telemetry/frame-histogram.js'
import { LOOP_STOPS_BYTES } from '../../telemetry/loop-stops.js'
import { SLOWEST_FRAME_BYTES } from '../../telemetry/slowest-frame.js'
import type { MediaAssets } from './media-assets.js'

/** Data that piscina passes to each media worker. */
export interface WorkerData {
  readonly memories: WorkerMemories
  readonly assets: MediaAssets
  /** Variables that tool templates may read. */
  readonly env: Environment
  readonly backends: BackendSettings
  /** Folder with recordings of fixed phrases in the voices of cascades; null if such recordings are not stored. */
  readonly phrasesFolder: string | null
  /** Memory of `LookupCounts`, shared by all workers. */
  readonly lookups: SharedArrayBuffer
  /** Memory of `SocketsRead`, shared by all workers. */
  readonly socketsRead: SharedArrayBuffer
  /** Limit in MiB of the worker's heap, and a second, equal limit of its memory outside the heap. */
  readonly memoryMb: number
  /** `homeCountry` of the main thread. */
  readonly country: string
}

/**
 * Memories that the workers of a pool share with the main thread. Each worker claims the first free memory. A dead
 * worker's memory is released, and its successor continues the series in it.
 */
export interface WorkerMemories {
  /** Ids of the threads that own the memories, one Int32 for each memory; 0 if a memory is free. */
  readonly owners: SharedArrayBuffer
  readonly memories: readonly WorkerMemory[]
}

/** Number of Int32 words of a pulse. */
const RUNNING = 0
const HEAVIEST = 1
/** Number of Float64 values of a pulse, behind its words. */
const BEAT_AT_MS = 0
const BUFFER_BYTES = 1
const SYSTEM_THREAD = 2

const WORDS_BYTES = 8
const PULSE_BYTES = WORDS_BYTES + 3 * Float64Array.BYTES_PER_ELEMENT

/** Ordinal that stands for "no call". */
export const NO_CALL = 0

/**
 * State of a media worker in shared memory, written by the worker. The main thread can read it even if the worker
 * hangs, and clears it at the worker's end.
 */
export class WorkerPulse {
  readonly #words: Int32Array
  readonly #numbers: Float64Array

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, WORDS_BYTES / Int32Array.BYTES_PER_ELEMENT)
    this.#numbers = new Float64Array(memory, WORDS_BYTES)
  }

  /**
   * Ordinal of the call whose code runs now; `NO_CALL` if no call's code runs. It is written without Atomics, because
   * it changes several times a tick for each call.
   */
  get running(): number {
    return this.#words[RUNNING] as number
  }

  set running(call: number) {
    this.#words[RUNNING] = call
  }

  /**
   * Ordinal of the call whose code took most memory while the worker was short of memory. `NO_CALL` if the worker was
   * not short of memory, or if no call took much more than others.
   */
  get heaviest(): number {
    return this.#words[HEAVIEST] as number
  }

  set heaviest(call: number) {
    this.#words[HEAVIEST] = call
  }

  /** Common-clock time of the last heartbeat; 0 before the first. */
  get beatAtMs(): number {
    return this.#numbers[BEAT_AT_MS] as number
  }

  /** Number of bytes that the worker's code used outside the heap at the last heartbeat. */
  get bufferBytes(): number {
    return this.#numbers[BUFFER_BYTES] as number
  }

  /** Id of the worker's thread in the operating system; 0 if the system has no /proc. */
  get systemThread(): number {
    return this.#numbers[SYSTEM_THREAD] as number
  }

  set systemThread(thread: number) {
    this.#numbers[SYSTEM_THREAD] = thread
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
 * Time up to which the main thread has read the carrier's sockets. During a pause of the main thread, for example for a
 * garbage collection, a packet may have arrived although the worker does not see it.
 */
export class SocketsRead {
  readonly memory: SharedArrayBuffer
  readonly #untilMs: Float64Array
  #tickedAtMs = 0

  constructor(memory = new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory
    this.#untilMs = new Float64Array(memory)
  }

  /** Time on the common clock up to which the sockets are read; 0 before the second tick. */
  get untilMs(): number {
    return this.#untilMs[0] as number
  }

  /**
   * Notes that a tick of the main thread begins. All packets that had arrived before the previous tick have been read
   * by now.
   */
  ticked(nowMs: number): void {
    this.#untilMs[0] = this.#tickedAtMs
    this.#tickedAtMs = nowMs
  }
}

/**
 * Share of the worker's memory limit. If a call's code took more while the worker was short of memory, the call is
 * suspected.
 */
const HEAVY_SHARE = 0.1
/** Maximum depth of nested callbacks. A greater depth means that an exception has broken the count. */
const NESTED_MAX = 256

/**
 * Notes in the pulse which call's code runs. If the worker exits, loops or runs out of memory, the pulse shows the main
 * thread which call most likely caused this. The worker calls `enter` before a call's code and `leave` after it.
 * `followCallbacks` covers timers, promises and sockets too.
 */
export class RunningCode {
  readonly #pulse: WorkerPulse
  readonly #callOfContext: () => number
  readonly #heavyBytes: number
  readonly #outer: number[] = []
  /** Number of bytes that the code of each call took; null unless the worker is short of memory. */
  #grown: Map<number, number> | null = null
  #inUseBytes = 0
  #follows = false

  /**
   * @param callOfContext  returns the ordinal of the call that started the present code; `NO_CALL` if no call started
   * it
   * @param memoryBytes  the worker's memory limit
   */
  constructor(pulse: WorkerPulse, callOfContext: () => number, memoryBytes: number) {
    this.#pulse = pulse
    this.#callOfContext = callOfContext
    this.#heavyBytes = memoryBytes * HEAVY_SHARE
  }

  /** Notes that a call's code runs from now on. @returns the argument for `leave` */
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
   * Starts to follow every callback of each call. This adds about 0.7 µs to a callback. So the worker starts it only
   * with its first call that has foreign code.
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
   * Measures the memory of each call's code while the worker is `short` of memory. A measurement costs 1 µs, so it is
   * not made at other times.
   */
  measureWhile(short: boolean): void {
    if (short === (this.#grown !== null)) return
    this.#grown = short ? new Map() : null
    this.#inUseBytes = inUseBytes()
    this.#pulse.heaviest = NO_CALL
  }

  /** Adds the growth since the last measurement to `call`. A decrease after a garbage collection is not subtracted. */
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
  readonly loopStops: SharedArrayBuffer
  readonly latencyIn: SharedArrayBuffer
  /** The call with the greatest latency of a caller frame (`latencyIn`). */
  readonly slowestIn: SharedArrayBuffer
  readonly latencyOut: SharedArrayBuffer
  readonly pulse: SharedArrayBuffer
}

export function makeWorkerMemories(workers: number): WorkerMemories {
  // There is one memory more than workers, because a successor may start before its predecessor's memory is released.
  const count = workers + 1
  const histogram = (): SharedArrayBuffer => new SharedArrayBuffer(FRAME_HISTOGRAM_BYTES)
  return {
    owners: new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT),
    memories: Array.from({ length: count }, () => ({
      tickLateness: histogram(),
      tickBusy: histogram(),
      loopStops: new SharedArrayBuffer(LOOP_STOPS_BYTES),
      latencyIn: histogram(),
      slowestIn: new SharedArrayBuffer(SLOWEST_FRAME_BYTES),
      latencyOut: histogram(),
      pulse: new SharedArrayBuffer(PULSE_BYTES),
    })),
  }
}

/**
 * Claims a memory for the calling worker. If no memory is free (after two deaths at once), the worker shares the last
 * memory, and the counts are approximate.
 */
export function claimWorkerMemory({ owners, memories }: WorkerMemories, thread: number): WorkerMemory {
  const claims = new Int32Array(owners)
  let index = 0
  while (index < claims.length - 1 && Atomics.compareExchange(claims, index, 0, thread) !== 0) index++
  return memories[index] as WorkerMemory
}

/** Threads that own a memory, with their pulses. A thread may have died since. Used by the main thread. */
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

/** Releases the memory of a thread that has ended. Called by the main thread. */
export function releaseWorkerMemory({ owners }: WorkerMemories, thread: number, pulse: WorkerPulse): void {
  pulse.clear()
  const claims = new Int32Array(owners)
  const index = claims.indexOf(thread)
  if (index !== -1) Atomics.store(claims, index, 0)
}
