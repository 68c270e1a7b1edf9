import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { BroadcastChannel, threadId } from 'node:worker_threads'

export const PROBE_CHANNEL = 'mkondo-bench-probe'

export interface ProbeQuestion { readonly type: 'question'; readonly id: number }
export interface ProbeAnswer { readonly type: 'answer'; readonly id: number; readonly heapUsedBytes: number; readonly allocatedBytes: number }

export interface IsolateProbe {
  /** Collects garbage and says what is left. */
  collect(): { readonly heapUsedBytes: number; readonly allocatedBytes: number }
}

const SAMPLE_MS = 20

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
        writeFileSync(join(folder, `${process.pid}-thread${threadId}-${runs}.cpuprofile`), JSON.stringify(result.profile))
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
  let lastBytes = process.memoryUsage().heapUsed
  setInterval(() => {
    const bytes = process.memoryUsage().heapUsed
    if (bytes > lastBytes) allocatedBytes += bytes - lastBytes
    lastBytes = bytes
  }, SAMPLE_MS).unref()
  return {
    collect: () => {
      nextProfile()
      gc()
      lastBytes = process.memoryUsage().heapUsed
      return { heapUsedBytes: lastBytes, allocatedBytes }
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
