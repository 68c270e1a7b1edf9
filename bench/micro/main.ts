import { endWithParent, optionsFromEnvironment, tellParent } from '../kit/process.js'
import { socketTimes } from './socket-step.js'
import { STEP_CALLS, makeSteps } from './steps.js'
import type { Step } from './steps.js'

/** Times the hot steps, in a process of its own so that nothing else has shaped the code or the heap. */

export interface MicroOptions {
  readonly rounds: number
  readonly roundMs: number
}

/** Microseconds for one call's frame, by round. */
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
// Rounds over all steps: a busy moment of the machine meets all alike.
for (let round = 0; round < rounds; round++) {
  for (const step of steps) times.set(step.name, [...(times.get(step.name) ?? []), timeOf(step)])
}
const alone = steps.map((step) => ({
  name: step.name,
  us: times.get(step.name) ?? [],
  heapBytesPerFrame: heapOf(step),
}))
tellParent({ type: 'micro', times: [...alone, ...(await socketTimes(options))] } satisfies FromMicro)

/** CPU time and not the clock's: another process that takes the core is no cost of the step. */
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

/** Heap that one frame of one call allocates; the least of a few tries, as a collection in between would hide some. */
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
