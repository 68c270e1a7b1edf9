import { constants, PerformanceObserver } from 'node:perf_hooks'
import type { PerformanceEntry } from 'node:perf_hooks'
import type { Clock } from '../core/clock.js'

/** Delay in ms above which a late tick counts as a stop of its thread's event loop. */
export const STOP_MS_MIN = 5
/**
 * Time in ms after which the reason of a stop is decided. Node reports a garbage collection only some turns of the loop
 * later.
 */
const JUDGED_AFTER_MS = 50
/** Maximum number of stops whose reason is not decided yet. If there are more, the oldest is decided at once. */
const WAITING_MAX = 16
/**
 * Number of garbage collections that are stored; the newest are kept. A stop during an older collection counts as
 * `other`.
 */
const COLLECTIONS_MAX = 16

/**
 * Reasons of a stop. Three of the reasons are collections of the whole heap.
 * - `garbage-major`: the heap had grown.
 * - `garbage-external`: memory outside the heap, such as `ArrayBuffer`s, had grown by 64 MB.
 * - `garbage-reducer`: V8's memory reducer released memory.
 * - `tick`: the previous tick took too long.
 * - `other`: other code of the thread ran, or the thread got no CPU time.
 */
export const GARBAGE_REASONS = ['garbage-minor', 'garbage-major', 'garbage-external', 'garbage-reducer'] as const
export type GarbageReason = (typeof GARBAGE_REASONS)[number]
const STOP_REASONS = [...GARBAGE_REASONS, 'tick', 'other'] as const
export type StopReason = (typeof STOP_REASONS)[number]

/** A period of one thread, in milliseconds of any clock. */
interface Span {
  readonly fromMs: number
  readonly toMs: number
}

/** Garbage collection, during which the thread paused. */
export interface Collection extends Span {
  readonly reason: GarbageReason
}

interface WaitingStop extends Span {
  /** Part of the stop in ms in which the previous tick still ran. */
  readonly tickMs: number
}

/** Size in bytes of the counts of one thread: the number of stops and their seconds, for each reason. */
export const LOOP_STOPS_BYTES = 2 * STOP_REASONS.length * Float64Array.BYTES_PER_ELEMENT

/**
 * Counts the stops of one thread's event loop by reason. Only this thread writes the counts; any thread may read them.
 */
export class LoopStops {
  readonly #numbers: Float64Array
  readonly #collections: Collection[] = []
  readonly #waiting: WaitingStop[] = []
  readonly #end: () => void
  #tickFromMs = 0
  #tickToMs = 0

  /** @param memory `LOOP_STOPS_BYTES` zeroed bytes; shared if another thread reads */
  constructor(clock: Clock, memory: ArrayBufferLike) {
    this.#numbers = new Float64Array(memory)
    this.#end = onCollections((collection) => {
      const offsetMs = clock() - performance.now()
      const { reason, fromMs, toMs } = collection
      this.#collections.push({ reason, fromMs: fromMs + offsetMs, toMs: toMs + offsetMs })
      if (this.#collections.length > COLLECTIONS_MAX) this.#collections.shift()
    })
  }

  /**
   * Checks for a stop. Call this after each tick of the thread.
   * @param nowMs start of the tick on the clock
   * @param latenessMs time in ms by which the tick started late
   */
  ticked(nowMs: number, latenessMs: number, busyMs: number): void {
    if (latenessMs > STOP_MS_MIN) this.#stopped(nowMs - latenessMs, nowMs)
    this.#tickFromMs = nowMs
    this.#tickToMs = nowMs + busyMs
    const oldest = this.#waiting[0]
    if (oldest !== undefined && nowMs - oldest.toMs > JUDGED_AFTER_MS) this.#judge()
  }

  close(): void {
    this.#end()
  }

  #stopped(fromMs: number, toMs: number): void {
    const tickMs = overlapMs({ fromMs, toMs }, { fromMs: this.#tickFromMs, toMs: this.#tickToMs })
    this.#waiting.push({ fromMs, toMs, tickMs })
    if (this.#waiting.length > WAITING_MAX) this.#judge()
  }

  #judge(): void {
    const stop = this.#waiting.shift()
    if (stop === undefined) return
    const at = 2 * STOP_REASONS.indexOf(stopReason(stop, this.#collections, stop.tickMs))
    this.#numbers[at] = (this.#numbers[at] as number) + 1
    this.#numbers[at + 1] = (this.#numbers[at + 1] as number) + (stop.toMs - stop.fromMs) / 1000
  }
}

/**
 * @returns for each reason, functions that read the number of stops and their total seconds, since `memory` was zeroed
 */
export function stopCounts(
  memory: ArrayBufferLike,
): readonly { readonly reason: StopReason; readonly stops: () => number; readonly seconds: () => number }[] {
  const numbers = new Float64Array(memory)
  return STOP_REASONS.map((reason, i) => ({
    reason,
    stops: () => numbers[2 * i] as number,
    seconds: () => numbers[2 * i + 1] as number,
  }))
}

/**
 * Reports each garbage collection of this thread, some turns of its event loop later. Times are in the clock of
 * `performance.now()`.
 * @returns a function that stops the reports
 */
export function onCollections(found: (collection: Collection) => void): () => void {
  const observer = new PerformanceObserver((list) => {
    for (const { startTime, duration, detail } of list.getEntries() as unknown as readonly CollectionEntry[]) {
      const { kind, flags } = detail
      found({ reason: garbageReason(kind, flags), fromMs: startTime, toMs: startTime + duration })
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  return () => observer.disconnect()
}

/** Entry with its details, which Node's types lack. */
type CollectionEntry = PerformanceEntry & { readonly detail: { readonly kind: number; readonly flags: number } }

function garbageReason(kind: number, flags: number): GarbageReason {
  if (kind === constants.NODE_PERFORMANCE_GC_MINOR) return 'garbage-minor'
  if ((flags & constants.NODE_PERFORMANCE_GC_FLAGS_ALL_EXTERNAL_MEMORY) === 0) return 'garbage-major'
  // V8 sets the flag above for its memory reducer too. Only a collection because of external memory has the second
  // flag.
  return (flags & constants.NODE_PERFORMANCE_GC_FLAGS_SYNCHRONOUS_PHANTOM_PROCESSING) === 0
    ? 'garbage-reducer'
    : 'garbage-external'
}

/**
 * @param tickMs  duration in ms of the previous tick within the stop, including its collections
 * @returns the reason of the largest part of the stop
 */
export function stopReason(stop: Span, collections: readonly Collection[], tickMs: number): StopReason {
  const parts = new Map<StopReason, number>(STOP_REASONS.map((reason) => [reason, 0]))
  let garbageMs = 0
  for (const collection of collections) {
    const ms = overlapMs(stop, collection)
    garbageMs += ms
    parts.set(collection.reason, (parts.get(collection.reason) ?? 0) + ms)
  }
  const ownMs = Math.max(0, tickMs - garbageMs)
  parts.set('tick', ownMs)
  parts.set('other', stop.toMs - stop.fromMs - garbageMs - ownMs)
  return STOP_REASONS.reduce((a, b) => ((parts.get(b) ?? 0) > (parts.get(a) ?? 0) ? b : a))
}

function overlapMs(a: Span, b: Span): number {
  return Math.max(0, Math.min(a.toMs, b.toMs) - Math.max(a.fromMs, b.fromMs))
}
