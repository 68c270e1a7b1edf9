import type { MessagePort } from 'node:worker_threads'
import { LRUCache } from 'lru-cache'
import { missingFacts } from '../../agents/file/business.js'
import type { Business } from '../../agents/file/business.js'
import { humanFirst } from '../../agents/file/human-first.js'
import type { Environment } from '../../agents/file/template.js'
import { VerificationLocks } from '../../agents/identity/verification-lock.js'
import type { SharedAttempts } from '../../agents/identity/verification-lock.js'
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
 * The live and the ended calls of this process. It counts the slots, and takes or refuses each new call. It also runs
 * the main thread's playout tick over all live calls.
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
  /** For polls of tools that wait. */
  readonly #client = new HttpClient()
  readonly #context: MainThreadContext
  readonly #ticker: Ticker
  readonly #metricSources: readonly (() => void)[]
  /** Lateness and length of the playout tick on this thread. */
  readonly #tickLateness = new FrameHistogram()
  readonly #tickBusy = new FrameHistogram()
  readonly #load: LoadWatch
  /** Slots in use: calls whose task is not over. */
  #tasks = 0
  /** Number of the newest call. */
  #ordinal = NO_CALL
  #draining = false
  /** The drain's time is over: a call that has lost its stream goes on elsewhere only. */
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
      'Refused calls that left no record, because there were too many in a minute',
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
    this.#metricSources = [
      metrics.callsLive.from(() => this.#tasks),
      metrics.callCapacity.from(() => this.capacity),
      metrics.callCapacityRemaining.from(() => this.free),
      metrics.draining.from(() => (this.#draining ? 1 : 0)),
      metrics.tickLatenessFrom('main', this.#tickLateness),
      metrics.tickBusyFrom('main', this.#tickBusy),
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

  /** The highest fill of a ring over all calls. */
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
   * An agent with the facts of the business that has this number; undefined where one that it reads is missing.
   * @param key  of the call; null: of none, of what all versions have alike
   */
  #hosted(name: string, number: string, step: BudgetStep | null, key: VersionKey | null): HostedAgent | undefined {
    const named = this.#options.agents.get(name)
    const agent = named === undefined || key === null ? named : versionFor(named, key)
    const business = this.#options.businesses?.get(number)
    const { reads = new Set<string>() } = agent ?? {}
    if (business === undefined) return reads.size === 0 ? agent : undefined
    return missingFacts(reads, business).length > 0 ? undefined : (agent?.forBusiness?.(business, step) ?? agent)
  }

  /** Our own number in a call, if it belongs to a business. */
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
    // A caller is served without a record where nobody else could keep one.
    return this.#load.overload ?? (disk?.isFull() === true && disk.isElsewhere() ? 'disk-full' : null)
  }

  /** True while the records of calls that end here wait for the disk. */
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
    // One that goes on keeps what it was answered with; a promised call back is another call.
    const anew = resume === null || call.placed?.promised === true
    const budgetStep = anew ? (this.#options.budgetStep?.(ours) ?? null) : resume.kept.budgetStep
    const rootSid = call.rootSid ?? resume?.kept.rootSid ?? call.callSid
    // Not by its chain: a call back is not the call that tried it.
    const draft = this.#options.draftOf?.(call.callSid)
    const key = { rootSid, had: resume?.kept.agentHash ?? null, draft }
    const agent = this.#hosted(call.agent, ours, budgetStep, key)
    if (agent === undefined) {
      throw new GatewayError(
        'AGENT_UNKNOWN',
        `there is no agent ${call.agent}, or not the facts of this number that it reads; allowed: ${this.agentNames().join(', ')}`,
      )
    }
    // A call that comes back may have an earlier part here.
    const known = resume === null ? this.known(call.callSid) : lost !== undefined && !replaces
    if (known) throw new GatewayError('DUPLICATE_CALL', 'this call was answered before')
    if (resume !== null) checkResume(call, resume)
    const withAgent = resume === null || continuationOf(resume.kept) === 'agent'
    // A caller who was talking is not turned away for one who calls now.
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
    // May end at once, when nothing of a resumed call is left to do.
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
   * Enters the record of a call that was placed and not answered, or that another node took and made no record of.
   * @param told  see `CallKeeping.over`; null: no other node can have it
   */
  enter(entered: CallRecord, told: Promise<OverAnswer> | null = null): void {
    const record = this.#withCost(entered)
    const known = (): void => void this.#known.set(record.callSid, true)
    if (told === null) known()
    // A question of the carrier about a call that another node may have is not answered here.
    else void told.then((answer) => answer === 'ok' && known())
    this.#options.metrics.callEnded(record)
    this.#ended.set(record.callSid, record, this.#keptFor(record))
    this.#options.onRecord(record, told)
  }

  refused(call: RefusedCall): void {
    const { callSid, from } = call
    const { clock, wallClock, privacy, onRefused } = this.#options
    // It has a record, or gets one when it ends.
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

  /** How long a document stays in memory; 0: for as long as there is room. */
  #keptFor({ agent }: Pick<CallRecord, 'agent'>): { readonly ttl: number } {
    return { ttl: this.#options.recordsKeepMs?.(agent) ?? 0 }
  }

  /** @param start  when its time in memory began, on the clock of `performance.now` */
  #remember(record: CallRecord, start = performance.now()): void {
    const { callSid, outcome } = record
    this.#ended.set(callSid, record, { ...this.#keptFor(record), start })
    if (outcome !== 'refused') return
    const oldest = this.#refused.push(callSid) > REFUSED_KEPT ? this.#refused.shift() : undefined
    if (oldest === undefined) return
    this.#ended.delete(oldest)
    this.#handoffs.delete(oldest)
  }

  /** Enters the record of a call of a lost node that nobody goes on with. */
  addLostCall(state: KeptState): void {
    const { callSid } = state.kept
    if (!this.#calls.has(callSid) && !this.#ended.has(callSid))
      this.enter({ ...this.#kept(recordOfLost(state, this.#context)), ...this.#numberOf(state.kept) })
    const order = state.kept.escalation?.history?.callback ?? null
    const policy = this.#transcriptPolicy
    if (order !== null) void this.#options.callBacks?.promise(promisedCall(state, policy), keptCallBack(order, policy))
  }

  /** Enters the record of a call that was live when an earlier process died; it is stored already. */
  addRecoveredCall(record: CallRecord): void {
    if (this.#calls.has(record.callSid) || this.#ended.has(record.callSid)) return
    this.#known.set(record.callSid, true)
    this.#options.metrics.callEnded(record)
    this.#ended.set(record.callSid, record, this.#keptFor(record))
  }

  /**
   * Adds to the record of an ended call what came after its end: the carrier's own record, or what it was about.
   * @returns the new record; null when the record is no longer kept
   */
  join(callSid: string, part: Partial<Pick<CallRecord, 'carrier' | 'analysis'>>): CallRecord | null {
    const record = this.#ended.peek(callSid)
    if (record === undefined) return null
    const joined = this.#withCost({ ...record, ...part })
    this.#ended.set(callSid, joined, this.#keptFor(joined))
    return joined
  }

  /** Forgets the record and the handoff of an ended call; its SID stays known. @returns whether there were any */
  forget(callSid: CallSid): boolean {
    const had = [this.#ended.delete(callSid), this.#handoffs.delete(callSid)]
    return had.includes(true)
  }

  languageOf(number: string): string | undefined {
    return this.#context.lines.languageOf(partyKey(number))
  }

  /** Forgets what was learnt of a number's line. */
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

  /** After-stream behaviour, as this process knows it. */
  get behaviour(): AfterStreamBehaviour {
    return this.#context.afterStream
  }

  liveByAgent(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (const { agent } of this.#calls.values()) counts[agent] = (counts[agent] ?? 0) + 1
    return counts
  }

  /** Usage of our numbers' live calls until now. */
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
   * Its stream closes, and nothing more is done for it outside.
   * @param why  `lost`: another node has this call; `isolated`: one may have it
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
    const staying = [...this.#calls.values()].filter(({ state }) => state !== 'cut')
    if (staying.length > 0)
      this.#log.warn({ calls: staying.length }, 'the drain timeout has passed: the remaining calls end with a goodbye')
    for (const call of staying) call.hangup('drain-limit', 'the node is being stopped', true)
    const untilMs = this.#options.clock() + FORCE_AFTER_MS
    while (this.#options.clock() < untilMs && [...this.#calls.values()].some((call) => !call.onlyWaits))
      await Promise.race([drained, this.#wait(ASKED_LOOK_MS)])
    for (const call of [...this.#calls.values()]) {
      const left = call.onlyWaits ? await this.#options.leaveWaits?.(call.callSid) : undefined
      if (left === undefined || left === 'nowhere') call.force('the node is being stopped')
    }
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => (this.#options.setTimer ?? unrefTimer)(ms, resolve))
  }

  /**
   * The time of the drain is over: what another node can go on with, it does. Where it is not known whether the carrier
   * asks after a stream, one call shows it: a carrier that holds a caller in silence would hold all of them.
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

  /** Ends all workers; calls that are still there are lost. Call `drain` first. Idempotent. */
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
      try {
        call.pump(nowMs)
        streams ||= call.streams
      } catch (thrown) {
        this.#log.error({ err: thrown, call_sid: call.callSid }, 'playout of a call failed')
        call.force('playout failed')
      }
    }
    // A call without a stream rings, or its caller talks to a human, for an hour perhaps.
    this.#ticker.periodMs = streams ? TICK_MS : TICK_WITHOUT_STREAM_MS
    this.#tickBusy.observeMs(this.#options.clock() - nowMs)
  }
}

/** Period of the main thread's tick while no call has a stream: it only watches deadlines of seconds then. */
const TICK_WITHOUT_STREAM_MS = 50
/**
 * How long after the workers' tick the main thread's tick comes. With less, the frames of a full worker miss it and
 * wait for the next one; with more, every frame waits longer than it must. docs/LATENCY.md.
 */
export const PLAYOUT_TICK_PHASE_MS = 2.5
/** Call SIDs remembered, so that a late webhook of an ended call opens no new one. */
const KNOWN_CALLS_KEPT = 50_000

/**
 * Records of refused calls: one caller gets three, and another one every 20 minutes, since one is enough to call back;
 * all callers together get 120 in a minute. At 1.2 KB each, record and packet, a flood of a whole day writes 200 MB,
 * and does not drive the records of other calls out (`RECORDS_KEEP_MB`).
 */
const REFUSED_OF_CALLER = { perSecond: 3 / 3600, burst: 3, keysMax: 10_000 }
const REFUSED_OF_ALL = { perSecond: 2, burst: 120, keysMax: 1 }
/** How many of the records in memory may be of refused calls. */
const REFUSED_KEPT = ENDED_CALLS_KEPT / 2

/** How often is looked whether the carrier has asked how a call goes on whose stream was closed. */
const ASKED_LOOK_MS = 50
/** Calls that have reached the limit of a drain are given this long for another node that is not there just now. */
const ELSEWHERE_WITHIN_MS = 15_000
/**
 * At the limit of a drain streams are closed one after the other, and all within this: their callers wait for one node, which
 * opens a call in some 20 ms.
 */
const LEAVE_EVERY_MS = 40
const LEAVE_WITHIN_MS = 5000
/** How long a call may take to end after it was asked to; then it is ended by force. */
const FORCE_AFTER_MS = 8000

export interface CallRegistryOptions extends MainThreadServices {
  readonly agents: ReadonlyMap<string, HostedAgent>
  readonly defaultAgent: string | null
  /** The draft that a call was placed to try; absent: nobody tries any. */
  readonly draftOf?: (callSid: string) => HostedAgent | undefined
  /** By our number; changed in place by edits of NUMBERS_FILE. Absent: none. */
  readonly businesses?: ReadonlyMap<string, Business>
  /** Opens what runs the tasks of its calls; the registry closes it. */
  readonly openPool: (calls: PoolCalls) => CallPool
  /** Calls at once, over all workers. */
  readonly maxCalls: number
  /** True while no new calls are to come, by an operator; absent: never. */
  readonly cordoned?: () => boolean
  /** `isFull`: the disk takes no records. `isElsewhere`: another node has room for calls, and for their records. */
  readonly disk?: { readonly isFull: () => boolean; readonly isElsewhere: () => boolean }
  /** Variables that tool templates may read. */
  readonly env: Environment
  readonly speech: Pick<SpeechPool, 'openSession'> | null
  /** Timer of the clock, for the playout tick and a drain; a real one when absent. */
  readonly setTimer?: typeof unrefTimer
  /** Handling of phone numbers and words in records; when absent, masked numbers and all words. */
  readonly privacy?: RecordPrivacy
  /** Adds its `wholeCost` to a record; absent: records have none. */
  readonly withCost?: (record: CallRecord) => CallRecord
  /** How long after its end the record and handoff packet of an agent's call stay in memory; absent: for as long as there is room. */
  readonly recordsKeepMs?: (agent: string) => number
  /** Records of an earlier run, oldest first. Their calls are shown, and are not opened again. */
  readonly ended?: readonly CallRecord[]
  /** The carrier's after-stream behaviour; learnt when absent or null. */
  readonly afterStream?: AfterStream | null
  /** How far the budget of the day of one of our numbers is used up; absent: none has one. */
  readonly budgetStep?: (number: string) => BudgetStep | null
  /** Receives each outcome of a tool that its caller has not heard. */
  readonly onWaitUnheard?: (news: WaitUnheard) => void
  /** The fleet's; absent or null: this process alone remembers what its calls have done. */
  readonly effects?: EffectGate | null
  /** The fleet's; absent or null: this process alone remembers wrong verification answers. */
  readonly sharedAttempts?: SharedAttempts | null
  /** When another node takes calls; absent: never. */
  readonly elsewhere?: () => 'now' | 'soon' | 'never'
  /**
   * The process ends while a tool of a call that has no caller any more still waits. @returns where its outcome is awaited
   * from now on: at another node that has taken the call, by the next run, which finds what was kept of it, or nowhere
   */
  readonly leaveWaits?: (callSid: CallSid) => Promise<'moved' | 'kept' | 'nowhere'>
  /** Called with the record of each call that has ended. @param told  null: no other node can have it */
  readonly onRecord: (record: CallRecord, told: Promise<OverAnswer> | null) => void
  /**
   * Called with the record of each call that was refused, and with the packet for whoever calls back; absent: they stay
   * in memory. @param handoff  null where the number is withheld
   */
  readonly onRefused?: (record: CallRecord, handoff: Handoff | null) => void
  /** Called when a call has ended here because another node took it. @param part  of the record, kept if the other node makes none */
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
 * Creates every series known from the settings at 0: `rate()` would not see the first increase of a series that starts
 * at 1.
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
    for (const { name: server } of definition.mcp) {
      for (const event of ['up', 'down', 'changed', 'session-lost', 'overrun'])
        metrics.mcpServerEvents({ agent, server, event })
      metrics.mcpConnectFailures({ agent, server })
    }
    for (const backend of namesIn(shares)) {
      if (backend.startsWith(MODULE_PREFIX)) continue // its name is known only when it is loaded
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
