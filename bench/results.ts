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
  /** Gateway processes on one port. */
  readonly processes: number
  /** Caller audio in one message to the backend; null for what the subject takes. */
  readonly messageMs: number | null
  readonly generators: number
  readonly seconds: number
  readonly seed: number
  /** Also measure memory at a quarter of the calls: costs three seconds. */
  readonly memory: boolean
  /** Folder for V8 profiles of the server; null for none. */
  readonly profileDir: string | null
  readonly pin: boolean
  /**
   * As a gateway is that has run for a while, and with nothing of the bench in its threads: V8 has compiled what few calls
   * heat up slowly, and neither pauses nor the heap are watched.
   */
  readonly steady: boolean
  /** The gateway's public port speaks TLS. */
  readonly edgeTls: boolean
  /** Share of the calls whose line gives our speech back, 20 dB softer and 180 ms later. */
  readonly lineEchoPercent: number
  /** Tracks that the carrier forks of the gateway's calls. */
  readonly track: Track
  /** The audio of one call in this number is judged, from the first on; 1 for all. */
  readonly truthEvery: number
  /** Share of the time in which callers whose audio is not judged send. */
  readonly dutyPercent: number
  /** Over this lateness of the generator at p99 the run is void. */
  readonly latenessMsMax: number
}

/**
 * `held`: the audio is true and the generator kept its time. `untrue`: it is not, and there is no speed to speak of.
 * `void`: the generator was late, so the figures are its own. `failed`: calls could not be opened or a process died.
 */
type Verdict = 'held' | 'untrue' | 'void' | 'failed'

export interface CaseResult {
  readonly options: CaseOptions
  readonly verdict: Verdict
  /** Why it is not `held`. */
  readonly reasons: readonly string[]
  readonly callsOpen: number
  /** Only when held. */
  readonly speed: Speed | null
  readonly memory: MemoryOfCase | null
  readonly truth: TruthFacts | null
  readonly backend: BackendFacts | null
  /** The server's longest pauses while it was measured: whose stall it was, if there was one. */
  readonly pauses: ServerPauses | null
  /** How late the generator was. */
  readonly lateness: Percentiles | null
}

export interface Speed {
  readonly server: CpuShare
  readonly generatorCores: number
  readonly backendCores: number
  /** Milliseconds of CPU of the server, all threads (and all processes), per call and second. */
  readonly cpuMsPerCallSecond: number
  /** The same of its main thread alone; of the busiest, times their number, where there are several processes. */
  readonly mainMsPerCallSecond: number
  /** Microseconds of CPU of the server per frame that came and went. */
  readonly cpuUsPerFrame: number
  readonly framesPerSecond: number
  readonly addedMs: Percentiles | null
  readonly wholeMs: Percentiles | null
  /** The same as HDR histogram in microseconds, for whoever wants to merge or plot it. */
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
  /** RSS per call between the second point (a quarter of the calls) and the last; null with fewer points. */
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
  /** Most calls with p99 added latency under `limitMs` and true audio. */
  readonly calls: number
  readonly limitMs: number
  /** Reason for which the next step failed. */
  readonly beyond: string
  readonly steps: readonly CaseResult[]
  /** The same subject at 80 % of the capacity. */
  readonly at80: CaseResult | null
}

export interface MicroResult {
  readonly name: string
  readonly unit: string
  /** Microseconds for one unit of work. */
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
  /** The gateway at L2 with each length of its messages to the backend. */
  readonly messages: readonly CaseResult[]
  readonly idle: readonly IdleResult[]
  /** The gateway with 500, 1,000 and 2,000 calls: how the cost grows. */
  readonly growth: readonly CaseResult[]
  /** The gateway at L2-prod with two small numbers of calls, for what one without them would cost. */
  readonly few: readonly CaseResult[]
  /** Notes for the user on the runs as a whole: what held in place of what was asked for. */
  readonly notes: readonly string[]
  readonly skipped: readonly { readonly name: string; readonly why: string }[]
  readonly checks: readonly Check[]
}
