import type { Clock } from '../../core/clock.js'
import { CgroupWatch } from '../../telemetry/cgroup.js'
import type { FrameHistogram } from '../../telemetry/frame-histogram.js'
import type { Log } from '../../telemetry/log.js'
import { LoadGate } from './load-gate.js'
import type { LoadSample, Overload } from './load-gate.js'

/** How often a process measures its load, to refuse calls while it has too much. */
const LOAD_SAMPLE_MS = 1000
/** A tick that begins this late counts as late: two frames, of a lead that is 100 ms or more. */
const TICK_LATE_MS = 40

/** How late the ticks of one thread began, and how long each took. */
export interface TickHistograms {
  readonly lateness: FrameHistogram
  readonly busy: FrameHistogram
}

interface LoadWatchOptions {
  /** Histograms of each thread that carries calls. */
  readonly ticks: readonly TickHistograms[]
  readonly clock: Clock
  readonly log: Log
  /** Limits of this process; tests give their own. */
  readonly cgroup?: Pick<CgroupWatch, 'cpu' | 'memory' | 'look'>
}

/** Measures the load of this process once a second, until it is closed, and says whether it takes more calls. */
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

  /** Why no more calls are taken; null when they are. */
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
      // The process's own memory where the group's figure is smaller: the limit may be that of a group above.
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
