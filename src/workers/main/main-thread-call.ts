import type { CallTimelineView, LiveCallRow, LiveCallState, LiveCallView } from '../../call/documents/call-view.js'
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { agentVersion } from '../../agents/agent-view.js'
import { NO_ASSETS } from '../../agents/assets.js'
import { consentOf } from '../../agents/definition.js'
import type { AgentDefinition } from '../../agents/definition.js'
import type { Attempt, LockRule, Verdict } from '../../agents/verification-lock.js'
import type { StreamFault } from '../../call/events.js'
import type { CarrierState, HumanEvent } from '../../sautikit/carrier-state.js'
import type { Handoff } from '../../call/documents/handoff.js'
import type { BudgetStep, EndReason, OutboundRecord } from '../../call/documents/record.js'
import { usedIn } from '../../backends/budget.js'
import { snapshotForAnother } from '../../backends/failover/backend-list.js'
import { usesLegRate } from '../../backends/registry.js'
import { shareOf, usesRecogniser } from '../../backends/split.js'
import type { BackendShare } from '../../backends/split.js'
import { assertNever } from '../../core/assert.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import type { CallLogEntry, CallLogRecords, LoggedToolCall } from '../../call/call-log.js'
import type { CallCheckpoint } from '../../call/documents/checkpoint.js'
import { VERIFY_TOOL } from '../../call/gateway-tools.js'
import { hasFields } from '../../core/json.js'
import type { CallSid } from '../../core/ids.js'
import { SOCKET_WAIT_MS, STREAM_OFFERS_MAX } from '../../core/limits.js'
import type { LegRateHz } from '../../core/units.js'
import type { ContinuationAsker } from '../../escalation/documents.js'
import type { VoiceAction } from '../../sautikit/actions.js'
import { partyKey, sameNumber } from '../../sautikit/phone.js'
import type { StreamText } from '../../sautikit/stream-messages.js'
import type { Log } from '../../telemetry/log.js'
import type { CallResult, KeptCall, KeptState } from '../../call/documents/kept-call.js'
import type { CallStart, FromCall, ToCall } from '../shared/call-messages.js'
import { ASKS_WITHIN_MS } from './after-stream-behaviour.js'
import { CallContinuity, packetOf } from './call-continuity.js'
import type { KeptNow } from './call-continuity.js'
import { lostResult } from './kept-call.js'
import { CallRecordBuilder, callSummary, lookUpOf, outboundRecord } from './call-record.js'
import type { CallEnding } from './call-record.js'
import { CallRecorder } from './call-recorder.js'
import { widestRateHz } from './caller-profiles.js'
import type { Listening, LiveCall, MediaSink, NewCall, Spending } from './live-call.js'
import type { CallMemory } from '../shared/call-memory.js'
import type { MainThreadContext, HostedAgent } from './main-thread-context.js'
import { CallEffects } from '../shared/effects.js'
import { CallWaits } from './call-waits.js'
import type { WaitAnswer, WaitStatus } from './wait-status.js'
import { EscalationDriver } from './escalation-driver.js'
import { PlayoutClock } from './playout-clock.js'
import { HANGUP_NOW, SharedCall, Word } from '../shared/shared-call.js'
import { WorkerLostError } from './worker-watchdog.js'
import type { CarriedCall } from './worker-watchdog.js'
import { traceparentOf } from '../../telemetry/trace-id.js'

/** How often a call may be re-homed, whichever call ended the worker before. docs/ARCHITECTURE.md. */
const REHOMES_MAX = 5
/**
 * How often a call is tried again after it was suspected of its worker's death or failed by its own fault.
 * docs/ARCHITECTURE.md.
 */
const SUSPICIONS_MAX = 1
/** A carrier sends a frame every 20 ms, silence too: a socket without any for this long has lost its other end. */
const STREAM_QUIET_MS = 300

/** Listeners to one call at once. */
const LISTENERS_OF_CALL_MAX = 4
/** What a listener hears is this late: jitter of the line has its place, and each message holds a tenth of a second. */
const LISTEN_DELAY_MS = 300
const LISTEN_BATCH_MS = 100

/** What takes in both voices of a call. */
type Hearer = Pick<CallRecorder, 'caller' | 'callerUnheard' | 'agent' | 'agentCut' | 'pump'>

/** Backend faults that need an operator. */
const FINAL_FAULTS: ReadonlySet<string> = new Set(['auth', 'quota', 'bad_request'])
const BACKEND_FAULT_WORDS: Readonly<Record<string, string>> = {
  auth: 'a backend refuses its key',
  quota: 'the account of a backend is empty',
  bad_request: 'a backend refuses how it is set',
  rate_limit: 'a backend limits our requests',
  session_expired: 'a backend ended a session at its time limit',
}

/**
 * The main thread's half of a call: its socket, its playout clock, its shared memory, and what must outlive a worker:
 * the call log, the last checkpoint and the escalation. The session in the worker decides what the caller hears; this
 * half sends it at the right time, and continues while the worker is dead.
 *
 * When a worker dies, its calls move to another one. A call that may have caused the death gets a worker of its own. If
 * that one dies too, the call ends, so that it does not end one worker after another.
 *
 * When a whole node or only the stream is lost, another one is made from the call's kept state (`CallContinuity`): with a
 * new stream and a session that goes on, or, where a human was being reached, with the escalation alone. This one is `cut`
 * meanwhile, and ends without a record. If the carrier says that the caller has left, or asks nothing, this one ends with
 * it.
 */
export class MainThreadCall implements LiveCall, CarriedCall {
  readonly callSid: CallSid
  readonly number: number
  readonly agent: string
  /** `partyKey` of who called us; null in a call that we placed. */
  readonly callerKey: string | null
  readonly legRateHz: LegRateHz
  afterStreamUrl: string | null = null
  humanUrl: string | null = null
  continueUrl: LiveCall['continueUrl'] = null
  /** The agent that has the call now. */
  #hosted: HostedAgent
  #share: BackendShare
  readonly #context: MainThreadContext
  readonly #log: Log
  readonly #memory: CallMemory
  readonly #shared: SharedCall
  readonly #playout: PlayoutClock
  /** From here on it waits for its socket: since the last document that offered it one. */
  #waitsFromMs: number
  readonly #socketWaitMs: number
  readonly #continuity: CallContinuity
  #lastState: CarrierState = 'unknown'
  readonly #record: CallRecordBuilder
  /** Leads to the worker's half; null while there is none. */
  #port: MessagePort | null = null
  /** True from `begin` until the last worker's half has ended. */
  #taskRunning = false
  /** With the log, the state from which another worker would continue. */
  #saved: Extract<FromCall, { type: 'log' }>['saved'] = null
  /** Moves to another worker so far. */
  #rehomes = 0
  #suspicions = 0
  streamOffers = 0
  /** Since when the carrier could not open the stream that it was offered last; null while nothing is known of that. */
  #refusedAtMs: number | null = null
  /** The carrier has words for the caller, in case that no stream comes. */
  #goesOnAlone = false
  #document: string | null = null
  #heard = false
  #carrierSentAtMs = -Infinity
  #underrunsSeen = 0
  readonly #effects: CallEffects
  readonly #escalation: EscalationDriver
  readonly #waits: CallWaits
  #state: LiveCallState = 'waiting'
  #sink: MediaSink | null = null
  #recorder: CallRecorder | null = null
  readonly #listeners = new Map<CallRecorder, () => void>()
  /** The caller enters what only a tool may get. */
  #private = false
  #attached = false
  #attachedAtMs: number | null = null
  #detachedAtMs: number | null = null
  /** The caller has heard that the call is recorded, or nothing has to be said. */
  #recordingAnnounced: boolean
  /** The caller has said no: neither recording, journal nor words of the call are kept. */
  #refused: boolean
  #result: CallResult | null = null
  #fault: string | null = null
  /** It was ended by force: nothing is waited for any more. */
  #forced = false
  /** Another node has taken the call. */
  #taken = false
  #streamFault: StreamFault | undefined = undefined
  /** The verification attempt that has no verdict yet. */
  #attempt: Attempt | null = null
  /** Counts the attempts that were asked for. */
  #attemptsAsked = 0

  /** @param before  the same call as a lost node left it; null for a new call */
  constructor(call: NewCall, hosted: HostedAgent, context: MainThreadContext, before: KeptState | null = null) {
    this.callSid = call.callSid
    this.number = context.callNumber()
    this.agent = call.agent
    this.callerKey = call.direction === 'inbound' ? partyKey(call.from) : null
    this.#hosted = handedTo(before, hosted, context)
    this.#context = context
    const traceId = context.traces?.traceId(call.callSid) ?? null
    this.#log = context.log.call(call.callSid, {
      agent: call.agent,
      ...(traceId === null ? {} : { trace_id: traceId }),
    })
    this.#memory = context.memory.take()
    this.#shared = new SharedCall(this.#memory.buffer, this.#memory.at)
    this.#continuity = new CallContinuity(
      {
        call,
        hosted,
        before,
        log: this.#log,
        now: () => this.#keptNow(),
        logNow: () => ({ log: this.#record.log.records(), marks: this.#record.timeline.marks }),
        mark: (name, detail) => this.#mark(name, detail),
        over: () => this.#cutOver(),
      },
      context,
    )
    this.#waitsFromMs = context.clock()
    const noConsent = hosted.definition.recording.consent === null
    this.#refused = before?.kept.recording.refused ?? false
    this.#recordingAnnounced = before === null ? noConsent : before.kept.recording.announced || noConsent
    this.#rehomes = before?.kept.rehomes ?? 0
    // A call that we placed has to ring first.
    this.#socketWaitMs =
      SOCKET_WAIT_MS + (before === null || before.how === 'call-back' ? (call.placed?.ringMs ?? 0) : 0)
    this.#share = shareOf(this.#hosted.shares, this.#continuity.rootSid)
    this.legRateHz = this.#rateHz(before?.kept ?? null)
    this.#playout = new PlayoutClock(this.#shared, this.legRateHz)
    this.#record = new CallRecordBuilder(
      { ...call, agentVersion: this.#continuity.agentVersion },
      this.#share.names[0] ?? 'none',
      context.metrics,
      context.callSeries,
      { ms: this.#continuity.preparedAtMs, wallMs: this.#continuity.webhookWallMs },
      context.maskNumbers,
      before,
    )
    context.keeper?.open(call.callSid, {
      kept: () => this.#continuity.kept(),
      log: () => this.#continuity.logKept(),
    })
    this.#mark('webhook', `${call.direction} to ${call.agent}`)
    if (before === null && this.#budgetStep !== null) this.#mark('budget-step', this.#budgetStep)
    this.#effects = new CallEffects(
      {
        callSid: call.callSid,
        resumed: before !== null,
        log: this.#log,
        mark: (name, detail) => this.#mark(name, detail),
      },
      context.effects,
    )
    this.#waits = new CallWaits(
      {
        callSid: call.callSid,
        agent: () => this.#hosted.definition,
        toolOf: (name) => this.#toolOf(name),
        business: hosted.serves?.business ?? null,
        from: this.#caller,
        to: call.direction === 'inbound' ? call.to : call.from,
        variables: this.#continuity.call.placed?.variables ?? {},
        wallClock: context.wallClock,
        identity: () => this.#saved?.checkpoint.identity ?? null,
        traceContext: this.#traceContext,
        mark: (name, detail) => this.#mark(name, detail),
        toSession: (news) => this.#send(news),
        settled: (key, outcome) => this.#effects.settle(key, outcome),
        saved: () => context.keeper?.saved(call.callSid) ?? Promise.resolve(true),
        changed: () => {
          context.keeper?.changed(call.callSid)
          this.#endWhenDone()
        },
      },
      context.waits,
      before?.kept.waits ?? [],
    )
    this.#escalation = new EscalationDriver(
      {
        call: this,
        rootSid: this.#continuity.rootSid,
        effects: this.#effects,
        agent: () => this.#hosted.definition,
        caller: this.#caller,
        ours: call.direction === 'inbound' ? call.to : call.from,
        joinsCallBack: this.#continuity.call.placed?.joins != null,
        keepsWords: () => !this.#refused,
        log: this.#log,
        toSession: (step) => this.#send({ type: 'escalation', step }),
        settled: () => this.#endWhenDone(),
        promised: () => context.onPromise?.(this.#promise()),
        changed: () => context.keeper?.changed(call.callSid),
        mark: (name, detail) => this.#mark(name, detail),
      },
      context,
    )
  }

  /** The XML this call was answered with. */
  get document(): string | null {
    return this.#document
  }

  set document(document: string | null) {
    this.#document = document
    this.#refusedAtMs = null
    this.#waitsFromMs = this.#context.clock()
    this.streamOffers++
    if (this.streamOffers === 1) {
      this.#mark('webhook-answered')
      return
    }
    this.#context.metrics.streamsOfferedAgain.inc(1, this.callSid)
    this.#mark('stream-offered-again', `offer ${this.streamOffers} of at most ${STREAM_OFFERS_MAX}`)
  }

  get #budgetStep(): BudgetStep | null {
    return this.#continuity.call.budgetStep ?? null
  }

  get state(): LiveCallState {
    return this.#state
  }

  /** Its stream is open. */
  get streams(): boolean {
    return this.#sink !== null
  }

  /** How full the call's rings are, 0 to 1. */
  get inboundFill(): number {
    return this.#shared.inbound.fill
  }

  get outboundFill(): number {
    return this.#shared.outbound.fill
  }

  /** The handoff packet; null while no human was requested. */
  get handoff(): Handoff | null {
    return this.#escalation.handoff
  }

  /** Thread of the worker that runs this call's task, also when that worker has just died; 0 for none. */
  get workerThread(): number {
    return this.#taskRunning ? Atomics.load(this.#shared.words, Word.worker) : 0
  }

  /** How often this call was suspected of its worker's death, or failed by its own fault. */
  get suspicions(): number {
    return this.#suspicions
  }

  /** Starts the call's task; the backend connects while the webhook is being answered. */
  begin(): void {
    const { before } = this.#continuity
    if (before !== null && !this.#resume(before)) return
    this.#start(false)
  }

  // --- a call whose node was lost -------------------------------------------------------------------------

  /** @returns false when only its escalation goes on, and perhaps nothing */
  #resume(before: KeptState): boolean {
    const { kept } = before
    const goesOn = this.#continuity.resume(before)
    const { keeper, locks, openRecords } = this.#context
    this.afterStreamUrl = kept.afterStreamUrl
    this.humanUrl = kept.humanUrl
    const checkpoint = this.#continuity.checkpoint(before)
    const proven = checkpoint === null ? null : this.#provenTo(before.log, checkpoint)
    if (proven !== null) this.#saved = { checkpoint: proven, backendState: kept.backendState }
    if (this.#lockRule !== null && this.#caller !== '') locks.restore(this.#caller, kept.wrongAnswers, this.#lockRule)
    openRecords?.open(this.callSid, () => this.#record.open(this.#ending(), this.#context.wallClock()))
    keeper?.changed(this.callSid)
    if (goesOn !== 'agent') {
      // No stream is taken any more.
      this.#attached = true
      this.#state = 'after'
      this.#result = kept.result ?? lostResult(kept, goesOn === 'human' ? 'human' : 'outcome')
      this.#waits.ended()
    }
    if (kept.escalation !== null) this.#escalation.restore(kept.escalation, packetOf(before), goesOn === 'human')
    if (goesOn === 'agent') return true
    this.#endWhenDone()
    return false
  }

  /** A tool that waits may be one of an agent that has handed the call over. */
  #toolOf(name: string): AgentDefinition['tools'][number] | undefined {
    const { definition, serves } = this.#hosted
    const before = this.#record.log.handovers.map(({ from }) =>
      this.#context.agent(from, serves?.business ?? null, this.#budgetStep),
    )
    const agents = [definition, ...before.flatMap((hosted) => hosted?.definition ?? [])]
    return agents.flatMap(({ tools }) => tools).find((tool) => tool.name === name)
  }

  /** A call that goes on keeps its rate, where that was learnt. */
  #rateHz(before: KeptCall | null): LegRateHz {
    const { stream } = this.#hosted.facts
    if (before !== null)
      return stream.samplingRateHz === 'auto' && before.legRateHz === 8000 ? 8000 : widestRateHz(stream.samplingRateHz)
    const atLegRate = usesLegRate(this.#share.names[0] ?? '', this.#hosted.definition.backends)
    return this.#context.lines.rateHz(stream.samplingRateHz, partyKey(this.#caller), atLegRate)
  }

  #keptNow(): KeptNow {
    return {
      legRateHz: this.legRateHz,
      streamOpenedMs: this.#streamOpenedMs,
      streamMs: this.#streamMs,
      afterStreamUrl: this.afterStreamUrl,
      humanUrl: this.humanUrl,
      recording: { announced: this.#recordingAnnounced, refused: this.#refused, file: this.#recorder?.path ?? null },
      session: this.#saved?.checkpoint ?? null,
      backendState: this.#saved?.backendState ?? null,
      escalation: this.#escalation.kept(),
      waits: this.#waits.kept(),
      result: this.#result,
      rehomes: this.#rehomes,
      wrongAnswers: this.#lockRule === null ? 0 : this.#context.locks.wrong(this.#caller),
      ...this.#record.kept,
    }
  }

  /** From the webhook to the first stream; null before it. */
  get #streamOpenedMs(): number | null {
    const before = this.#continuity.before?.kept.streamOpenedMs ?? null
    return before ?? (this.#attachedAtMs === null ? null : this.#attachedAtMs - this.#continuity.preparedAtMs)
  }

  /** How long the call has had a stream, all streams together. */
  get #streamMs(): number {
    const before = this.#continuity.before?.kept.streamMs ?? 0
    if (this.#attachedAtMs === null) return before
    return before + (this.#detachedAtMs ?? this.#context.clock()) - this.#attachedAtMs
  }

  // --- the media socket -----------------------------------------------------------------------------------

  attach(sink: MediaSink): void {
    if (this.#attached) throw new GatewayError('DUPLICATE_CALL', 'this call already has, or had, its audio socket')
    if (this.#state !== 'waiting') throw new GatewayError('CALL_UNKNOWN', 'this call is over')
    this.#attached = true
    const nowMs = this.#context.clock()
    this.#attachedAtMs = nowMs
    this.#sink = sink
    this.#context.streams()
    this.#state = 'streaming'
    this.#mark('socket')
    this.#log.debug({ setup_ms: Math.round(nowMs - this.#waitsFromMs) }, 'stream opened')
    this.#recorder = this.#openRecorder(nowMs)
    this.#context.keeper?.changed(this.callSid)
    this.#context.openRecords?.open(this.callSid, () => this.#record.open(this.#ending(), this.#context.wallClock()))
    this.#send({ type: 'stream-opened', openedAtMs: nowMs })
    if (this.#continuity.before === null) this.#context.onStarted?.(this.#record.started)
  }

  audio(bytes: Uint8Array): void {
    if (this.#state !== 'streaming') return
    if (!this.#heard) {
      this.#heard = true
      this.#mark('first-frame', `${bytes.byteLength} bytes`)
    }
    const nowMs = this.#context.clock()
    this.#carrierSentAtMs = nowMs
    this.#shared.inbound.write(bytes, nowMs)
    this.#hearer?.caller(bytes, nowMs, this.#private)
  }

  text(messages: readonly StreamText[]): void {
    if (messages.length > 0) this.#send({ type: 'stream-text', messages })
  }

  streamRefused(): void {
    if (this.#state !== 'waiting') return
    this.#refusedAtMs ??= this.#context.clock()
    this.#goesOnAlone = true
  }

  #streamNeverCame(): void {
    this.#state = 'after'
    if (this.#goesOnAlone) this.#escalation.leave()
    this.#send({ type: 'carrier-state', state: 'stream-error' })
  }

  streamOver(): void {
    const sink = this.#sink
    if (sink === null || this.#context.clock() - this.#carrierSentAtMs < STREAM_QUIET_MS) return
    this.detach(1006, { reason: 'socket-lost', detail: 'the carrier asked how the call goes on' })
    sink.close(1001)
  }

  detach(code: number, fault?: StreamFault): void {
    if (this.#sink === null) return
    const live = this.#state === 'streaming'
    this.#sink = null
    this.#detachedAtMs = this.#context.clock()
    this.#streamFault = fault
    this.#soundOver()
    this.#log.debug({ code, ...fault }, 'stream closed')
    this.#mark('socket-closed', fault === undefined ? `code ${code}` : `code ${code}, ${fault.reason}: ${fault.detail}`)
    const isCut = live && fault?.reason === 'socket-lost' && this.#hasSession() && this.#continuity.cut()
    if (live) this.#state = isCut ? 'cut' : 'after'
    this.#send(streamClosed(code, fault))
    if (!isCut) this.#escalation.handle({ type: 'stream-closed' })
    this.#endWhenDone()
  }

  /** Its stream closes, and another node goes on with it when the carrier asks. @returns false when that cannot be */
  leave(): boolean {
    const sink = this.#sink
    if (sink === null || this.#state !== 'streaming' || !this.#hasSession() || !this.#continuity.goesOn()) return false
    const detail = 'this node is being stopped'
    this.#continuity.moves()
    this.#mark('moves', detail)
    this.#context.afterStream.closed(this.callSid, this.#context.clock())
    this.detach(1001, { reason: 'socket-lost', detail })
    this.#continuity.carrierHeard()
    this.#context.keeper?.changed(this.callSid)
    sink.close(1001)
    return true
  }

  /** Once what the worker has sent is read: the session has not ended by itself. */
  #hasSession(): boolean {
    this.#takeWaiting()
    return this.#taskRunning
  }

  get lostStream(): KeptState | null {
    return this.#continuity.lostStream
  }

  /** Nobody goes on with this `cut` call. */
  #cutOver(): void {
    this.#state = 'after'
    this.#waits.ended()
    this.#escalation.handle({ type: 'stream-closed' })
    this.#endWhenDone()
  }

  /** Another one goes on with this `cut` call: this one ends without a record. */
  replaced(): void {
    this.#continuity.replace()
    this.#waits.release()
    this.#state = 'ended'
    this.#record.drop()
    if (!this.#taskRunning) this.#context.memory.give(this.#memory)
  }

  carrierState(state: CarrierState): void {
    if (!this.#attached) this.#lastState = state
    this.#continuity.carrierHeard()
    if (state === 'stream-error' && this.#state === 'waiting') {
      this.#mark('carrier-state', state)
      this.#refusedAtMs = this.#context.clock()
      return
    }
    if (state === 'completed' || state === 'failed') {
      this.#continuity.left(state)
      this.#continuity.over()
    }
    this.#send({ type: 'carrier-state', state })
    this.#escalation.handle({ type: 'carrier-state', state })
  }

  human(event: HumanEvent): void {
    this.#escalation.handle({ type: 'human', event })
  }

  continuation(asker: ContinuationAsker, digits: string | null = null): readonly VoiceAction[] {
    if (this.#continuity.isCut) {
      this.#continuity.over()
      return this.#hosted.facts.fallback(this.language)
    }
    const onward = this.#escalation.ask(asker, digits)
    if (onward.length > 0) return onward
    if (asker !== 'after-stream' || this.#escalation.active) return []
    const { afterCall, fallback } = this.#hosted.facts
    return this.#fault === null ? afterCall(this.language) : fallback(this.language)
  }

  get language(): string | undefined {
    return this.#result?.language ?? this.#saved?.checkpoint.language
  }

  /** What it has used until now, as far as that is known. */
  get spending(): Spending {
    const { direction, number = null } = this.#continuity.call
    return { number, direction, durationMs: this.#streamMs, models: usedIn(this.#saved?.backendState)?.cost ?? null }
  }

  get escalating(): boolean {
    return this.#escalation.active
  }

  humanDocument(): readonly VoiceAction[] {
    return this.#escalation.humanDocument()
  }

  hangup(reason: EndReason, detail: string, speak: boolean): void {
    this.#log.debug({ reason, detail }, 'call is being ended')
    this.#mark('hang-up', `${reason}: ${detail}`)
    this.#send({ type: 'hangup-requested', reason, detail, speak })
    if (!this.#continuity.isCut) return
    this.#escalation.hangup(true)
    this.#continuity.over()
  }

  waitNews(id: string, news: WaitStatus): Promise<WaitAnswer> {
    return this.#waits.news(id, news)
  }

  escalate(reason: string): void {
    this.#send({ type: 'escalate-requested', reason })
  }

  whisper(text: string): boolean {
    if (this.#state !== 'streaming' || !this.#taskRunning || this.escalating) return false
    this.#send({ type: 'whisper', text })
    return true
  }

  isOf(number: string): boolean {
    return sameNumber(this.#caller, number)
  }

  /** Its caller has left, and nothing but outcomes of its tools is waited for. */
  get onlyWaits(): boolean {
    const { isCut, isReplaced } = this.#continuity
    const rests = !this.#taskRunning && this.#sink === null && !this.#escalation.active && !isCut && !isReplaced
    return rests && this.#state !== 'ended' && this.#waits.active
  }

  /** Ends the call without asking its session: at the end of a drain, or when its playout failed. */
  force(detail: string): void {
    Atomics.store(this.#shared.words, Word.hangup, HANGUP_NOW)
    this.#log.warn({ detail }, 'call is forcibly ended')
    this.#mark('forced', detail)
    this.#closeSink(1001)
    this.#continuity.over()
    this.#forced = true
    if (this.#taskRunning) return
    this.#waits.abandon(!this.#taken)
    this.#endWhenDone()
  }

  /** Another node has taken the call: it ends here, and nothing more is done for it outside. */
  taken(): void {
    this.#taken = true
    this.force('another node has this call')
  }

  // --- the tick -------------------------------------------------------------------------------------------

  /** Sends what is due now, and checks the deadlines that must hold even when the worker is dead. */
  pump(nowMs: number): void {
    if (this.#sink !== null) this.#play(this.#sink, nowMs)
    else if (this.#state === 'waiting' && this.#refusedAtMs !== null && nowMs - this.#refusedAtMs > ASKS_WITHIN_MS) {
      this.#streamNeverCame()
    } else if (this.#state === 'waiting' && nowMs - this.#waitsFromMs > this.#socketWaitMs) {
      this.#state = 'after'
      this.hangup('socket-never-came', `no socket within ${this.#socketWaitMs} ms of the webhook`, false)
    } else this.#continuity.wake(nowMs)
    this.#hearer?.pump(nowMs)
    this.#escalation.wake(nowMs)
    this.#waits.wake()
  }

  #soundOver(): void {
    this.#recorder?.end(this.#context.clock())
    for (const over of [...this.#listeners.values()]) over()
  }

  /** Hears the call: in most calls nobody or the recorder alone, which costs no walk over listeners. */
  get #hearer(): Hearer | null {
    return this.#listeners.size === 0 ? this.#recorder : this.#hearers
  }

  /** The recorder and everybody who listens. */
  readonly #hearers: Hearer = {
    caller: (bytes, nowMs, isPrivate) => this.#eachHearer((one) => one.caller(bytes, nowMs, isPrivate)),
    agent: (samples, playedAtMs) => this.#eachHearer((one) => one.agent(samples, playedAtMs)),
    agentCut: (nowMs) => this.#eachHearer((one) => one.agentCut(nowMs)),
    callerUnheard: (fromMs) => this.#eachHearer((one) => one.callerUnheard(fromMs)),
    pump: (nowMs) => this.#eachHearer((one) => one.pump(nowMs)),
  }

  #eachHearer(tell: (one: Hearer) => void): void {
    if (this.#recorder !== null) tell(this.#recorder)
    for (const listener of this.#listeners.keys()) tell(listener)
  }

  listen(heard: (rows: Int16Array<ArrayBuffer>) => void, over: () => void): Listening | null {
    if (this.#sink === null || this.#listeners.size >= LISTENERS_OF_CALL_MAX) return null
    const write = (_at: number, rows: Int16Array<ArrayBuffer>): boolean => {
      heard(rows)
      return true
    }
    const nothing = (): void => undefined
    const listener = new CallRecorder(
      { path: '', failed: false, write, announced: nothing, end: nothing, discard: nothing },
      {
        rateHz: this.legRateHz,
        track: this.#hosted.facts.stream.track,
        openedAtMs: this.#context.clock(),
        announced: true,
        live: { batchMs: LISTEN_BATCH_MS, holdMs: LISTEN_DELAY_MS },
      },
    )
    const stop = (): void => void this.#listeners.delete(listener)
    this.#listeners.set(listener, () => {
      stop()
      over()
    })
    return { rateHz: this.legRateHz, stop }
  }

  #play(sink: MediaSink, nowMs: number): void {
    const taken = this.#playout.pump(nowMs, sink, this.#hearer)
    const { underruns } = this.#playout
    if (underruns !== this.#underrunsSeen) this.#underrun(underruns)
    if (taken) return
    this.#log.warn({}, 'the carrier does not read its audio: the socket is closed')
    this.#mark('socket-stuck', 'the carrier does not read: more waits than two seconds of sound')
    this.detach(1008)
    sink.close(1008)
  }

  #underrun(underruns: number): void {
    this.#mark(
      'underrun',
      `${underruns - this.#underrunsSeen} times no sound was there in the middle of speech, ${underruns} in all`,
    )
    this.#context.metrics.playoutUnderruns.inc(underruns - this.#underrunsSeen, this.callSid)
    this.#underrunsSeen = underruns
  }

  #mark(name: string, detail?: string): void {
    const mark = this.#record.timeline.mark(name, this.#context.clock(), detail)
    this.#continuity.append([], [mark])
    this.#context.openRecords?.changed(this.callSid)
  }

  // --- the worker's half ----------------------------------------------------------------------------------

  #openSpeech(): MessagePort | null {
    return this.#context.openSpeech(usesRecogniser(this.#share))
  }

  /** @param alone  on a worker that carries no other call */
  #start(alone: boolean): void {
    const { port1, port2 } = new MessageChannel()
    const speech = this.#openSpeech()
    const { callSid, number, legRateHz } = this
    const { direction, from, to } = this.#continuity.call
    const saved = this.#saved
    const { newStream } = this.#continuity
    // Else the session that goes on does not know that the line is private, and never opens it.
    if (saved?.checkpoint.privateKeys !== 'pressed') this.#private = false
    this.#port = port1
    const checkpoint = this.#waits.begun(saved?.checkpoint ?? null)
    const start: CallStart = {
      callSid,
      rootSid: this.#continuity.rootSid,
      number,
      legRateHz,
      direction,
      speech,
      agent: this.#hosted.definition,
      business: this.#hosted.serves?.business ?? null,
      variables: this.#continuity.call.placed?.variables ?? {},
      knownCaller: this.#context.lines.foundOf(partyKey(this.#caller), this.#agentKey),
      ...this.#traceContext,
      leaveMessage: this.#continuity.call.placed?.leaveMessage ?? true,
      messagesOnly: this.#hosted.messagesOnly ?? false,
      assets: this.#hosted.assets ?? NO_ASSETS,
      backends: this.#share.names,
      from: this.#caller,
      to: direction === 'inbound' ? to : from,
      track: this.#hosted.facts.stream.track,
      shared: this.#memory,
      port: port2,
      preparedAtMs: this.#continuity.preparedAtMs,
      resume:
        saved === null || checkpoint === null
          ? null
          : {
              ...saved,
              checkpoint,
              log: this.#record.log.records(),
              ...(this.#attached || newStream === null ? {} : { newStream }),
            },
      streamOpenedAtMs: this.#sink === null ? null : this.#attachedAtMs,
      rehomes: this.#rehomes,
      journal: this.#context.keepJournal === null ? null : this.#context.journal,
    }
    port1.on('message', (message: FromCall) => this.#receive(message))
    port1.unref()
    this.#taskRunning = true
    Atomics.store(this.#shared.words, Word.worker, 0) // the previous worker is gone
    this.#context.run(start, speech === null ? [port2] : [port2, speech], alone).then(
      (end) => {
        if (end.type === 'result') this.#taskEnded(end, null)
        else if (end.type === 'handover') this.#handedOver(end.agent)
        else this.#lost(end.fault)
      },
      (thrown: unknown) => this.#lost(thrown),
    )
  }

  /** Sends a message to the worker's half; does nothing when there is none. */
  #send(message: ToCall): void {
    this.#port?.postMessage(message)
  }

  /** The worker died, or the call failed by a fault of ours: it moves to another worker, or it ends. */
  #lost(thrown: unknown): void {
    this.#closePort()
    this.#noAttempt()
    const part = thrown instanceof WorkerLostError ? thrown.part : null // null: the call's own fault; its worker is alive
    if (part !== 'bystander') this.#suspicions++
    const [rehomes, suspicions] = [this.#rehomes, this.#suspicions]
    this.#log.error({ err: thrown, rehomes, suspicions, part: part ?? 'own-fault' }, 'call lost its worker')
    this.#mark('worker-lost', `${lossOf(thrown)}; ${rehomes} of ${REHOMES_MAX} moves to another worker used`)
    this.#playout.letGo()
    // One of many suspects does not end yet: the next death shows which of them it was.
    const guilty = part !== 'bystander' && part !== 'one-of-many' && suspicions > SUSPICIONS_MAX
    if (this.#state === 'ended' || this.#state === 'cut' || guilty || rehomes >= REHOMES_MAX)
      return this.#taskEnded(null, messageOf(thrown))
    this.#rehomes++
    this.#start(part === 'suspect' || part === 'one-of-many')
    this.#context.metrics.callsRehomed.inc(1, this.callSid)
    // If the socket closed meanwhile, that message went to the dead worker.
    if (this.#attached && this.#sink === null) this.#send(streamClosed(1006, this.#streamFault))
  }

  /** The call's session goes on with another agent, from its checkpoint. */
  #handedOver(name: string): void {
    this.#closePort()
    this.#noAttempt()
    if (this.#state === 'ended' || this.#state === 'cut')
      return this.#taskEnded(null, 'it ended while it was handed over')
    const before = this.#hosted
    const told = this.#consent
    const next = this.#context.agent(name, before.serves?.business ?? null, this.#budgetStep)
    if (next === null)
      this.#log.warn({ to_agent: name }, 'the agent to hand over to is gone: the call stays with its agent')
    this.#hosted = next ?? before
    this.#share = shareOf(this.#hosted.shares, this.#continuity.rootSid)
    const saved = this.#saved
    if (next !== null && saved !== null) {
      const { untold: _, ...checkpoint } = this.#provenTo(this.#record.log, saved.checkpoint)
      // The consent to what one agent keeps is asked once; one that keeps less keeps that from now on.
      const untold = consentOf(next.definition) !== null && told !== 'told' && told !== 'refused'
      if (untold) this.#recordingAnnounced = false
      if (!next.definition.recording.enabled) this.#recorder?.end(this.#context.clock())
      this.#saved = {
        checkpoint: { ...checkpoint, ...(untold ? { untold: true as const } : {}) },
        backendState: snapshotForAnother(saved.backendState),
      }
    }
    this.#log.debug({ to_agent: name }, 'call handed over')
    this.#playout.letGo()
    this.#start(false)
    if (this.#attached && this.#sink === null) this.#send(streamClosed(1006, this.#streamFault))
  }

  /** What proves the identity for one agent may be too little for the one that has the call now. */
  #provenTo(
    { handovers, toolCalls }: Pick<CallLogRecords, 'handovers' | 'toolCalls'>,
    checkpoint: CallCheckpoint,
  ): CallCheckpoint {
    const last = handovers.at(-1)
    const since = (startMs: number): boolean => last === undefined || startMs > last.atMs
    const here = ({ record, result }: LoggedToolCall): boolean =>
      record.name === VERIFY_TOOL && since(record.startMs) && hasFields(result, { verified: true })
    if (last === undefined || toolCalls.some(here)) return checkpoint
    const from = this.#context.agent(last.from, this.#hosted.serves?.business ?? null, this.#budgetStep)
    const verification = (agent: HostedAgent | null): string => JSON.stringify(agent?.definition.verification)
    return verification(from) === verification(this.#hosted) ? checkpoint : { ...checkpoint, identity: null }
  }

  /**
   * The task's result does not come through the port, so messages may still wait there: they are read before it is
   * closed.
   */
  #closePort(): void {
    this.#takeWaiting()
    this.#port?.close()
    this.#port = null
  }

  /** Messages of the worker's half that were sent before now. */
  #takeWaiting(): void {
    const port = this.#port
    if (port === null) return
    for (let last = receiveMessageOnPort(port); last !== undefined; last = receiveMessageOnPort(port))
      this.#receiveLast(last.message as FromCall)
  }

  /** A tool that waits for its answer will not run: its intent must not be stored. */
  #receiveLast(message: FromCall): void {
    if (message.type !== 'tool-intent') this.#receive(message)
  }

  /** The task is over, and no other worker gets the call. Exactly one argument is null. */
  #taskEnded(result: CallResult | null, fault: string | null): void {
    this.#closePort()
    this.#taskRunning = false
    this.#noAttempt()
    this.#result = result
    this.#fault = fault
    this.#context.taskOver()
    const { isCut, isReplaced } = this.#continuity
    if (!isCut && !isReplaced) this.#waits.ended()
    if (this.#forced) this.#waits.abandon(!this.#taken)
    if (isReplaced) return this.#context.memory.give(this.#memory)
    // It had ended by itself before it learned of the loss.
    if (isCut && result !== null && result.endReason !== 'socket-lost') return this.#continuity.over()
    this.#context.keeper?.changed(this.callSid)
    const held = this.#sink !== null
    if (fault !== null && !isCut) {
      this.#closeSink(1011)
      this.#escalation.hangup(!held)
    } else {
      this.#closeSink(1000)
    }
    this.#endWhenDone()
  }

  /** What a call back goes on from. */
  #promise(): KeptState {
    const { log, marks } = this.#continuity.logKept()
    const kept = this.#continuity.kept()
    if (!this.#refused) return { kept, log, marks: [...marks] }
    // It may wait for days: without the words that the caller does not want to be kept.
    const session = kept.session === null ? null : { ...kept.session, openTranscript: [] }
    return { kept: { ...kept, session }, log: { ...log, transcript: [] }, marks: [...marks] }
  }

  #endWhenDone(): void {
    if (this.#taskRunning || this.#state === 'ended' || this.#sink !== null || this.#escalation.active) return
    if (this.#continuity.isCut || this.#waits.active) return
    this.#state = 'ended'
    const told = this.#context.keeper?.over(this.callSid) ?? null
    if (this.#taken) {
      this.#waits.release()
      this.#record.drop()
      this.#context.onTakenOver(this.callSid, this.#record.part(this.#ending()))
      return this.#context.memory.give(this.#memory)
    }
    if (this.#escalation.history?.callback != null) this.#context.onPromise?.(this.#promise())
    const record = this.#record.close(this.#ending())
    this.#waits.release()
    this.#log.info(callSummary(record), 'call ended')
    this.#context.over(this, record, told)
    // No worker has the call any more, and no socket.
    this.#context.memory.give(this.#memory)
  }

  /** What callers say shows which language is spoken on their lines; of agents with one language entries have none. */
  #noteLanguage(entries: readonly CallLogEntry[]): void {
    for (const entry of entries)
      if (entry.kind === 'transcript' && entry.record.role === 'caller' && entry.record.language !== undefined)
        this.#context.lines.spoke(partyKey(this.#caller), entry.record.language)
  }

  #ending(): CallEnding {
    return {
      outbound: this.#outbound(),
      caller: lookUpOf(this.#saved?.checkpoint),
      ...this.#now(),
      result: this.#continuity.shown(this.#result),
      language: this.language ?? null,
      fault: this.#fault,
      escalation: this.#escalation.history,
      waits: this.#waits.records(),
      ...this.#recording,
      packetsDropped: this.#shared.inbound.dropped,
      underruns: this.#playout.underruns,
    }
  }

  get #recording(): Pick<CallEnding, 'recording' | 'recordingState' | 'consent'> {
    const consent = this.#consent
    if (consent === 'refused') return { recording: null, recordingState: 'off', consent }
    if (this.#recorder?.kept === true) return { recording: this.#recorder.path, recordingState: 'ready', consent }
    const records = this.#hosted.definition.recording.enabled && this.#streamOpenedMs !== null
    return { recording: null, recordingState: records ? 'missing' : 'off', consent }
  }

  /** What became of what the caller is told of the recording, or of what is written down; null where nothing is said. */
  get #consent(): CallEnding['consent'] {
    if (this.#refused) return 'refused'
    if (consentOf(this.#hosted.definition) === null || this.#streamOpenedMs === null) return null
    return this.#recordingAnnounced ? 'told' : 'not-told'
  }

  /** Null where this agent's calls are not recorded, or nothing is kept. */
  #openRecorder(openedAtMs: number): CallRecorder | null {
    const { recording, retention } = this.#hosted.definition
    const { record } = this.#context
    if (!recording.enabled || record == null || this.#refused) return null
    const announced = this.#recordingAnnounced
    const part = this.#record.kept.resumed.length + 1
    return new CallRecorder(record(this.callSid, this.legRateHz, announced, part, retention.recordingsDays), {
      rateHz: this.legRateHz,
      track: this.#hosted.facts.stream.track,
      openedAtMs,
      announced,
    })
  }

  /** How a call that we placed was answered; null for any other. */
  #outbound(): OutboundRecord | null {
    const { placed } = this.#continuity.call
    if (placed === undefined) return null
    const openedMs = this.#streamOpenedMs
    const ringEndedAtMs = openedMs === null ? this.#context.clock() : this.#continuity.preparedAtMs + openedMs
    return outboundRecord(placed, {
      streamOpened: openedMs !== null,
      endReason: this.#result?.endReason ?? null,
      lastState: this.#lastState,
      ringMs: ringEndedAtMs - placed.orderedAtMs,
    })
  }

  #closeSink(code: number): void {
    const sink = this.#sink
    if (sink === null) return
    this.#sink = null
    this.#detachedAtMs = this.#context.clock()
    this.#soundOver()
    sink.close(code)
    if (this.#state === 'streaming') this.#state = 'after'
    this.#send({ type: 'stream-closed', code })
    this.#escalation.handle({ type: 'stream-closed' })
  }

  /** Tells those who keep the call's state and its open record that it has changed. */
  #changed(): void {
    this.#context.keeper?.changed(this.callSid)
    this.#context.openRecords?.changed(this.callSid)
  }

  #receive(message: FromCall): void {
    this.#record.take(message)
    switch (message.type) {
      case 'backend-error': {
        const { backend, code, message: detail, sessionLost } = message.fault
        const level = FINAL_FAULTS.has(code) ? 'error' : 'warn'
        this.#log[level](
          { backend, code, detail, session_lost: sessionLost },
          BACKEND_FAULT_WORDS[code] ?? 'a backend failed',
        )
        this.#context.backendStatus.fault(message.fault, this.#context.wallClock())
        return
      }
      case 'backend-session':
        this.#context.backendStatus.session(message.opened)
        return
      case 'tool-coerced':
        return
      case 'circuit':
        this.#context.backendStatus.circuit(message.worker, message.circuit, this.#context.clock())
        return
      case 'backend-limits':
        for (const { name, limit, remaining } of message.limits)
          this.#context.metrics.backendRateLimit(message.backend, name, remaining / limit)
        return
      case 'failover': {
        const { from, to, gapMs, reason } = message
        this.#log.warn(
          { from_backend: from, to_backend: to, gap_ms: Math.round(gapMs), reason },
          'another backend took over',
        )
        this.#context.backendStatus.takeover(from, to, gapMs)
        return
      }
      case 'log':
        this.#saved = message.saved ?? this.#saved
        this.#noteLanguage(message.entries)
        this.#continuity.append(message.entries, [])
        return this.#changed()
      case 'marks':
        this.#record.timeline.take(message.marks)
        this.#continuity.append([], message.marks)
        return
      case 'end-stream': {
        const held = this.#sink !== null
        // The carrier's after-stream behaviour shows only where we do not have it end the leg.
        if (this.#sink !== null && (!message.hangup || this.#context.carrier === null)) {
          this.#context.afterStream.closed(this.callSid, this.#context.clock())
        }
        this.#closeSink(message.code)
        if (message.hangup) this.#escalation.hangup(!held)
        this.#continuity.over()
        this.#endWhenDone()
        return
      }
      case 'escalate':
        this.#escalation.escalate(message.packet)
        return
      case 'callback':
        this.#escalation.callback(message.wish)
        return
      case 'do-not-call':
        void this.#doNotCall(message.callId)
        return
      case 'tool-intent': {
        const { key, tool } = message
        void this.#effects.intend(key, tool).then((answer) => {
          const opened = answer.type === 'run' ? { ...answer, ...this.#waits.open(message, this.continueUrl) } : answer
          this.#send({ type: 'tool-intent', key, answer: opened })
        })
        return
      }
      case 'mcp': {
        const { server, event, failures, missing, reason } = message.news
        const usable = event !== 'down' && missing.length === 0
        this.#log[usable ? 'info' : 'warn'](
          { server, event, failures, missing, detail: reason },
          event === 'session-lost' ? 'session lost: an MCP server gets a new one' : 'an MCP server has changed',
        )
        return
      }
      case 'tool-pending':
        this.#waits.pending(message)
        return
      case 'wait':
        this.#waits.session(message)
        return
      case 'tool-settled':
        this.#effects.settle(message.key, message.outcome)
        this.#waits.answered(message.key)
        return
      case 'speech-lost': {
        const port = this.#openSpeech()
        if (port !== null) this.#port?.postMessage({ type: 'speech', port } satisfies ToCall, [port])
        return
      }
      case 'verification-attempt':
        void this.#takeAttempt()
        return
      case 'verification-verdict':
        this.#verdict(message.verdict)
        return
      case 'line-band':
        this.#context.lines.heard(partyKey(this.#caller), message.narrow)
        return
      case 'caller-found':
        return this.#context.lines.found(partyKey(this.#caller), this.#agentKey, message.values)
      case 'private':
        this.#private = message.on
        // The first key was heard before it was recognised.
        if (message.on) this.#hearer?.callerUnheard(message.fromMs)
        return
      case 'recording-announced':
        this.#recordingAnnounced = true
        this.#recorder?.announced()
        return this.#changed()
      case 'recording-refused':
        this.#refused = true
        this.#recorder?.refused()
        this.#context.discardJournal?.(this.callSid)
        return this.#changed()
      case 'journal':
        if (!this.#continuity.isReplaced && !this.#refused)
          this.#context.keepJournal?.(this.callSid, message.lines, this.#hosted.definition.retention.journalsDays)
        return
      case 'log-line':
        this.#log[message.level](message.fields, message.message)
        return
      default:
        assertNever(message)
    }
  }

  /** What the requests of its tools say of the call. */
  get #traceContext(): Pick<CallStart, 'traceparent'> {
    return this.#context.traces == null ? {} : { traceparent: traceparentOf(this.callSid) }
  }

  async #doNotCall(callId: string): Promise<void> {
    const kept = this.#caller !== '' && (await this.#context.onDoNotCall?.(this.#caller)) === true
    this.#send({ type: 'do-not-call', callId, kept })
  }

  // --- verification of the caller -------------------------------------------------------------------------

  /** Number of the person on the line; agent and tools call them the caller in outbound calls too. */
  get #caller(): string {
    return this.#continuity.call.direction === 'inbound' ? this.#continuity.call.from : this.#continuity.call.to
  }

  /** The agent that has the call now, as its file is. */
  get #agentKey(): string {
    const { definition, serves, assets = NO_ASSETS } = this.#hosted
    return `${definition.name} ${agentVersion(serves?.file ?? definition, assets)}`
  }

  get #lockRule(): LockRule | null {
    const { verification } = this.#hosted.definition
    return verification === null
      ? null
      : { failures: verification.lock.failures ?? verification.attempts, minutes: verification.lock.minutes }
  }

  /** Tells the worker how many attempts the caller's number still has. */
  async #takeAttempt(): Promise<void> {
    const rule = this.#lockRule
    if (rule === null || this.#caller === '') return this.#send({ type: 'verification-attempts', left: 0 })
    this.#verdict('unjudged')
    const asked = ++this.#attemptsAsked
    const attempt = await this.#context.locks.take(this.#caller, rule)
    // Meanwhile the call may have ended, or its new worker may have asked again.
    if (asked !== this.#attemptsAsked) return void attempt.judged('unjudged')
    if (attempt.left > 0) {
      this.#attempt = attempt
    } else {
      this.#mark('verification-refused', 'too many wrong answers from this number')
      this.#context.metrics.verificationLocks({ agent: this.agent, event: 'refused' }).inc(1, this.callSid)
    }
    this.#send({ type: 'verification-attempts', left: attempt.left })
  }

  /** Nobody waits for an attempt any more. */
  #noAttempt(): void {
    this.#attemptsAsked++
    this.#verdict('unjudged')
  }

  /** Result of the last attempt. An attempt whose worker died is not counted. */
  #verdict(verdict: Verdict): void {
    const rule = this.#lockRule
    const attempt = this.#attempt
    this.#attempt = null
    if (rule === null || attempt?.judged(verdict) !== true) return
    this.#mark('verification-locked', `no answer of this number is taken for ${rule.minutes} minutes`)
    this.#context.metrics.verificationLocks({ agent: this.agent, event: 'locked' }).inc(1, this.callSid)
    this.#log.warn({ wrong_answers: rule.failures, minutes: rule.minutes }, 'verification of this number is locked')
  }

  // --- what is shown --------------------------------------------------------------------------------------

  row(): LiveCallRow {
    return this.#record.row(this.#now())
  }

  view(): LiveCallView {
    return this.#record.view(this.#now())
  }

  timeline(): CallTimelineView {
    return this.#record.timelineView(this.#state !== 'ended', this.#context.traces?.traceId(this.callSid) ?? null)
  }

  #now(): Pick<LiveCallView, 'state' | 'durationMs' | 'rehomes'> {
    return {
      state: this.#state,
      rehomes: this.#rehomes,
      durationMs: this.#streamMs,
    }
  }
}

function streamClosed(code: number, fault: StreamFault | undefined): ToCall {
  return { type: 'stream-closed', code, ...(fault === undefined ? {} : { fault }) }
}

/** The agent that had the call when its node was lost. */
function handedTo(before: KeptState | null, hosted: HostedAgent, context: MainThreadContext): HostedAgent {
  const to = before?.log.handovers.at(-1)?.to
  const { business = null } = hosted.serves ?? {}
  return (to === undefined ? null : context.agent(to, business, before?.kept.budgetStep ?? null)) ?? hosted
}

/** Text for the call's timeline. */
function lossOf(thrown: unknown): string {
  if (!(thrown instanceof WorkerLostError)) return 'a fault of this call'
  const { part, suspect, message } = thrown
  const suspected =
    part === 'bystander' ? (suspect ?? 'others') : part === 'suspect' ? 'this call' : 'all calls of that worker'
  return `${message}; suspected: ${suspected}`
}
