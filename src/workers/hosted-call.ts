import type { MessagePort, TransferListItem } from 'node:worker_threads'
import { NO_ASSETS } from '../agents/assets.js'
import type { LockRule, Verdict } from '../agents/verification-lock.js'
import type { CarrierState, Handoff, StreamFault } from '../call/events.js'
import type { EndReason, OutboundRecord } from '../call/record.js'
import { assertNever } from '../core/assert.js'
import { GatewayError } from '../core/errors.js'
import type { CallSid } from '../core/ids.js'
import { REHOMES_MAX, SOCKET_WAIT_MS } from '../core/limits.js'
import type { LegRateHz } from '../core/units.js'
import type { VoiceAction } from '../sautikit/actions.js'
import type { StreamText } from '../sautikit/stream-messages.js'
import type { HumanEvent } from '../sautikit/supervision.js'
import type { Log } from '../telemetry/log.js'
import type { CallEnd, CallResult, CallStart, ToCall } from './call-messages.js'
import { CallBooks } from './call-books.js'
import type { CallEnding } from './call-books.js'
import { CallHandover } from './call-handover.js'
import { CallRecorder } from './call-recorder.js'
import { callSummary } from './call-summary.js'
import { CallTimeline } from './call-timeline.js'
import { CALL_TIMELINE_VERSION, streamOpenedMs } from './live-call.js'
import type {
  CallTimelineView, ContinuationAsker, LiveCall, LiveCallState, LiveCallView, MediaSink, NewCall,
} from './live-call.js'
import { noteBackendNews } from './backend-news.js'
import type { CallMemory } from './call-memory.js'
import type { HostContext, HostedAgent } from './host-context.js'
import { outboundRecord } from './outbound-record.js'
import { PlayoutClock } from './playout-clock.js'
import { HostedTask } from './hosted-task.js'
import type { TaskNews, TaskOwner, TaskStart } from './hosted-task.js'
import { HANGUP_NOW, SharedCall, Word } from './shared-call.js'
import { WorkerLostError } from './worker-loss.js'
import type { Carried } from './worker-loss.js'

/**
 * The main thread's half of a call: its socket, its playout clock, its shared memory, and what outlives a worker:
 * the last checkpoint and the escalation. What a caller hears next is decided by the session in the worker; this
 * half only paces it out, also while the worker is dead.
 */
export class HostedCall implements LiveCall, TaskOwner, Carried {
  readonly callSid: CallSid
  readonly number: number
  readonly agent: string
  readonly legRateHz: LegRateHz
  afterStreamUrl: string | null = null
  humanUrl: string | null = null
  readonly #call: NewCall
  readonly #hosted: HostedAgent
  readonly #context: HostContext
  readonly #log: Log
  readonly #memory: CallMemory
  readonly #shared: SharedCall
  readonly #playout: PlayoutClock
  readonly #task: HostedTask
  readonly #preparedAtMs: number
  readonly #socketWaitMs: number
  #lastState: CarrierState = 'unknown'
  readonly #books: CallBooks
  readonly #timeline: CallTimeline
  #document: string | null = null
  #heard = false
  #underrunsSeen = 0
  readonly #handover: CallHandover
  #state: LiveCallState = 'waiting'
  #sink: MediaSink | null = null
  #recorder: CallRecorder | null = null
  #attached = false
  #attachedAtMs = 0
  #result: CallResult | null = null
  #fault: string | null = null
  #streamFault: StreamFault | undefined = undefined
  /** An answer of the caller's is being compared in the worker. */
  #attemptOpen = false

  constructor(call: NewCall, hosted: HostedAgent, context: HostContext) {
    this.callSid = call.callSid
    this.number = context.callNumber()
    this.agent = call.agent
    this.legRateHz = hosted.facts.stream.samplingRateHz
    this.#call = call
    this.#hosted = hosted
    this.#context = context
    const traceId = context.traces?.traceId(call.callSid) ?? null
    this.#log = context.log.call(call.callSid, { agent: call.agent, ...(traceId === null ? {} : { trace_id: traceId }) })
    this.#memory = context.memory.take()
    this.#shared = new SharedCall(this.#memory.buffer, this.#memory.at)
    this.#playout = new PlayoutClock(this.#shared, this.legRateHz)
    this.#preparedAtMs = context.clock()
    // A call that we placed rings first.
    this.#socketWaitMs = SOCKET_WAIT_MS + (call.placed?.ringMs ?? 0)
    this.#timeline = new CallTimeline(this.#preparedAtMs)
    this.#mark('webhook', `${call.direction} to ${call.agent}`)
    this.#task = new HostedTask(this.#taskStart(), this)
    this.#books = new CallBooks(call, hosted.backends[0] ?? 'none', context.metrics, context.callSeries, context.wallClock(), context.maskNumbers)
    this.#handover = new CallHandover({
      callSid: call.callSid,
      agent: hosted.definition,
      caller: call.direction === 'inbound' ? call.from : call.to,
      ours: call.direction === 'inbound' ? call.to : call.from,
      carrier: context.carrier,
      metrics: context.metrics,
      log: this.#log,
      clock: context.clock,
      wallClock: context.wallClock,
      continuationUrl: () => this.afterStreamUrl,
      humanUrl: () => this.humanUrl,
      afterStream: () => context.habits.afterStream(context.clock()),
      toSession: (step) => this.#task.send({ type: 'escalation', step }),
      settled: () => this.#endWhenDone(),
      mark: (name, detail) => this.#mark(name, detail),
      news: (news) => context.handoffNews(news),
    })
  }

  /** The XML this call was answered with. */
  get document(): string | null {
    return this.#document
  }

  set document(document: string | null) {
    this.#document = document
    this.#mark('webhook-answered')
  }

  get state(): LiveCallState {
    return this.#state
  }

  /** How full the call's rings are, 0 to 1. */
  get inboundFill(): number {
    return this.#shared.inbound.fill
  }

  get outboundFill(): number {
    return this.#shared.outbound.fill
  }

  /** What the human gets; null while nobody was asked for. */
  get handoff(): Handoff | null {
    return this.#handover.handoff
  }

  get carriesTask(): boolean {
    return this.#task.running
  }

  /** Thread of the worker that has, or had, its task; 0 while none has begun it. */
  get worker(): number {
    return Atomics.load(this.#shared.words, Word.worker)
  }

  get suspicions(): number {
    return this.#task.suspicions
  }

  /** Starts the call's task; the backend connects while the webhook is being answered. */
  begin(): void {
    this.#task.begin()
  }

  // --- the media socket -----------------------------------------------------------------------------------

  attach(sink: MediaSink): void {
    if (this.#attached) throw new GatewayError('DUPLICATE_CALL', 'this call already has, or had, its audio socket')
    if (this.#state !== 'waiting') throw new GatewayError('CALL_UNKNOWN', 'this call is over')
    this.#attached = true
    this.#attachedAtMs = this.#context.clock()
    this.#sink = sink
    this.#state = 'streaming'
    this.#mark('socket')
    this.#log.info({ setup_ms: Math.round(this.#attachedAtMs - this.#preparedAtMs) }, 'stream opened')
    this.#recorder = this.#openRecorder()
    this.#context.openRecords?.open(this.callSid, () => this.#books.open(this.#ending(), this.#context.wallClock()))
    this.#task.send({ type: 'stream-opened' })
  }

  audio(bytes: Uint8Array): void {
    if (this.#state !== 'streaming') return
    if (!this.#heard) {
      this.#heard = true
      this.#mark('first-frame', `${bytes.byteLength} bytes`)
    }
    const nowMs = this.#context.clock()
    this.#shared.inbound.write(bytes, nowMs)
    this.#recorder?.caller(bytes, nowMs)
  }

  text(messages: readonly StreamText[]): void {
    if (messages.length > 0) this.#task.send({ type: 'stream-text', messages })
  }

  detach(code: number, fault?: StreamFault): void {
    if (this.#sink === null) return
    this.#sink = null
    this.#streamFault = fault
    this.#recorder?.end(this.#context.clock())
    this.#log.info({ code, ...fault }, 'stream closed')
    this.#mark('socket-closed', fault === undefined ? `code ${code}` : `code ${code}, ${fault.reason}: ${fault.detail}`)
    if (this.#state === 'streaming') this.#state = 'after'
    this.#task.send(streamClosed(code, fault))
    this.#handover.handle({ type: 'stream-closed' })
    this.#endWhenDone()
  }

  carrierState(state: CarrierState): void {
    if (!this.#attached) this.#lastState = state
    this.#task.send({ type: 'carrier-state', state })
    this.#handover.handle({ type: 'carrier-state', state })
  }

  human(event: HumanEvent): void {
    this.#handover.handle({ type: 'human', event })
  }

  continuation(asker: ContinuationAsker, digits: string | null = null): readonly VoiceAction[] {
    const onward = this.#handover.ask(asker, digits)
    if (onward.length > 0) return onward
    if (asker !== 'after-stream' || this.#handover.active) return []
    return this.#fault === null ? this.#hosted.facts.afterCall : this.#hosted.facts.fallback
  }

  get handingOver(): boolean {
    return this.#handover.active
  }

  humanDocument(): readonly VoiceAction[] {
    return this.#handover.humanDocument()
  }

  hangup(reason: EndReason, detail: string, speak: boolean): void {
    this.#log.info({ reason, detail }, 'call is being ended')
    this.#mark('hang-up', `${reason}: ${detail}`)
    this.#task.send({ type: 'hangup', reason, detail, speak })
  }

  escalate(reason: string): void {
    this.#task.send({ type: 'escalate', reason })
  }

  /** Ends the call without its session's consent: the end of a drain, or a task that answers nothing. */
  force(detail: string): void {
    Atomics.store(this.#shared.words, Word.hangup, HANGUP_NOW)
    this.#log.warn({ detail }, 'call is ended by force')
    this.#mark('forced', detail)
    this.#closeSink(1001)
  }

  // --- the tick -------------------------------------------------------------------------------------------

  /** Sends what is due now, and looks at the deadlines that no worker can be trusted with. */
  pump(nowMs: number): void {
    if (this.#sink !== null) this.#play(this.#sink, nowMs)
    else if (this.#state === 'waiting' && nowMs - this.#preparedAtMs > this.#socketWaitMs) {
      this.#state = 'after'
      this.hangup('socket-never-came', `no socket within ${this.#socketWaitMs} ms of the webhook`, false)
    }
    this.#recorder?.pump(nowMs)
    this.#handover.wake(nowMs)
  }

  #play(sink: MediaSink, nowMs: number): void {
    const taken = this.#playout.pump(nowMs, sink, this.#recorder)
    const { underruns } = this.#playout
    if (underruns !== this.#underrunsSeen) this.#underrun(underruns)
    if (taken) return
    this.#log.warn({}, 'the carrier does not read: socket given up')
    this.#mark('socket-stuck', 'the carrier does not read: more waits than two seconds of sound')
    this.detach(1008)
    sink.close(1008)
  }

  #underrun(underruns: number): void {
    this.#mark('underrun', `${underruns - this.#underrunsSeen} times no sound was there in the middle of speech, ${underruns} in all`)
    this.#context.metrics.playoutUnderruns.inc(underruns - this.#underrunsSeen, this.callSid)
    this.#underrunsSeen = underruns
  }

  #mark(name: string, detail?: string): void {
    this.#timeline.mark(name, this.#context.clock(), detail)
    this.#context.openRecords?.changed(this.callSid)
  }

  // --- the task -------------------------------------------------------------------------------------------

  #taskStart(): TaskStart {
    const { callSid, number, legRateHz } = this
    const { direction, from, to } = this.#call
    return {
      callSid, number, legRateHz, direction,
      agent: this.#hosted.definition,
      assets: this.#hosted.assets ?? NO_ASSETS,
      backends: this.#hosted.backends,
      shadow: this.#hosted.shadow,
      from: this.#caller,
      to: direction === 'inbound' ? to : from,
      track: this.#hosted.facts.stream.track,
      shared: this.#memory,
      preparedAtMs: this.#preparedAtMs,
      journal: this.#context.journal,
    }
  }

  get streamOpen(): boolean {
    return this.#sink !== null
  }

  run(start: CallStart, transfer: readonly TransferListItem[], alone: boolean): Promise<CallEnd> {
    Atomics.store(this.#shared.words, Word.worker, 0) // the worker before is gone
    return this.#context.run(start, transfer, alone)
  }

  openSpeech(): MessagePort | null {
    return this.#context.openSpeech()
  }

  lost(thrown: unknown): boolean {
    this.#verdict('unjudged')
    const { rehomes, suspicions } = this.#task
    const part = thrown instanceof WorkerLostError ? thrown.part : 'own-fault'
    this.#log.error({ err: thrown, rehomes, suspicions, part }, 'call lost its worker')
    this.#mark('worker-lost', `${lossOf(thrown)}; ${rehomes} of ${REHOMES_MAX} moves to another worker used`)
    this.#playout.letGo()
    return this.#state !== 'ended'
  }

  moved(): void {
    this.#context.metrics.callsRehomed.inc(1, this.callSid)
    // A socket that closed meanwhile is told again: the first message went to the dead.
    if (this.#attached && this.#sink === null) this.#task.send(streamClosed(1006, this.#streamFault))
  }

  ended(result: CallResult | null, fault: string | null): void {
    this.#verdict('unjudged')
    this.#result = result
    this.#fault = fault
    this.#context.taskOver()
    if (fault !== null) {
      this.#closeSink(1011)
      this.#handover.hangup()
    } else {
      this.#closeSink(1000)
    }
    this.#endWhenDone()
  }

  #endWhenDone(): void {
    if (this.#task.running || this.#state === 'ended' || this.#sink !== null || this.#handover.active) return
    this.#state = 'ended'
    const record = this.#books.close(this.#ending())
    this.#log.info(callSummary(record), 'call ended')
    this.#context.over(this, record)
    // No worker has the call any more, and no socket.
    this.#context.memory.give(this.#memory)
  }

  #ending(): CallEnding {
    const { words } = this.#shared
    return {
      outbound: this.#taken(),
      ...this.#now(), result: this.#result, fault: this.#fault, escalation: this.#handover.history,
      recording: this.#recorder?.kept === true ? this.#recorder.path : null,
      packetsDropped: this.#shared.inbound.dropped, underruns: Atomics.load(words, Word.underruns),
      timeline: this.#timeline,
    }
  }

  /** Null where this agent's calls are not recorded, or nothing is kept. */
  #openRecorder(): CallRecorder | null {
    const { recording } = this.#hosted.definition
    const { record } = this.#context
    if (!recording.enabled || record === null) return null
    const announced = recording.consent === null
    return new CallRecorder(record(this.callSid, this.legRateHz, announced), {
      rateHz: this.legRateHz, track: this.#hosted.facts.stream.track, openedAtMs: this.#attachedAtMs, announced,
    })
  }

  /** How a call that we placed was taken; null for any other. */
  #taken(): OutboundRecord | null {
    const { placed } = this.#call
    if (placed === undefined) return null
    const ringEndedAtMs = this.#attached ? this.#attachedAtMs : this.#context.clock()
    return outboundRecord(placed, {
      streamOpened: this.#attached, endReason: this.#result?.endReason ?? null, lastState: this.#lastState,
      ringMs: ringEndedAtMs - placed.orderedAtMs,
    })
  }

  #closeSink(code: number): void {
    const sink = this.#sink
    if (sink === null) return
    this.#sink = null
    this.#recorder?.end(this.#context.clock())
    sink.close(code)
    if (this.#state === 'streaming') this.#state = 'after'
    this.#task.send({ type: 'stream-closed', code })
    this.#handover.handle({ type: 'stream-closed' })
  }

  heard(message: TaskNews): void {
    const { clock, wallClock } = this.#context
    switch (message.type) {
      case 'backend-error':
      case 'backend-session':
      case 'circuit':
      case 'failover':
        noteBackendNews(message, { log: this.#log, call: this.#books, all: this.#context.backendBooks, clock, wallClock })
        return
      case 'transcript':
      case 'tool':
      case 'turn':
      case 'ear':
      case 'barge-in':
        this.#books.take(message)
        this.#context.openRecords?.changed(this.callSid)
        return
      case 'marks':
        this.#timeline.take(message.marks)
        return
      case 'end-stream':
        // What the carrier does with the leg now is seen only where it is not told to end it.
        if (this.#sink !== null && (!message.hangup || this.#context.carrier === null)) {
          this.#context.habits.closed(this.callSid, this.#context.clock())
        }
        this.#closeSink(message.code)
        if (message.hangup) this.#handover.hangup()
        this.#endWhenDone()
        return
      case 'escalate':
        this.#handover.escalate(message.packet)
        return
      case 'callback':
        this.#handover.callback(message.wish)
        return
      case 'verification-attempt':
        this.#task.send({ type: 'verification-attempts', left: this.#takeAttempt() })
        return
      case 'verification-verdict':
        this.#verdict(message.verdict)
        return
      case 'recording-announced':
        this.#recorder?.announced()
        this.#context.openRecords?.changed(this.callSid)
        return
      case 'journal':
        this.#context.keepJournal(this.callSid, message.lines)
        return
      case 'log':
        this.#log[message.level](message.fields, message.message)
        return
      default:
        assertNever(message)
    }
  }

  // --- verification of the caller -------------------------------------------------------------------------

  /** The person on the line: for agent and tools that is the caller, whoever rang whom. */
  get #caller(): string {
    return this.#call.direction === 'inbound' ? this.#call.from : this.#call.to
  }

  get #lockRule(): LockRule | null {
    const { verification } = this.#hosted.definition
    return verification === null ? null : { failures: verification.lock.failures ?? verification.attempts, minutes: verification.lock.minutes }
  }

  /** @returns attempts that the caller's number has; 0: none */
  #takeAttempt(): number {
    const rule = this.#lockRule
    if (rule === null || this.#caller === '') return 0
    this.#verdict('unjudged')
    const left = this.#context.locks.take(this.#caller, rule)
    this.#attemptOpen = left > 0
    if (left === 0) {
      this.#mark('verification-refused', 'too many wrong answers from this number')
      this.#context.metrics.verificationLocks({ agent: this.agent, event: 'refused' }).inc(1, this.callSid)
    }
    return left
  }

  /** What came of the attempt that was taken last; one whose worker is gone costs nothing. */
  #verdict(verdict: Verdict): void {
    const rule = this.#lockRule
    if (rule === null || !this.#attemptOpen) return
    this.#attemptOpen = false
    if (!this.#context.locks.judged(this.#caller, verdict, rule)) return
    this.#mark('verification-locked', `no answer of this number is taken for ${rule.minutes} minutes`)
    this.#context.metrics.verificationLocks({ agent: this.agent, event: 'locked' }).inc(1, this.callSid)
    this.#log.warn({ wrong_answers: rule.failures, minutes: rule.minutes }, 'verification of this number is locked')
  }

  // --- what is shown --------------------------------------------------------------------------------------

  view(): LiveCallView {
    return this.#books.view(this.#now())
  }

  timeline(): CallTimelineView {
    const { marks, dropped } = this.#timeline
    const { agent, backend } = this.#books.view(this.#now())
    return {
      version: CALL_TIMELINE_VERSION,
      callSid: this.callSid,
      agent,
      backend,
      live: this.#state !== 'ended',
      startedAt: this.#books.startedAt,
      streamOpenedMs: streamOpenedMs(marks),
      traceId: this.#context.traces?.traceId(this.callSid) ?? null,
      timeline: marks,
      timelineDropped: dropped,
      turns: this.#books.turns(),
      bargeIns: this.#books.bargeIns,
      tools: this.#books.toolTimes,
    }
  }

  #now(): { state: LiveCallState; streamMs: number; rehomes: number } {
    return {
      state: this.#state, rehomes: this.#task.rehomes, streamMs: this.#attached ? this.#context.clock() - this.#attachedAtMs : 0,
    }
  }
}

function streamClosed(code: number, fault: StreamFault | undefined): ToCall {
  return { type: 'stream-closed', code, ...(fault === undefined ? {} : { fault }) }
}

/** What a call's own timeline says of the loss of its worker. */
function lossOf(thrown: unknown): string {
  if (!(thrown instanceof WorkerLostError)) return 'a fault of this call'
  const { part, suspect, message } = thrown
  const suspected = part === 'bystander' ? suspect ?? 'others' : part === 'suspect' ? 'this call' : 'all calls of that worker'
  return `${message}; suspected: ${suspected}`
}
