import { setImmediate as immediate } from 'node:timers/promises'
import { collectDefaultMetrics, Gauge } from 'prom-client'
import type { CallRecord } from '../call/documents/record.js'
import type { Clock } from '../core/clock.js'
import { CgroupWatch } from './cgroup.js'
import type { FrameHistogram } from './frame-histogram.js'
import {
  counterFamily,
  histogramFamily,
  LabelledGauge,
  MergedHistogram,
  openMetricsRegistry,
} from './metric-families.js'
import type {
  Combined,
  CounterHandle,
  CounterOf,
  FamilyOptions,
  GaugeOfSources,
  HistogramOf,
  OpenMetricsRegistry,
  Slowest,
} from './metric-families.js'

/** Label sets of one metric; more are counted as `other`. Agents times backends of a large installation. */
const LABEL_SETS_MAX = 500
/** How often counts of the hot path are copied into the metrics registry. */
const METRICS_FLUSH_MS = 1000
/**
 * How often the event loop's lag is sampled. Each sample wakes the main thread, and at prom-client's 10 ms that was most of
 * what a gateway without calls cost. A value is the time between two samples, so this is the least.
 */
const LOOP_SAMPLE_MS = 50
/** A page of metrics is rendered at most this often; requests in between get the last one. */
const SCRAPE_REUSE_MS = 250
/** How long a scrape may hold up the main thread in one piece. */
const SCRAPE_SLICE_MS = 1

/** Direction of a frame: `in` from the caller to the backend, `out` from the backend to the caller. */
type FrameDirection = 'in' | 'out'

// Buckets in seconds; turn and barge-in bounds lie where people feel a difference, frame bounds around the 20 ms of one
// frame itself.
const TURN_BOUNDS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10]
const BARGE_IN_BOUNDS = [0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 1]
export const FRAME_BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16]
const TICK_BOUNDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08]
const CONNECT_BOUNDS = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 5, 10]
const TOOL_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15]
const WEBHOOK_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

const PREFIX = 'mkondo_'

/**
 * Every number that `GET /metrics` shows. Handles are bound to their labels once, at the start of a call or of a
 * component; what happens per frame is counted in plain fields or frame histograms and read at the scrape.
 *
 * One instance a process, on the main thread.
 */
export class Metrics {
  readonly registry: OpenMetricsRegistry = openMetricsRegistry()
  readonly #exemplarOf: (callSid: string) => Record<string, string>
  readonly #sources = new Set<() => void>()
  readonly #rateLimits = new Map<string, { leftRatio: number }>()
  #timer: NodeJS.Timeout | null = null

  readonly #labelOverflow = this.defineOne('label_overflow', 'Requests for a label set beyond the cap')
  readonly callsLive = this.defineGauge('calls_live', 'Calls that hold a slot')
  readonly callCapacity = this.defineGauge('call_capacity', 'Calls this process takes at once')
  readonly callCapacityRemaining = this.defineGauge(
    'call_capacity_remaining',
    'Remaining capacity: calls this process would take now',
  )
  readonly draining = this.defineGauge('draining', '1 while no new calls are taken')
  readonly socketsOpen = this.defineGauge('sockets_open', 'Audio sockets that are open')
  readonly callsAlone = this.defineGauge(
    'calls_alone',
    'Calls alone on a media worker, because one died while their code ran',
  )
  readonly callSeriesDropped = this.defineGauge('call_series_dropped', 'Calls left out of /metrics/calls by its cap')
  readonly calls = this.defineCounter('calls', 'Calls that ended', ['agent', 'backend', 'outcome'])
  readonly callEnds = this.defineCounter('call_ends', 'Calls that ended, by reason', ['backend', 'reason'])
  readonly callsRefused = this.defineCounter('calls_refused', 'Calls or audio sockets that were refused', ['reason'])
  readonly #nameLookups = this.defineCounter('name_lookups', 'Look-ups of host names, by how they ended', ['result'])
  readonly callsResumed = this.defineOne('calls_resumed', 'Calls that this node went on with')
  readonly streamsOfferedAgain = this.defineOne('streams_offered_again', 'Streams offered again')
  readonly callsRehomed = this.defineOne('calls_rehomed', 'Calls moved to another media worker')
  readonly workerDeaths = this.defineCounter('worker_deaths', 'Worker threads that died and were replaced', ['pool'])
  readonly mediaWorkerEnds = this.defineCounter('media_worker_ends', 'Media workers that died, by cause', ['cause'])
  readonly turnResponse = this.defineHistogram(
    'turn_response_seconds',
    'Caller stopped to first agent sound of any kind sent',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  readonly turnAnswer = this.defineHistogram(
    'turn_answer_seconds',
    'Caller stopped to first agent sound sent that is not a filler',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  /** The same two as caller-perceived latency; only where the carrier forks both tracks as stereo. */
  readonly turnResponseEar = this.defineHistogram(
    'turn_response_ear_seconds',
    'Caller stopped to first agent sound of any kind, caller-perceived (stereo forks)',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  readonly turnAnswerEar = this.defineHistogram(
    'turn_answer_ear_seconds',
    'Caller stopped to first agent sound that is not a filler, caller-perceived (stereo forks)',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  readonly claims = this.defineCounter(
    'claims',
    'Things that agents claimed to have done, by what became of the tool, and what they said that nothing gave them',
    ['agent', 'backend', 'tool', 'verdict'],
  )
  readonly stageEnds = this.defineCounter(
    'stage_ends',
    'Ended calls of agents with stages, by the stage that the call ended in',
    ['agent', 'stage', 'outcome'],
  )
  readonly bargeIns = this.defineCounter('barge_ins', 'Barge-ins, committed or false interruptions', [
    'agent',
    'backend',
    'committed',
  ])
  readonly bargeInStop = this.defineHistogram(
    'barge_in_stop_seconds',
    'First voiced sample of a committed barge-in to the last agent sample sent',
    ['agent', 'backend'],
    BARGE_IN_BOUNDS,
  )
  readonly backendConnect = this.defineHistogram(
    'backend_connect_seconds',
    'Backend connection until ready, by the role of the session',
    ['backend', 'role'],
    CONNECT_BOUNDS,
  )
  readonly backendErrors = this.defineCounter('backend_errors', 'Errors that backends reported', ['backend', 'code'])
  readonly backendFailovers = this.defineCounter('backend_failovers', 'Failovers of calls to another backend', [
    'from',
    'to',
  ])
  readonly backendFailoverGap = this.defineHistogram(
    'backend_failover_gap_seconds',
    'Backend lost to the next one ready with the whole conversation',
    ['to'],
    TURN_BOUNDS,
  )
  readonly backendRotations = this.defineCounter('backend_rotations', 'Backend sessions replaced before they expired', [
    'backend',
  ])
  /** Added at the end of each call. */
  readonly backendIrregular = this.defineCounter('backend_irregular', 'Messages of backends out of order', [
    'backend',
    'kind',
  ])
  readonly #rateLimitLeft = this.defineLabelledGauge(
    'backend_rate_limit_left_ratio',
    "Share of a service's limit that is left, as it last reported it",
    ['backend', 'limit'],
    'max',
  )
  /** Added at the end of each call. */
  readonly cost = this.defineCounter('cost', 'What the models cost, in the currency of the label', [
    'agent',
    'backend',
    'model',
    'currency',
  ])
  readonly costUnknown = this.defineCounter(
    'cost_unknown_calls',
    'Calls in which a model cost an unknown amount: it has no price, or its service does not report what it charges',
    ['agent', 'backend', 'model'],
  )
  readonly inputTokens = this.defineCounter(
    'model_input_tokens',
    'Tokens that models were given, by where they came from',
    ['agent', 'backend', 'cache'],
  )
  readonly greeting = this.defineHistogram(
    'greeting_seconds',
    'Audio socket opened to first agent sound sent',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  readonly toolCallsRefused = this.defineCounter(
    'tool_calls_refused',
    'Tool calls of models that were not run: unknown name, malformed arguments, too many',
    ['backend'],
  )
  readonly toolSeconds = this.defineHistogram('tool_seconds', 'Tool calls', ['backend', 'tool', 'outcome'], TOOL_BOUNDS)
  /** Tools that failed or were refused, by error code. */
  readonly toolErrors = this.defineCounter('tool_errors', 'Tool calls that failed or were refused', [
    'backend',
    'tool',
    'code',
  ])
  /** Arguments that were changed to fit a tool's schema, without loss. */
  readonly toolArgumentsCoerced = this.defineCounter(
    'tool_arguments_coerced',
    'Tool calls whose arguments were changed to fit the schema, without loss',
    ['backend', 'tool'],
  )
  /** Values that say nothing, such as N/A and #REF!: absent in words. */
  readonly valuesLeftOut = this.defineCounter(
    'values_left_out',
    'Answers of tools with a value that says nothing to a person, by its field',
    ['agent', 'source', 'field'],
  )
  readonly mcpServerEvents = this.defineCounter(
    'mcp_server_events',
    'MCP servers that were up, down, had other tools, had forgotten the session or sent without an end, as calls saw it',
    ['agent', 'server', 'event'],
  )
  readonly mcpConnectFailures = this.defineCounter(
    'mcp_connect_failures',
    'Failed attempts to reach an MCP server while calls wanted it',
    ['agent', 'server'],
  )
  /** Intents of tools with an effect, by what the store answered. */
  readonly effectIntents = this.defineCounter('effect_intents', 'Tools with an effect that were to run, by answer', [
    'answer',
  ])
  /** Effects that a call omitted because another node owned it. */
  readonly effectsRefused = this.defineCounter(
    'effects_refused',
    'Tools, REST requests and handoff posts that were not sent because the node did not have the call',
    ['kind'],
  )
  /** Verification of callers: numbers that were locked, and answers that were refused because of it. */
  readonly verificationLocks = this.defineCounter(
    'verification_locks',
    'Numbers locked after too many wrong answers, and answers refused because of it',
    ['agent', 'event'],
  )
  readonly verificationNumbersEvicted = this.defineOne(
    'verification_numbers_evicted',
    'Numbers whose wrong answers were forgotten early, because too many are remembered',
  )
  readonly legs = this.defineCounter('legs', 'Calls opened, by the sample rate of their leg in Hz', ['rate'])
  readonly linesForgotten = this.defineOne(
    'lines_forgotten',
    'Numbers whose line was forgotten early, because too many are known',
  )
  readonly callersForgotten = this.defineOne(
    'callers_forgotten',
    'Answers of look-ups of callers that were forgotten early, because too many are known',
  )
  readonly callerLookups = this.defineCounter('caller_lookups', 'Look-ups of a caller before the greeting', [
    'agent',
    'state',
  ])
  readonly escalations = this.defineCounter('escalations', 'Escalations to a human', ['strategy', 'outcome'])
  readonly callBacksRefused = this.defineCounter(
    'call_backs_refused',
    'Call backs that were refused when they were asked for, by reason',
    ['reason'],
  )
  readonly playoutUnderruns = this.defineOne('playout_underruns', 'Playout buffers that ran dry within speech')
  readonly framesDropped = this.defineCounter('frames_dropped', 'Frames of audio dropped at a bound', ['where'])
  readonly webhookSeconds = this.defineHistogram(
    'webhook_seconds',
    'Webhook received to answer written',
    ['route'],
    WEBHOOK_BOUNDS,
  )
  readonly webhookRejected = this.defineCounter('webhook_rejected', 'Webhooks that were rejected', ['reason'])
  readonly webhooksTokenOnly = this.defineCounter(
    'webhooks_token_only',
    'Webhooks without a valid signature that were accepted for the token in their URL',
    ['route'],
  )
  /** Webhook answered → first frame of audio from the carrier. */
  readonly streamSetup = this.defineHistogram(
    'stream_setup_seconds',
    'Webhook answered to first audio from the carrier',
    [],
    CONNECT_BOUNDS,
  )({})
  readonly socketsClosed = this.defineCounter('sockets_closed', 'Audio sockets that closed', ['why'])
  readonly carrierFrames = this.defineCounter('carrier_frames', 'Binary frames on the audio sockets', ['direction'])
  readonly carrierBytes = this.defineCounter('carrier_bytes', 'Bytes of audio on the audio sockets', ['direction'])
  readonly carrierFramesBad = this.defineCounter(
    'carrier_frames_bad',
    'Frames of an unexpected kind from the carrier',
    ['kind'],
  )
  readonly #frameLatency = this.#mergedHistogram(
    'frame_latency_seconds',
    'Time the gateway adds to a frame, socket to socket',
    FRAME_BOUNDS,
  )
  /** Scrapes of each page: rendered, or served from the last one. */
  readonly scrapes = this.defineCounter('scrapes', 'Scrapes of each page, by whether it was rendered for it', [
    'page',
    'served',
  ])
  readonly workers = this.defineLabelledGauge('workers', 'Live worker threads', ['pool'], 'sum')
  readonly workerTasks = this.defineLabelledGauge(
    'worker_tasks',
    'Calls or sessions on worker threads',
    ['pool'],
    'sum',
  )
  /** 1 is full. */
  readonly ringFill = this.defineLabelledGauge(
    'ring_fill_ratio',
    'Fill of the fullest ring of any call',
    ['ring'],
    'max',
  )
  /** Since the last scrape. */
  readonly tickSlack = this.defineLabelledGauge(
    'tick_slack_ratio',
    'Share of time that the ticks of a media worker leave free',
    ['worker'],
    'max',
  )
  readonly socketBackpressure = this.defineGauge(
    'socket_backpressure_bytes',
    'Bytes waiting in the fullest audio socket',
  )
  readonly #tickBusy = this.#mergedHistogram('tick_seconds', 'Duration of a tick of a media worker', TICK_BOUNDS)
  readonly #tickLateness = this.#mergedHistogram(
    'tick_lateness_seconds',
    'Delay of a tick of a media worker',
    TICK_BOUNDS,
  )

  constructor({ version, processMetrics = true, traceIdOf }: MetricsOptions) {
    const { registry } = this
    this.#exemplarOf =
      traceIdOf === undefined
        ? (callSid) => ({ call_sid: callSid })
        : (callSid) => ({ call_sid: callSid, trace_id: traceIdOf(callSid) })
    new Gauge({
      name: `${PREFIX}build_info`,
      help: 'Always 1; the labels name the versions',
      labelNames: ['version', 'node_version'],
      registers: [registry],
    }).set({ version, node_version: process.version }, 1)
    if (!processMetrics) return
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LOOP_SAMPLE_MS })
    this.#watchCgroup()
  }

  /** @param name  without prefix */
  #family<L extends string>(name: string, help: string, labels: readonly L[]): FamilyOptions<L> {
    return {
      registry: this.registry,
      name: PREFIX + name,
      help,
      labels,
      setsMax: LABEL_SETS_MAX,
      overflow: () => this.#labelOverflow.inc(),
      exemplarOf: (callSid) => this.#exemplarOf(callSid),
    }
  }

  #mergedHistogram(name: string, help: string, boundsSeconds: readonly number[]): MergedHistogram {
    return new MergedHistogram(this.#family(name, help, []), boundsSeconds)
  }

  /**
   * Counts what a media worker's histogram gets, from now until the returned function is called.
   * @param slowest names the call of the slowest frame since it was asked last, for the exemplar.
   */
  frameLatencyFrom(direction: FrameDirection, histogram: FrameHistogram, slowest?: Slowest): () => void {
    return this.#frameLatency.addSource({ direction }, histogram, slowest)
  }

  /**
   * As `frameLatencyFrom`. `worker` is the worker's index, not its thread id: a replacement goes on with the series. The
   * main thread's playout tick is `main`, and workers that carry one suspected call are together `lone`.
   */
  tickLatenessFrom(worker: number | 'main' | 'lone', histogram: FrameHistogram): () => void {
    return this.#tickLateness.addSource({ worker: String(worker) }, histogram)
  }

  /** How long each tick of a media worker took; the slack follows from it. */
  tickBusyFrom(worker: number | 'main' | 'lone', histogram: FrameHistogram): () => void {
    const letGo = [
      this.#tickBusy.addSource({ worker: String(worker) }, histogram),
      this.#slackFrom(String(worker), histogram),
    ]
    return () => letGo.forEach((end) => end())
  }

  #slackFrom(worker: string, histogram: FrameHistogram): () => void {
    const reader = histogram.reader()
    let sinceMs = performance.now()
    let slack = 1
    return this.tickSlack.from({ worker }, () => {
      const elapsedMs = performance.now() - sinceMs
      if (elapsedMs < METRICS_FLUSH_MS) return slack // too short to say anything
      const busyMs = reader.take(() => undefined) / 1000
      sinceMs += elapsedMs
      slack = Math.max(0, 1 - busyMs / elapsedMs)
      return slack
    })
  }

  /** CPU throttling is the usual cause of stutter in a container. Zeros where there is no limit. */
  #watchCgroup(): void {
    const watch = new CgroupWatch()
    const known = this.defineGauge('cgroup_cpu_limited', '1 where the kernel reports a CPU limit of this process')
    known.from(() => (watch.cpu === null ? 0 : 1))
    this.countOne('cgroup_cpu_periods', 'CPU limit periods in which this process ran', () => watch.cpu?.periods ?? 0)
    this.countOne(
      'cgroup_cpu_throttled_periods',
      'CPU limit periods in which this process was throttled',
      () => watch.cpu?.throttledPeriods ?? 0,
    )
    this.countOne(
      'cgroup_cpu_throttled_seconds',
      'Time for which this process was throttled',
      () => watch.cpu?.throttledSeconds ?? 0,
    )
    this.onFlush(() => void watch.look())
  }

  /** Counts the look-ups of some threads. The returned function counts a last time and stops. */
  nameLookupsFrom(results: readonly { readonly result: string; readonly count: () => number }[]): () => void {
    const stops = results.map(({ result, count }) => this.countFrom(this.#nameLookups({ result }), count))
    return () => stops.forEach((stop) => stop())
  }

  /**
   * Copies a plain number that only grows into a counter, at each flush. A number that fell (a replaced
   * worker begins at 0) counts from zero again. The returned function copies a last time and stops.
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

  /** A counter of a component's own without labels, copied from a plain number as by `countFrom`. Once a name. */
  countOne(name: string, help: string, read: () => number): void {
    this.countFrom(this.defineOne(name, help), read)
  }

  /** The same with one label, from plain fields that have its values as their names. */
  countEach(name: string, help: string, label: string, counts: Readonly<Record<string, number>>): void {
    const counter = this.defineCounter(name, help, [label])
    for (const value of Object.keys(counts)) this.countFrom(counter({ [label]: value }), () => counts[value] ?? 0)
  }

  /**
   * Calls `copy` about once a second and before each scrape, for a component to copy its plain fields into handles. The
   * returned function calls it a last time and stops.
   */
  onFlush(copy: () => void): () => void {
    this.#sources.add(copy)
    return () => {
      if (this.#sources.delete(copy)) copy()
    }
  }

  /** Counts a call that ended, by outcome and reason. */
  callEnded({
    callSid,
    agent,
    backend,
    outcome,
    endReason,
  }: Pick<CallRecord, 'callSid' | 'agent' | 'backend' | 'outcome' | 'endReason'>): void {
    this.calls({ agent, backend, outcome }).inc(1, callSid)
    this.callEnds({ backend, reason: endReason }).inc(1, callSid)
  }

  /** A counter of a component's own; `name` without prefix and `_total`. Once a name. */
  defineCounter<L extends string>(name: string, help: string, labels: readonly L[]): CounterOf<L> {
    return counterFamily(this.#family(`${name}_total`, help, labels))
  }

  /** The same without labels. */
  defineOne(name: string, help: string): CounterHandle {
    return this.defineCounter(name, help, [])({})
  }

  /** A histogram of a component's own; `name` without prefix, with its unit `_seconds`. Once a name. */
  defineHistogram<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    boundsSeconds: readonly number[],
  ): HistogramOf<L> {
    return histogramFamily(this.#family(name, help, labels), boundsSeconds)
  }

  /** A gauge of a component's own, without labels: the sum of its sources at the scrape. */
  defineGauge(name: string, help: string): GaugeOfSources {
    const gauge = this.defineLabelledGauge(name, help, [], 'sum')
    return { from: (read) => gauge.from({}, read) }
  }

  /** A gauge of a component's own, with labels whose values come from settings. */
  defineLabelledGauge<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    combined: Combined,
  ): LabelledGauge<L> {
    return new LabelledGauge(this.registry, { name: PREFIX + name, help, labels, combined })
  }

  /** A service reported the rest of one of its limits. */
  backendRateLimit(backend: string, limit: string, leftRatio: number): void {
    const key = `${backend} ${limit}`
    const known = this.#rateLimits.get(key)
    if (known !== undefined) known.leftRatio = leftRatio
    else if (this.#rateLimits.size < LABEL_SETS_MAX) {
      const entry = { leftRatio }
      this.#rateLimits.set(key, entry)
      this.#rateLimitLeft.from({ backend, limit }, () => entry.leftRatio)
    } else this.#labelOverflow.inc()
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
   * milliseconds, and frames would wait.
   */
  async render(): Promise<string> {
    this.flush()
    const { registry } = this
    const pages: string[] = []
    let sinceMs = performance.now()
    for (const metric of registry.getMetricsAsArray()) {
      // The registry does the same in `metrics()`, which writes all of them without a break.
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

/** A method of prom-client's registry that its types leave out. */
interface MetricWriter {
  getMetricsAsString(metric: unknown): Promise<string>
}

interface MetricsOptions {
  /** Version of this gateway, for `build_info`. */
  readonly version: string
  /** False leaves out the process's and Node's own metrics (several registries in one test). */
  readonly processMetrics?: boolean
  /** The trace of a call, for exemplars; absent where no traces are exported. */
  readonly traceIdOf?: (callSid: string) => string
}

interface ScrapePageOptions {
  readonly clock: Clock
  readonly render: () => string | Promise<string>
  readonly made: CounterHandle
  readonly reused: CounterHandle
}

/**
 * A page of metrics for any number of scrapers: it is rendered at most every SCRAPE_REUSE_MS, and all requests in
 * between get the same one, so that many scrapes do not block the event loop.
 */
export class ScrapePage {
  readonly #options: ScrapePageOptions
  #page: Promise<string> | null = null
  #madeAtMs = -Infinity

  constructor(options: ScrapePageOptions) {
    this.#options = options
  }

  /** The page. Rejects when rendering failed; the next request renders again. */
  get(): Promise<string> {
    const { clock, render, made, reused } = this.#options
    const nowMs = clock()
    if (this.#page !== null && nowMs - this.#madeAtMs < SCRAPE_REUSE_MS) {
      reused.inc()
      return this.#page
    }
    made.inc()
    this.#madeAtMs = nowMs
    const page = Promise.resolve().then(render)
    this.#page = page
    page.catch(() => {
      if (this.#page === page) this.#page = null
    })
    return page
  }
}
