import { setImmediate as immediate } from 'node:timers/promises'
import { collectDefaultMetrics, Gauge } from 'prom-client'
import type { CallRecord } from '../call/documents/record.js'
import type { Clock } from '../core/clock.js'
import { CgroupWatch } from './cgroup.js'
import type { FrameHistogram } from './frame-histogram.js'
import { stopCounts } from './loop-stops.js'
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

/**
 * Maximum number of label sets of one metric. It is enough for agents times backends of a large installation. Further
 * sets are counted as `other`.
 */
const LABEL_SETS_MAX = 500
/** Time in ms between two copies of the counts of frequent events to the metrics registry. */
const METRICS_FLUSH_MS = 1000
/**
 * Time in ms between two samples of the event loop's lag. It is also the smallest lag that is measured. Each sample
 * wakes the main thread: prom-client's default of 10 ms caused most of the CPU use of an idle gateway.
 */
const LOOP_SAMPLE_MS = 50
/** Minimum time in ms between two renderings of a page of metrics. Requests in between get the last page. */
const SCRAPE_REUSE_MS = 250
/** Maximum time in ms for which a scrape may block the main thread without a pause. */
const SCRAPE_SLICE_MS = 1

/** Direction of a frame: `in` from the caller to the backend, `out` from the backend to the caller. */
type FrameDirection = 'in' | 'out'

// Bounds of histogram buckets in s. Bounds for turns and barge-ins are at delays that people notice. Bounds for frames
// are around 20 ms.
const TURN_BOUNDS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10]
const BARGE_IN_BOUNDS = [0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 1]
export const FRAME_BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16]
const TICK_BOUNDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08]
const CONNECT_BOUNDS = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 5, 10]
const TOOL_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15]
const WEBHOOK_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

const PREFIX = 'mkondo_'

/**
 * All metrics of `GET /metrics`. Handles are bound to their labels once, at the start of a call or component. Events of
 * each frame are counted in plain fields or frame histograms, which are read at the scrape. There is one instance per
 * process, on the main thread.
 */
export class Metrics {
  readonly registry: OpenMetricsRegistry = openMetricsRegistry()
  readonly #exemplarOf: (callSid: string) => Record<string, string>
  readonly #sources = new Set<() => void>()
  readonly #rateLimits = new Map<string, { leftRatio: number }>()
  #timer: NodeJS.Timeout | null = null

  readonly #labelOverflow = this.defineOne(
    'label_overflow',
    'Values counted as label other, because a metric has its maximum number of label sets',
  )
  readonly callsLive = this.defineGauge('calls_live', 'Calls that hold a slot')
  readonly callCapacity = this.defineGauge('call_capacity', 'Maximum number of concurrent calls of this process')
  readonly callCapacityRemaining = this.defineGauge(
    'call_capacity_remaining',
    'Remaining capacity: number of new calls that this process would accept now',
  )
  readonly draining = this.defineGauge('draining', '1 while this process drains and accepts no new calls')
  readonly socketsOpen = this.defineGauge('sockets_open', 'Open audio sockets')
  readonly callsAlone = this.defineGauge(
    'calls_alone',
    'Calls that run alone on a media worker, because an earlier worker died while it ran their code',
  )
  readonly callSeriesDropped = this.defineGauge(
    'call_series_dropped',
    'Live calls that /metrics/calls leaves out because of MAX_CALL_SERIES',
  )
  readonly calls = this.defineCounter('calls', 'Calls that ended', ['agent', 'backend', 'outcome'])
  readonly callsServed = this.defineCounter('calls_served', 'Calls that ended, by the result for the caller', [
    'agent',
    'outcome',
    'served',
  ])
  readonly callEnds = this.defineCounter('call_ends', 'Calls that ended, by reason', ['backend', 'reason'])
  readonly callsRefused = this.defineCounter('calls_refused', 'Calls or audio sockets that were refused', ['reason'])
  readonly #nameLookups = this.defineCounter('name_lookups', 'Look-ups of host names, by result', ['result'])
  readonly callsResumed = this.defineOne('calls_resumed', 'Calls of a lost node that this node continued')
  readonly streamsOfferedAgain = this.defineOne(
    'streams_offered_again',
    'Streams that were offered to the carrier again',
  )
  readonly callsRehomed = this.defineOne('calls_rehomed', 'Calls moved to another media worker')
  readonly workerDeaths = this.defineCounter('worker_deaths', 'Worker threads that died and were replaced', ['pool'])
  readonly mediaWorkerEnds = this.defineCounter('media_worker_ends', 'Media workers that died, by cause', ['cause'])
  readonly turnResponse = this.defineHistogram(
    'turn_response_seconds',
    'Time from the end of caller speech to the first agent sound of any kind sent',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  readonly turnAnswer = this.defineHistogram(
    'turn_answer_seconds',
    'Time from the end of caller speech to the first agent sound sent that is not a filler',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  /**
   * Turn response and turn answer as the caller hears them. They are measured only if the carrier sends both tracks as
   * stereo.
   */
  readonly turnResponseEar = this.defineHistogram(
    'turn_response_ear_seconds',
    'Time from the end of caller speech to the first agent sound of any kind, caller-perceived (stereo forks)',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  readonly turnAnswerEar = this.defineHistogram(
    'turn_answer_ear_seconds',
    'Time from the end of caller speech to the first agent sound that is not a filler, caller-perceived (stereo forks)',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  readonly claims = this.defineCounter(
    'claims',
    'Claims of agents, by the result of the tool; no-source for values that the agent was not given',
    ['agent', 'backend', 'tool', 'verdict'],
  )
  readonly stageEnds = this.defineCounter('stage_ends', 'Ended calls of agents with stages, by last stage', [
    'agent',
    'stage',
    'outcome',
  ])
  readonly bargeIns = this.defineCounter('barge_ins', 'Barge-ins, committed or false interruptions', [
    'agent',
    'backend',
    'committed',
  ])
  readonly bargeInDucks = this.defineCounter(
    'barge_in_ducks',
    'Sounds over the agent that made the agent softer, by result',
    ['agent', 'backend', 'ended'],
  )
  readonly agentTurns = this.defineCounter('agent_turns', 'Turns of the agent, by whether the caller could hear them', [
    'agent',
    'backend',
    'heard',
  ])
  readonly speechClaimed = this.defineCounter(
    'agent_speech_claimed_seconds',
    'Length of the speech in turns of the agent, by their sound and words',
    ['agent', 'backend'],
  )
  readonly speechHeard = this.defineCounter(
    'agent_speech_heard_seconds',
    'Length of the speech of the agent above -60 dBFS that was sent and played',
    ['agent', 'backend'],
  )
  readonly bargeInStop = this.defineHistogram(
    'barge_in_stop_seconds',
    'Time from the first voiced sample of a committed barge-in to the last agent sample sent',
    ['agent', 'backend'],
    BARGE_IN_BOUNDS,
  )
  readonly backendConnect = this.defineHistogram(
    'backend_connect_seconds',
    'Time to connect a backend until it is ready, by role of the session',
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
    'Time from the loss of a backend until the next backend is ready with the whole conversation',
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
    'Share of a rate limit that remains, as the service last reported it',
    ['backend', 'limit'],
    'max',
  )
  /** Added at the end of each call. */
  readonly cost = this.defineCounter('cost', 'Cost of the models, in the currency of the label', [
    'agent',
    'backend',
    'model',
    'currency',
  ])
  readonly costUnknown = this.defineCounter(
    'cost_unknown_calls',
    'Calls with an unknown cost of a model: the model has no price, or its service does not report the charged units',
    ['agent', 'backend', 'model'],
  )
  readonly inputTokens = this.defineCounter(
    'model_input_tokens',
    'Input tokens of models, by whether they came from the prompt cache',
    ['agent', 'backend', 'cache'],
  )
  readonly greeting = this.defineHistogram(
    'greeting_seconds',
    'Time from the opening of the audio socket to the first agent sound sent',
    ['agent', 'backend'],
    TURN_BOUNDS,
  )
  readonly toolCallsRefused = this.defineCounter(
    'tool_calls_refused',
    'Tool calls of models that were not run because of an unknown name, malformed arguments or too many calls',
    ['backend'],
  )
  readonly toolSeconds = this.defineHistogram(
    'tool_seconds',
    'Duration of tool calls',
    ['backend', 'tool', 'outcome'],
    TOOL_BOUNDS,
  )
  /** Tools that failed or were refused, by error code. */
  readonly toolErrors = this.defineCounter('tool_errors', 'Tool calls that failed or were refused', [
    'backend',
    'tool',
    'code',
  ])
  /** Arguments that were changed to fit a tool's schema, without loss of information. */
  readonly toolArgumentsCoerced = this.defineCounter(
    'tool_arguments_coerced',
    'Tool calls whose arguments were changed to fit the schema, without loss',
    ['backend', 'tool'],
  )
  /** Values without a meaning, such as N/A and #REF!. In spoken text they count as absent. */
  readonly valuesLeftOut = this.defineCounter(
    'values_left_out',
    'Answers of tools with a value that has no meaning for a person, such as N/A, by field',
    ['agent', 'source', 'field'],
  )
  readonly mcpServerEvents = this.defineCounter(
    'mcp_server_events',
    'Events of MCP servers as calls saw them: up, down, changed tools, lost session, endless answer',
    ['agent', 'server', 'event'],
  )
  readonly mcpConnectFailures = this.defineCounter(
    'mcp_connect_failures',
    'Failed attempts to reach an MCP server during calls that use it',
    ['agent', 'server'],
  )
  readonly leftProcessesEnded = this.defineCounter(
    'left_processes_ended',
    'Processes that programs such as MCP servers had left behind, and that the gateway ended',
    ['found'],
  )
  /** Intents that were sent to the store before a tool with an effect ran, by the store's answer. */
  readonly effectIntents = this.defineCounter(
    'effect_intents',
    'Requests to the call store before a tool with an effect runs, by answer',
    ['answer'],
  )
  /** Effects that were not sent because another node owned the call. */
  readonly effectsRefused = this.defineCounter(
    'effects_refused',
    'Tools, REST requests and handoff posts that were not sent because another node owns the call',
    ['kind'],
  )
  /** Verification of callers: numbers that were locked, and answers that were refused because of a lock. */
  readonly verificationLocks = this.defineCounter(
    'verification_locks',
    'Numbers locked after too many wrong answers, and answers refused because of a lock',
    ['agent', 'event'],
  )
  readonly verificationNumbersEvicted = this.defineOne(
    'verification_numbers_evicted',
    'Numbers whose wrong answers were forgotten early, because the table of numbers is full',
  )
  readonly legs = this.defineCounter('legs', 'Calls opened, by the sample rate of their leg in Hz', ['rate'])
  readonly linesForgotten = this.defineOne(
    'lines_forgotten',
    'Numbers whose line profile was forgotten early, because the table of profiles is full',
  )
  readonly callersForgotten = this.defineOne(
    'callers_forgotten',
    'Results of caller look-ups that were forgotten early, because the table of results is full',
  )
  readonly callerLookups = this.defineCounter('caller_lookups', 'Look-ups of a caller before the greeting', [
    'agent',
    'state',
  ])
  readonly escalations = this.defineCounter('escalations', 'Escalations to a human', ['strategy', 'outcome'])
  readonly callBacksRefused = this.defineCounter(
    'call_backs_refused',
    'Requests for a call back that were refused, by reason',
    ['reason'],
  )
  readonly playoutUnderruns = this.defineOne(
    'playout_underruns',
    'Times that a playout buffer became empty within speech',
  )
  readonly framesDropped = this.defineCounter('frames_dropped', 'Audio frames dropped because a buffer was full', [
    'where',
  ])
  readonly webhookSeconds = this.defineHistogram(
    'webhook_seconds',
    'Time from the receipt of a webhook until its answer is written',
    ['route'],
    WEBHOOK_BOUNDS,
  )
  readonly webhookRejected = this.defineCounter('webhook_rejected', 'Webhooks that were rejected', ['reason'])
  readonly webhooksTokenOnly = this.defineCounter(
    'webhooks_token_only',
    'Webhooks without a valid signature that were accepted because of the token in their URL',
    ['route'],
  )
  /** Time from the answer to a webhook to the first frame of audio from the carrier. */
  readonly streamSetup = this.defineHistogram(
    'stream_setup_seconds',
    'Time from the answer to a webhook to the first audio from the carrier',
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
    'Time that the gateway adds to a frame, from socket to socket',
    FRAME_BOUNDS,
  )
  /** Scrapes of each page, by whether the page was rendered or reused. */
  readonly scrapes = this.defineCounter('scrapes', 'Scrapes of each page, by whether the page was rendered or reused', [
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
  /** Share of the ring that is full, 0 to 1. */
  readonly ringFill = this.defineLabelledGauge(
    'ring_fill_ratio',
    'Fill level of the fullest ring buffer of any call',
    ['ring'],
    'max',
  )
  /** Slack in the time since the last scrape. */
  readonly tickSlack = this.defineLabelledGauge(
    'tick_slack_ratio',
    'Share of time in which a media worker is idle between ticks',
    ['worker'],
    'max',
  )
  readonly socketBackpressure = this.defineGauge(
    'socket_backpressure_bytes',
    'Unsent bytes in the fullest audio socket',
  )
  readonly #tickBusy = this.#mergedHistogram('tick_seconds', 'Duration of a tick of a media worker', TICK_BOUNDS)
  readonly #tickLateness = this.#mergedHistogram(
    'tick_lateness_seconds',
    'Delay of a tick of a media worker',
    TICK_BOUNDS,
  )
  readonly #loopStops = this.defineCounter(
    'loop_stops',
    'Blocks of the event loop for more than 5 ms, in threads with calls',
    ['worker', 'reason'],
  )
  readonly #loopStoppedSeconds = this.defineCounter(
    'loop_stopped_seconds',
    'Duration of event loop blocks of more than 5 ms, in threads with calls',
    ['worker', 'reason'],
  )

  constructor({ version, processMetrics = true, traceIdOf }: MetricsOptions) {
    const { registry } = this
    this.#exemplarOf =
      traceIdOf === undefined
        ? (callSid) => ({ call_sid: callSid })
        : (callSid) => ({ call_sid: callSid, trace_id: traceIdOf(callSid) })
    new Gauge({
      name: `${PREFIX}build_info`,
      help: 'Always 1; the labels have the versions',
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
   * Counts the values of a worker's histogram until the returned function is called.
   * @param slowest  returns the call with the slowest frame since its last call, for the exemplar
   */
  frameLatencyFrom(direction: FrameDirection, histogram: FrameHistogram, slowest?: Slowest): () => void {
    return this.#frameLatency.addSource({ direction }, histogram, slowest)
  }

  /**
   * Counts like `frameLatencyFrom`. `worker`: a worker's index, which the worker's replacement also gets. `main`: the
   * playout tick of the main thread. `lone`: all workers that run one suspected call alone.
   */
  tickLatenessFrom(worker: number | 'main' | 'lone', histogram: FrameHistogram): () => void {
    return this.#tickLateness.addSource({ worker: String(worker) }, histogram)
  }

  /** Counts like `tickLatenessFrom`, for the event-loop stops that a thread counts in `memory`. */
  loopStopsFrom(worker: number | 'main' | 'lone', memory: ArrayBufferLike): () => void {
    const letGo = stopCounts(memory).flatMap(({ reason, stops, seconds }) => {
      const labels = { worker: String(worker), reason }
      return [this.countFrom(this.#loopStops(labels), stops), this.countFrom(this.#loopStoppedSeconds(labels), seconds)]
    })
    return () => letGo.forEach((end) => end())
  }

  /** Counts the duration of each tick of a media worker. The metric of the slack is calculated from these durations. */
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
      if (elapsedMs < METRICS_FLUSH_MS) return slack // too little time for a new result
      const busyMs = reader.take(() => undefined) / 1000
      sinceMs += elapsedMs
      slack = Math.max(0, 1 - busyMs / elapsedMs)
      return slack
    })
  }

  /**
   * Observes CPU throttling, which usually causes stuttering audio in containers. Without a CPU limit, all values are
   * 0.
   */
  #watchCgroup(): void {
    const watch = new CgroupWatch()
    const known = this.defineGauge('cgroup_cpu_limited', '1 if the kernel reports a CPU limit of this process')
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

  /** Counts the name look-ups of some threads. The returned function counts once more and then stops. */
  nameLookupsFrom(results: readonly { readonly result: string; readonly count: () => number }[]): () => void {
    const stops = results.map(({ result, count }) => this.countFrom(this.#nameLookups({ result }), count))
    return () => stops.forEach((stop) => stop())
  }

  /**
   * Copies a growing number to a counter at each flush. If the number falls because a worker was replaced, the new
   * number is added as a whole. The returned function copies once more and then stops.
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
   * Defines a component's counter without labels. It gets its value from a plain number like in `countFrom`. Call this
   * method once for each name.
   */
  countOne(name: string, help: string, read: () => number): void {
    this.countFrom(this.defineOne(name, help), read)
  }

  /** Counters like `countOne`, with one label. The label's values are the names of the plain fields. */
  countEach(name: string, help: string, label: string, counts: Readonly<Record<string, number>>): void {
    const counter = this.defineCounter(name, help, [label])
    for (const value of Object.keys(counts)) this.countFrom(counter({ [label]: value }), () => counts[value] ?? 0)
  }

  /**
   * Calls `copy` about once a second and before each scrape, so that a component can copy its plain fields to handles.
   * The returned function calls `copy` once more and then stops.
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
    served,
    endReason,
  }: Pick<CallRecord, 'callSid' | 'agent' | 'backend' | 'outcome' | 'served' | 'endReason'>): void {
    this.calls({ agent, backend, outcome }).inc(1, callSid)
    if (served !== null) this.callsServed({ agent, outcome, served }).inc(1, callSid)
    this.callEnds({ backend, reason: endReason }).inc(1, callSid)
  }

  /** A counter of a component. `name` has no prefix and no `_total`. Call it once for each name. */
  defineCounter<L extends string>(name: string, help: string, labels: readonly L[]): CounterOf<L> {
    return counterFamily(this.#family(`${name}_total`, help, labels))
  }

  /** A component's counter without labels. */
  defineOne(name: string, help: string): CounterHandle {
    return this.defineCounter(name, help, [])({})
  }

  /** A histogram of a component. `name` has no prefix, but its unit `_seconds`. Call it once for each name. */
  defineHistogram<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    boundsSeconds: readonly number[],
  ): HistogramOf<L> {
    return histogramFamily(this.#family(name, help, labels), boundsSeconds)
  }

  /** A gauge of a component, without labels. Its value is the sum of its sources at the scrape. */
  defineGauge(name: string, help: string): GaugeOfSources {
    const gauge = this.defineLabelledGauge(name, help, [], 'sum')
    return { from: (read) => gauge.from({}, read) }
  }

  /** A gauge of a component, with labels whose values come from settings. */
  defineLabelledGauge<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    combined: Combined,
  ): LabelledGauge<L> {
    return new LabelledGauge(this.registry, { name: PREFIX + name, help, labels, combined })
  }

  /** Stores the remaining share of a service's limit that the service reported. */
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

  /** Starts to flush once a second. The timer does not keep the process alive. */
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
   * Page of `GET /metrics`. Send it with `contentType`. It is written in slices of a few metrics. In one piece it would
   * take milliseconds, and frames would have to wait.
   */
  async render(): Promise<string> {
    this.flush()
    const { registry } = this
    const pages: string[] = []
    let sinceMs = performance.now()
    for (const metric of registry.getMetricsAsArray()) {
      // The counter is renamed like in the registry's `metrics()`, which cannot be used here because it writes all
      // metrics at once.
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

/** A method of prom-client's registry that is missing in its types. */
interface MetricWriter {
  getMetricsAsString(metric: unknown): Promise<string>
}

interface MetricsOptions {
  /** Version of this gateway, for `build_info`. */
  readonly version: string
  /** If false, the metrics of the process and of Node are left out, for tests with several registries. */
  readonly processMetrics?: boolean
  /** Trace id of a call, for exemplars; absent if traces are not exported. */
  readonly traceIdOf?: (callSid: string) => string
}

interface ScrapePageOptions {
  readonly clock: Clock
  readonly render: () => string | Promise<string>
  readonly made: CounterHandle
  readonly reused: CounterHandle
}

/**
 * Page of metrics for any number of scrapers. It is rendered at most once in SCRAPE_REUSE_MS, and other requests get
 * the last page, so that scrapes do not block the event loop.
 */
export class ScrapePage {
  readonly #options: ScrapePageOptions
  #page: Promise<string> | null = null
  #madeAtMs = -Infinity

  constructor(options: ScrapePageOptions) {
    this.#options = options
  }

  /** The page. Rejects if rendering failed. The next request then renders again. */
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
