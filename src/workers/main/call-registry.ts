import type { MessagePort } from 'node:worker_threads'
import { LRUCache } from 'lru-cache'
import { missingFacts } from '../../agents/file/business.js'
import type { Business } from '../../agents/file/business.js'
import { humanFirst } from '../../agents/file/human-first.js'
import type { Environment } from '../../agents/file/template.js'
import { VerificationLocks } from '../../agents/identity/verification-lock.js'
import type { SharedAttempts } from '../../agents/identity/verification-lock.js'
import { MCP_EVENTS } from '../../agents/tools/mcp-definition.js'
import { MODULE_PREFIX } from '../../backends/registry.js'
import { allCallsOn, namesIn } from '../../backends/split.js'
import type { Handoff } from '../../call/documents/handoff.js'
import type { BudgetStep, CallRecord } from '../../call/documents/record.js'
import { atMost } from '../../core/at-most.js'
import { unrefTimer } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import type { CallSid } from '../../core/ids.js'
import { RateLimit } from '../../core/rate-limit.js'
import { CALL_PARTS_MAX, ENDED_CALLS_KEPT, HEARD_STREAM_MS_MIN, RESUMES_MAX, TICK_MS } from '../../core/limits.js'
import type { AfterStream } from '../../escalation/escalation-events.js'
import { partyKey } from '../../sautikit/phone.js'
import type { SpeechPool } from '../../speech/speech-pool.js'
import { keptCallBack, keptHandoff, redactRecord } from '../../telemetry/archive/redaction.js'
import type { TranscriptPolicy } from '../../telemetry/archive/redaction.js'
import { HttpClient } from '../../http/http-client.js'
import { FrameHistogram } from '../../telemetry/frame-histogram.js'
import type { Log } from '../../telemetry/log.js'
import { LOOP_STOPS_BYTES, LoopStops } from '../../telemetry/loop-stops.js'
import type { Metrics } from '../../telemetry/metrics.js'
import { ASKS_WITHIN_MS, AfterStreamBehaviour } from './after-stream-behaviour.js'
import { recordOfLost, refusedHandoff, refusedRecord } from './call/call-record.js'
import { BackendStatus } from './backend-status.js'
import type { BackendView } from './backend-status.js'
import { CallMemoryPool } from '../shared/call-memory.js'
import { Effects } from '../shared/effects.js'
import type { EffectGate } from '../shared/effects.js'
import { continuationOf, mayGoOn, partsOf, promisedCall } from './kept-call.js'
import { Waits } from './waits.js'
import type { WaitAnswer, WaitStatus, WaitUnheard } from './wait-status.js'
import { CallerProfiles } from './caller-profiles.js'
import type { KeptState } from '../../call/documents/kept-call.js'
import { eachVersion, sharesOfVersions, versionFor } from './canary.js'
import type { VersionKey } from './canary.js'
import { inCall } from './call/call-start.js'
import { MainThreadCall } from './call/main-thread-call.js'
import type { AgentFacts, CallDirectory, LiveCall, NewCall, RefusedCall, Spending } from './live-call.js'
import type { HostedAgent, MainThreadContext, MainThreadServices, OverAnswer } from './main-thread-context.js'
import type { Overload } from './load-gate.js'
import { LoadWatch } from './load-watch.js'
import type { MediaPool, PoolCalls } from './media-pool.js'
import { endReasonSchema } from '../../call/documents/record.js'
import { Ticker } from '../shared/ticker.js'
import { NO_CALL } from '../shared/worker-memory.js'

/**
 * The live and the ended calls of this process. It counts the slots, takes or refuses each new call, and runs the main
 * thread's playout tick over all live calls.
 */
export class CallRegistry implements CallDirectory {
  readonly defaultAgent: string | null
  readonly capacity: number
  readonly #options: CallRegistryOptions
  readonly #log: Log
  readonly #calls = new Map<string, MainThreadCall>()
  readonly #ended: LRUCache<string, CallRecord>
  readonly #handoffs: LRUCache<string, Handoff>
  readonly #known: LRUCache<string, true>
  /** SIDs of the refused calls in `#ended`, oldest first. */
  readonly #refused: string[] = []
  readonly #refusedOfCaller = new RateLimit(REFUSED_OF_CALLER)
  readonly #refusedOfAll = new RateLimit(REFUSED_OF_ALL)
  readonly #refusedDropped: { inc: () => void }
  readonly #pool: CallPool
  /** HTTP client that polls for the outcomes of waiting tools. */
  readonly #client = new HttpClient()
  readonly #context: MainThreadContext
  readonly #ticker: Ticker
  readonly #metricSources: readonly (() => void)[]
  /** Histograms of this thread's playout tick: its lateness and its length. */
  readonly #tickLateness = new FrameHistogram()
  readonly #tickBusy = new FrameHistogram()
  readonly #stops: LoopStops
  readonly #load: LoadWatch
  /** Number of slots in use: the calls whose task has not ended. */
  #tasks = 0
  /** Ordinal of the newest call. */
  #ordinal = NO_CALL
  #draining = false
  /** True when the drain timeout has passed. If a call loses its stream now, it can continue only on another node. */
  #leaving = false
  #closed = false
  #drained: (() => void) | null = null

  constructor(options: CallRegistryOptions) {
    const { agents, maxCalls, clock, log, metrics } = options
    this.#options = options
    this.#log = log
    this.defaultAgent = options.defaultAgent
    this.capacity = maxCalls
    this.#ended = new LRUCache(atMost(ENDED_CALLS_KEPT))
    this.#handoffs = new LRUCache(atMost(ENDED_CALLS_KEPT))
    this.#known = new LRUCache(atMost(KNOWN_CALLS_KEPT))
    for (const record of options.ended ?? []) {
      const endedAtMs = Date.parse(record.startedAt) + record.durationMs
      this.#remember(record, performance.now() - Math.max(0, Date.now() - endedAtMs))
      this.#known.set(record.callSid, true)
    }
    this.#pool = options.openPool({ maxCalls, clock, log, metrics, calls: this.#calls })
    this.#refusedDropped = metrics.defineOne(
      'refused_records_dropped',
      'Refused calls without a record, because the limit per minute was reached',
    )
    this.#ticker = new Ticker(
      { periodMs: TICK_MS, phaseMs: PLAYOUT_TICK_PHASE_MS },
      clock,
      (nowMs, latenessMs) => this.#tick(nowMs, latenessMs),
      options.setTimer,
    )
    this.#load = new LoadWatch({
      ticks: [{ lateness: this.#tickLateness, busy: this.#tickBusy }, ...this.#pool.ticks],
      clock,
      log,
    })
    this.#context = this.#makeContext()
    const stopsMemory = new ArrayBuffer(LOOP_STOPS_BYTES)
    this.#stops = new LoopStops(clock, stopsMemory)
    this.#metricSources = [
      metrics.callsLive.from(() => this.#tasks),
      metrics.callCapacity.from(() => this.capacity),
      metrics.callCapacityRemaining.from(() => this.free),
      metrics.draining.from(() => (this.#draining ? 1 : 0)),
      metrics.tickLatenessFrom('main', this.#tickLateness),
      metrics.tickBusyFrom('main', this.#tickBusy),
      metrics.loopStopsFrom('main', stopsMemory),
      () => this.#stops.close(),
      metrics.workerTasks.from({ pool: 'media' }, () => this.#tasks),
      metrics.ringFill.from({ ring: 'in' }, () => this.#fullest((call) => call.inboundFill)),
      metrics.ringFill.from({ ring: 'out' }, () => this.#fullest((call) => call.outboundFill)),
    ]
    beginSeries(metrics, agents, this.#context.waits)
  }

  #makeContext(): MainThreadContext {
    const { clock, metrics, env, effects, sharedAttempts, openRecords } = this.#options
    return {
      ...this.#options,
      memory: new CallMemoryPool(),
      backendStatus: new BackendStatus(),
      afterStream: new AfterStreamBehaviour(this.#options.afterStream ?? null),
      effects: new Effects(effects ?? null, metrics),
      waits: new Waits({
        client: this.#client,
        env,
        metrics,
        unheard: (news) => this.#options.onWaitUnheard?.(news),
      }),
      locks: new VerificationLocks(clock, () => metrics.verificationNumbersEvicted.inc(), sharedAttempts ?? null),
      lines: new CallerProfiles(clock, metrics),
      openRecords:
        openRecords == null
          ? null
          : {
              open: (callSid, compose) => openRecords.open(callSid, () => this.#kept(compose())),
              changed: (callSid) => openRecords.changed(callSid),
              gone: (callSid) => openRecords.gone(callSid),
            },
      maskNumbers: this.#options.privacy?.maskNumbers ?? true,
      transcript: this.#transcriptPolicy,
      recordsKeptMs: (agent) => this.#options.recordsKeepMs?.(agent) ?? 0,
      agent: (name, business, step, of) => {
        const key = { ...of, draft: this.#options.draftOf?.(of.rootSid) }
        return this.#hosted(name, business?.number ?? '', step, key) ?? null
      },
      nextOrdinal: () => {
        this.#ordinal = this.#ordinal >= 0x7fff_ffff ? 1 : this.#ordinal + 1
        return this.#ordinal
      },
      run: (start, transfer, alone) => this.#pool.run(start, transfer, alone),
      openSpeech: (recognises) => this.#openSpeech(recognises),
      taskOver: () => {
        this.#tasks--
      },
      streams: () => {
        this.#ticker.periodMs = TICK_MS
      },
      over: (call, record, told) => this.#over(call, record, told),
      onTakenOver: (callSid, part) => {
        this.#gone(callSid)
        this.#options.onGoneElsewhere?.(callSid, this.#kept(part))
      },
    }
  }

  /** The highest fill of an inbound ring, over all calls. */
  #fullest(fill: (call: MainThreadCall) => number): number {
    let fullest = 0
    for (const call of this.#calls.values()) fullest = Math.max(fullest, fill(call))
    return fullest
  }

  /** Resolves when every media worker is ready for calls. */
  ready(): Promise<void> {
    return this.#pool.ready()
  }

  // --- the directory --------------------------------------------------------------------------------------

  agent(name: string, number?: string): AgentFacts | undefined {
    return (number === undefined ? this.#options.agents.get(name) : this.#hosted(name, number, null, null))?.facts
  }

  agentOf(number: string): string | null {
    return this.#options.businesses?.get(number)?.agent ?? null
  }

  /**
   * Finds an agent and fills in the facts of the number's business; undefined if a fact is missing.
   * @param key  key that chooses the agent's version for a call; null: the call has no key, so the facts must serve all
   * versions
   */
  #hosted(name: string, number: string, step: BudgetStep | null, key: VersionKey | null): HostedAgent | undefined {
    const named = this.#options.agents.get(name)
    const agent = named === undefined || key === null ? named : versionFor(named, key, this.#options.isCanaryStopped)
    const business = this.#options.businesses?.get(number)
    const { reads = new Set<string>() } = agent ?? {}
    if (business === undefined) return reads.size === 0 ? agent : undefined
    return missingFacts(reads, business).length > 0 ? undefined : (agent?.forBusiness?.(business, step) ?? agent)
  }

  /** Finds out which number of a call is ours, if the number belongs to a business. */
  #numberOf({ direction, from, to }: Pick<NewCall, 'direction' | 'from' | 'to'>): Pick<NewCall, 'number'> {
    const number = direction === 'outbound' ? from : to
    return this.#options.businesses?.has(number) === true ? { number } : {}
  }

  agentNames(): readonly string[] {
    return [...this.#options.agents.keys()]
  }

  get free(): number {
    const { cordoned } = this.#options
    return this.#draining || this.#closed || cordoned?.() === true || this.overload !== null ? 0 : this.#slotsFree
  }

  get overload(): Overload | null {
    const { disk } = this.#options
    // If the disk is full, calls are refused only if another node can store their records. Otherwise the caller is
    // served without a record.
    return this.#load.overload ?? (disk?.isFull() === true && disk.isElsewhere() ? 'disk-full' : null)
  }

  /** True while records of calls that ended here wait for space on the disk. */
  get diskFull(): boolean {
    return this.#options.disk?.isFull() === true
  }

  get #slotsFree(): number {
    return Math.max(0, this.capacity - this.#tasks)
  }

  traceId(callSid: string): string | null {
    return this.#options.traces?.traceId(callSid) ?? null
  }

  get draining(): boolean {
    return this.#draining
  }

  prepare(call: NewCall, resume: KeptState | null = null): LiveCall {
    const lost = resume === null ? undefined : this.#calls.get(call.callSid)
    const replaces = lost?.state === 'cut'
    if ((this.#draining && !(replaces && !this.#leaving)) || this.#closed)
      throw new GatewayError('DRAINING', 'this node accepts no new calls')
    const ours = call.direction === 'outbound' ? call.from : call.to
    // A continued call keeps the budget step at which it was answered. A promised call back gets a new step, because it
    // is a new call.
    const anew = resume === null || call.placed?.promised === true
    const budgetStep = anew ? (this.#options.budgetStep?.(ours) ?? null) : resume.kept.budgetStep
    const rootSid = call.rootSid ?? resume?.kept.rootSid ?? call.callSid
    // The draft is found by the call's own SID, not by the SID of the chain's first call. So a call back does not get
    // the draft that the first call tried.
    const draft = this.#options.draftOf?.(call.callSid)
    const key = { rootSid, had: resume?.kept.agentHash ?? null, draft }
    const agent = this.#hosted(call.agent, ours, budgetStep, key)
    if (agent === undefined) {
      throw new GatewayError(
        'AGENT_UNKNOWN',
        `there is no agent ${call.agent}, or NUMBERS_FILE lacks facts of this number that the agent reads; allowed: ${this.agentNames().join(', ')}`,
      )
    }
    // This process may know the call from an earlier part.
    const known = resume === null ? this.known(call.callSid) : lost !== undefined && !replaces
    if (known) throw new GatewayError('DUPLICATE_CALL', 'this call was answered before')
    if (resume !== null) checkResume(call, resume)
    const withAgent = resume === null || continuationOf(resume.kept) === 'agent'
    // `free` is 0 during an overload, or while an operator has closed this node. These limits keep new calls away. A
    // resumed call is refused only if no slot is free.
    if (withAgent && this.#slotsFree === 0 && !replaces)
      throw new GatewayError('CAPACITY', `all ${this.capacity} call slots are in use`, { retryable: true })
    if (replaces) lost?.replaced()
    const { variables = {}, joins = null } = call.placed ?? resume?.kept.placed ?? {}
    const begins = call.direction === 'outbound' && resume?.kept.recoveredFrom == null
    const own = inCall(agent, call, variables, begins)
    const hosted =
      joins === null ? own : { ...own, definition: humanFirst(own.definition, joins), shares: allCallsOn('embedded') }
    const prepared = new MainThreadCall({ ...call, ...this.#numberOf(call), budgetStep }, hosted, this.#context, resume)
    this.#calls.set(call.callSid, prepared)
    this.#known.set(call.callSid, true)
    if (withAgent) this.#tasks++
    this.#ticker.start()
    // A call that is resumed after its result may end during `begin`.
    prepared.begin()
    return prepared
  }

  find(callSid: string): LiveCall | undefined {
    return this.#calls.get(callSid)
  }

  takeLateWaitStatus(id: string, news: WaitStatus): WaitAnswer {
    return this.#context.waits.late(id, news)
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

  /**
   * Enters the record of a placed call that was not answered, or that another node took. The other node makes no record
   * of it.
   * @param told  see `CallKeeping.over`; null without other nodes
   */
  enter(entered: CallRecord, told: Promise<OverAnswer> | null = null): void {
    const record = this.#withCost(entered)
    const known = (): void => void this.#known.set(record.callSid, true)
    if (told === null) known()
    // While another node may have the call, this node does not answer when the carrier asks about the call.
    else void told.then((answer) => answer === 'ok' && known())
    this.#options.metrics.callEnded(record)
    this.#ended.set(record.callSid, record, this.#keptFor(record))
    this.#options.onRecord(record, told)
  }

  refused(call: RefusedCall): void {
    const { callSid, from } = call
    const { clock, wallClock, privacy, onRefused } = this.#options
    // The call has a record, or gets a record at its end.
    if (this.known(callSid) || this.#ended.has(callSid)) return
    const nowMs = clock()
    if (this.#refusedOfCaller.take(partyKey(from), nowMs) > 0 || this.#refusedOfAll.take('', nowMs) > 0)
      return this.#refusedDropped.inc()
    const nowWallMs = wallClock()
    const record = refusedRecord(
      { ...call, ...this.#numberOf({ ...call, direction: 'inbound' }) },
      nowWallMs,
      privacy?.maskNumbers ?? true,
    )
    const handoff = refusedHandoff(call, nowWallMs)
    this.#remember(record)
    if (handoff !== null) this.#handoffs.set(callSid, handoff, this.#keptFor(handoff))
    onRefused?.(record, handoff)
  }

  /** Time in ms for which a record and its packet stay in memory. 0: they stay until the space is needed. */
  #keptFor({ agent }: Pick<CallRecord, 'agent'>): { readonly ttl: number } {
    return { ttl: this.#options.recordsKeepMs?.(agent) ?? 0 }
  }

  /** @param start  time in ms (`performance.now`) at which the record was put into memory */
  #remember(record: CallRecord, start = performance.now()): void {
    const { callSid, outcome } = record
    this.#ended.set(callSid, record, { ...this.#keptFor(record), start })
    if (outcome !== 'refused') return
    const oldest = this.#refused.push(callSid) > REFUSED_KEPT ? this.#refused.shift() : undefined
    if (oldest === undefined) return
    this.#ended.delete(oldest)
    this.#handoffs.delete(oldest)
  }

  /** Enters the record of a lost node's call that is not continued. */
  addLostCall(state: KeptState): void {
    const { callSid } = state.kept
    if (!this.#calls.has(callSid) && !this.#ended.has(callSid))
      this.enter(
        { ...this.#kept(recordOfLost(state, this.#context)), ...this.#numberOf(state.kept) },
        Promise.resolve('ok' as const),
      )
    const order = state.kept.escalation?.history?.callback ?? null
    const policy = this.#transcriptPolicy
    if (order !== null) void this.#options.callBacks?.promise(promisedCall(state, policy), keptCallBack(order, policy))
  }

  /** Enters the record of a call that was live when an earlier process died; the record is already stored. */
  addRecoveredCall(record: CallRecord): void {
    if (this.#calls.has(record.callSid) || this.#ended.has(record.callSid)) return
    this.#known.set(record.callSid, true)
    this.#options.metrics.callEnded(record)
    this.#ended.set(record.callSid, record, this.#keptFor(record))
  }

  /**
   * Adds the carrier's record or the analysis to the record of an ended call.
   * @returns the new record; null if the record is no longer kept
   */
  join(callSid: string, part: Partial<Pick<CallRecord, 'carrier' | 'analysis'>>): CallRecord | null {
    const record = this.#ended.peek(callSid)
    if (record === undefined) return null
    const joined = this.#withCost({ ...record, ...part })
    this.#ended.set(callSid, joined, this.#keptFor(joined))
    return joined
  }

  /**
   * Forgets the record and the handoff packet of an ended call; its SID is still remembered.
   * @returns true if the call had a record or a packet
   */
  forget(callSid: CallSid): boolean {
    const had = [this.#ended.delete(callSid), this.#handoffs.delete(callSid)]
    return had.includes(true)
  }

  languageOf(number: string): string | undefined {
    return this.#context.lines.languageOf(partyKey(number))
  }

  /** Forgets the facts learnt about a number's line. */
  forgetLine(number: string): void {
    this.#context.lines.forget(partyKey(number))
  }

  handoff(callSid: string): Handoff | undefined {
    return this.#calls.get(callSid)?.handoff ?? this.#handoffs.get(callSid)
  }

  afterStream(callSid: string, news: 'asked' | 'over'): void {
    if (news === 'asked') this.#calls.get(callSid)?.asked()
    this.#context.afterStream[news](callSid, this.#options.clock())
  }

  /** The carrier's after-stream behaviour, as this process knows it. */
  get behaviour(): AfterStreamBehaviour {
    return this.#context.afterStream
  }

  liveByAgent(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (const { agent } of this.#calls.values()) counts[agent] = (counts[agent] ?? 0) + 1
    return counts
  }

  /** Usage so far of each live call to or from our numbers. */
  *spending(): Iterable<Spending & { readonly callSid: string; readonly number: string }> {
    for (const [callSid, { spending }] of this.#calls) {
      const { number } = spending
      if (number !== null && !this.#ended.has(callSid)) yield { ...spending, callSid, number }
    }
  }

  liveByCaller(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>()
    for (const { callerKey } of this.#calls.values())
      if (callerKey !== null) counts.set(callerKey, (counts.get(callerKey) ?? 0) + 1)
    return counts
  }

  /**
   * Closes a call's stream; the call has no further effect outside this process.
   * @param why  `lost`: another node has this call. `isolated`: another node may have this call
   */
  giveUp(callSid: string, why: 'lost' | 'isolated'): void {
    const call = this.#calls.get(callSid)
    if (why === 'lost') call?.taken()
    else call?.force('another node may have this call')
  }

  backends(): readonly BackendView[] {
    const users = [...this.#options.agents].map(([name, agent]) => ({ name, shares: sharesOfVersions(agent) }))
    return this.#context.backendStatus.view(
      users,
      new Set(this.threads.map((thread) => thread.threadId)),
      this.#options.clock(),
    )
  }

  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true
    if (this.#calls.size === 0) return
    const drained = new Promise<void>((resolve) => {
      this.#drained = resolve
    })
    await Promise.race([drained, this.#wait(timeoutMs)])
    if (this.#calls.size === 0) return
    await this.#leave()
    const staying = [...this.#calls.values()].filter(
      ({ state, rests, escalating }) => state !== 'cut' && !(rests && escalating),
    )
    if (staying.length > 0)
      this.#log.warn({ calls: staying.length }, 'the drain timeout has passed: the remaining calls end with a goodbye')
    for (const call of staying) call.hangup('drain-limit', 'the node is being stopped', true)
    const untilMs = this.#options.clock() + FORCE_AFTER_MS
    while (this.#options.clock() < untilMs && [...this.#calls.values()].some((call) => !call.rests))
      await Promise.race([drained, this.#wait(ASKED_LOOK_MS)])
    // All calls are handed on at once, because each call waits for the store and for another node.
    const leave = async (call: MainThreadCall): Promise<void> => {
      const left = call.rests ? await this.#options.leaveResting?.(call.callSid) : undefined
      // The carrier rings the human and connects the caller without us, so we do not hang up the call.
      if (left === 'nowhere' && call.escalating)
        this.#log.warn(
          { call_sid: call.callSid },
          'a caller who is being connected to a human stays with the carrier: no other node continues the call',
        )
      else if (left === undefined || left === 'nowhere') call.force('the node is being stopped')
    }
    await Promise.all([...this.#calls.values()].map(leave))
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => (this.#options.setTimer ?? unrefTimer)(ms, resolve))
  }

  /**
   * Moves calls to another node when the drain timeout has passed. If the after-stream behaviour is unknown, one call
   * moves first: the carrier might hold moved callers in silence.
   */
  async #leave(): Promise<void> {
    const { clock, elsewhere = () => 'never' } = this.#options
    this.#leaving = true
    let moved = 0
    const waitUntilMs = clock() + ELSEWHERE_WITHIN_MS
    const untilElsewhere = async (): Promise<void> => {
      while (elsewhere() === 'soon' && this.#calls.size > 0 && clock() < waitUntilMs) await this.#wait(ASKED_LOOK_MS)
    }
    await untilElsewhere()
    if (elsewhere() === 'now' && this.behaviour.known(clock()) !== 'holds')
      await Promise.all([...this.#calls.values()].map((call) => call.moves()))
    const calls = [...this.#calls.values()]
    const pauseMs = Math.min(LEAVE_EVERY_MS, LEAVE_WITHIN_MS / calls.length)
    for (const call of calls) {
      const known = this.behaviour.known(clock())
      if (known === 'holds') break
      await untilElsewhere()
      if (elsewhere() !== 'now') break
      if (!call.leave()) continue
      moved++
      const untilMs = clock() + ASKS_WITHIN_MS
      while (known === 'unknown' && this.behaviour.known(clock()) === 'unknown' && clock() <= untilMs)
        await this.#wait(ASKED_LOOK_MS)
      await this.#wait(pauseMs)
    }
    if (moved > 0) this.#log.info({ calls: moved }, 'the drain timeout has passed: calls move to other nodes')
  }

  /** Ends all workers; calls that are still live are lost. Call `drain` first. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#load.close()
    this.#ticker.stop()
    for (const remove of this.#metricSources) remove()
    this.#client.close()
    await this.#pool.close()
  }

  /** The media workers that are alive, for tests and for the operator's view. */
  get threads(): MediaPool['threads'] {
    return this.#pool.threads
  }

  #openSpeech(recognises: boolean): MessagePort | null {
    try {
      return this.#options.speech?.openSession(recognises) ?? null
    } catch (thrown) {
      this.#log.warn({ err: thrown }, 'no speech session could be opened')
      return null
    }
  }

  #gone(callSid: CallSid): void {
    this.#calls.delete(callSid)
    if (this.#calls.size > 0) return
    this.#ticker.stop()
    this.#drained?.()
  }

  #over(
    call: Pick<MainThreadCall, 'callSid' | 'handoff' | 'toolCallLog'>,
    whole: CallRecord,
    told: Promise<OverAnswer> | null,
  ): void {
    const record = this.#kept(whole)
    this.#ended.set(call.callSid, record, this.#keptFor(record))
    const { handoff } = call
    if (handoff !== null) {
      const packet = keptHandoff(handoff, record.consent !== 'refused', this.#transcriptPolicy)
      this.#handoffs.set(call.callSid, packet, this.#keptFor(packet))
    }
    this.#gone(call.callSid)
    this.#options.traces?.add(record, call.toolCallLog)
    this.#options.onRecord(record, told)
  }

  #kept(record: CallRecord): CallRecord {
    return this.#withCost(redactRecord(record, record.consent === 'refused' ? 'none' : this.#transcriptPolicy))
  }

  get #transcriptPolicy(): TranscriptPolicy {
    return this.#options.privacy?.transcript ?? 'full'
  }

  #withCost(record: CallRecord): CallRecord {
    return this.#options.withCost?.(record) ?? record
  }

  #tick(nowMs: number, latenessMs: number): void {
    this.#tickLateness.observeMs(latenessMs)
    this.#pool.socketsRead.ticked(nowMs)
    let streams = false
    for (const call of this.#calls.values()) {
      call.pump(nowMs)
      streams ||= call.streams
    }
    // A call without a stream is ringing, or its caller talks to a human. That call with a human may last an hour.
    this.#ticker.periodMs = streams ? TICK_MS : TICK_WITHOUT_STREAM_MS
    const busyMs = this.#options.clock() - nowMs
    this.#tickBusy.observeMs(busyMs)
    this.#stops.ticked(nowMs, latenessMs, busyMs)
  }
}

/** Period of the main thread's tick while no call has a stream. It then only watches deadlines of seconds. */
const TICK_WITHOUT_STREAM_MS = 50
/**
 * Delay in ms of the main thread's tick after the workers' tick. With a shorter delay, frames of a fully loaded worker
 * would come too late for the tick. With a longer delay, every frame would wait (docs/LATENCY.md).
 */
export const PLAYOUT_TICK_PHASE_MS = 2.5
/** Number of call SIDs that are remembered, so that a late webhook of an ended call does not open a new call. */
const KNOWN_CALLS_KEPT = 50_000

/**
 * Limits for records of refused calls. One caller gets three records, then one record every 20 minutes, which is enough
 * to call the caller back. All callers together get 120 records a minute. A record and its packet need 1.2 KB. Even a
 * flood of refused calls writes only 200 MB a day, so it does not push out the records of other calls
 * (`RECORDS_KEEP_MB`).
 */
const REFUSED_OF_CALLER = { perSecond: 3 / 3600, burst: 3, keysMax: 10_000 }
const REFUSED_OF_ALL = { perSecond: 2, burst: 120, keysMax: 1 }
/** Maximum number of refused calls among the records in memory. */
const REFUSED_KEPT = ENDED_CALLS_KEPT / 2

/** Time in ms between two checks if the carrier has asked about a call without a stream. */
const ASKED_LOOK_MS = 50
/** Time in ms for which calls wait for an absent node after the drain timeout, if that node is expected back. */
const ELSEWHERE_WITHIN_MS = 15_000
/**
 * Time in ms between the closing of two streams after the drain timeout. All streams close within LEAVE_WITHIN_MS. The
 * node that takes a call over opens it in about 20 ms.
 */
const LEAVE_EVERY_MS = 40
const LEAVE_WITHIN_MS = 5000
/** Time in ms that a call may need to end after a request. A call that needs more is ended by force. */
const FORCE_AFTER_MS = 8000

export interface CallRegistryOptions extends MainThreadServices {
  readonly agents: ReadonlyMap<string, HostedAgent>
  readonly defaultAgent: string | null
  /** Function that returns the draft for a call which was placed to try it. If it is absent, no drafts are tried. */
  readonly draftOf?: (callSid: string) => HostedAgent | undefined
  /**
   * True if this version is a canary that was stopped because of its results. It then gets no new calls. If this
   * function is absent, no version is stopped.
   */
  readonly isCanaryStopped?: (agent: string, version: string) => boolean
  /**
   * Businesses by our number; edits of NUMBERS_FILE change the map in place. If it is absent, no number has a business.
   */
  readonly businesses?: ReadonlyMap<string, Business>
  /** Opens the pool that runs the tasks of its calls; the registry closes it. */
  readonly openPool: (calls: PoolCalls) => CallPool
  /** Maximum number of live calls, over all workers. */
  readonly maxCalls: number
  /**
   * True while an operator has closed this node for new calls. If this function is absent, the node is never closed.
   */
  readonly cordoned?: () => boolean
  /**
   * `isFull`: the disk is too full for records. `isElsewhere`: another node has capacity for calls and space for their
   * records.
   */
  readonly disk?: { readonly isFull: () => boolean; readonly isElsewhere: () => boolean }
  /** Variables that tool templates may read. */
  readonly env: Environment
  readonly speech: Pick<SpeechPool, 'openSession'> | null
  /** Timer of the clock, for the playout tick and a drain; a real timer if absent. */
  readonly setTimer?: typeof unrefTimer
  /** Handling of phone numbers and words in records; if absent, numbers are masked and all words are kept. */
  readonly privacy?: RecordPrivacy
  /** Function that adds `wholeCost` to a record. If it is absent, records do not have this field. */
  readonly withCost?: (record: CallRecord) => CallRecord
  /**
   * Time in ms that the record and the handoff packet of an agent's call stay in memory after its end. If absent, they
   * stay until the space is needed.
   */
  readonly recordsKeepMs?: (agent: string) => number
  /** Records of an earlier run, oldest first. Their calls are shown and never opened again. */
  readonly ended?: readonly CallRecord[]
  /** The carrier's after-stream behaviour. If it is absent or null, the behaviour is learnt. */
  readonly afterStream?: AfterStream | null
  /**
   * Function that returns the used step of the daily budget of one of our numbers. If it is absent, numbers have no
   * budgets.
   */
  readonly budgetStep?: (number: string) => BudgetStep | null
  /** Receives each outcome of a tool that the caller has not heard. */
  readonly onWaitUnheard?: (news: WaitUnheard) => void
  /** The fleet's effect gate. If it is absent or null, only this process remembers the effects of its calls. */
  readonly effects?: EffectGate | null
  /**
   * The fleet's counter of attempts. If it is absent or null, only this process remembers wrong verification answers.
   */
  readonly sharedAttempts?: SharedAttempts | null
  /** Availability of another node that takes calls; `never` if this function is absent. */
  readonly elsewhere?: () => 'now' | 'soon' | 'never'
  /**
   * Hands on a resting call when the process ends. A resting call has neither caller nor stream, but it waits for a
   * tool's outcome or for a human.
   * @returns `moved` if another node continues it; `kept` for the next run of this node; `nowhere` if nothing continues
   * it
   */
  readonly leaveResting?: (callSid: CallSid) => Promise<'moved' | 'kept' | 'nowhere'>
  /**
   * Called with the record of each ended call.
   * @param told  see `CallKeeping.over`; null if no other node can have the call
   */
  readonly onRecord: (record: CallRecord, told: Promise<OverAnswer> | null) => void
  /**
   * Called with each refused call's record, and the packet for the person who calls back. If this function is absent,
   * record and packet stay in memory.
   * @param handoff  null if the number is withheld
   */
  readonly onRefused?: (record: CallRecord, handoff: Handoff | null) => void
  /**
   * Called when a call has ended here because another node took it.
   * @param part  this node's part of the record, stored if the other node makes no record
   */
  readonly onGoneElsewhere?: (callSid: CallSid, part: CallRecord) => void
}

/** Runs the tasks of calls: a `MediaPool`, or the simulator's `OneThreadPool`. */
type CallPool = Pick<MediaPool, 'ready' | 'run' | 'ticks' | 'threads' | 'socketsRead' | 'close'>

interface RecordPrivacy {
  readonly maskNumbers: boolean
  readonly transcript: TranscriptPolicy
}

/** @throws GatewayError KEPT_CALL_INVALID or CALL_REFUSED */
function checkResume(call: NewCall, state: KeptState): void {
  const { kept } = state
  if (kept.callSid !== call.callSid || kept.agent !== call.agent)
    throw new GatewayError('KEPT_CALL_INVALID', 'the kept call is another call, or has another agent')
  if (continuationOf(kept) === 'nobody')
    throw new GatewayError('CALL_REFUSED', 'this call was ending when its node was lost: it is not resumed')
  if (!mayGoOn(partsOf(state)))
    throw new GatewayError(
      'CALL_REFUSED',
      `this call was resumed ${kept.resumed.length} times already; allowed: ${RESUMES_MAX} after a lost node or a stream under ${HEARD_STREAM_MS_MIN} ms, ${CALL_PARTS_MAX - 1} in all`,
    )
}

/**
 * Creates all series that follow from the settings, with the value 0. If a series began at 1, `rate()` would miss this
 * first increase.
 */
function beginSeries(metrics: Metrics, agents: CallRegistryOptions['agents'], waits: Waits): void {
  for (const [agent, { shares, definition }] of eachVersion(agents)) {
    if (definition.verification !== null)
      for (const event of ['locked', 'refused']) metrics.verificationLocks({ agent, event })
    for (const stage of Object.keys(definition.stages ?? {}))
      for (const outcome of ['contained', 'escalated', 'abandoned', 'failed'])
        metrics.stageEnds({ agent, stage, outcome })
    for (const tool of definition.tools)
      if (tool.waits !== undefined)
        for (const outcome of ['succeeded', 'failed', 'expired']) waits.seconds({ tool: tool.name, outcome })
    for (const served of ['answered', 'done', 'not-understood', 'nothing-asked'])
      metrics.callsServed({ agent, outcome: 'contained', served })
    for (const { name: server } of definition.mcp) {
      for (const event of MCP_EVENTS) metrics.mcpServerEvents({ agent, server, event })
      metrics.mcpConnectFailures({ agent, server })
    }
    for (const backend of namesIn(shares)) {
      if (backend.startsWith(MODULE_PREFIX)) continue // The module's name is known only when the module is loaded.
      for (const outcome of ['contained', 'escalated', 'abandoned', 'failed'])
        metrics.calls({ agent, backend, outcome })
      for (const outcome of ['ok', 'error'])
        for (const { name } of definition.tools) metrics.toolSeconds({ backend, tool: name, outcome })
      for (const { name } of definition.tools) metrics.toolErrors({ backend, tool: name, code: 'TOOL_UNBOUND' })
      for (const { tools } of definition.claims?.rules ?? []) {
        const [tool] = tools
        for (const verdict of ['done', tool === undefined ? 'no-tool' : 'not-called'])
          metrics.claims({ agent, backend, tool: tool ?? 'none', verdict })
      }
      if ((definition.claims?.facts ?? 'off') !== 'off')
        metrics.claims({ agent, backend, tool: 'none', verdict: 'no-source' })
      for (const reason of endReasonSchema.options) metrics.callEnds({ backend, reason })
      for (const committed of ['yes', 'no']) metrics.bargeIns({ agent, backend, committed })
      metrics.toolCallsRefused({ backend })
      metrics.turnResponse({ agent, backend })
      metrics.turnAnswer({ agent, backend })
      metrics.backendConnect({ backend, role: 'first' })
      for (const code of ['auth', 'quota', 'overrun']) metrics.backendErrors({ backend, code })
    }
  }
  for (const answer of ['new', 'repeated', 'uncertain', 'store-down', 'refused']) metrics.effectIntents({ answer })
  for (const kind of ['tool', 'rest', 'handoff']) metrics.effectsRefused({ kind })
  for (const where of ['caller', 'agent']) metrics.framesDropped({ where })
}
