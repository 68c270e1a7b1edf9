import type { MessagePort } from 'node:worker_threads'
import type { Backend, BackendCapabilities, BackendEvent, BackendFactory, BackendSink } from '../../backends/backend.js'
import { CallSession } from '../../call/call-session.js'
import { remembered } from '../../call/stages.js'
import type { CallLogEntry } from '../../call/documents/log-entry.js'
import { parseResume, type SessionResume } from '../../call/documents/checkpoint.js'
import type { CallInput, CallOutput } from '../../call/events.js'
import { PlayoutLedger } from '../../call/turns/playout-ledger.js'
import type { CallSessionOptions } from '../../call/call-options.js'
import { assertNever } from '../../core/assert.js'
import { messageOf } from '../../core/errors.js'
import { plainJson } from '../../core/json.js'
import { frameSamples, type SampleRateHz } from '../../core/units.js'
import type { CallEnd, CallStart, FromCall, ToCall } from '../shared/call-messages.js'
import type { CallResult } from '../../call/documents/kept-call.js'
import { CallJournal } from '../shared/call-journal.js'
import { CallSpeech } from './call-speech.js'
import { amdOf, backendSession } from './call-setup.js'
import { CallTools } from './call-tools.js'
import { CallerIntake } from './caller-intake.js'
import { CallMarks } from '../shared/call-timeline.js'
import { CallerLatency } from './caller-latency.js'
import { ModelBriefing } from './model-briefing.js'
import { SecretKeys } from './secret-keys.js'
import { wallMsOf } from './worker-context.js'
import type { WorkerContext } from './worker-context.js'
import type { ToolCallEvent, WorkerDoor } from './worker-door.js'
import type { PartServices } from './worker-part.js'
import { WorkerParts } from './worker-parts.js'
import { SharedCall } from '../shared/shared-call.js'
import { HANGUP_NONE, Time, Word } from '../shared/shared-call-layout.js'

/**
 * One call on a media worker: joins the caller's intake, the session, the backend and the playout. All decisions are the
 * session's; the call's parts carry them out (`worker-parts.ts`). This class has the session's inputs, its log and its end. Its
 * methods `receive`, `take`, `detect`, `attend`, `decide` and `speak` are the steps of the worker's tick.
 */
export class WorkerCall implements BackendSink {
  /** Resolves when the call is over and everything it held is free; never rejects. */
  readonly done: Promise<CallEnd>
  readonly callSid: string
  readonly ordinal: number
  readonly #start: CallStart
  readonly #context: WorkerContext
  readonly #services: CallServices
  readonly #shared: SharedCall
  readonly #port: MessagePort
  readonly #session: CallSession
  readonly #ledger: PlayoutLedger
  readonly #speech: CallSpeech
  readonly #backend: Backend
  readonly #journal: CallJournal | null
  /** Outputs of the session that are not carried out yet, in their order. */
  readonly #outputs: CallOutput[] = []
  readonly #intake: CallerIntake
  /** The main thread knows what the caller's line carries. */
  #lineTold = false
  readonly #marks: CallMarks
  readonly #callerLatency = new CallerLatency()
  readonly #abort = new AbortController()
  readonly #briefing: ModelBriefing
  readonly #parts: WorkerParts
  /** Playout's state at a tick: one object, filled again each time. */
  readonly #report = { sentSamples: 0, playoutEndMs: 0, lastSentAtMs: 0 }
  /** How many samples had been taken from the playout ring at the ledger's last report. */
  #taken = 0
  /** Playout has an item of which no sample was sent yet. */
  #watchesPlayout = true
  #restsUntilMs = -Infinity
  /** Log entries since the last message to the main thread. */
  #entries: CallLogEntry[] = []
  #checkpointDue = false
  #logWaits = false
  #stateRefused = false
  #backendFailed = false
  #digits = 0
  #over = false
  readonly #door: WorkerDoor = {
    post: (message) => this.#post(message),
    handle: (input) => this.#handle(input),
    guard: (work) => {
      this.#wake()
      this.#guard(work)
    },
  }
  #settle!: (end: CallEnd) => void

  constructor(start: CallStart, context: WorkerContext, services: CallServices) {
    this.#start = start
    this.callSid = start.callSid
    this.ordinal = start.ordinal
    this.#context = context
    this.#services = services
    this.#port = start.port
    this.#shared = new SharedCall(start.shared.buffer, start.shared.at)
    // A session before this one may have ended in the middle of a wait.
    Atomics.store(this.#shared.words, Word.waiting, 0)
    this.#ledger = new PlayoutLedger({ sampleRateHz: start.legRateHz, startSample: this.#shared.outbound.written })
    this.#speech = new CallSpeech({
      shared: this.#shared,
      ledger: this.#ledger,
      rateHz: start.legRateHz,
      resamplers: context.resamplers,
      latencyOut: context.latencyOut,
    })
    this.#marks = new CallMarks(start.preparedAtMs, (marks) => this.#post({ type: 'marks', marks }))
    this.#backend = services.backend(this)
    const options = services.options(this.#backend.capabilities)
    const resume = start.resume === null ? null : parseResume(sessionResume(start.resume))
    this.#journal =
      start.journal === null
        ? null
        : new CallJournal({
            ...start.journal,
            options,
            resume,
            media: { sampleRateHz: start.legRateHz, track: start.track },
            post: (lines) => this.#post({ type: 'journal', lines }),
          })
    const turnDecider = context.turns?.open(options.speech, start.legRateHz)
    this.#session = new CallSession(
      options,
      this.#journal?.writer.watch(this.#ledger) ?? this.#ledger,
      resume ?? undefined,
      turnDecider,
    )
    this.#intake = new CallerIntake({
      start,
      context,
      shared: this.#shared,
      session: this.#session,
      turnDecider: turnDecider ?? null,
      backend: this.#backend,
      journal: this.#journal,
      callerLatency: this.#callerLatency,
      amd: amdOf(start),
      digit: (digit) => this.#digit(digit),
      amdResult: (verdict) => this.#handle({ type: 'amd-result', ...verdict }),
    })
    const { signal } = this.#abort
    const of = {
      ...{ start, context, services, signal, shared: this.#shared, keys: new SecretKeys() },
      ...{ session: this.#session, backend: this.#backend, speech: this.#speech, intake: this.#intake },
    }
    this.#briefing = new ModelBriefing({ ...of, tools: services.tools })
    const tools = new CallTools(this.#door, { ...of, journal: this.#journal, tools: services.tools })
    this.#parts = new WorkerParts(this.#door, { ...of, tools, briefing: this.#briefing })
    this.done = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  /** Opens the backend and begins to listen to the main thread. */
  begin(): void {
    this.#port.on('message', (message: ToCall) => this.#guard(() => this.#receiveMessage(message)))
    // The main thread closes its end only when the call is over there too.
    this.#port.on('close', () =>
      this.#guard(() =>
        this.#handle({
          type: 'hangup-requested',
          reason: 'call-fault',
          detail: 'the main thread let go of the call',
          speak: false,
        }),
      ),
    )
    this.#parts.begin()
    const session = backendSession(
      this.#start,
      this.#briefing.told,
      this.#session,
      remembered(this.#session.log),
      wallMsOf(this.#context),
    )
    const askedAtMs = this.#context.clock()
    this.#marks.add('backend-connect', askedAtMs, this.#backend.capabilities.name)
    this.#backend.connect(session, this.#abort.signal).then(
      () => undefined,
      // Usually the backend has already sent an error event. Without one, the session would wait for its time limit.
      (thrown: unknown) =>
        this.#guard(() => {
          if (!this.#backendFailed) {
            this.event({ type: 'error', code: 'internal', message: messageOf(thrown), fatal: true, retryable: false })
          }
        }),
    )
    const { streamOpenedAtMs } = this.#start
    if (streamOpenedAtMs !== null) this.#streamOpened(streamOpenedAtMs)
  }

  /** The instructions of a session that begins now. */
  get instructions(): string {
    return this.#briefing.instructions
  }

  // --- steps of the tick ----------------------------------------------------------------------------------

  /**
   * True if the tick at `nowMs` has anything to do: most calls have nothing to do in three of four ticks. The words are
   * read without Atomics; what this misses is found at the next tick.
   */
  due(nowMs: number): boolean {
    const { words, inbound, outbound } = this.#shared
    return (
      nowMs >= this.#restsUntilMs ||
      inbound.waits ||
      words[Word.hangup] !== HANGUP_NONE ||
      (this.#watchesPlayout && outbound.takenSince(this.#taken))
    )
  }

  receive(nowMs: number): void {
    this.#intake.receive(nowMs)
  }

  /** The next frame that is due. @returns false when there is none; else `detect` and `attend` follow */
  take(nowMs: number, readMs: number): boolean {
    return !this.#over && this.#intake.take(nowMs, readMs)
  }

  detect(): void {
    this.#intake.detect()
  }

  attend(nowMs: number): void {
    this.#intake.attend(nowMs)
    this.#drain(nowMs)
  }

  /** Reports playout's progress to the session, and wakes it when its time has come. */
  decide(nowMs: number): void {
    const { words, times, outbound } = this.#shared
    // Read before the times, so that they are at least as new as this count.
    const taken = outbound.dated
    this.#taken = taken
    const report = this.#report
    report.sentSamples = taken
    report.playoutEndMs = times[Time.playoutEndMs] as number
    report.lastSentAtMs = times[Time.lastSentAtMs] as number
    this.#ledger.report(report, nowMs)
    for (const input of this.#ledger.poll(nowMs)) {
      if (input.type === 'item-started') this.#speech.started(input.itemId, input.sentAtMs)
      this.#handle(input)
    }
    const wake = this.#session.nextWake()
    if (wake !== null && wake.atMs <= nowMs) this.#handle({ type: 'timer' })
    if (Atomics.load(words, Word.hangup) !== HANGUP_NONE) {
      this.#handle({
        type: 'hangup-requested',
        reason: 'call-fault',
        detail: 'ended by the control word',
        speak: false,
      })
    }
  }

  /** Moves waiting speech into the ring. */
  speak(nowMs: number): void {
    this.#speech.refill()
    this.#parts.tick()
    this.#journal?.pass()
    if (this.#marks.due(nowMs)) this.#passMarks(nowMs)
    this.#rest(nowMs)
  }

  /** Sets the time before which only the words that `due` reads, or a call of `#wake`, give this call work. */
  #rest(nowMs: number): void {
    // A journal has every tick in it. On a mixed line, every tick reads what was played.
    if (this.#journal !== null || this.#start.track === 'both_tracks' || this.#speech.waits) return this.#wake()
    // Playout's progress can wait for the next packet; the beginning of an item cannot.
    this.#watchesPlayout = this.#ledger.awaitsStart
    const wakeAtMs = this.#session.nextWake()?.atMs ?? Infinity
    this.#restsUntilMs = Math.min(nowMs + REST_MS_MAX, this.#intake.dueMs, this.#ledger.dueMs, wakeAtMs)
  }

  /** Something happened outside the tick: the next tick must run for this call. */
  #wake(): void {
    this.#restsUntilMs = -Infinity
  }

  // --- from the backend -----------------------------------------------------------------------------------

  event(event: BackendEvent): void {
    if (this.#over) return
    this.#guard(() => {
      if (event.type === 'audio-done') this.#speech.finish('backend', event.itemId)
      // After these no more speech comes, even if the last item had no `audio-done`.
      else if (event.type === 'turn-done' || event.type === 'closed') this.#speech.finish('backend')
      this.#parts.hear(event)
      if (event.type === 'turn-start') this.#marks.add('backend-response', this.#context.clock())
      this.#backendFailed ||= event.type === 'error' && event.fatal
      this.#handle({
        type: 'backend',
        event: event.type === 'tool-call' ? this.#parts.toolCall(withPlainArguments(event)) : event,
      })
    })
  }

  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    if (this.#over) return
    const nowMs = this.#context.clock()
    this.#journal?.writer.audio(itemId, generation, nowMs)
    const wanted = this.#session.acceptAudio(itemId, generation, nowMs)
    this.#drain(nowMs)
    if (!wanted) return
    this.#speech.append('backend', itemId, pcm, sampleRateHz, nowMs)
    if (this.#speech.waits) return this.#wake()
    // More samples of an item that plays need no tick, unless the session now wants to be woken earlier.
    this.#watchesPlayout ||= this.#ledger.awaitsStart
    const wakeAtMs = this.#session.nextWake()?.atMs ?? Infinity
    if (wakeAtMs < this.#restsUntilMs) this.#restsUntilMs = wakeAtMs
  }

  // --- from the main thread -------------------------------------------------------------------------------

  #receiveMessage(message: ToCall): void {
    switch (message.type) {
      case 'stream-opened':
        return this.#streamOpened(message.openedAtMs)
      case 'stream-text':
        for (const text of message.messages) {
          if (text.type === 'metadata') {
            this.#handle({ type: 'stream-metadata', matches: text.callSid === null || text.callSid === this.callSid })
          } else if (text.type === 'dtmf') {
            this.#digit(text.digit)
          }
        }
        return
      case 'speech':
        // Taken by the worker's speech client, which listens to the same port.
        return
      default:
        if (!this.#parts.take(message)) this.#handle(message)
    }
  }

  // --- the session ----------------------------------------------------------------------------------------

  #streamOpened(openedAtMs: number): void {
    this.#intake.streamOpened(openedAtMs)
    this.#handle({ type: 'stream-opened', sampleRateHz: this.#start.legRateHz, openedAtMs })
  }

  #handle(input: CallInput): void {
    if (this.#over) return
    this.#wake()
    const nowMs = this.#context.clock()
    this.#journal?.writer.input(input, nowMs)
    this.#session.handle(input, nowMs)
    this.#drain(nowMs)
  }

  #digit(digit: string): void {
    this.#intake.digitCame()
    this.#digits++
    this.#parts.digit(digit)
  }

  #drain(nowMs: number): void {
    // All outputs of an input are noted before the first is carried out: that may bring the next input at once.
    for (let output = this.#session.pollOutput(); output !== null; output = this.#session.pollOutput()) {
      this.#journal?.writer.output(output)
      this.#outputs.push(output)
    }
    for (let output = this.#outputs.shift(); output !== undefined; output = this.#outputs.shift()) {
      this.#carryOut(output, nowMs)
      if (this.#over) return
    }
    if (this.#logWaits || (this.#entries.length === 0 && !this.#checkpointDue)) return
    this.#logWaits = true
    queueMicrotask(this.#postWaiting)
  }

  /**
   * Posts the log in a microtask, after the running event handler: a backend that reports the caller's words updates its
   * own state only after that report, and the state must not be older than the log.
   */
  readonly #postWaiting = (): void => {
    this.#logWaits = false
    if (this.#over || (this.#entries.length === 0 && !this.#checkpointDue)) return
    this.#guard(() => this.#postLog(true))
  }

  /** @param live  the call goes on, and another worker may have to go on with it */
  #postLog(live: boolean): void {
    const entries = this.#entries
    const saved = live ? { checkpoint: this.#session.checkpoint(), backendState: this.#backendState() } : null
    const frameLatencyP99Ms = entries.some(({ kind }) => kind === 'turn') ? this.#intake.frameLatencyP99Ms : null
    this.#post({ type: 'log', entries, saved, frameLatencyP99Ms })
    this.#entries = []
    this.#checkpointDue = false
  }

  /** Null where the state of a backend module is not plain JSON, so that another worker could not read it. */
  #backendState(): unknown {
    try {
      return plainJson(this.#backend.snapshot(), 'its state')
    } catch (thrown) {
      if (!this.#stateRefused)
        this.#post({
          type: 'log-line',
          level: 'warn',
          message: 'the state of a backend is not kept',
          fields: { detail: messageOf(thrown) },
        })
      this.#stateRefused = true
      return null
    }
  }

  #logged(entry: CallLogEntry): void {
    this.#entries.push(entry)
    if (entry.kind === 'turn') this.#callerLatency.turn(entry.record, this.#session.streamZeroMs)
  }

  #carryOut(output: CallOutput, nowMs: number): void {
    if (this.#parts.carryOut(output, nowMs)) return this.#wake()
    switch (output.type) {
      case 'handover':
        return this.#handOver(output, nowMs)
      case 'log':
        return this.#logged(output.entry)
      case 'mark':
        return this.#marks.add(output.name, output.atMs ?? nowMs, output.detail)
      case 'checkpoint-due':
        this.#checkpointDue = true
        return
      case 'ended':
        return this.#finish(output, nowMs)
      default:
        return assertNever(output)
    }
  }

  /** A few times a second, not for each frame. */
  #passMarks(nowMs: number): void {
    const narrow = this.#intake.narrowBand
    if (narrow !== null && !this.#lineTold) {
      this.#lineTold = true
      this.#post({ type: 'line-band', narrow })
    }
    this.#marks.watch(this.#intake.stats, this.#speech.droppedSamples, nowMs)
    this.#marks.pass(nowMs)
    const played = this.#callerLatency.take(nowMs)
    if (played !== null)
      this.#post({
        type: 'log',
        entries: [{ kind: 'turn-played', ...played }],
        saved: null,
        frameLatencyP99Ms: null,
      })
  }

  // --- the end --------------------------------------------------------------------------------------------

  #finish(ended: Extract<CallOutput, { type: 'ended' }>, nowMs: number): void {
    const session = this.#session
    const stats = this.#intake.stats
    const result: Omit<CallResult, 'report'> = {
      type: 'result',
      outcome: ended.outcome,
      endReason: ended.reason,
      endDetail: ended.detail,
      backend: this.#backend.capabilities.name,
      durationMs: session.streamMs(nowMs),
      greetingMs: session.greetingMs,
      language: session.language,
      usage: session.usage,
      toolCallsRefused: session.counters.toolCallsRefused,
      framesIn: stats.framesOut,
      framesConcealed: stats.framesConcealed,
      framesDropped: stats.framesDropped,
      agentFramesDropped: Math.ceil(this.#speech.droppedSamples / frameSamples(this.#start.legRateHz)),
      dtmf: this.#digits,
    }
    this.#journal?.end()
    if (this.#entries.length > 0) this.#postLog(false)
    this.#passMarks(nowMs)
    // With the end of its session a service may give its last account of the usage.
    void this.#release('the call is over').then(() => this.#settle({ ...result, report: this.#services.report() }))
  }

  /** The main thread starts the call again with that agent. */
  #handOver(end: Extract<CallOutput, { type: 'handover' }>, nowMs: number): void {
    this.#postLog(true)
    this.#journal?.end()
    this.#passMarks(nowMs)
    void this.#release('another agent has the call').then(() => this.#settle(end))
  }

  /** Ends this call for a fault of ours; the main thread may give it to another worker. */
  fail(thrown: unknown): void {
    if (this.#over) return
    const fault = thrown instanceof Error ? (thrown.stack ?? thrown.message) : messageOf(thrown)
    void this.#release('the call failed').then(() => this.#settle({ type: 'fault', fault }))
  }

  /** Frees all resources of this call on this worker. */
  async #release(reason: string): Promise<void> {
    this.#over = true
    this.#abort.abort()
    this.#parts.end()
    await this.#backend.close(reason)
    this.#services.speech?.close()
    this.#speech.release()
    this.#intake.release()
    this.#port.close()
  }

  #guard(work: () => void): void {
    this.#services.guard(this, work)
  }

  #post(message: FromCall): void {
    this.#port.postMessage(message)
  }
}

/** A resting call still gets a tick this often, for work that is not urgent, such as passing marks on. */
const REST_MS_MAX = 100

/** Services that the worker makes for one call, besides its start data. */
interface CallServices extends PartServices {
  readonly options: (capabilities: BackendCapabilities) => CallSessionOptions
  readonly backend: BackendFactory
  /** The backends' report on this call, read at its end. */
  readonly report: () => CallResult['report']
  /** Runs work of a call outside the tick; a fault in it fails that call alone. */
  readonly guard: (call: WorkerCall, work: () => void) => void
}

/** Without the backend's state, which is no part of the journal. */
function sessionResume({ checkpoint, log, newStream }: NonNullable<CallStart['resume']>): SessionResume {
  return { checkpoint, log, ...(newStream === undefined ? {} : { newStream }) }
}

/** Arguments go into the call log, which is plain JSON: a tool call with any other arguments is marked invalid. */
function withPlainArguments(event: ToolCallEvent): ToolCallEvent {
  try {
    return { ...event, args: plainJson(event.args, 'the arguments') as ToolCallEvent['args'] }
  } catch (thrown) {
    return { ...event, args: {}, invalid: messageOf(thrown) }
  }
}
