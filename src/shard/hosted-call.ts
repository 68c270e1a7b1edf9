import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import type { MessagePort, TransferListItem } from 'node:worker_threads'
import { NO_ASSETS } from '../agents/assets.js'
import type { AgentAssets } from '../agents/assets.js'
import type { AgentDefinition } from '../agents/definition.js'
import type { CallCheckpoint } from '../call/checkpoint.js'
import type { CarrierState, Handoff } from '../call/events.js'
import type { CallRecord, EndReason, OutboundRecord } from '../call/record.js'
import { assertNever } from '../core/assert.js'
import type { Clock, WallClock } from '../core/clock.js'
import { GatewayError, messageOf } from '../core/errors.js'
import type { CallSid } from '../core/ids.js'
import { REHOMES_MAX, SOCKET_WAIT_MS } from '../core/limits.js'
import { samplesToMs, type LegRateHz } from '../core/units.js'
import { Playout } from '../media/playout.js'
import type { VoiceAction } from '../sautikit/actions.js'
import { KILL_AUDIO } from '../sautikit/stream-messages.js'
import type { StreamText } from '../sautikit/stream-messages.js'
import type { HumanEvent } from '../sautikit/supervision.js'
import type { CallSeries } from '../telemetry/call-series.js'
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { TraceExport } from '../telemetry/trace-export.js'
import type { CallEnd, CallResult, CallStart, FromCall, ToCall } from './call-messages.js'
import type { BackendBooks } from './backend-books.js'
import { CallBooks } from './call-books.js'
import { CallHandover } from './call-handover.js'
import { CallRecorder } from './call-recorder.js'
import { callSummary } from './call-summary.js'
import { CallTimeline } from './call-timeline.js'
import type { CarrierControl } from './call-handover.js'
import type { CarrierHabits } from './carrier-habits.js'
import type { HandoffNews } from './handoff-post.js'
import type { RecordingSink } from '../telemetry/archive/archive.js'
import { CALL_TIMELINE_VERSION, streamOpenedMs } from './live-call.js'
import type {
  AgentFacts, CallTimelineView, ContinuationAsker, LiveCall, LiveCallState, LiveCallView, MediaSink, NewCall,
} from './live-call.js'
import type { JournalKept } from './call-journal.js'
import type { CallMemory, CallMemoryPool } from './call-memory.js'
import { outboundRecord } from './outbound-record.js'
import { HANGUP_NOW, SharedCall, Time, Word } from './shared-call.js'

/** What the host of a call gives it. */
export interface HostContext {
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly metrics: Metrics
  readonly log: Log
  readonly callSeries: CallSeries
  /** Absent or null where no collector is set. */
  readonly traces?: TraceExport | null
  readonly carrier: CarrierControl | null
  readonly journal: JournalKept | null
  readonly memory: CallMemoryPool
  readonly backendBooks: BackendBooks
  readonly habits: CarrierHabits
  /** Where recordings go; null where nothing is kept. */
  readonly record: ((callSid: CallSid, rateHz: number) => RecordingSink) | null
  /** False: records have phone numbers as they are. */
  readonly maskNumbers: boolean
  /** Starts the call's task on the least loaded worker. */
  run(start: CallStart, transfer: readonly TransferListItem[]): Promise<CallEnd>
  /** A way to a speech worker; null when there is none to be had. */
  openSpeech(): MessagePort | null
  /** The task is over: its slot is free. */
  taskOver(call: HostedCall): void
  /** Nothing more will happen to this call. */
  over(call: HostedCall, record: CallRecord): void
  keepJournal(callSid: CallSid, lines: readonly string[]): void
  /** Keeps what a human gets with a caller, and tells who is to be told. */
  handoffNews(news: HandoffNews): void
}

/** An agent as the host keeps it: the definition for the worker, the facts for the edge, the backend resolved. */
export interface HostedAgent {
  readonly definition: AgentDefinition
  /** What its file names besides; nothing when it is not given. */
  readonly assets?: AgentAssets
  readonly facts: AgentFacts
  /** Resolved, in the order in which they are tried. */
  readonly backends: readonly string[]
  readonly shadow: string | null
}

/** What only a person can mend. */
const FINAL_FAULTS: ReadonlySet<string> = new Set(['auth', 'quota', 'bad_request'])
const BACKEND_FAULT_WORDS: Readonly<Record<string, string>> = {
  auth: 'a backend refuses its key', quota: 'the account of a backend is empty', bad_request: 'a backend refuses how it is set',
  rate_limit: 'a backend asks for patience', session_expired: 'a backend ended a session at its time limit',
}

// One frame at a time leaves; all calls share the place where it is put together. 200 ms at 16 kHz is the most
// that playout hands over at once.
const outgoing = new Int16Array(16_000)
const outgoingBytes = new Uint8Array(outgoing.buffer)
const outgoingViews = new Map<number, Uint8Array>()

/** Lengths are few (frames, leads, tails): a view for each is made once. */
function bytesOf(samples: number): Uint8Array {
  let view = outgoingViews.get(samples)
  if (view === undefined) {
    view = outgoingBytes.subarray(0, samples * 2)
    outgoingViews.set(samples, view)
  }
  return view
}

/**
 * The main thread's half of a call: its socket, its playout clock, its shared memory, and what outlives a worker:
 * the last checkpoint and the escalation. What a caller hears next is decided by the session in the worker; this
 * half only paces it out, also while the worker is dead.
 */
export class HostedCall implements LiveCall {
  readonly callSid: CallSid
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
  readonly #playout: Playout
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
  #port: MessagePort | null = null
  #taskRuns = false
  #clearsSeen = 0
  #pausedSeen = false
  #moreSeen = 0
  #writtenSeen = 0
  #playAtMs = -Infinity
  #checkpoint: CallCheckpoint | null = null
  #backendState: unknown = null
  #result: CallResult | null = null
  #fault: string | null = null
  #rehomes = 0

  constructor(call: NewCall, hosted: HostedAgent, context: HostContext) {
    this.callSid = call.callSid
    this.agent = call.agent
    this.legRateHz = hosted.facts.stream.samplingRateHz
    this.#call = call
    this.#hosted = hosted
    this.#context = context
    const traceId = context.traces?.traceId(call.callSid) ?? null
    this.#log = context.log.call(call.callSid, { agent: call.agent, ...(traceId === null ? {} : { trace_id: traceId }) })
    this.#memory = context.memory.take()
    this.#shared = new SharedCall(this.#memory.buffer, this.#memory.at)
    this.#playout = new Playout({ sampleRateHz: this.legRateHz })
    this.#preparedAtMs = context.clock()
    // A call that we placed rings first.
    this.#socketWaitMs = SOCKET_WAIT_MS + (call.placed?.ringMs ?? 0)
    this.#timeline = new CallTimeline(this.#preparedAtMs)
    this.#mark('webhook', `${call.direction} to ${call.agent}`)
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
      toSession: (step) => this.#send({ type: 'escalation', step }),
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
    return this.#taskRuns
  }

  /** Starts the call's task; the backend connects while the webhook is being answered. */
  begin(): void {
    this.#runTask()
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
    this.#send({ type: 'stream-opened' })
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
    if (messages.length > 0) this.#send({ type: 'stream-text', messages })
  }

  detach(code: number): void {
    if (this.#sink === null) return
    this.#sink = null
    this.#recorder?.end(this.#context.clock())
    this.#log.info({ code }, 'stream closed')
    this.#mark('socket-closed', `code ${code}`)
    if (this.#state === 'streaming') this.#state = 'after'
    this.#send({ type: 'stream-closed', code })
    this.#handover.handle({ type: 'stream-closed' })
    this.#endWhenDone()
  }

  carrierState(state: CarrierState): void {
    if (!this.#attached) this.#lastState = state
    this.#send({ type: 'carrier-state', state })
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
    this.#send({ type: 'hangup', reason, detail, speak })
  }

  escalate(reason: string): void {
    this.#send({ type: 'escalate', reason })
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
    const { words, times, outbound } = this.#shared
    const playout = this.#playout
    if (this.#nothingToPlay(nowMs)) return
    // From before the pump: what comes meanwhile is to be looked at.
    this.#writtenSeen = outbound.writtenGlance
    if (words[Word.clears] !== this.#clearsSeen) {
      this.#clearsSeen = Atomics.load(words, Word.clears)
      this.#pausedSeen = false
      playout.clear(nowMs)
      this.#recorder?.agentCut(nowMs)
      sink.sendText(KILL_AUDIO)
    }
    const paused = words[Word.paused] === 1
    if (paused !== this.#pausedSeen) {
      this.#pausedSeen = paused
      if (paused) playout.pause(nowMs)
      else playout.resume(nowMs)
    }
    // Loaded before the samples are counted: the end of speech is told after its last sample.
    if (words[Word.more] !== this.#moreSeen) this.#moreSeen = Atomics.load(words, Word.more)
    playout.speechEnded = this.#moreSeen === 0
    const samples = playout.pump(nowMs, outbound, outgoing)
    this.#playAtMs = playout.dueMs
    if (samples === 0) return
    const sent = outbound.consumed
    times[Time.sampleZeroMs] = playout.speechEndMs - samplesToMs(sent, this.legRateHz)
    Atomics.store(words, Word.dated, sent | 0)
    const taken = sink.sendAudio(bytesOf(samples))
    this.#recorder?.agent(outgoing.subarray(0, samples), playout.playoutEndMs - samplesToMs(samples, this.legRateHz))
    times[Time.playoutEndMs] = playout.playoutEndMs
    times[Time.lastSentAtMs] = playout.lastSentAtMs
    words[Word.underruns] = playout.underruns
    if (playout.underruns !== this.#underrunsSeen) this.#underrun(playout.underruns)
    if (!taken) {
      this.#log.warn({}, 'the carrier does not read: socket given up')
      this.#mark('socket-stuck', 'the carrier does not read: more waits than two seconds of sound')
      this.detach(1008)
      sink.close(1008)
    }
  }

  /**
   * At every other tick and more, frames of this call are not due. Glances without Atomics: what one misses is found at
   * the next tick. The words lie where the worker seldom writes; what it writes with each frame is looked at last.
   */
  #nothingToPlay(nowMs: number): boolean {
    const { words, outbound } = this.#shared
    return nowMs < this.#playAtMs && words[Word.clears] === this.#clearsSeen && words[Word.more] === this.#moreSeen
      && (words[Word.paused] === 1) === this.#pausedSeen
      && (this.#playAtMs < Infinity || outbound.writtenGlance === this.#writtenSeen)
  }

  #underrun(underruns: number): void {
    this.#mark('underrun', `${underruns - this.#underrunsSeen} times no sound was there in the middle of speech, ${underruns} in all`)
    this.#context.metrics.playoutUnderruns.inc(underruns - this.#underrunsSeen, this.callSid)
    this.#underrunsSeen = underruns
  }

  #mark(name: string, detail?: string): void {
    this.#timeline.mark(name, this.#context.clock(), detail)
  }

  // --- the task -------------------------------------------------------------------------------------------

  #runTask(): void {
    const { port1, port2 } = new MessageChannel()
    const speech = this.#context.openSpeech()
    this.#port = port1
    port1.on('message', (message: FromCall) => this.#receive(message))
    port1.unref()
    const resumed = this.#rehomes > 0
    const start: CallStart = {
      callSid: this.callSid,
      agent: this.#hosted.definition,
      assets: this.#hosted.assets ?? NO_ASSETS,
      backends: this.#hosted.backends,
      shadow: this.#hosted.shadow,
      // For agent and tools the person on the line is the caller, whoever rang whom.
      from: this.#call.direction === 'inbound' ? this.#call.from : this.#call.to,
      to: this.#call.direction === 'inbound' ? this.#call.to : this.#call.from,
      direction: this.#call.direction,
      legRateHz: this.legRateHz,
      track: this.#hosted.facts.stream.track,
      shared: this.#memory,
      port: port2,
      speech,
      preparedAtMs: this.#preparedAtMs,
      resume: resumed ? { checkpoint: this.#checkpoint, backendState: this.#backendState } : null,
      streamOpen: this.#sink !== null,
      rehomes: this.#rehomes,
      journal: this.#context.journal,
    }
    this.#taskRuns = true
    this.#context.run(start, speech === null ? [port2] : [port2, speech]).then(
      (end) => {
        if (end.type === 'result') this.#taskEnded(end, null)
        else this.#taskDied(end.fault)
      },
      (thrown: unknown) => this.#taskDied(thrown),
    )
  }

  /** The worker died, or the call failed by a fault of ours: another worker goes on with it, once. */
  #taskDied(thrown: unknown): void {
    this.#closePort()
    this.#log.error({ err: thrown, rehomes: this.#rehomes }, 'call lost its worker')
    this.#mark('worker-lost', `${this.#rehomes} of ${REHOMES_MAX} moves to another worker used`)
    // Whatever held the agent silent died with the session: what waits in the ring plays on.
    Atomics.store(this.#shared.words, Word.paused, 0)
    Atomics.store(this.#shared.words, Word.more, 0)
    if (this.#rehomes >= REHOMES_MAX || this.#state === 'ended') {
      this.#taskEnded(null, messageOf(thrown))
      return
    }
    this.#rehomes++
    this.#context.metrics.callsRehomed.inc(1, this.callSid)
    this.#runTask()
    // A socket that closed meanwhile is told again: the first message went to the dead.
    if (this.#attached && this.#sink === null) this.#send({ type: 'stream-closed', code: 1006 })
  }

  #taskEnded(result: CallResult | null, fault: string | null): void {
    this.#closePort()
    this.#taskRuns = false
    this.#result = result
    this.#fault = fault
    this.#context.taskOver(this)
    if (fault !== null) {
      this.#closeSink(1011)
      this.#handover.hangup()
    } else {
      this.#closeSink(1000)
    }
    this.#endWhenDone()
  }

  /** The task's end and its last messages come by two ways; what it still said is heard first. */
  #closePort(): void {
    const port = this.#port
    if (port === null) return
    for (let last = receiveMessageOnPort(port); last !== undefined; last = receiveMessageOnPort(port)) {
      this.#receive(last.message as FromCall)
    }
    port.close()
    this.#port = null
  }

  #endWhenDone(): void {
    if (this.#taskRuns || this.#state === 'ended' || this.#sink !== null || this.#handover.active) return
    this.#state = 'ended'
    const { words } = this.#shared
    const record = this.#books.close({
      outbound: this.#taken(),
      ...this.#now(), result: this.#result, fault: this.#fault, escalation: this.#handover.history,
      recording: this.#recorder?.kept === true ? this.#recorder.path : null,
      packetsDropped: Atomics.load(words, Word.inDropped), underruns: Atomics.load(words, Word.underruns),
      timeline: this.#timeline,
    })
    this.#log.info(callSummary(record), 'call ended')
    this.#context.over(this, record)
    // No worker has the call any more, and no socket.
    this.#context.memory.give(this.#memory)
  }

  /** Null where this agent's calls are not recorded, or nothing is kept. */
  #openRecorder(): CallRecorder | null {
    const { recording } = this.#hosted.definition
    const { record } = this.#context
    if (!recording.enabled || record === null) return null
    return new CallRecorder(record(this.callSid, this.legRateHz), {
      rateHz: this.legRateHz, track: this.#hosted.facts.stream.track, openedAtMs: this.#attachedAtMs, announced: recording.consent === null,
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
    this.#send({ type: 'stream-closed', code })
    this.#handover.handle({ type: 'stream-closed' })
  }

  #receive(message: FromCall): void {
    switch (message.type) {
      case 'backend-error': {
        const { backend, code, message: detail, sessionLost } = message.fault
        const says = BACKEND_FAULT_WORDS[code] ?? 'a backend failed'
        this.#log[FINAL_FAULTS.has(code) ? 'error' : 'warn']({ backend, code, detail, session_lost: sessionLost }, says)
        this.#context.backendBooks.fault(message.fault, this.#context.wallClock())
        this.#books.take(message)
        return
      }
      case 'backend-session':
        this.#context.backendBooks.session(message.opened)
        this.#books.take(message)
        return
      case 'circuit':
        this.#context.backendBooks.circuit(message.worker, message.circuit, this.#context.clock())
        return
      case 'transcript':
      case 'tool':
      case 'turn':
      case 'ear':
      case 'barge-in':
        this.#books.take(message)
        return
      case 'failover':
        this.#log.warn({ fromBackend: message.from, toBackend: message.to, gap_ms: Math.round(message.gapMs), reason: message.reason }, 'another backend took over')
        this.#context.backendBooks.takeover(message.from, message.to, message.gapMs)
        this.#books.take(message)
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
      case 'recording-announced':
        this.#recorder?.announced()
        return
      case 'checkpoint':
        this.#checkpoint = message.checkpoint
        this.#backendState = message.backendState
        return
      case 'journal':
        this.#context.keepJournal(this.callSid, message.lines)
        return
      case 'speech-lost': {
        const port = this.#context.openSpeech()
        if (port !== null) this.#port?.postMessage({ type: 'speech', port } satisfies ToCall, [port])
        return
      }
      case 'log':
        this.#log[message.level](message.fields, message.message)
        return
      default:
        assertNever(message)
    }
  }

  #send(message: ToCall): void {
    this.#port?.postMessage(message)
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
      tools: this.#books.toolCalls.map(({ name, startMs, ms, ok }) => ({ name, startMs, ms, ok })),
    }
  }

  #now(): { state: LiveCallState; streamMs: number; rehomes: number } {
    return {
      state: this.#state, rehomes: this.#rehomes, streamMs: this.#attached ? this.#context.clock() - this.#attachedAtMs : 0,
    }
  }
}
