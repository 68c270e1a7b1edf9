import type { CallTimelineView, LiveCallRow, LiveCallState, LiveCallView } from '../../../call/documents/call-view.js'
import { NO_ASSETS } from '../../../agents/file/assets.js'
import { waitingSamples } from '../../../agents/file/sounds.js'
import { consentOf } from '../../../agents/file/definition.js'
import type { StreamFault } from '../../../call/events.js'
import type { CarrierState, HumanEvent } from '../../../sautikit/carrier-state.js'
import type { Handoff } from '../../../call/documents/handoff.js'
import type { EndReason, HandoverRecord } from '../../../call/documents/record.js'
import { snapshotForAnother, usedIn } from '../../../backends/call-snapshot.js'
import { usesRecogniser } from '../../../backends/split.js'
import { assertNever } from '../../../core/assert.js'
import { GatewayError, messageOf } from '../../../core/errors.js'
import type { CallCheckpoint } from '../../../call/documents/checkpoint.js'
import type { CallSid } from '../../../core/ids.js'
import { STREAM_OFFERS_MAX } from '../../../core/limits.js'
import type { LegRateHz } from '../../../core/units.js'
import type { ContinuationAsker } from '../../../escalation/documents.js'
import type { VoiceAction } from '../../../sautikit/actions.js'
import type { StreamText } from '../../../sautikit/stream-messages.js'
import type { CallResult, KeptState } from '../../../call/documents/kept-call.js'
import type { CallStart, FromCall, ToCall } from '../../shared/call-messages.js'
import type { KeptNow } from './call-continuity.js'
import { lostResult, ownDurationMs } from '../kept-call.js'
import { startOf } from './call-start.js'
import { thingsOf } from './call-things.js'
import type { CallThings } from './call-things.js'
import { callSummary, callerRecord, outboundRecord, type CallEnding } from './call-record.js'
import type { Listening, LiveCall, MediaSink, NewCall, Spending } from '../live-call.js'
import type { CallMemory } from '../../shared/call-memory.js'
import type { MainDoor } from './main-door.js'
import { MainParts } from './main-parts.js'
import type { MainThreadContext, HostedAgent } from '../main-thread-context.js'
import type { WaitAnswer, WaitStatus } from '../wait-status.js'
import { PlayoutClock } from './playout-clock.js'
import { SharedCall } from '../../shared/shared-call.js'
import { HANGUP_NOW, Word } from '../../shared/shared-call-layout.js'
import { WorkerPort } from '../worker-port.js'
import { WorkerLostError, type CarriedCall } from '../worker-watchdog.js'
import type { ToolCallLog } from '../../../telemetry/call-spans.js'

/**
 * Main thread's half of a call. It has the socket, playout clock and shared memory, and the data that must outlive a
 * worker. The worker's session decides which audio the caller hears. This half sends the audio in time, even while the
 * worker is dead. The parts of this half do all other work (`main-parts.ts`).
 *
 * When a worker dies, its calls move to another worker. A call that may have caused the death gets a worker of its own.
 * If that worker dies too, the call ends.
 *
 * When a node or a stream is lost, a new `MainThreadCall` continues from the kept state (`CallContinuity`). The new
 * call has a new stream and session. If the old call was connecting to a human, the new call has only the escalation.
 * The old `MainThreadCall` is `cut` until the new one continues the call. Then the old one ends without a record. If
 * the carrier reports that the caller has left, or never asks, the old `MainThreadCall` ends the call and makes the
 * record.
 */
export class MainThreadCall implements LiveCall, CarriedCall {
  readonly callSid: CallSid
  readonly ordinal: number
  readonly agent: string
  /** Key of the caller (`partyKey`); null in a call that we placed. */
  readonly callerKey: string | null
  readonly legRateHz: LegRateHz
  afterStreamUrl: string | null = null
  humanUrl: string | null = null
  continueUrl: LiveCall['continueUrl'] = null
  readonly #of: CallThings
  readonly #context: MainThreadContext
  readonly #memory: CallMemory
  readonly #shared: SharedCall
  readonly #playout: PlayoutClock
  readonly #parts: MainParts
  #lastState: CarrierState = 'unknown'
  readonly #port = new WorkerPort((message) => this.#receive(message))
  /** True from `begin` until the last worker's half has ended. */
  #taskRunning = false
  /** Number of moves to another worker so far. */
  #rehomes = 0
  #suspicions = 0
  #document: string | null = null
  #heard = false
  #carrierSentAtMs = -Infinity
  #state: LiveCallState = 'waiting'
  #sink: MediaSink | null = null
  /** Request from outside the session to end the call; null if there is none. */
  #hangup: ToCall | null = null
  #fault: string | null = null
  /** True if the call was ended by force. It then ends without waiting for tools or humans. */
  #forced = false
  /** True if another node has taken the call. */
  #taken = false
  #streamFault: StreamFault | undefined = undefined
  readonly #door: MainDoor = {
    mark: (name, detail) => this.#mark(name, detail),
    send: (message, transfer) => this.#port.send(message, transfer),
    changed: () => this.#changed(),
  }

  /** @param before  the call's state left by a lost node; null for a new call */
  constructor(call: NewCall, hosted: HostedAgent, context: MainThreadContext, before: KeptState | null = null) {
    this.callSid = call.callSid
    this.ordinal = context.nextOrdinal()
    this.agent = call.agent
    this.#context = context
    this.#memory = context.memory.take()
    this.#shared = new SharedCall(this.#memory.buffer, this.#memory.at)
    this.#rehomes = before?.kept.rehomes ?? 0
    this.#of = thingsOf(this.#door, () => this.#keptNow(), { order: call, hosted, before, call: this, context })
    const { legRateHz, origin, agent, continuity } = this.#of
    this.callerKey = call.direction === 'inbound' ? origin.key : null
    this.legRateHz = legRateHz
    this.#playout = new PlayoutClock(this.#shared, legRateHz, () =>
      waitingSamples(agent.hosted.assets ?? NO_ASSETS, legRateHz),
    )
    context.keeper?.open(call.callSid, { kept: () => continuity.kept(), log: () => continuity.logKept() })
    this.#mark('webhook', `${call.direction} to ${call.agent}`)
    if (before === null && call.budgetStep != null) this.#mark('budget-step', call.budgetStep)
    this.#parts = new MainParts(this.#door, this.#of)
  }

  /** XML document with which this call was answered. */
  get document(): string | null {
    return this.#document
  }

  set document(document: string | null) {
    this.#document = document
    this.#of.stream.offered()
    if (this.streamOffers === 1) this.#mark('webhook-answered')
    else {
      this.#context.metrics.streamsOfferedAgain.inc(1, this.callSid)
      this.#mark('stream-offered-again', `offer ${this.streamOffers} of at most ${STREAM_OFFERS_MAX}`)
    }
  }

  get streamOffers(): number {
    return this.#of.stream.offers
  }

  get isOfferedAgain(): boolean {
    return this.#of.stream.isOfferedAgain
  }

  get state(): LiveCallState {
    return this.#state
  }

  /** True while its stream is open. */
  get streams(): boolean {
    return this.#sink !== null
  }

  /** Filled share of the call's inbound ring, 0 to 1. */
  get inboundFill(): number {
    return this.#shared.inbound.fill
  }

  get outboundFill(): number {
    return this.#shared.outbound.fill
  }

  /** The tool calls so far, in the order of the record. */
  get toolCallLog(): ToolCallLog {
    return this.#of.record.log.toolCalls
  }

  /** The handoff packet; null if no human was requested. */
  get handoff(): Handoff | null {
    return this.#parts.by.escalation.handoff
  }

  /** Thread id of the worker that runs this call's task, even if that worker has just died; 0 if there is no worker. */
  get workerThread(): number {
    return this.#taskRunning ? Atomics.load(this.#shared.words, Word.worker) : 0
  }

  /** Number of times that this call was suspected of its worker's death, or failed by its own fault. */
  get suspicions(): number {
    return this.#suspicions
  }

  /** Starts the call's task; the backend connects while the webhook is being answered. */
  begin(): void {
    const { before } = this.#of.origin
    if (before !== null && !this.#resume(before)) return
    this.#start(false)
  }

  /** @returns false if no session runs, because only the call's escalation continues */
  #resume(before: KeptState): boolean {
    const { kept } = before
    const goesOn = this.#of.continuity.resume(before)
    const { keeper, openRecords } = this.#context
    this.afterStreamUrl = kept.afterStreamUrl
    this.humanUrl = kept.humanUrl
    const checkpoint = this.#of.continuity.checkpoint(before)
    const proven = checkpoint === null ? null : this.#of.agent.provenTo(before.log, checkpoint)
    if (proven !== null) this.#of.session.saved = { checkpoint: proven, backendState: kept.backendState }
    openRecords?.open(this.callSid, () => this.#of.record.open(this.#ending(), this.#context.wallClock()))
    keeper?.changed(this.callSid)
    if (goesOn !== 'agent') {
      // The call takes no further stream.
      this.#of.stream.isTaken = true
      this.#state = 'after'
      this.#of.session.result = kept.result ?? lostResult(kept, goesOn === 'human' ? 'human' : 'outcome')
      this.#parts.ended()
    }
    this.#parts.resume(before, goesOn)
    if (goesOn === 'agent') return true
    this.#endWhenDone()
    return false
  }

  #keptNow(): KeptNow {
    return {
      legRateHz: this.legRateHz,
      streamOpenedMs: this.#of.stream.openedMs,
      streamMs: this.#of.stream.totalMs,
      afterStreamUrl: this.afterStreamUrl,
      humanUrl: this.humanUrl,
      session: this.#of.session.saved?.checkpoint ?? null,
      backendState: this.#of.session.saved?.backendState ?? null,
      result: this.#of.session.result,
      rehomes: this.#rehomes,
      ...this.#of.record.kept,
      ...this.#of.agent.kept,
      ...this.#parts.keeps(),
    }
  }

  attach(sink: MediaSink): void {
    if (this.#of.stream.isTaken)
      throw new GatewayError('DUPLICATE_CALL', 'this call already has, or had, its audio socket')
    if (this.#state !== 'waiting') throw new GatewayError('CALL_UNKNOWN', 'this call is over')
    // The previous node may have been lost before the call was connected. Then the receivers of messages do not know
    // the call yet.
    const isFirst = this.#of.stream.openedMs === null
    const setupMs = this.#of.stream.open()
    const nowMs = this.#context.clock()
    this.#sink = sink
    this.#context.streams()
    this.#state = 'streaming'
    this.#mark('socket')
    this.#of.log.debug({ setup_ms: Math.round(setupMs) }, 'stream opened')
    this.#parts.opened(nowMs)
    this.#context.keeper?.changed(this.callSid)
    this.#context.openRecords?.open(this.callSid, () => this.#of.record.open(this.#ending(), this.#context.wallClock()))
    this.#port.send({ type: 'stream-opened', openedAtMs: nowMs })
    if (isFirst) this.#context.onStarted?.(this.#of.record.started)
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
    this.#parts.by.hearers.caller(bytes, nowMs)
  }

  text(messages: readonly StreamText[]): void {
    if (messages.length > 0) this.#port.send({ type: 'stream-text', messages })
  }

  streamRefused(): void {
    if (this.#state !== 'waiting') return
    this.#of.stream.refused()
    this.#of.stream.fallbackSpoken = true
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
    this.#of.stream.closed()
    this.#streamFault = fault
    this.#parts.closed(this.#context.clock())
    this.#of.log.debug({ code, ...fault }, 'stream closed')
    this.#mark('socket-closed', fault === undefined ? `code ${code}` : `code ${code}, ${fault.reason}: ${fault.detail}`)
    const isCut = live && fault?.reason === 'socket-lost' && this.#hasSession() && this.#of.continuity.cut()
    if (live) this.#state = isCut ? 'cut' : 'after'
    this.#port.send(streamClosed(code, fault))
    if (!isCut) this.#parts.withoutStream()
    this.#endWhenDone()
  }

  /**
   * Moves the call away because its node stops. Other nodes then read in the store that the call is not lost. Resolves
   * when the store has answered or failed.
   */
  async moves(): Promise<void> {
    if (!this.#canLeave()) return
    this.#of.continuity.moves()
    await this.#context.keeper?.saved(this.callSid)
  }

  #canLeave(): boolean {
    return this.#sink !== null && this.#state === 'streaming' && this.#hasSession() && this.#of.continuity.goesOn()
  }

  /**
   * Closes the call's stream, so that another node continues the call when the carrier asks.
   * @returns false if that is not possible
   */
  leave(): boolean {
    const sink = this.#sink
    if (sink === null || !this.#canLeave()) return false
    const detail = 'this node is being stopped'
    this.#of.continuity.moves()
    this.#mark('moves', detail)
    this.#context.afterStream.closed(this.callSid, this.#context.clock())
    this.detach(1001, { reason: 'socket-lost', detail })
    this.#of.continuity.carrierHeard()
    this.#context.keeper?.changed(this.callSid)
    sink.close(1001)
    return true
  }

  /** Reads the worker's waiting messages. @returns true if the session has not ended by itself */
  #hasSession(): boolean {
    this.#port.takeWaiting()
    return this.#taskRunning
  }

  get lostStream(): KeptState | null {
    return this.#of.continuity.lostStream
  }

  /** Notes that the carrier asks how the call continues after its stream. */
  asked(): void {
    this.#of.continuity.asked()
  }

  /** Ends this `cut` call: it cannot continue any more. */
  #cutOver(): void {
    this.#state = 'after'
    this.#parts.ended()
    this.#parts.withoutStream()
    this.#endWhenDone()
  }

  /** Ends this `cut` call without a record, because a new `MainThreadCall` continues it. */
  replaced(): void {
    this.#of.continuity.replace()
    this.#parts.release()
    this.#state = 'ended'
    this.#of.record.drop()
    if (!this.#taskRunning) this.#context.memory.give(this.#memory)
  }

  carrierState(state: CarrierState): void {
    if (!this.#of.stream.isTaken) this.#lastState = state
    this.#of.continuity.carrierHeard()
    if (state === 'stream-error' && this.#state === 'waiting') {
      this.#mark('carrier-state', state)
      this.#of.stream.refused()
      return
    }
    if (state === 'completed' || state === 'failed') {
      this.#of.continuity.left(state)
      this.#of.continuity.over()
    }
    this.#port.send({ type: 'carrier-state', state })
    this.#parts.carrierState(state)
  }

  human(event: HumanEvent): void {
    this.#parts.human(event)
  }

  continuation(asker: ContinuationAsker, digits: string | null = null): readonly VoiceAction[] {
    if (this.#of.continuity.isCut) {
      this.#of.continuity.over()
      return this.#of.agent.hosted.facts.fallback(this.language)
    }
    const { escalation } = this.#parts.by
    const onward = escalation.ask(asker, digits)
    if (onward.length > 0) return onward
    if (asker !== 'after-stream' || escalation.active) return []
    const { afterCall, fallback } = this.#of.agent.hosted.facts
    return this.#fault === null ? afterCall(this.language) : fallback(this.language)
  }

  get language(): string | undefined {
    return this.#of.session.language
  }

  /** Usage of the call, as far as it is known now. */
  get spending(): Spending {
    const { direction, number = null } = this.#of.origin.call
    return {
      number,
      direction,
      durationMs: ownDurationMs(this.#of.stream.totalMs, this.#of.record.kept.resumed),
      models: usedIn(this.#of.session.saved?.backendState)?.cost ?? null,
    }
  }

  get escalating(): boolean {
    return this.#parts.by.escalation.active
  }

  humanDocument(): readonly VoiceAction[] {
    return this.#parts.by.escalation.humanDocument()
  }

  hangup(reason: EndReason, detail: string, speak: boolean): void {
    this.#of.log.debug({ reason, detail }, 'call is being ended')
    this.#mark('hang-up', `${reason}: ${detail}`)
    this.#hangup = { type: 'hangup-requested', reason, detail, speak }
    this.#port.send(this.#hangup)
    if (!this.#of.continuity.isCut) return
    this.#parts.by.escalation.hangup(true)
    this.#of.continuity.over()
  }

  takeWaitStatus(id: string, news: WaitStatus): Promise<WaitAnswer> {
    return this.#parts.by.waits.news(id, news)
  }

  escalate(reason: string): void {
    this.#port.send({ type: 'escalate-requested', reason })
  }

  whisper(text: string): boolean {
    if (this.#state !== 'streaming' || !this.#taskRunning || this.escalating) return false
    this.#port.send({ type: 'whisper', text })
    return true
  }

  isOf(number: string): boolean {
    return this.#of.origin.isOf(number)
  }

  /**
   * True if session and stream are over, but the call still waits: its caller is being connected to a human, or a tool
   * has no outcome yet.
   */
  get rests(): boolean {
    const { isCut, isReplaced } = this.#of.continuity
    const rests = !this.#taskRunning && this.#sink === null && !isCut && !isReplaced && this.#state !== 'ended'
    return rests && (this.escalating || this.#parts.by.waits.active)
  }

  /** Ends the call without asking its session: at the end of a drain, or if its playout failed. */
  force(detail: string): void {
    Atomics.store(this.#shared.words, Word.hangup, HANGUP_NOW)
    this.#of.log.warn({ detail }, 'call is forcibly ended')
    this.#mark('forced', detail)
    this.#closeSink(1001)
    this.#of.continuity.over()
    this.#forced = true
    if (this.#taskRunning) return
    this.#parts.abandon(!this.#taken)
    this.#endWhenDone()
  }

  /** Ends the call here, with no further effect outside, because another node has taken it. */
  taken(): void {
    this.#taken = true
    this.force('another node has this call')
  }

  /**
   * Sends the audio that is due now, and checks the deadlines that must hold even if the worker is dead. If this fails,
   * the call ends, and no other call is disturbed.
   */
  pump(nowMs: number): void {
    try {
      this.#pump(nowMs)
    } catch (thrown) {
      this.#of.log.error({ err: thrown }, 'playout of a call failed')
      this.force('playout failed')
    }
  }

  #pump(nowMs: number): void {
    const missed = this.#state === 'waiting' ? this.#of.stream.missed(nowMs) : null
    if (this.#sink !== null) this.#play(this.#sink, nowMs)
    else if (missed !== null) {
      this.#state = 'after'
      if (missed === 'refused' && this.#of.stream.fallbackSpoken) this.#parts.by.escalation.leave()
      if (missed === 'refused') this.#port.send({ type: 'carrier-state', state: 'stream-error' })
      else this.hangup('socket-never-came', `no socket within ${this.#of.stream.waitMs} ms of the webhook`, false)
    } else this.#of.continuity.wake(nowMs)
    this.#parts.wake(nowMs)
  }

  listen(heard: (rows: Int16Array<ArrayBuffer>) => void, over: () => void): Listening | null {
    return this.#sink === null ? null : this.#parts.by.hearers.listen(this.#context.clock(), heard, over)
  }

  #play(sink: MediaSink, nowMs: number): void {
    const taken = this.#playout.pump(nowMs, sink, this.#parts.by.hearers.current)
    const underruns = this.#playout.newUnderruns()
    if (underruns > 0) {
      const times = `the sound stopped ${underruns} times in the middle of speech`
      this.#mark('underrun', `${times}, ${this.#playout.underruns} in all`)
      this.#context.metrics.playoutUnderruns.inc(underruns, this.callSid)
    }
    if (taken) return
    this.#of.log.warn({}, 'the carrier does not read its audio: the socket is closed')
    this.#mark('socket-stuck', 'the carrier does not read: more waits than two seconds of sound')
    this.detach(1008)
    sink.close(1008)
  }

  #mark(name: string, detail?: string): void {
    const mark = this.#of.record.timeline.mark(name, this.#context.clock(), detail)
    this.#of.continuity.append([], [mark])
    this.#context.openRecords?.changed(this.callSid)
  }

  /** @param alone  true: the worker carries no other call */
  #start(alone: boolean): void {
    const speech = this.#context.openSpeech(usesRecogniser(this.#of.agent.share))
    const { callSid, ordinal, legRateHz } = this
    const { saved } = this.#of.session
    const { newStream } = this.#of.continuity
    const port = this.#port.open()
    const checkpoint = this.#parts.begun(saved?.checkpoint ?? null)
    const start: CallStart = {
      callSid,
      rootSid: this.#of.origin.rootSid,
      ordinal,
      legRateHz,
      ...startOf(this.#of.origin.call, this.#of.agent.hosted, this.#context),
      speech,
      backends: this.#of.agent.share.names,
      shared: this.#memory,
      port,
      preparedAtMs: this.#of.origin.preparedAtMs,
      resume:
        saved === null || checkpoint === null
          ? null
          : {
              ...saved,
              checkpoint,
              log: this.#of.record.log.records(),
              ...(this.#of.stream.isTaken || newStream === null ? {} : { newStream }),
            },
      streamOpenedAtMs: this.#of.stream.openedAtMs,
      rehomes: this.#rehomes,
    }
    this.#taskRunning = true
    Atomics.store(this.#shared.words, Word.worker, 0) // The previous worker no longer has the call.
    this.#context.run(start, speech === null ? [port] : [port, speech], alone).then(
      (end) => {
        if (end.type === 'result') this.#taskEnded(end, null)
        else if (end.type === 'handover') this.#handedOver(end.record)
        else this.#lost(end.fault)
      },
      (thrown: unknown) => this.#lost(thrown),
    )
    // The message that ends the call may have gone to the previous session, which has ended.
    if (this.#of.stream.isTaken && this.#sink === null) this.#port.send(streamClosed(1006, this.#streamFault))
    else if (this.#hangup !== null) this.#port.send(this.#hangup)
  }

  /** Handles the death of the worker, or a fault of the call itself. The call moves to another worker, or ends. */
  #lost(thrown: unknown): void {
    this.#port.close()
    this.#parts.lost()
    const part = thrown instanceof WorkerLostError ? thrown.part : null // Null means that the call itself failed; its worker is alive.
    if (part !== 'bystander') this.#suspicions++
    const [rehomes, suspicions] = [this.#rehomes, this.#suspicions]
    this.#of.log.error({ err: thrown, rehomes, suspicions, part: part ?? 'own-fault' }, 'call lost its worker')
    this.#mark('worker-lost', `${lossOf(thrown)}; ${rehomes} of ${REHOMES_MAX} moves to another worker used`)
    this.#playout.letGo()
    // If several calls are suspected, none of them is ended yet. The next death will show which call is the cause.
    const guilty = part !== 'bystander' && part !== 'one-of-many' && suspicions > SUSPICIONS_MAX
    if (this.#state === 'ended' || this.#state === 'cut' || guilty || rehomes >= REHOMES_MAX)
      return this.#taskEnded(null, messageOf(thrown))
    this.#rehomes++
    this.#start(part === 'suspect' || part === 'one-of-many')
    this.#context.metrics.callsRehomed.inc(1, this.callSid)
  }

  /** Continues the call's session with another agent, from its checkpoint. */
  #handedOver(record: HandoverRecord): void {
    this.#port.close()
    this.#parts.lost()
    if (this.#state === 'ended' || this.#state === 'cut')
      return this.#taskEnded(null, 'it ended while it was handed over')
    const consent = this.#of.consent.state(this.#of.stream.openedMs !== null)
    const { from, to } = record
    const next = this.#of.agent.handTo(to)
    const { saved } = this.#of.session
    if (next === null) {
      this.#of.log.warn({ to_agent: to }, 'the agent to hand over to is gone: the call stays with its agent')
      const handover = { to, summary: record.summary, gone: true as const }
      this.#of.session.saved = saved === null ? null : { ...saved, checkpoint: { ...saved.checkpoint, handover } }
    } else {
      this.#mark('handover', `${from} to ${to}`)
      this.#receive({ type: 'log', entries: [{ kind: 'handover', record }], saved: null, frameLatencyP99Ms: null })
    }
    if (next !== null && saved !== null) {
      // The caller is asked for consent once. If the next agent stores less, less is stored from now on.
      const untold = consentOf(next.definition) !== null && consent !== 'told' && consent !== 'refused'
      if (untold) this.#of.consent.announced = false
      if (!next.definition.recording.enabled) this.#parts.by.hearers.endRecording(this.#context.clock())
      this.#of.session.saved = handedOver(
        this.#of.agent.provenTo(this.#of.record.log, saved.checkpoint),
        saved.backendState,
        untold,
      )
    }
    this.#of.log.debug({ to_agent: to }, 'call handed over')
    this.#playout.letGo()
    this.#start(false)
  }

  /** Handles the end of the task when the call does not move to another worker. One of the two arguments is null. */
  #taskEnded(result: CallResult | null, fault: string | null): void {
    this.#port.close()
    this.#taskRunning = false
    this.#parts.lost()
    this.#of.session.result = result
    this.#fault = fault
    this.#context.taskOver()
    const { isCut, isReplaced } = this.#of.continuity
    if (!isCut && !isReplaced) this.#parts.ended()
    if (this.#forced) this.#parts.abandon(!this.#taken)
    if (isReplaced) return this.#context.memory.give(this.#memory)
    // The session had ended by itself before the message about the lost stream arrived.
    if (isCut && result !== null && result.endReason !== 'socket-lost') return this.#of.continuity.over()
    this.#context.keeper?.changed(this.callSid)
    const held = this.#sink !== null
    if (fault !== null && !isCut) {
      this.#closeSink(1011)
      this.#parts.by.escalation.hangup(!held)
    } else {
      this.#closeSink(1000)
    }
    this.#endWhenDone()
  }

  #endWhenDone(): void {
    if (this.#taskRunning || this.#state === 'ended' || this.#sink !== null) return
    if (this.#of.continuity.isCut || this.#parts.active) return
    this.#state = 'ended'
    const told = this.#context.keeper?.over(this.callSid) ?? null
    if (this.#taken) {
      this.#parts.release()
      this.#of.record.drop()
      this.#context.onTakenOver(this.callSid, this.#of.record.part(this.#ending()))
      return this.#context.memory.give(this.#memory)
    }
    const record = this.#of.record.close(this.#ending())
    this.#parts.recorded(record)
    this.#parts.release()
    this.#of.log.info(callSummary(record), 'call ended')
    this.#context.over(this, record, told)
    // Neither a worker nor a socket uses the call's memory any more.
    this.#context.memory.give(this.#memory)
  }

  #ending(): CallEnding {
    const { placed } = this.#of.origin.call
    return {
      outbound:
        placed === undefined
          ? null
          : outboundRecord(placed, {
              streamOpened: this.#of.stream.openedMs !== null,
              endReason: this.#of.session.result?.endReason ?? null,
              lastState: this.#lastState,
              ringMs: this.#of.stream.awaitedUntilMs - placed.orderedAtMs,
            }),
      caller: callerRecord(this.#of.session.saved?.checkpoint),
      ...this.#now(),
      result: this.#of.continuity.shown(this.#of.session.result),
      language: this.language ?? null,
      fault: this.#fault,
      ...this.#parts.inRecord(this.#of.stream.openedMs !== null),
      packetsDropped: this.#shared.inbound.dropped,
      underruns: this.#playout.underruns,
    }
  }

  #closeSink(code: number): void {
    const sink = this.#sink
    if (sink === null) return
    this.#sink = null
    this.#of.stream.closed()
    this.#parts.closed(this.#context.clock())
    sink.close(code)
    if (this.#state === 'streaming') this.#state = 'after'
    this.#port.send({ type: 'stream-closed', code })
    this.#parts.withoutStream()
  }

  /**
   * Reports to the keeper that the call's state and open record have changed. If the call waited only for this change,
   * it ends now.
   */
  #changed(): void {
    this.#context.keeper?.changed(this.callSid)
    this.#context.openRecords?.changed(this.callSid)
    if (this.#state === 'cut' && !this.#of.continuity.isCut && !this.#of.continuity.isReplaced) this.#cutOver()
    else this.#endWhenDone()
  }

  #receive(message: FromCall): void {
    this.#of.record.take(message)
    switch (message.type) {
      case 'tool-coerced':
      case 'turn-heard':
      case 'values-left-out':
        return
      case 'log':
        this.#of.session.saved = message.saved ?? this.#of.session.saved
        this.#parts.take(message)
        this.#of.continuity.append(message.entries, [])
        return this.#changed()
      case 'marks':
        this.#of.record.timeline.take(message.marks)
        this.#of.continuity.append([], message.marks)
        return
      case 'end-stream': {
        const held = this.#sink !== null
        // The carrier's after-stream behaviour can be observed only if we do not ask the carrier to end the leg.
        if (this.#sink !== null && (!message.hangup || this.#context.carrier === null)) {
          this.#context.afterStream.closed(this.callSid, this.#context.clock())
        }
        this.#closeSink(message.code)
        if (message.hangup) this.#parts.by.escalation.hangup(!held)
        this.#of.continuity.over()
        this.#endWhenDone()
        return
      }
      case 'log-line':
        this.#of.log[message.level](message.fields, message.message)
        return
      case 'speech-waits':
        // The first sound of an answer does not wait for the next tick.
        return this.pump(this.#context.clock())
      default:
        if (!this.#parts.take(message)) assertNever(message)
    }
  }

  row(): LiveCallRow {
    return this.#of.record.row(this.#now())
  }

  view(): LiveCallView {
    return this.#of.record.view(this.#now())
  }

  timeline(): CallTimelineView {
    return this.#of.record.timelineView(this.#state !== 'ended', this.#context.traces?.traceId(this.callSid) ?? null)
  }

  #now(): Pick<LiveCallView, 'state' | 'durationMs' | 'rehomes'> {
    return {
      state: this.#state,
      rehomes: this.#rehomes,
      durationMs: this.#of.stream.totalMs,
    }
  }
}

/**
 * Maximum number of moves of a call to another worker. Moves count even if another call ended the worker
 * (docs/ARCHITECTURE.md).
 */
const REHOMES_MAX = 5
/**
 * Maximum number of new tries for a call that was suspected of its worker's death, or that failed by its own fault
 * (docs/ARCHITECTURE.md).
 */
const SUSPICIONS_MAX = 1
/**
 * Time in ms without a frame after which a socket counts as lost. A carrier sends a frame every 20 ms, even in silence.
 */
const STREAM_QUIET_MS = 300

function streamClosed(code: number, fault: StreamFault | undefined): ToCall {
  return { type: 'stream-closed', code, ...(fault === undefined ? {} : { fault }) }
}

/**
 * State with which the session of another agent begins.
 * @param untold  true: the caller does not know yet which data that agent stores
 */
function handedOver(
  { untold: _, handover: __, ...checkpoint }: CallCheckpoint,
  backendState: unknown,
  untold: boolean,
) {
  return {
    checkpoint: { ...checkpoint, ...(untold ? { untold: true as const } : {}) },
    backendState: snapshotForAnother(backendState),
  }
}

/** Text for the call's timeline. */
function lossOf(thrown: unknown): string {
  if (!(thrown instanceof WorkerLostError)) return 'a fault of this call'
  const { part, suspect, message } = thrown
  const suspected =
    part === 'bystander' ? (suspect ?? 'others') : part === 'suspect' ? 'this call' : 'all calls of that worker'
  return `${message}; suspected: ${suspected}`
}
