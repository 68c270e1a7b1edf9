import { Gauge, collectDefaultMetrics } from 'prom-client'
import { setImmediate as immediate } from 'node:timers/promises'
import type { CallRecord } from '../call/record.js'
import { LABEL_SETS_MAX, METRICS_FLUSH_MS, SCRAPE_SLICE_MS } from '../core/limits.js'
import {
  GaugeOfSources,
  LabelledGauge,
  counterFamily,
  histogramFamily,
  openMetricsRegistry,
} from './bound-metrics.js'
import { CgroupWatch } from './cgroup.js'
import type { Combined, CounterHandle, CounterOf, HistogramHandle, HistogramOf, OpenMetricsRegistry } from './bound-metrics.js'
import type { FrameHistogram } from './frame-histogram.js'
import {
  BARGE_IN_BOUNDS,
  CONNECT_BOUNDS,
  FRAME_BOUNDS,
  TICK_BOUNDS,
  TOOL_BOUNDS,
  TURN_BOUNDS,
  WEBHOOK_BOUNDS,
} from './metric-labels.js'
import type { FrameDirection } from './metric-labels.js'
import { MergedHistogram } from './merged-histogram.js'
import type { Slowest } from './merged-histogram.js'

export type { FrameDirection, RefusalReason, WebhookRejection, WebhookRoute } from './metric-labels.js'
export type { Slowest } from './merged-histogram.js'
export type { CounterHandle, CounterOf, HistogramHandle, HistogramOf } from './bound-metrics.js'

const PREFIX = 'mkondo_'

/** A method of prom-client's registry that its types leave out. */
interface MetricWriter {
  getMetricsAsString(metric: unknown): Promise<string>
}

interface MetricsOptions {
  /** Of this gateway, for `build_info`. */
  readonly version: string
  /** False leaves out the process's and Node's own metrics (several registries in one test). */
  readonly processMetrics?: boolean
  /** The trace of a call, for exemplars; absent where no traces are exported. */
  readonly traceIdOf?: (callSid: string) => string
}

/**
 * Every number that `GET /metrics` shows. Handles are bound to their labels once, at the start of a call or of a
 * room; what happens per frame is counted in plain fields or frame histograms and read at the scrape.
 *
 * One instance a process, on the main thread.
 */
export class Metrics {
  readonly registry: OpenMetricsRegistry = openMetricsRegistry()

  /** Calls that have a slot now. */
  readonly callsLive: GaugeOfSources
  readonly callCapacity: GaugeOfSources
  readonly callCapacityRemaining: GaugeOfSources
  /** 1 while no new calls are taken. */
  readonly draining: GaugeOfSources
  readonly socketsOpen: GaugeOfSources

  readonly calls: CounterOf<'agent' | 'outcome'>
  readonly callEnds: CounterOf<'reason'>
  readonly callsRefused: CounterOf<'reason'>
  readonly callsRehomed: CounterHandle
  readonly workerDeaths: CounterOf<'pool'>
  readonly mediaWorkerEnds: CounterOf<'cause'>
  /** Calls that have a media worker of their own, because one died while their code ran. */
  readonly callsAlone: GaugeOfSources
  readonly turnResponse: HistogramOf<'agent' | 'backend'>
  readonly turnAnswer: HistogramOf<'agent' | 'backend'>
  /** The same two clocks to the caller's ear, where the carrier forks both tracks as stereo. */
  readonly turnResponseEar: HistogramOf<'agent' | 'backend'>
  readonly turnAnswerEar: HistogramOf<'agent' | 'backend'>
  readonly bargeIns: CounterOf<'committed'>
  readonly bargeInStop: HistogramHandle
  readonly backendConnect: HistogramOf<'backend' | 'role'>
  readonly backendErrors: CounterOf<'backend' | 'code'>
  readonly backendFailovers: CounterOf<'from' | 'to'>
  readonly backendFailoverGap: HistogramOf<'to'>
  readonly backendRotations: CounterOf<'backend'>
  /** What services sent or did out of order, by kind; added at the end of each call. */
  readonly backendIrregular: CounterOf<'backend' | 'kind'>
  readonly greeting: HistogramOf<'agent' | 'backend'>
  readonly toolCallsRefused: CounterHandle
  readonly toolSeconds: HistogramOf<'tool' | 'outcome'>
  /** Tools that failed or were refused, by error code. */
  readonly toolErrors: CounterOf<'tool' | 'code'>
  /** Verification of callers: numbers that were locked, and answers that were refused because of it. */
  readonly verificationLocks: CounterOf<'agent' | 'event'>
  /** Numbers whose wrong answers were forgotten before their time, for want of room. */
  readonly verificationNumbersEvicted: CounterHandle
  readonly escalations: CounterOf<'strategy' | 'outcome'>
  readonly playoutUnderruns: CounterHandle
  readonly framesDropped: CounterOf<'where'>
  readonly webhookSeconds: HistogramOf<'route'>
  readonly webhookRejected: CounterOf<'reason'>
  /** Webhook answered → first frame of audio from the carrier. */
  readonly streamSetup: HistogramHandle
  readonly socketsClosed: CounterOf<'why'>
  readonly carrierFrames: CounterOf<'direction'>
  readonly carrierBytes: CounterOf<'direction'>
  readonly carrierFramesBad: CounterOf<'kind'>
  /** Calls left out of `/metrics/calls` because of its cap, at the last scrape. */
  readonly callSeriesDropped: GaugeOfSources

  /** Pages of metrics that were asked for: made anew, or the last one again. */
  readonly scrapes: CounterOf<'page' | 'served'>
  /** Threads of each pool that are alive, and tasks (calls, sessions) that they carry. */
  readonly workers: LabelledGauge<'pool'>
  readonly workerTasks: LabelledGauge<'pool'>
  /** Of the fullest ring of any call: 1 is full. */
  readonly ringFill: LabelledGauge<'ring'>
  /** Share of the time that a shard's tick leaves free, since the last look. */
  readonly tickSlack: LabelledGauge<'shard'>
  readonly socketBackpressure: GaugeOfSources
  readonly socketSendsDelayed: CounterHandle

  readonly #frameLatency: MergedHistogram
  readonly #tickBusy: MergedHistogram
  readonly #tickLateness: MergedHistogram
  readonly #sources = new Set<() => void>()
  readonly #labelOverflow: CounterHandle
  readonly #exemplarOf: (callSid: string) => Record<string, string>
  #timer: NodeJS.Timeout | null = null

  constructor(options: MetricsOptions) {
    const registry = this.registry
    const { traceIdOf } = options
    this.#exemplarOf =
      traceIdOf === undefined
        ? (callSid) => ({ call_sid: callSid })
        : (callSid) => ({ call_sid: callSid, trace_id: traceIdOf(callSid) })
    this.#labelOverflow = this.defineCounter('label_overflow', 'Requests for a label set beyond the cap', [])({})

    new Gauge({
      name: `${PREFIX}build_info`,
      help: 'Always 1; the labels say what runs',
      labelNames: ['version', 'node_version'],
      registers: [registry],
    }).set({ version: options.version, node_version: process.version }, 1)

    const gauge = (name: string, help: string) => new GaugeOfSources(registry, PREFIX + name, help)
    this.callsLive = gauge('calls_live', 'Calls that hold a slot')
    this.callCapacity = gauge('call_capacity', 'Calls this process takes at most')
    this.callCapacityRemaining = gauge('call_capacity_remaining', 'Calls this process would still take now')
    this.draining = gauge('draining', '1 while no new calls are taken')
    this.socketsOpen = gauge('sockets_open', 'Audio sockets that are open')
    this.callsAlone = gauge('calls_alone', 'Calls on a media worker of their own, suspected of the death of one')
    this.callSeriesDropped = gauge('call_series_dropped', 'Calls left out of /metrics/calls by its cap')

    this.calls = this.defineCounter('calls', 'Calls that ended', ['agent', 'outcome'])
    this.callEnds = this.defineCounter('call_ends', 'Calls that ended, by what ended them', ['reason'])
    this.callsRefused = this.defineCounter('calls_refused', 'Calls or audio sockets that were refused', ['reason'])
    this.callsRehomed = this.defineCounter('calls_rehomed', 'Calls taken over by another worker', [])({})
    this.workerDeaths = this.defineCounter('worker_deaths', 'Worker threads that died and were replaced', ['pool'])
    this.mediaWorkerEnds = this.defineCounter('media_worker_ends', 'Media workers that died, by the cause', ['cause'])
    this.turnResponse = this.defineHistogram(
      'turn_response_seconds',
      'Caller stopped to first agent sound of any kind sent',
      ['agent', 'backend'],
      TURN_BOUNDS,
    )
    this.turnAnswer = this.defineHistogram(
      'turn_answer_seconds',
      'Caller stopped to first agent sound sent that is not a filler',
      ['agent', 'backend'],
      TURN_BOUNDS,
    )
    this.turnResponseEar = this.defineHistogram(
      'turn_response_ear_seconds',
      "Caller stopped to first agent sound of any kind at the caller's ear (stereo forks)",
      ['agent', 'backend'],
      TURN_BOUNDS,
    )
    this.turnAnswerEar = this.defineHistogram(
      'turn_answer_ear_seconds',
      "Caller stopped to first agent sound that is not a filler at the caller's ear (stereo forks)",
      ['agent', 'backend'],
      TURN_BOUNDS,
    )
    this.bargeIns = this.defineCounter('barge_ins', 'Times a caller spoke over the agent', ['committed'])
    this.bargeInStop = this.defineHistogram(
      'barge_in_stop_seconds',
      'First voiced sample of a committed barge-in to the last agent sample sent',
      [],
      BARGE_IN_BOUNDS,
    )({})
    this.backendConnect = this.defineHistogram(
      'backend_connect_seconds',
      'Backend connection until ready, by what the session was opened for',
      ['backend', 'role'],
      CONNECT_BOUNDS,
    )
    this.backendErrors = this.defineCounter('backend_errors', 'Errors that backends reported', ['backend', 'code'])
    this.backendFailovers = this.defineCounter('backend_failovers', 'Calls moved to another backend', ['from', 'to'])
    this.backendFailoverGap = this.defineHistogram(
      'backend_failover_gap_seconds',
      'A backend lost to another one that knows everything',
      ['to'],
      TURN_BOUNDS,
    )
    this.backendRotations = this.defineCounter('backend_rotations', 'Sessions replaced before they ended', ['backend'])
    this.backendIrregular = this.defineCounter('backend_irregular', 'What services sent out of order', ['backend', 'kind'])
    this.greeting = this.defineHistogram(
      'greeting_seconds',
      'Audio socket opened to first agent sound sent',
      ['agent', 'backend'],
      TURN_BOUNDS,
    )
    this.toolCallsRefused = this.defineCounter(
      'tool_calls_refused',
      'Tool calls of models that were not run: an unknown name, arguments that are none, too many',
      [],
    )({})
    this.toolSeconds = this.defineHistogram('tool_seconds', 'Tool calls', ['tool', 'outcome'], TOOL_BOUNDS)
    this.toolErrors = this.defineCounter('tool_errors', 'Tool calls that failed or were refused', ['tool', 'code'])
    this.verificationLocks = this.defineCounter(
      'verification_locks',
      'Numbers locked after too many wrong answers, and answers refused because of it',
      ['agent', 'event'],
    )
    this.verificationNumbersEvicted = this.defineCounter(
      'verification_numbers_evicted',
      'Numbers whose wrong answers were forgotten before their time, for want of room',
      [],
    )({})
    this.escalations = this.defineCounter('escalations', 'Calls handed to a human, by how it was tried', [
      'strategy',
      'outcome',
    ])
    this.playoutUnderruns = this.defineCounter('playout_underruns', 'Speech that ran dry before its end', [])({})
    this.framesDropped = this.defineCounter('frames_dropped', 'Frames of audio thrown away at a bound', ['where'])
    this.webhookSeconds = this.defineHistogram(
      'webhook_seconds',
      'Webhook received to answer written',
      ['route'],
      WEBHOOK_BOUNDS,
    )
    this.webhookRejected = this.defineCounter('webhook_rejected', 'Webhooks that were turned away', ['reason'])
    this.streamSetup = this.defineHistogram(
      'stream_setup_seconds',
      'Webhook answered to first audio from the carrier',
      [],
      CONNECT_BOUNDS,
    )({})
    this.socketsClosed = this.defineCounter('sockets_closed', 'Audio sockets that closed', ['why'])
    this.carrierFrames = this.defineCounter('carrier_frames', 'Binary frames on the audio sockets', ['direction'])
    this.carrierBytes = this.defineCounter('carrier_bytes', 'Bytes of audio on the audio sockets', ['direction'])
    this.carrierFramesBad = this.defineCounter('carrier_frames_bad', 'Frames of an unexpected kind from the carrier', [
      'kind',
    ])

    this.#frameLatency = new MergedHistogram({
      name: `${PREFIX}frame_latency_seconds`,
      help: 'Added by the gateway to one frame, socket to socket',
      boundsSeconds: FRAME_BOUNDS,
      seriesMax: LABEL_SETS_MAX,
      registry,
      exemplarOf: this.#exemplarOf,
    })
    this.scrapes = this.defineCounter('scrapes', 'Pages of metrics that were asked for', ['page', 'served'])
    this.workers = this.defineLabelledGauge('workers', 'Worker threads that are alive', ['pool'], 'sum')
    this.workerTasks = this.defineLabelledGauge('worker_tasks', 'Tasks that worker threads carry', ['pool'], 'sum')
    this.ringFill = this.defineLabelledGauge('ring_fill_ratio', 'Fill of the fullest ring of any call', ['ring'], 'max')
    this.tickSlack = this.defineLabelledGauge('tick_slack_ratio', 'Time that the tick of a shard leaves', ['shard'], 'max')
    this.socketBackpressure = gauge('socket_backpressure_bytes', 'Bytes that wait in the fullest audio socket')
    this.socketSendsDelayed = this.defineCounter('socket_sends_delayed', 'Frames that an audio socket kept for later', [])({})
    this.#tickBusy = new MergedHistogram({
      name: `${PREFIX}tick_seconds`,
      help: 'How long a tick of a shard took',
      boundsSeconds: TICK_BOUNDS,
      seriesMax: LABEL_SETS_MAX,
      registry,
      exemplarOf: this.#exemplarOf,
    })
    this.#tickLateness = new MergedHistogram({
      name: `${PREFIX}tick_lateness_seconds`,
      help: 'How late a shard began its tick',
      boundsSeconds: TICK_BOUNDS,
      seriesMax: LABEL_SETS_MAX,
      registry,
      exemplarOf: this.#exemplarOf,
    })
    if (options.processMetrics ?? true) {
      collectDefaultMetrics({ register: registry })
      this.#watchCgroup()
    }
  }

  /**
   * Counts what a shard's histogram gets, from now until the returned function is called.
   * @param slowest names the call of the slowest frame since it was asked last, for the exemplar.
   */
  frameLatencyFrom(direction: FrameDirection, histogram: FrameHistogram, slowest?: Slowest): () => void {
    return this.#frameLatency.addSource({ direction }, histogram, slowest)
  }

  /**
   * As `frameLatencyFrom`. `shard` is the worker's index, not its thread id: a replacement goes on with the series. The
   * main thread's playout tick is `main`, and workers that carry one suspected call are together `lone`.
   */
  tickLatenessFrom(shard: number | 'main' | 'lone', histogram: FrameHistogram): () => void {
    return this.#tickLateness.addSource({ shard: String(shard) }, histogram)
  }

  /** How long each tick of a shard took; the slack follows from it. */
  tickBusyFrom(shard: number | 'main' | 'lone', histogram: FrameHistogram): () => void {
    const letGo = [this.#tickBusy.addSource({ shard: String(shard) }, histogram), this.#slackFrom(String(shard), histogram)]
    return () => letGo.forEach(end => end())
  }

  #slackFrom(shard: string, histogram: FrameHistogram): () => void {
    const reader = histogram.reader()
    let sinceMs = performance.now()
    let slack = 1
    return this.tickSlack.from({ shard }, () => {
      const elapsedMs = performance.now() - sinceMs
      if (elapsedMs < METRICS_FLUSH_MS) return slack // too short to say anything
      const busyMs = reader.take(() => undefined) / 1000
      sinceMs += elapsedMs
      slack = Math.max(0, 1 - busyMs / elapsedMs)
      return slack
    })
  }

  /** Throttling by a processor limit is what a stutter in a container mostly is. Zeros where there is no limit. */
  #watchCgroup(): void {
    const watch = new CgroupWatch()
    const known = this.defineGauge('cgroup_cpu_limited', '1 where the kernel keeps count of a processor limit of this process')
    known.from(() => (watch.now === null ? 0 : 1))
    const count = (name: string, help: string, read: () => number): void => {
      this.countFrom(this.defineCounter(name, help, [])({}), read)
    }
    count('cgroup_cpu_periods', 'Periods of the processor limit', () => watch.now?.periods ?? 0)
    count('cgroup_cpu_throttled_periods', 'Periods in which the limit stopped this process', () => watch.now?.throttledPeriods ?? 0)
    count('cgroup_cpu_throttled_seconds', 'Time for which the limit stopped this process', () => watch.now?.throttledSeconds ?? 0)
    this.onFlush(() => void watch.look())
  }

  /**
   * Copies a plain number that only grows into a counter, at each flush. A number that fell (a worker that was
   * replaced begins at 0) counts from zero again. The returned function takes a last look and lets go.
   */
  countFrom(counter: CounterHandle, read: () => number): () => void {
    let seen = 0
    return this.onFlush(() => {
      const now = read()
      const added = now >= seen ? now - seen : now
      seen = now
      if (added > 0) counter.inc(added)
    })
  }

  /**
   * Calls `copy` about once a second and before each scrape: there a room copies its plain fields into handles. The
   * returned function calls it a last time and lets go.
   */
  onFlush(copy: () => void): () => void {
    this.#sources.add(copy)
    return () => {
      if (this.#sources.delete(copy)) copy()
    }
  }

  /** A call that ended, by how it came out and by what ended it. */
  callEnded({ callSid, agent, outcome, endReason }: Pick<CallRecord, 'callSid' | 'agent' | 'outcome' | 'endReason'>): void {
    this.calls({ agent, outcome }).inc(1, callSid)
    this.callEnds({ reason: endReason }).inc(1, callSid)
  }

  /** A counter of a room's own; `name` without prefix and `_total`. Once a name. */
  defineCounter<L extends string>(name: string, help: string, labels: readonly L[]): CounterOf<L> {
    return counterFamily({
      registry: this.registry,
      name: `${PREFIX}${name}_total`,
      help,
      labels,
      setsMax: LABEL_SETS_MAX,
      overflow: () => this.#labelOverflow.inc(),
      exemplarOf: callSid => this.#exemplarOf(callSid),
    })
  }

  /** A histogram of a room's own; `name` without prefix, with its unit `_seconds`. Once a name. */
  defineHistogram<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    boundsSeconds: readonly number[],
  ): HistogramOf<L> {
    return histogramFamily({
      registry: this.registry,
      name: PREFIX + name,
      help,
      labels,
      boundsSeconds,
      setsMax: LABEL_SETS_MAX,
      overflow: () => this.#labelOverflow.inc(),
      exemplarOf: callSid => this.#exemplarOf(callSid),
    })
  }

  /** A gauge of a room's own, without labels: the sum of its sources at the scrape. */
  defineGauge(name: string, help: string): GaugeOfSources {
    return new GaugeOfSources(this.registry, PREFIX + name, help)
  }

  /** A gauge of a room's own, with labels whose values come from settings. */
  defineLabelledGauge<L extends string>(name: string, help: string, labels: readonly L[], combined: Combined): LabelledGauge<L> {
    return new LabelledGauge(this.registry, { name: PREFIX + name, help, labels, combined })
  }

  /** Begins to flush once a second; the timer keeps no process alive. */
  start(): void {
    this.#timer ??= setInterval(() => this.flush(), METRICS_FLUSH_MS).unref()
  }

  flush(): void {
    for (const copy of this.#sources) copy()
    this.#frameLatency.flush()
    this.#tickBusy.flush()
    this.#tickLateness.flush()
  }

  /**
   * The page of `GET /metrics`; `contentType` goes with it. Written a few metrics at a time: in one block it would take
   * milliseconds, which frames had to wait for.
   */
  async render(): Promise<string> {
    this.flush()
    const { registry } = this
    const pages: string[] = []
    let sinceMs = performance.now()
    for (const metric of registry.getMetricsAsArray()) {
      // What the registry does itself in `metrics()`, which writes all of them without a break.
      if (String(metric.type) === 'counter') metric.name = metric.name.replace(/_total$/, '')
      pages.push(await (registry as unknown as MetricWriter).getMetricsAsString(metric))
      if (performance.now() - sinceMs < SCRAPE_SLICE_MS) continue
      await immediate()
      sinceMs = performance.now()
    }
    return `${pages.join('\n')}\n# EOF\n`
  }

  get contentType(): string {
    return this.registry.contentType
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}
