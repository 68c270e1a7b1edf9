import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { BroadcastChannel, threadId } from 'node:worker_threads'
import { STOP_MS_MIN, onCollections, stopReason } from '../../src/telemetry/loop-stops.js'
import type { Collection } from '../../src/telemetry/loop-stops.js'
import { machineMs } from '../kit/process.js'
import { collectionsBy } from '../protocol.js'
import type { ServerPauses, ThreadStop } from '../protocol.js'

export const PROBE_CHANNEL = 'mkondo-bench-probe'

export interface ProbeQuestion {
  readonly type: 'question'
  readonly id: number
}
export interface ProbeAnswer extends IsolateState {
  readonly type: 'answer'
  readonly id: number
}

/**
 * State of one isolate after a collection. Pauses are counted since the last request; the collection of that request is
 * excluded.
 */
export interface IsolateState {
  readonly heapUsedBytes: number
  /** Since the start. */
  readonly allocatedBytes: number
  /** `gcMaxMs`: longest pause for garbage. `gcMs`: sum of all these pauses. */
  readonly gcMaxMs: number
  readonly gcMs: number
  /** Longest time in ms for which the event loop did not turn, for any reason. */
  readonly loopMaxMs: number
  readonly collections: ServerPauses['collections']
  readonly stops: readonly ThreadStop[]
}

interface IsolateProbe {
  /** Collects garbage and returns the state afterwards. */
  collect(): IsolateState
}

/**
 * True: nothing is sampled, because each sample wakes the thread. Answers then contain no pauses and no allocations.
 */
export const UNWATCHED = process.env['BENCH_UNWATCHED'] !== undefined

// Time in ms between two samples. The probe affects the thread that it measures: it wakes the thread at most 100 times
// a second.
const SAMPLE_MS = 20
const LOOP_SAMPLE_MS = 20

/** True: stops of the loop are listed. For this, the loop is sampled every 5 ms. */
const WATCHES_STOPS = process.env['BENCH_STOPS'] !== undefined
const GAP_SAMPLE_MS = 5
/** Maximum number of gaps and of collections. Further ones are left out. */
const GAPS_MAX = 1000
const COLLECTIONS_MAX = 20_000

interface Gap {
  readonly fromMs: number
  readonly toMs: number
}

/** @returns periods in which the loop did not turn, by `performance.now()`. The list grows as they occur */
function watchGaps(): Gap[] {
  const gaps: Gap[] = []
  let dueMs = performance.now() + GAP_SAMPLE_MS
  setInterval(() => {
    const nowMs = performance.now()
    if (nowMs - dueMs > STOP_MS_MIN && gaps.length < GAPS_MAX) gaps.push({ fromMs: dueMs, toMs: nowMs })
    dueMs = nowMs + GAP_SAMPLE_MS
  }, GAP_SAMPLE_MS).unref()
  return gaps
}

function stopsOf(gaps: readonly Gap[], collections: readonly Collection[]): readonly ThreadStop[] {
  const offsetMs = machineMs() - performance.now()
  return gaps.map((gap) => ({
    thread: threadId,
    fromMs: gap.fromMs + offsetMs,
    toMs: gap.toMs + offsetMs,
    reason: stopReason(gap, collections, 0),
  }))
}

/**
 * Does not use `process.memoryUsage()`, which also asks the kernel for the resident set. At 50 Hz this would take 2 %
 * of a worker.
 */
function heapUsedBytes(): number {
  return getHeapStatistics().used_heap_size
}

/**
 * Profiles this isolate from one request to the next, and writes the profiles to a folder. Without a folder it does
 * nothing.
 */
function profiler(): () => void {
  const folder = process.env['BENCH_PROFILE_DIR']
  if (folder === undefined) return () => undefined
  const session = new Session()
  session.connect()
  session.post('Profiler.enable')
  let runs = 0
  return () => {
    if (runs++ > 0) {
      session.post('Profiler.stop', (_error, result) => {
        writeFileSync(
          join(folder, `${process.pid}-thread${threadId}-${runs}.cpuprofile`),
          JSON.stringify(result.profile),
        )
      })
    }
    session.post('Profiler.start')
  }
}

/**
 * Observes the heap of this isolate every 20 ms. The allocated bytes are the sum of all increases. If a scavenge hides
 * an increase between two observations, the increase is missed. So the figure is a lower bound, which is accurate while
 * collections are rare.
 */
export function isolateProbe(): IsolateProbe {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const nextProfile = profiler()
  let allocatedBytes = 0
  let lastBytes = heapUsedBytes()
  const collections: Collection[] = []
  const gaps = WATCHES_STOPS ? watchGaps() : []
  onCollections((collection) => {
    if (collections.length < COLLECTIONS_MAX) collections.push(collection)
  })
  const loop = monitorEventLoopDelay({ resolution: LOOP_SAMPLE_MS })
  if (!UNWATCHED) {
    loop.enable()
    setInterval(() => {
      const bytes = heapUsedBytes()
      if (bytes > lastBytes) allocatedBytes += bytes - lastBytes
      lastBytes = bytes
    }, SAMPLE_MS).unref()
  }
  return {
    collect: () => {
      const pausesMs = collections.map(({ fromMs, toMs }) => toMs - fromMs)
      const pauses = {
        gcMaxMs: Math.max(0, ...pausesMs),
        gcMs: pausesMs.reduce((sum, ms) => sum + ms, 0),
        loopMaxMs: loop.max / 1e6,
        collections: collectionsBy((reason) => collections.filter((one) => one.reason === reason).length),
        stops: stopsOf(gaps, collections),
      }
      nextProfile()
      gc()
      lastBytes = heapUsedBytes()
      // The observer is notified of this collection only at the next turn of the loop.
      setTimeout(() => {
        collections.length = 0
        gaps.length = 0
        loop.reset()
      }, 100).unref()
      return { heapUsedBytes: lastBytes, allocatedBytes, ...pauses }
    },
  }
}

/**
 * Makes this worker thread answer the probe of its process.
 * @param collected  called after each collection. The collection has blocked the thread, so an echo may need to start
 * again
 */
export function answerProbe(collected: () => void = () => undefined): void {
  const probe = isolateProbe()
  const channel = new BroadcastChannel(PROBE_CHANNEL)
  channel.onmessage = (event) => {
    const message = (event as { data: ProbeQuestion | ProbeAnswer }).data
    if (message.type !== 'question') return
    channel.postMessage({ type: 'answer', id: message.id, ...probe.collect() } satisfies ProbeAnswer)
    collected()
  }
  channel.unref()
}
