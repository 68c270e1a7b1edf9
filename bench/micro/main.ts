import { endWithParent, optionsFromEnvironment, tellParent } from '../kit/process.js'
import { socketTimes } from './socket-step.js'
import { STEP_CALLS, makeSteps } from './steps.js'
import type { Step } from './steps.js'

/**
 * Measures the steps that run for every frame. It uses its own process, so that other work has not shaped the compiled
 * code or the heap.
 */

export interface MicroOptions {
  readonly rounds: number
  readonly roundMs: number
}

/** CPU time in µs for one frame of one call, for each round. */
export interface MicroTimes {
  readonly name: string
  readonly us: readonly number[]
  readonly heapBytesPerFrame: number | null
}

export interface FromMicro {
  readonly type: 'micro'
  readonly times: readonly MicroTimes[]
}

const WARM_UP_FRAMES = 300
const HEAP_FRAMES = 30

const options = optionsFromEnvironment<MicroOptions>('BENCH_MICRO')
const { rounds, roundMs } = options
endWithParent()
const steps = await makeSteps()
const times = new Map<string, number[]>()
for (const step of steps) for (let i = 0; i < WARM_UP_FRAMES; i++) step.frame()
// Each round measures all steps, so that a busy moment of the machine affects all of them equally.
for (let round = 0; round < rounds; round++) {
  for (const step of steps) times.set(step.name, [...(times.get(step.name) ?? []), timeOf(step)])
}
const alone = steps.map((step) => ({
  name: step.name,
  us: times.get(step.name) ?? [],
  heapBytesPerFrame: heapOf(step),
}))
tellParent({ type: 'micro', times: [...alone, ...(await socketTimes(options))] } satisfies FromMicro)

/** CPU time in µs. Elapsed time would include the time of other processes that use the core. */
function timeOf(step: Step): number {
  const untilMs = performance.now() + roundMs
  const before = process.cpuUsage()
  let frames = 0
  while (performance.now() < untilMs) {
    step.frame()
    frames++
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / (frames * STEP_CALLS)
}

/**
 * Heap in bytes that one frame of one call allocates: the median of some tries. A try during which a collection made
 * the heap smaller is left out.
 */
function heapOf(step: Step): number | null {
  const gc = (globalThis as { gc?: () => void }).gc
  if (gc === undefined) return null
  const tries: number[] = []
  for (let i = 0; i < 7; i++) {
    gc()
    const before = process.memoryUsage().heapUsed
    for (let frame = 0; frame < HEAP_FRAMES; frame++) step.frame()
    const bytes = process.memoryUsage().heapUsed - before
    if (bytes >= 0) tries.push(bytes / (HEAP_FRAMES * STEP_CALLS))
  }
  return tries.length === 0 ? null : (tries.toSorted((a, b) => a - b)[tries.length >> 1] ?? null)
}
