import { fileURLToPath } from 'node:url'
import type { TransferListItem } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { assert } from '../../core/assert.js'
import type { Clock } from '../../core/clock.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { CALLS_PER_WORKER_MAX, WORKER_WATCH_MS } from '../../core/limits.js'
import { homeCountry } from '../../sautikit/phone.js'
import { FrameHistogram } from '../../telemetry/frame-histogram.js'
import { LookupCounts } from '../../http/name-lookup.js'
import type { Log } from '../../telemetry/log.js'
import type { Metrics } from '../../telemetry/metrics.js'
import { SlowestFrame } from '../../telemetry/slowest-frame.js'
import type { TickHistograms } from './load-watch.js'
import type { CallEnd, CallStart } from '../shared/call-messages.js'
import { SocketsRead, makeWorkerMemories, releaseWorkerMemory, workersWithMemory } from '../shared/worker-memory.js'
import { processorWaitMs } from '../shared/processor-wait.js'
import type { WorkerData, WorkerMemories, WorkerPulse } from '../shared/worker-memory.js'
import { WORKER_DEATH_CAUSES, WorkerLostError, WorkerWatchdog, deathCause, partsOf, whoRan } from './worker-watchdog.js'
import type { CarriedCall, WorkerVerdict } from './worker-watchdog.js'

/**
 * Size of V8's young generation in a media worker. Most objects of a call live for one tick only. So frequent
 * collections cost nothing extra, and they free socket buffers outside the heap sooner. Measured with 60 calls (bench
 * L2): each call needs 145 KB, and pauses stay under 1 ms. With V8's default of 48 MB, each call needs 260 KB, and
 * pauses last 6.5 ms.
 */
const WORKER_YOUNG_HEAP_MB = 6
/**
 * Maximum number of workers for lone calls: each carries one suspected call. They start only when a call is suspected.
 * If all are in use, a further suspect goes to a shared worker.
 */
const LONE_WORKERS_MAX = 4
/** Time in ms that a worker for lone calls stays after its call, for the next suspected call. */
const LONE_WORKER_IDLE_MS = 5000

type PiscinaOptions = NonNullable<ConstructorParameters<typeof Piscina>[0]>

/** Live calls of a pool, as its main-thread code reads them. */
export interface PoolCalls {
  /** Maximum number of live calls, over all workers. */
  readonly maxCalls: number
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /** The live calls by SID. */
  readonly calls: ReadonlyMap<string, PooledCall>
}

/**
 * Media workers of this process, which share all calls. A call suspected of a worker's death gets its own worker. The
 * pool ends workers that its watchdog names, and finds the call whose code ran there. The pool never refuses a call,
 * because piscina queues tasks. So the capacity must be checked before `run`.
 */
export class MediaPool {
  readonly #options: MediaPoolOptions & PoolCalls
  readonly #shared: WorkerGroup
  /** Workers that carry one call each. */
  readonly #lone: WorkerGroup
  readonly #groups: readonly WorkerGroup[]
  readonly #watch: NodeJS.Timeout
  readonly #metricSources: (() => void)[] = []
  /** Time up to which the main thread has read the sockets. The main thread's tick writes it. */
  readonly socketsRead = new SocketsRead()
  /** Errors with which the calls of a dead worker will be rejected, by the call's ordinal. */
  readonly #losses = new Map<number, WorkerLostError>()
  /** Number of live calls that have a worker of their own. */
  #alone = 0
  #closed = false

  constructor(options: MediaPoolOptions & PoolCalls) {
    const { workers, maxCalls, workerData, workerEnv, metrics, log } = options
    assert(maxCalls <= workers * CALLS_PER_WORKER_MAX, 'more calls than the workers may carry')
    this.#options = options
    const lookups = new LookupCounts()
    const open = (count: number, label: (index: number) => number | 'lone', limits: PiscinaOptions): WorkerGroup => {
      const memories = makeWorkerMemories(count)
      const group = new WorkerGroup(
        {
          filename: fileURLToPath(new URL('../worker/start-call-worker.js', import.meta.url)),
          // An idle worker must not sleep in Atomics.wait: its tick and its sockets would stop.
          atomics: 'disabled',
          // Without this option, a worker would get the loaders of a test runner, and would start in 0.7 s instead of
          // 0.1 s.
          execArgv: [],
          ...(workerEnv === undefined ? {} : { env: workerEnv }),
          resourceLimits: {
            maxYoungGenerationSizeMb: WORKER_YOUNG_HEAP_MB,
            maxOldGenerationSizeMb: workerData.memoryMb,
          },
          recordTiming: false,
          workerData: {
            ...workerData,
            country: homeCountry(),
            memories,
            lookups: lookups.memory,
            socketsRead: this.socketsRead.memory,
          } satisfies WorkerData,
          ...limits,
        },
        memories,
        workerData.memoryMb * 1024 * 1024,
      )
      group.pool.on('error', (thrown) => log.error({ err: thrown }, 'a media worker without calls failed'))
      // Runs after the rejections of the worker's tasks, because the rejections carry the error.
      group.pool.on('workerDestroy', () => setImmediate(() => this.#workersGone(null)))
      memories.memories.forEach((memory, index) =>
        this.#metricSources.push(
          metrics.tickLatenessFrom(label(index), new FrameHistogram(memory.tickLateness)),
          metrics.tickBusyFrom(label(index), new FrameHistogram(memory.tickBusy)),
          metrics.loopStopsFrom(label(index), memory.loopStops),
          metrics.frameLatencyFrom(
            'in',
            new FrameHistogram(memory.latencyIn),
            this.#slowest(new SlowestFrame(memory.slowestIn)),
          ),
          metrics.frameLatencyFrom('out', new FrameHistogram(memory.latencyOut)),
        ),
      )
      return group
    }
    this.#shared = open(workers, (index) => index, {
      minThreads: workers,
      maxThreads: workers,
      // Each worker may carry all calls, because the other workers take the calls of a dead worker. `maxCalls` limits
      // the number of calls.
      concurrentTasksPerWorker: maxCalls + 1,
      idleTimeout: Infinity,
    })
    this.#lone = open(LONE_WORKERS_MAX, () => 'lone', {
      minThreads: 0,
      maxThreads: LONE_WORKERS_MAX,
      concurrentTasksPerWorker: 1,
      idleTimeout: LONE_WORKER_IDLE_MS,
    })
    this.#groups = [this.#shared, this.#lone]
    this.#metricSources.push(
      metrics.workers.from({ pool: 'media' }, () => this.threads.length),
      metrics.callsAlone.from(() => this.#alone),
      metrics.nameLookupsFrom(lookups.all),
    )
    metrics.workerDeaths({ pool: 'media' })
    for (const cause of WORKER_DEATH_CAUSES) metrics.mediaWorkerEnds({ cause })
    this.#watch = setInterval(() => this.#lookAtWorkers(), WORKER_WATCH_MS).unref()
  }

  /** Resolves when every worker has loaded its modules, so that the first call does not wait for them. */
  async ready(): Promise<void> {
    // The least busy worker gets the next task. So each worker gets one of these empty tasks (null).
    await Promise.all(Array.from({ length: this.#options.workers }, () => this.#shared.run(null, [])))
  }

  /** Ticks of each worker that gets new calls. */
  get ticks(): readonly TickHistograms[] {
    return this.#shared.ticks
  }

  /** The workers that are alive; workers for lone calls come last. */
  get threads(): Piscina['threads'] {
    return this.#groups.flatMap(({ pool }) => pool.threads)
  }

  /**
   * Runs a call on the least loaded worker. With `alone`, it runs on a worker without other calls if possible.
   * @throws WorkerLostError if the worker dies
   */
  async run(start: CallStart, transfer: readonly TransferListItem[], alone: boolean): Promise<CallEnd> {
    if (this.#closed) throw new GatewayError('DRAINING', 'the media workers are closed')
    const lone = alone && this.#alone < LONE_WORKERS_MAX
    if (alone && !lone)
      this.#options.log.warn({ call_sid: start.callSid }, 'a suspect call shares a worker: no separate worker is free')
    if (lone) this.#alone++
    try {
      const end = await (lone ? this.#lone : this.#shared).run(start, transfer)
      assert(end !== null, 'a call was answered as a probe')
      return end
    } catch (thrown) {
      this.#workersGone(thrown)
      const loss = this.#losses.get(start.ordinal)
      this.#losses.delete(start.ordinal)
      // The pool did not note a loss for this call, so the worker died before it had started the call.
      throw loss ?? new WorkerLostError(messageOf(thrown), 'bystander', null, thrown)
    } finally {
      if (lone) this.#alone--
    }
  }

  /** Ends all workers; calls that are still live are lost. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#watch)
    for (const remove of this.#metricSources) remove()
    await Promise.all(this.#groups.map(({ pool }) => pool.destroy()))
  }

  /** Finds a call for an exemplar in the metrics. The call should still be live. */
  #slowest(frame: SlowestFrame): () => { callSid: string; ms: number } | null {
    return () => {
      const slowest = frame.take()
      return slowest === null || !this.#options.calls.has(slowest.callSid) ? null : slowest
    }
  }

  #lookAtWorkers(): void {
    const nowMs = this.#options.clock()
    for (const group of this.#groups) group.look(nowMs)
  }

  /**
   * Finds, once for each dead worker, the call whose code ran there. Notes the error for each of the worker's calls.
   */
  #workersGone(thrown: unknown): void {
    if (this.#closed) return
    for (const group of this.#groups) {
      for (const worker of group.dead()) {
        const carried = [...this.#options.calls.values()].filter((call) => call.workerThread === worker.thread)
        // A worker for lone calls ends by itself when it is idle.
        if (group === this.#shared || carried.length > 0) this.#workerDied(worker, carried, thrown)
        group.release(worker)
      }
    }
  }

  #workerDied({ thread, pulse, verdict }: DeadWorker, carried: readonly CarriedCall[], thrown: unknown): void {
    const cause = verdict?.cause ?? deathCause(thrown)
    const parts = partsOf(carried, whoRan(cause, pulse, verdict))
    const suspect = carried.find((call) => parts.get(call.ordinal) === 'suspect')?.callSid ?? null
    const why = verdict?.why ?? messageOf(thrown ?? 'ended without an error')
    for (const [call, part] of parts)
      this.#losses.set(call, new WorkerLostError(`its media worker ended (${why})`, part, suspect, thrown))
    const { metrics, log } = this.#options
    metrics.workerDeaths({ pool: 'media' }).inc()
    metrics.mediaWorkerEnds({ cause }).inc()
    log.error(
      {
        thread,
        cause,
        why,
        calls: carried.length,
        ...(suspect === null ? {} : { call_sid: suspect }),
        err: thrown ?? undefined,
      },
      'a media worker died',
    )
  }
}

interface MediaPoolOptions {
  /** Number of media worker threads. */
  readonly workers: number
  /** `memoryMb`: limit of one worker's heap, and of its memory outside the heap. */
  readonly workerData: Omit<WorkerData, 'memories' | 'lookups' | 'socketsRead' | 'country'>
  /**
   * Environment variables of the workers (`process.env`), which the agents' own code can read. If absent, the workers
   * get this process's environment.
   */
  readonly workerEnv?: Readonly<Record<string, string>>
}

/** Group of workers with equal limits. It has a piscina pool, the shared memory of its workers, and their watchdog. */
class WorkerGroup {
  readonly pool: Piscina<CallStart | null, CallEnd | null>
  readonly #memories: WorkerMemories
  readonly #watchdog: WorkerWatchdog
  /** Workers that the watchdog ends, by thread. */
  readonly #verdicts = new Map<number, WorkerVerdict>()

  constructor(options: PiscinaOptions, memories: WorkerMemories, memoryBytes: number) {
    this.pool = new Piscina<CallStart | null, CallEnd | null>(options)
    this.#memories = memories
    this.#watchdog = new WorkerWatchdog(memoryBytes, {
      rssBytes: () => process.memoryUsage.rss(),
      waitedMs: processorWaitMs,
    })
  }

  get ticks(): readonly TickHistograms[] {
    return this.#memories.memories.map(({ tickLateness, tickBusy }) => ({
      lateness: new FrameHistogram(tickLateness),
      busy: new FrameHistogram(tickBusy),
    }))
  }

  run(start: CallStart | null, transfer: readonly TransferListItem[]): Promise<CallEnd | null> {
    return this.pool.run(start, { transferList: [...transfer] })
  }

  /** Ends the workers that the watchdog names. Piscina rejects their tasks and starts new workers. */
  look(nowMs: number): void {
    for (const verdict of this.#watchdog.look(nowMs, workersWithMemory(this.#memories))) {
      const worker = this.pool.threads.find(({ threadId }) => threadId === verdict.thread)
      if (worker === undefined) continue
      this.#verdicts.set(verdict.thread, verdict)
      void worker.terminate()
    }
  }

  /** Workers that died and whose memory is not released yet. */
  dead(): DeadWorker[] {
    const alive = new Set(this.pool.threads.map(({ threadId }) => threadId))
    return workersWithMemory(this.#memories)
      .filter(({ thread }) => !alive.has(thread))
      .map(({ thread, pulse }) => ({ thread, pulse, verdict: this.#verdicts.get(thread) ?? null }))
  }

  release({ thread, pulse }: DeadWorker): void {
    this.#verdicts.delete(thread)
    releaseWorkerMemory(this.#memories, thread, pulse)
  }
}

interface PooledCall extends CarriedCall {
  /** Thread id of the worker that runs the call's task, even if that worker has just died; 0 if there is no worker. */
  readonly workerThread: number
}

/** A worker that died. It has a verdict if the watchdog ended it. */
interface DeadWorker {
  readonly thread: number
  readonly pulse: WorkerPulse
  readonly verdict: WorkerVerdict | null
}
