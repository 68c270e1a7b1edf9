import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { join } from 'node:path'
import { PerformanceObserver, monitorEventLoopDelay } from 'node:perf_hooks'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { BroadcastChannel, threadId } from 'node:worker_threads'

export const PROBE_CHANNEL = 'mkondo-bench-probe'

export interface ProbeQuestion {
  readonly type: 'question'
  readonly id: number
}
export interface ProbeAnswer extends IsolateState {
  readonly type: 'answer'
  readonly id: number
}

/** One isolate, after a collection; pauses are since the last one, and leave that one out. */
export interface IsolateState {
  readonly heapUsedBytes: number
  /** Since the start. */
  readonly allocatedBytes: number
  /** The longest pause for garbage, and all of them together. */
  readonly gcMaxMs: number
  readonly gcMs: number
  /** The longest time that the event loop did not turn, whatever held it. */
  readonly loopMaxMs: number
}

interface IsolateProbe {
  /** Collects garbage and says what is left. */
  collect(): IsolateState
}

/** Nothing is sampled, because each look wakes the thread: the answers have no pauses and no allocations. */
export const UNWATCHED = process.env['BENCH_UNWATCHED'] !== undefined

// A probe is part of what it measures: it wakes each thread 100 times a second, no more.
const SAMPLE_MS = 20
const LOOP_SAMPLE_MS = 20

/** `process.memoryUsage()` also asks the kernel for the resident set: at 50 Hz 2 % of a worker. */
function heapUsedBytes(): number {
  return getHeapStatistics().used_heap_size
}

/** Profiles this isolate from one question to the next, into a folder; with no folder it does nothing. */
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
 * Watches the heap of this isolate: what was allocated is the sum of its rises, looked at every 20 ms; a rise that a
 * scavenge swallowed in between is missed, so the figure is a lower bound, close while collections are rare.
 */
export function isolateProbe(): IsolateProbe {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const nextProfile = profiler()
  let allocatedBytes = 0
  let lastBytes = heapUsedBytes()
  let gcMaxMs = 0
  let gcMs = 0
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      gcMaxMs = Math.max(gcMaxMs, duration)
      gcMs += duration
    }
  }).observe({ entryTypes: ['gc'] })
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
      const pauses = { gcMaxMs, gcMs, loopMaxMs: loop.max / 1e6 }
      nextProfile()
      gc()
      lastBytes = heapUsedBytes()
      // The observer hears of this collection at the next turn of the loop.
      setTimeout(() => {
        gcMaxMs = 0
        gcMs = 0
        loop.reset()
      }, 100).unref()
      return { heapUsedBytes: lastBytes, allocatedBytes, ...pauses }
    },
  }
}

/**
 * Makes this worker thread answer the probe of its process.
 * @param collected called after each collection: it has held the thread up, and an echo may want to begin anew
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
