import type { CpuShare } from './kit/process.js'
import type { Percentiles } from './kit/histogram.js'
import type { Provenance } from './kit/machine.js'
import type { BackendFacts, Level, ServerPauses, Track, TruthFacts } from './protocol.js'

/** Version of the JSON that a run writes. */
export const RESULTS_VERSION = 3

export interface CaseOptions {
  readonly subject: string
  readonly level: Level
  readonly calls: number
  readonly workers: number
  /** Number of gateway processes on one port. */
  readonly processes: number
  /** Duration in ms of caller audio in one message to the backend; null for the subject's own value. */
  readonly messageMs: number | null
  readonly generators: number
  readonly seconds: number
  readonly seed: number
  /** True: memory is also measured with a quarter of the calls, which takes three seconds. */
  readonly memory: boolean
  /** Folder for V8 profiles of the server; null for no profiles. */
  readonly profileDir: string | null
  readonly pin: boolean
  /**
   * True: measures a gateway in the state after a long run. V8 has compiled the code that few calls use rarely, and the
   * bench does not watch pauses or the heap, so it does no work in the gateway's threads.
   */
  readonly steady: boolean
  /** True if the gateway's public port uses TLS. */
  readonly edgeTls: boolean
  /** Percentage of calls whose line sends our speech back, 20 dB softer and 180 ms later. */
  readonly lineEchoPercent: number
  /** Tracks that the carrier forks in the gateway's calls. */
  readonly track: Track
  /** One call in this number is judged by its audio, starting with the first; 1 to judge all calls. */
  readonly truthEvery: number
  /** Percentage of the time in which callers whose audio is not judged send audio. */
  readonly dutyPercent: number
  /** Maximum lateness of the generator in ms at p99. Above it the run is void. */
  readonly latenessMsMax: number
  /**
   * Set to measure where the CPU time goes. `perfFile`: file for the samples of perf; null without perf. `nodeOptions`:
   * options for Node.
   */
  readonly where?: { readonly perfFile: string | null; readonly nodeOptions: readonly string[] }
}

/**
 * `held`: the audio was correct and the generator was in time. `untrue`: the audio was wrong, so there are no figures
 * of speed. `void`: the generator was late, so the figures are caused by the generator. `failed`: calls could not be
 * opened, or a process died.
 */
type Verdict = 'held' | 'untrue' | 'void' | 'failed'

export interface CaseResult {
  readonly options: CaseOptions
  readonly verdict: Verdict
  /** Reasons why the verdict is not `held`. */
  readonly reasons: readonly string[]
  readonly callsOpen: number
  /** Only when held. */
  readonly speed: Speed | null
  readonly memory: MemoryOfCase | null
  readonly truth: TruthFacts | null
  readonly backend: BackendFacts | null
  /** Longest pauses of the server during the measurement. They show whether the server caused a stall. */
  readonly pauses: ServerPauses | null
  /** Server's process and measured period by `CLOCK_MONOTONIC`. Set if the bench measures where the CPU time goes. */
  readonly window?: { readonly pid: number; readonly fromMs: number; readonly toMs: number }
  /** Lateness of the generator. */
  readonly lateness: Percentiles | null
}

export interface Speed {
  readonly server: CpuShare
  readonly generatorCores: number
  readonly backendCores: number
  /** CPU time of the server (all threads, all processes) in ms per call and second. */
  readonly cpuMsPerCallSecond: number
  /**
   * CPU time of the server's main thread in ms per call and second. With several processes, it is the time of the
   * busiest main thread times the number of processes.
   */
  readonly mainMsPerCallSecond: number
  /** CPU time of the server in µs per frame that was received and sent back. */
  readonly cpuUsPerFrame: number
  readonly framesPerSecond: number
  readonly addedMs: Percentiles | null
  readonly wholeMs: Percentiles | null
  /** `addedMs` as an HDR histogram in µs, which can be merged or plotted. */
  readonly addedHdr: string
  readonly gapMs: Percentiles | null
  readonly stopMs: Percentiles | null
  readonly stopHdr: string
  readonly heldMs: Percentiles | null
  readonly bargeIns: {
    readonly tried: number
    readonly stopped: number
    readonly cleared: number
    readonly resumed: number
  }
  readonly heapBytesPerFrame: { readonly main: number; readonly workers: number } | null
}

export interface MemoryPoint {
  readonly calls: number
  readonly rssBytes: number
  readonly heapUsedBytes: number
}

export interface MemoryOfCase {
  readonly points: readonly MemoryPoint[]
  /**
   * Increase of the RSS per call between the second point (a quarter of the calls) and the last point; null with fewer
   * points.
   */
  readonly bytesPerCall: number | null
}

/** A gateway without calls. */
export interface IdleResult {
  /** Backend of its agent. */
  readonly backend: string
  readonly rssBytes: number
  /** CPU time of all threads. */
  readonly cpuMsPerSecond: number
}

export interface Capacity {
  readonly subject: string
  readonly level: Level
  readonly workers: number
  readonly processes: number
  /** Highest number of calls with correct audio and a p99 of the added latency below `limitMs`. */
  readonly calls: number
  readonly limitMs: number
  /** Reason why the next step failed. */
  readonly beyond: string
  readonly steps: readonly CaseResult[]
  /** Result of the same subject with 80 % of the capacity. */
  readonly at80: CaseResult | null
}

export interface MicroResult {
  readonly name: string
  readonly unit: string
  /** CPU time in µs for one unit of work. */
  readonly usP50: number
  readonly usMin: number
  readonly usMax: number
  readonly framesPerSecondPerCore: number
  readonly heapBytesPerFrame: number | null
  readonly peer: boolean
}

export interface Check {
  readonly name: string
  readonly wanted: string
  readonly measured: string
  readonly ok: boolean | null
}

export interface BenchResults {
  readonly version: typeof RESULTS_VERSION
  readonly provenance: Provenance
  readonly micro: readonly MicroResult[]
  readonly cases: readonly CaseResult[]
  readonly capacities: readonly Capacity[]
  readonly scale: readonly Capacity[]
  /** Results of the gateway at L2, for each length of its messages to the backend. */
  readonly messages: readonly CaseResult[]
  readonly idle: readonly IdleResult[]
  /** Results of the gateway with 500, 1,000 and 2,000 calls. They show how the cost grows. */
  readonly growth: readonly CaseResult[]
  /**
   * Results of the gateway at L2-prod with two small numbers of calls. From these the cost without calls is calculated.
   */
  readonly few: readonly CaseResult[]
  /** Notes for the user about all runs, for example the number of calls that held instead of the requested number. */
  readonly notes: readonly string[]
  readonly skipped: readonly { readonly name: string; readonly why: string }[]
  readonly checks: readonly Check[]
}
