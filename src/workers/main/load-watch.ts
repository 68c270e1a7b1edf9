import type { Clock } from '../../core/clock.js'
import { CgroupWatch } from '../../telemetry/cgroup.js'
import type { FrameHistogram } from '../../telemetry/frame-histogram.js'
import type { Log } from '../../telemetry/log.js'
import { LoadGate } from './load-gate.js'
import type { LoadSample, Overload } from './load-gate.js'

/** Time in ms between two measurements of the process's load. */
const LOAD_SAMPLE_MS = 1000
/** Minimum lateness in ms of a tick that counts as late: two frames. Playout has a lead of 100 ms or more. */
const TICK_LATE_MS = 40

/** Histograms of one thread's ticks: how late each tick began, and how long it lasted. */
export interface TickHistograms {
  readonly lateness: FrameHistogram
  readonly busy: FrameHistogram
}

interface LoadWatchOptions {
  /** Histograms of each thread that carries calls. */
  readonly ticks: readonly TickHistograms[]
  readonly clock: Clock
  readonly log: Log
  /** CPU and memory limits of this process; tests give their own. */
  readonly cgroup?: Pick<CgroupWatch, 'cpu' | 'memory' | 'look'>
}

/** Measures the load of this process once a second until `close`, and decides if the process takes more calls. */
export class LoadWatch {
  readonly #gate = new LoadGate()
  readonly #options: LoadWatchOptions
  readonly #cgroup: Pick<CgroupWatch, 'cpu' | 'memory' | 'look'>
  readonly #threads
  readonly #timer: NodeJS.Timeout
  #sampledAtMs: number
  #throttledBefore: { readonly periods: number; readonly throttledPeriods: number } | null = null
  #before: Overload | null = null

  constructor(options: LoadWatchOptions) {
    this.#options = options
    this.#cgroup = options.cgroup ?? new CgroupWatch()
    this.#threads = options.ticks.map(({ lateness, busy }) => ({ lateness: lateness.reader(), busy: busy.reader() }))
    this.#sampledAtMs = options.clock()
    this.#timer = setInterval(() => void this.sample(), LOAD_SAMPLE_MS).unref()
  }

  /** The reason why no more calls are taken; null if they are taken. */
  get overload(): Overload | null {
    return this.#gate.overload
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** Takes one sample. Never rejects. */
  async sample(): Promise<void> {
    await this.#cgroup.look()
    const sample = this.#sampleNow()
    this.#gate.handle(sample)
    const { overload } = this
    if (overload === this.#before) return
    this.#before = overload
    const { log } = this.#options
    if (overload === null) log.info({ ...sample }, 'calls are accepted again')
    else log.warn({ overload, ...sample }, 'new calls are refused: the process is overloaded')
  }

  #sampleNow(): LoadSample {
    const nowMs = this.#options.clock()
    const elapsedMs = Math.max(1, nowMs - this.#sampledAtMs)
    this.#sampledAtMs = nowMs
    const threads = this.#threads.flatMap(({ lateness, busy }) => {
      const busyMs = busy.take(() => undefined) / 1000
      let ticks = 0
      let late = 0
      lateness.take((topUs, count) => {
        ticks += count
        if (topUs >= TICK_LATE_MS * 1000) late += count
      })
      return ticks === 0 ? [] : [{ slack: Math.max(0, 1 - busyMs / elapsedMs), late: late / ticks }]
    })
    const { memory } = this.#cgroup
    return {
      tickSlack: threads.length === 0 ? null : Math.min(...threads.map(({ slack }) => slack)),
      ticksLate: threads.length === 0 ? null : Math.max(...threads.map(({ late }) => late)),
      // The limit may belong to a parent cgroup, and this cgroup's usage may be only a part of the parent's usage. So
      // the larger value is used.
      memoryUsed: memory === null ? null : Math.max(memory.usedBytes, process.memoryUsage.rss()) / memory.limitBytes,
      throttled: this.#throttledShare(),
    }
  }

  #throttledShare(): number | null {
    const { cpu } = this.#cgroup
    const before = this.#throttledBefore
    this.#throttledBefore = cpu
    if (cpu === null || before === null) return null
    const periods = cpu.periods - before.periods
    return periods <= 0 ? null : (cpu.throttledPeriods - before.throttledPeriods) / periods
  }
}
