import { fileURLToPath } from 'node:url'
import type { MessagePort, TransferListItem } from 'node:worker_threads'
import { LRUCache } from 'lru-cache'
import type { Environment } from '../agents/environment.js'
import { VerificationLocks } from '../agents/verification-lock.js'
import type { AfterStream } from '../escalation/escalation.js'
import type { Handoff } from '../call/events.js'
import type { CallRecord, CarrierDetail } from '../call/record.js'
import type { SpeechPool } from '../speech/speech-pool.js'
import { MODULE_PREFIX } from '../backends/registry.js'
import type { BackendSettings } from '../backends/registry.js'
import { assert, assertNever } from '../core/assert.js'
import type { Clock, WallClock } from '../core/clock.js'
import { GatewayError, messageOf } from '../core/errors.js'
import type { CallSid } from '../core/ids.js'
import {
  CALLS_PER_WORKER_MAX, ENDED_CALLS_KEPT, KNOWN_CALLS_KEPT, LONE_WORKERS_MAX, LONE_WORKER_IDLE_MS, PLAYOUT_TICK_PHASE_MS, TICK_MS,
  WORKER_WATCH_MS, WORKER_YOUNG_HEAP_MB,
} from '../core/limits.js'
import type { CallSeries } from '../telemetry/call-series.js'
import type { Log } from '../telemetry/log.js'
import { FrameHistogram } from '../telemetry/frame-histogram.js'
import { redactRecord } from '../telemetry/archive/redaction.js'
import type { TranscriptPolicy } from '../telemetry/archive/redaction.js'
import type { Metrics } from '../telemetry/metrics.js'
import { SlowestFrame } from '../telemetry/slowest-frame.js'
import type { TraceExport } from '../telemetry/trace-export.js'
import { AfterStreamBehaviour } from './after-stream-behaviour.js'
import type { JournalKept } from './call-journal.js'
import { BackendBooks } from './backend-books.js'
import type { BackendView } from './backend-books.js'
import type { HandoffNews } from './handoff-post.js'
import { CallMemoryPool } from './call-memory.js'
import type { CallEnd, CallStart } from './call-messages.js'
import type { CarrierControl, HostContext, HostedAgent, OpenCallRecords, RecordCall } from './host-context.js'
import { HostedCall } from './hosted-call.js'
import type { AgentFacts, CallDirectory, LiveCall, NewCall } from './live-call.js'
import type { MediaAssets } from './media-assets.js'
import { MediaPool } from './media-pool.js'
import type { DeadWorker, PoolOptions } from './media-pool.js'
import { makeShardSeats } from './shard-seats.js'
import type { ShardSeats, ShardWorkerData } from './shard-seats.js'
import { endReasonSchema } from './record-format.js'
import { Ticker } from './ticker.js'
import { WORKER_DEATH_CAUSES, WorkerLostError, partsOf } from './worker-loss.js'
import type { WorkerDeathCause } from './worker-loss.js'
import { NO_CALL } from './worker-pulse.js'
import type { WorkerPulse } from './worker-pulse.js'
import type { WorkerVerdict } from './worker-watch.js'

export interface CallHostOptions {
  readonly agents: ReadonlyMap<string, HostedAgent>
  readonly defaultAgent: string | null
  /** Media worker threads. */
  readonly workers: number
  /** Calls at once, over all workers. */
  readonly maxCalls: number
  /** Bound of one media worker's heap, and of what it holds outside of it. */
  readonly workerMemoryMb: number
  readonly assets: MediaAssets
  /** Variables that tool templates may read. */
  readonly env: Environment
  /** `process.env` of the media workers; this process's own when absent. Only what code of the agents' may see belongs in it. */
  readonly workerEnv?: Readonly<Record<string, string>>
  /** Keys, addresses and models of the backends. */
  readonly backends: BackendSettings
  readonly speech: SpeechPool | null
  readonly carrier: CarrierControl | null
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly log: Log
  readonly metrics: Metrics
  readonly callSeries: CallSeries
  /** Where ended calls go as spans; absent or null for nowhere. */
  readonly traces?: TraceExport | null
  /** Gets the journal of each call, a few lines at a time; null keeps none. */
  readonly keepJournal: ((callSid: CallSid, lines: readonly string[]) => void) | null
  readonly journal: JournalKept
  /** Where recordings of calls go; absent or null: nowhere. */
  readonly record?: RecordCall | null
  /** What records hold of numbers and words; masked numbers and all words when absent. */
  readonly privacy?: RecordPrivacy
  /** Records of an earlier run, oldest first: their calls are known, and shown. */
  readonly ended?: readonly CallRecord[]
  /** What the carrier does after a stream, where it is known; learnt when absent or null. */
  readonly afterStream?: AfterStream | null
  /** Gets what a human is told of a caller, and how it goes on; before the stream ends. */
  readonly onHandoff?: (news: HandoffNews) => void
  /** What is written down of live calls, as it may be kept; absent or null: nothing. */
  readonly openRecords?: OpenCallRecords | null
  /** Told of each call that has ended. */
  readonly onRecord: (record: CallRecord) => void
}

export interface RecordPrivacy {
  readonly maskNumbers: boolean
  readonly transcript: TranscriptPolicy
}

/** How long a call that was asked to end may take before it is ended by force. */
const FORCE_AFTER_MS = 8000

/**
 * All calls of this process. Owns the pool of media workers and counts its slots itself: piscina would keep a task
 * it refused and run it later, as the ghost of a call.
 */
export class CallHost implements CallDirectory {
  readonly defaultAgent: string | null
  readonly capacity: number
  readonly #options: CallHostOptions
  readonly #log: Log
  readonly #pool: MediaPool
  /** Workers of calls that are suspected of a worker's death: one call each. */
  readonly #lonePool: MediaPool
  readonly #calls = new Map<string, HostedCall>()
  readonly #ended: LRUCache<string, CallRecord>
  readonly #handoffs: LRUCache<string, Handoff>
  readonly #afterStream: AfterStreamBehaviour
  readonly #locks: VerificationLocks
  readonly #known: LRUCache<string, true>
  readonly #ticker: Ticker
  readonly #backendBooks = new BackendBooks()
  readonly #context: HostContext
  readonly #letGo: (() => void)[] = []
  /** Of the playout tick on this thread. */
  readonly #tickLateness = new FrameHistogram()
  readonly #tickBusy = new FrameHistogram()
  readonly #watch: NodeJS.Timeout
  /** What is said to the calls of a worker that is gone, by their numbers, until each has asked. */
  readonly #losses = new Map<number, WorkerLostError>()
  #tasks = 0
  /** Calls on workers of their own. */
  #lone = 0
  #numbered = NO_CALL
  #draining = false
  #closed = false
  #drained: (() => void) | null = null

  constructor(options: CallHostOptions) {
    assert(options.maxCalls <= options.workers * CALLS_PER_WORKER_MAX, 'more calls than the workers may carry')
    this.#options = options
    this.#log = options.log
    this.defaultAgent = options.defaultAgent
    this.capacity = options.maxCalls
    this.#ended = new LRUCache({ max: ENDED_CALLS_KEPT })
    this.#handoffs = new LRUCache({ max: ENDED_CALLS_KEPT })
    this.#afterStream = new AfterStreamBehaviour(options.afterStream ?? null)
    this.#locks = new VerificationLocks(options.clock, () => options.metrics.verificationNumbersEvicted.inc())
    this.#known = new LRUCache({ max: KNOWN_CALLS_KEPT })
    for (const record of options.ended ?? []) {
      this.#ended.set(record.callSid, record)
      this.#known.set(record.callSid, true)
    }
    const workerData: Omit<ShardWorkerData, 'seats'> = {
      assets: options.assets, env: options.env, backends: options.backends, memoryMb: options.workerMemoryMb,
    }
    const poolOptions: PoolOptions = {
      filename: fileURLToPath(new URL('./call-worker.js', import.meta.url)),
      // An idle worker must not sleep in Atomics.wait: its tick and its sockets would stop.
      atomics: 'disabled',
      // Without it a worker inherits the loaders of a test runner and starts in 0.7 s in place of 0.1 s.
      execArgv: [],
      ...(options.workerEnv === undefined ? {} : { env: options.workerEnv }),
      resourceLimits: { maxYoungGenerationSizeMb: WORKER_YOUNG_HEAP_MB, maxOldGenerationSizeMb: options.workerMemoryMb },
      recordTiming: false,
    }
    const open = (seats: ShardSeats, more: PoolOptions): MediaPool => {
      const pool = new MediaPool({ ...poolOptions, ...more, workerData: { ...workerData, seats } }, seats, options.workerMemoryMb * 1024 * 1024)
      pool.onFault((thrown) => this.#log.error({ err: thrown }, 'a media worker failed that carried no call'))
      pool.onGone(() => this.#workersGone(null))
      return pool
    }
    this.#pool = open(makeShardSeats(options.workers), {
      minThreads: options.workers,
      maxThreads: options.workers,
      // Every worker could carry all: when one is down the others take its calls. Our own count is the limit.
      concurrentTasksPerWorker: options.maxCalls + 1,
      idleTimeout: Infinity,
    })
    this.#lonePool = open(makeShardSeats(LONE_WORKERS_MAX), {
      minThreads: 0, maxThreads: LONE_WORKERS_MAX, concurrentTasksPerWorker: 1, idleTimeout: LONE_WORKER_IDLE_MS,
    })
    this.#watch = setInterval(() => this.#watchWorkers(), WORKER_WATCH_MS).unref()
    this.#ticker = new Ticker({ periodMs: TICK_MS, phaseMs: PLAYOUT_TICK_PHASE_MS }, options.clock, (nowMs, latenessMs) => this.#tick(nowMs, latenessMs))
    this.#context = this.#makeContext()
    this.#registerMetrics()
    this.#beginSeries()
  }

  #makeContext(): HostContext {
    const { clock, wallClock, metrics, log, callSeries, traces = null, carrier, keepJournal, journal, openRecords = null } = this.#options
    return {
      clock, wallClock, metrics, log, callSeries, traces, carrier,
      journal: keepJournal === null ? null : journal,
      memory: new CallMemoryPool(),
      backendBooks: this.#backendBooks,
      afterStream: this.#afterStream,
      locks: this.#locks,
      record: this.#options.record ?? null,
      openRecords: openRecords === null ? null : {
        open: (callSid, compose) => openRecords.open(callSid, () => this.#redacted(compose())),
        changed: (callSid) => openRecords.changed(callSid),
      },
      maskNumbers: this.#options.privacy?.maskNumbers ?? true,
      handoffNews: (news) => this.#options.onHandoff?.(news),
      callNumber: () => {
        this.#numbered = this.#numbered >= 0x7fff_ffff ? 1 : this.#numbered + 1
        return this.#numbered
      },
      run: (start, transfer, alone) => this.#run(start, transfer, alone),
      openSpeech: () => this.#openSpeech(),
      taskOver: () => {
        this.#tasks--
      },
      over: (call, record) => this.#over(call, record),
      keepJournal: (callSid, lines) => keepJournal?.(callSid, lines),
    }
  }

  #registerMetrics(): void {
    const { metrics } = this.#options
    const count = ({ seats }: MediaPool, shardOf: (index: number) => number | 'lone'): void => seats.seats.forEach((seat, index) => {
      this.#letGo.push(
        metrics.tickLatenessFrom(shardOf(index), new FrameHistogram(seat.tickLateness)),
        metrics.tickBusyFrom(shardOf(index), new FrameHistogram(seat.tickBusy)),
        metrics.frameLatencyFrom('in', new FrameHistogram(seat.latencyIn), this.#slowest(new SlowestFrame(seat.slowestIn))),
        metrics.frameLatencyFrom('out', new FrameHistogram(seat.latencyOut)),
      )
    })
    count(this.#pool, (index) => index)
    count(this.#lonePool, () => 'lone')
    this.#letGo.push(
      metrics.callsLive.from(() => this.#tasks),
      metrics.callCapacity.from(() => this.capacity),
      metrics.callCapacityRemaining.from(() => this.free),
      metrics.draining.from(() => (this.#draining ? 1 : 0)),
      metrics.tickLatenessFrom('main', this.#tickLateness),
      metrics.tickBusyFrom('main', this.#tickBusy),
      metrics.workers.from({ pool: 'media' }, () => this.threads.length),
      metrics.callsAlone.from(() => this.#lone),
      metrics.workerTasks.from({ pool: 'media' }, () => this.#tasks),
      metrics.ringFill.from({ ring: 'in' }, () => this.#fullest((call) => call.inboundFill)),
      metrics.ringFill.from({ ring: 'out' }, () => this.#fullest((call) => call.outboundFill)),
    )
  }

  /** For an exemplar, which must name a call that can still be looked at. */
  #slowest(frame: SlowestFrame): () => { callSid: string; ms: number } | null {
    return () => {
      const slowest = frame.take()
      return slowest === null || !this.#calls.has(slowest.callSid) ? null : slowest
    }
  }

  /** What the settings name is there from the start: a rate sees the first increase of a series that began at 0. */
  #beginSeries(): void {
    const { metrics, agents } = this.#options
    for (const [agent, { backends, definition }] of agents) {
      for (const outcome of ['deflected', 'escalated', 'abandoned', 'failed']) metrics.calls({ agent, outcome })
      for (const outcome of ['ok', 'error']) for (const { name } of definition.tools) metrics.toolSeconds({ tool: name, outcome })
      for (const { name } of definition.tools) metrics.toolErrors({ tool: name, code: 'TOOL_UNBOUND' })
      if (definition.verification !== null) for (const event of ['locked', 'refused']) metrics.verificationLocks({ agent, event })
      for (const backend of backends) {
        if (backend.startsWith(MODULE_PREFIX)) continue // its name is not known before it is made
        metrics.turnResponse({ agent, backend })
        metrics.turnAnswer({ agent, backend })
        metrics.backendConnect({ backend, role: 'first' })
        for (const code of ['auth', 'quota']) metrics.backendErrors({ backend, code })
      }
    }
    for (const reason of endReasonSchema.options) metrics.callEnds({ reason })
    for (const where of ['caller', 'agent']) metrics.framesDropped({ where })
    for (const committed of ['yes', 'no']) metrics.bargeIns({ committed })
    metrics.workerDeaths({ pool: 'media' })
    for (const cause of WORKER_DEATH_CAUSES) metrics.mediaWorkerEnds({ cause })
  }

  /** Over all calls; a walk of two words a call. */
  #fullest(fill: (call: HostedCall) => number): number {
    let fullest = 0
    for (const call of this.#calls.values()) fullest = Math.max(fullest, fill(call))
    return fullest
  }

  /** Resolves when every worker has loaded what it needs, so that the first call does not wait for it. */
  async ready(): Promise<void> {
    // Least-busy placement puts one probe (null) on each worker.
    await Promise.all(Array.from({ length: this.#options.workers }, () => this.#pool.run(null, [])))
  }

  // --- the directory --------------------------------------------------------------------------------------

  agent(name: string): AgentFacts | undefined {
    return this.#options.agents.get(name)?.facts
  }

  agentNames(): readonly string[] {
    return [...this.#options.agents.keys()]
  }

  get free(): number {
    return this.#draining || this.#closed ? 0 : Math.max(0, this.capacity - this.#tasks)
  }

  traceId(callSid: string): string | null {
    return this.#options.traces?.traceId(callSid) ?? null
  }

  get draining(): boolean {
    return this.#draining
  }

  prepare(call: NewCall): LiveCall {
    if (this.#draining || this.#closed) throw new GatewayError('DRAINING', 'this node takes no more calls')
    const agent = this.#options.agents.get(call.agent)
    if (agent === undefined) {
      throw new GatewayError('AGENT_UNKNOWN', `there is no agent ${call.agent}; allowed: ${this.agentNames().join(', ')}`)
    }
    if (this.known(call.callSid)) throw new GatewayError('DUPLICATE_CALL', 'this call was answered before')
    if (this.free === 0) throw new GatewayError('CAPACITY', `all ${this.capacity} slots are taken`, { retryable: true })
    const hosted = new HostedCall(call, agent, this.#context)
    this.#calls.set(call.callSid, hosted)
    this.#known.set(call.callSid, true)
    this.#tasks++
    hosted.begin()
    this.#ticker.start()
    return hosted
  }

  find(callSid: string): LiveCall | undefined {
    return this.#calls.get(callSid)
  }

  live(): Iterable<LiveCall> {
    return this.#calls.values()
  }

  known(callSid: string): boolean {
    return this.#known.has(callSid)
  }

  ended(): readonly CallRecord[] {
    return [...this.#ended.rvalues()].filter((record) => record !== undefined)
  }

  record(callSid: string): CallRecord | undefined {
    return this.#ended.get(callSid)
  }

  /** Enters the record of a call that never came to this host: one that was placed and not taken. */
  enter(record: CallRecord): void {
    this.#known.set(record.callSid, true)
    this.#options.metrics.callEnded(record)
    this.#ended.set(record.callSid, record)
    this.#options.onRecord(record)
  }

  /** Adds the carrier's own account to the record of an ended call. @returns the record as it is now, null when it is gone. */
  joinCarrier(callSid: CallSid, carrier: CarrierDetail): CallRecord | null {
    const record = this.#ended.peek(callSid)
    if (record === undefined) return null
    const joined = { ...record, carrier }
    this.#ended.set(callSid, joined)
    return joined
  }

  handoff(callSid: string): Handoff | undefined {
    return this.#calls.get(callSid)?.handoff ?? this.#handoffs.get(callSid)
  }

  afterStream(callSid: string, news: 'asked' | 'over'): void {
    if (news === 'asked') this.#afterStream.asked(callSid, this.#options.clock())
    else this.#afterStream.over(callSid, this.#options.clock())
  }

  backends(): readonly BackendView[] {
    const users = [...this.#options.agents].map(([name, { backends, shadow }]) => ({ name, backends, shadow }))
    return this.#backendBooks.view(users, new Set(this.threads.map((thread) => thread.threadId)), this.#options.clock())
  }

  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true
    if (this.#calls.size === 0) return
    const drained = new Promise<void>((resolve) => {
      this.#drained = resolve
    })
    const limit = after(timeoutMs)
    await Promise.race([drained, limit.passed])
    limit.cancel()
    if (this.#calls.size === 0) return
    this.#log.warn({ calls: this.#calls.size }, 'the time to drain is over: the rest is told goodbye')
    for (const call of this.#calls.values()) call.hangup('drain-limit', 'the node is being stopped', true)
    const force = after(FORCE_AFTER_MS)
    await Promise.race([drained, force.passed])
    force.cancel()
    for (const call of [...this.#calls.values()]) call.force('the node is being stopped')
  }

  /** Ends all workers; calls that are still there are lost. Call `drain` first. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#ticker.stop()
    clearInterval(this.#watch)
    for (const letGo of this.#letGo) letGo()
    await Promise.all([this.#pool.destroy(), this.#lonePool.destroy()])
  }

  /** The media workers that are alive, for tests and for the operator's view; those of lone calls come last. */
  get threads(): MediaPool['threads'] {
    return [...this.#pool.threads, ...this.#lonePool.threads]
  }

  // --- the pool -------------------------------------------------------------------------------------------

  async #run(start: CallStart, transfer: readonly TransferListItem[], alone: boolean): Promise<CallEnd> {
    if (this.#closed) throw new GatewayError('DRAINING', 'the media workers are closed')
    const lone = alone && this.#lone < LONE_WORKERS_MAX
    if (alone && !lone) this.#log.warn({ call_sid: start.callSid }, 'a suspected call is not alone: all workers for that are taken')
    if (lone) this.#lone++
    try {
      const end = await (lone ? this.#lonePool : this.#pool).run(start, transfer)
      assert(end !== null, 'a call was answered as a probe')
      return end
    } catch (thrown) {
      this.#workersGone(thrown)
      const loss = this.#losses.get(start.number)
      this.#losses.delete(start.number)
      // Without a loss the worker was gone before it had begun the call.
      throw loss ?? new WorkerLostError(messageOf(thrown), 'bystander', null, thrown)
    } finally {
      if (lone) this.#lone--
    }
  }

  #watchWorkers(): void {
    const nowMs = this.#options.clock()
    const rssBytes = process.memoryUsage.rss()
    this.#pool.watch(nowMs, rssBytes)
    this.#lonePool.watch(nowMs, rssBytes)
  }

  /** Finds out, once for each worker that is gone, whose code ran there, and what its calls are told. */
  #workersGone(thrown: unknown): void {
    if (this.#closed) return
    for (const pool of [this.#pool, this.#lonePool]) {
      for (const worker of pool.dead()) {
        const carried = [...this.#calls.values()].filter((call) => call.carriesTask && call.worker === worker.thread)
        // A worker for lone calls goes by itself when there is no more work for it.
        if (pool === this.#pool || carried.length > 0) this.#workerDied(worker, carried, thrown)
        pool.free(worker)
      }
    }
  }

  #workerDied({ thread, pulse, verdict }: DeadWorker, carried: readonly HostedCall[], thrown: unknown): void {
    const cause = verdict?.cause ?? deathCause(thrown)
    const number = whoRan(cause, pulse, verdict)
    const parts = partsOf(carried, number)
    const suspect = carried.find((call) => parts.get(call.number) === 'suspect')?.callSid ?? null
    const why = verdict?.why ?? messageOf(thrown ?? 'ended without an error')
    for (const [call, part] of parts) this.#losses.set(call, new WorkerLostError(`its media worker ended (${why})`, part, suspect, thrown))
    const { metrics } = this.#options
    metrics.workerDeaths({ pool: 'media' }).inc()
    metrics.mediaWorkerEnds({ cause }).inc()
    this.#log.error({ thread, cause, why, calls: carried.length, ...(suspect === null ? {} : { call_sid: suspect }), err: thrown ?? undefined }, 'a media worker died')
  }

  #openSpeech(): MessagePort | null {
    try {
      return this.#options.speech?.openSession() ?? null
    } catch (thrown) {
      this.#log.warn({ err: thrown }, 'no speech session to be had')
      return null
    }
  }

  #over(call: Pick<HostedCall, 'callSid' | 'handoff'>, whole: CallRecord): void {
    this.#calls.delete(call.callSid)
    const record = this.#redacted(whole)
    this.#ended.set(call.callSid, record)
    const { handoff } = call
    if (handoff !== null) this.#handoffs.set(call.callSid, handoff)
    if (this.#calls.size === 0) {
      this.#ticker.stop()
      this.#drained?.()
    }
    this.#options.traces?.add(record)
    this.#options.onRecord(record)
  }

  #redacted(record: CallRecord): CallRecord {
    return redactRecord(record, this.#options.privacy?.transcript ?? 'full')
  }

  #tick(nowMs: number, latenessMs: number): void {
    this.#tickLateness.observeMs(latenessMs)
    for (const call of this.#calls.values()) {
      try {
        call.pump(nowMs)
      } catch (thrown) {
        this.#log.error({ err: thrown, call_sid: call.callSid }, 'playout of a call failed')
        call.force('playout failed')
      }
    }
    this.#tickBusy.observeMs(this.#options.clock() - nowMs)
  }
}

/** Number of the call whose code ended a worker, `NO_CALL` where that is not known. */
function whoRan(cause: WorkerDeathCause, { running, heaviest }: WorkerPulse, verdict: WorkerVerdict | null): number {
  switch (cause) {
    case 'silent': return verdict?.ran ?? running
    // It beat until it was ended, so that whose code ran then is chance.
    case 'buffers': return heaviest
    // Memory runs out in the hands of whoever wants some then: who took most of it says more, where that is known.
    case 'heap': return heaviest === NO_CALL ? running : heaviest
    case 'exit':
    case 'fault': return running
    default: return assertNever(cause)
  }
}

function deathCause(thrown: unknown): WorkerDeathCause {
  if (!(thrown instanceof Error)) return 'exit'
  if ('code' in thrown && thrown.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'heap'
  // Piscina's own words where a thread ended without an error of its own.
  return thrown.message.startsWith('worker exited with code') ? 'exit' : 'fault'
}

function after(ms: number): { readonly passed: Promise<void>; cancel(): void } {
  let cancel = (): void => undefined
  const passed = new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms)
    cancel = () => clearTimeout(timer)
  })
  return { passed, cancel: () => cancel() }
}
