import type { MessagePort } from 'node:worker_threads'
import type { Backend, BackendCapabilities, BackendEvent, BackendFactory, BackendSink } from '../../backends/backend.js'
import { CallSession } from '../../call/call-session.js'
import { remembered } from '../../call/stages.js'
import type { CallLogEntry } from '../../call/documents/log-entry.js'
import { parseResume, type SessionResume } from '../../call/documents/checkpoint.js'
import type { CallInput, CallOutput } from '../../call/events.js'
import { HeardTurns, isSilentTurn } from '../../call/turns/heard-turns.js'
import type { AgentTurn } from '../../call/turns/heard-turns.js'
import { PlayoutLedger } from '../../call/turns/playout-ledger.js'
import type { CallSessionOptions } from '../../call/call-options.js'
import { assertNever } from '../../core/assert.js'
import { messageOf } from '../../core/errors.js'
import { plainJson } from '../../core/json.js'
import { TICK_MS } from '../../core/limits.js'
import { frameSamples, type SampleRateHz } from '../../core/units.js'
import type { CallEnd, CallStart, FromCall, ToCall } from '../shared/call-messages.js'
import type { CallResult } from '../../call/documents/kept-call.js'
import { CallJournal } from '../shared/call-journal.js'
import { FRAMES_WAIT_MS_MAX, framesMayWaitUntilMs, type PaceFacts } from './call-pace.js'
import { CallSpeech } from './call-speech.js'
import { amdOf, backendSession } from './call-setup.js'
import { CallTools } from './call-tools.js'
import { CallerIntake } from './caller-intake.js'
import { CallMarks } from '../shared/call-timeline.js'
import { CallerLatency } from './caller-latency.js'
import { ModelBriefing } from './model-briefing.js'
import { SecretKeys } from './secret-keys.js'
import { TickView } from './tick-view.js'
import { wallMsOf } from './worker-context.js'
import type { WorkerContext } from './worker-context.js'
import type { ToolCallEvent, WorkerDoor } from './worker-door.js'
import type { PartServices } from './worker-part.js'
import { WorkerParts } from './worker-parts.js'
import { SharedCall } from '../shared/shared-call.js'
import { HANGUP_NONE, Word } from '../shared/shared-call-layout.js'

/**
 * One call on a media worker. The session decides, and the call's parts carry out its decisions (`worker-parts.ts`).
 * This class has the session's inputs, its log and its end. The steps of the worker's tick are `catchUp`, `receive`,
 * `take`, `detect`, `attend`, `decide` and `speak`.
 *
 * The call rests while no decision depends on the caller's frames (call-pace.ts). The frames are taken later, one by
 * one. Each frame is processed as in the tick at which it came, with that tick's time. A new input to the session is
 * handled after these frames.
 */
export class WorkerCall implements BackendSink {
  /** Resolves when the call is over and all its resources are free; never rejects. */
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
  readonly #heard: HeardTurns
  readonly #backend: Backend
  readonly #journal: CallJournal | null
  /** Outputs of the session that wait to be carried out, in their order. */
  readonly #outputs: CallOutput[] = []
  readonly #intake: CallerIntake
  /** True after the main thread got the report about the band of the caller's line. */
  #lineTold = false
  readonly #marks: CallMarks
  readonly #callerLatency = new CallerLatency()
  readonly #abort = new AbortController()
  readonly #briefing: ModelBriefing
  readonly #parts: WorkerParts
  /** State of playout at a tick. The object is used again at each tick. */
  readonly #report = { sentSamples: 0, playoutEndMs: 0, lastSentAtMs: 0 }
  /** Count of samples that were taken from the playout ring, at the ledger's last report. */
  #taken = 0
  /** True while an item in playout has not started: none of its samples was sent yet. */
  #watchesPlayout = true
  #restsUntilMs = -Infinity
  /** Time at which the next frame of the jitter buffer is due. */
  #framesDueMs = -Infinity
  /**
   * Time until which frames may wait (`framesMayWaitUntilMs`). `#waitEndsMs`: end of the present wait; Infinity if no
   * frames wait.
   */
  #mayWaitUntilMs = -Infinity
  #waitEndsMs = Infinity
  /** Mean square of samples above which a packet ends the wait of quiet frames. */
  #loudPower = 0
  readonly #pace: typeof framesMayWaitUntilMs
  readonly #facts: PaceFacts = {
    ...{
      voicedAtMs: -Infinity,
      keyAtMs: -Infinity,
      inputAtMs: -Infinity,
      turnEndsAtMs: 0,
      turnEndFromMs: 0,
      turnEndToMs: 0,
    },
    ...{ isWatched: false, loudWaits: false, countsFrames: false, speaking: false, agentSilent: false },
  }
  readonly #view: TickView
  /** First tick of the present rest whose work is not done yet; -1 if there is none. */
  #restedFrom = -1
  #restedTo = -1
  /** Time of the tick whose delayed work is being done; NaN if there is none. */
  #pastMs = NaN
  /** Log entries since the last message to the main thread. */
  #entries: CallLogEntry[] = []
  #checkpointDue = false
  #logWaits = false
  #stateRefused = false
  /** Generation of the last answer whose first words were marked. */
  #wordsOf = -1
  #backendFailed = false
  #digits = 0
  #over = false
  readonly #door: WorkerDoor = {
    post: (message) => this.#post(message),
    handle: (input) => this.#handle(input),
    guard: (work) => {
      this.#guard(() => {
        this.catchUp()
        this.#wake()
        work()
      })
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
    this.#view = new TickView(this.#shared)
    this.#pace = context.pace ?? framesMayWaitUntilMs
    // An earlier session may have ended while it waited.
    Atomics.store(this.#shared.words, Word.waiting, 0)
    this.#ledger = new PlayoutLedger({ sampleRateHz: start.legRateHz, startSample: this.#shared.outbound.written })
    this.#speech = new CallSpeech({
      shared: this.#shared,
      ledger: this.#ledger,
      rateHz: start.legRateHz,
      resamplers: context.resamplers,
      latencyOut: context.latencyOut,
    })
    this.#heard = new HeardTurns(
      this.#ledger,
      () => this.#backend.capabilities.name,
      (turn) => this.#turnHeard(turn),
    )
    this.#marks = new CallMarks(start.preparedAtMs, (marks) => this.#post({ type: 'marks', marks }))
    this.#backend = services.backend(this)
    const { capabilities } = this.#backend
    this.#facts.turnEndFromMs = capabilities.turnEndFromMs ?? (capabilities.serverVad ? 0 : Infinity)
    this.#facts.turnEndToMs = capabilities.turnEndToMs ?? (capabilities.serverVad ? Infinity : 0)
    const options = services.options(capabilities)
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

  /** Opens the backend, and begins to listen to messages of the main thread. */
  begin(): void {
    this.#port.on('message', (message: ToCall) => this.#door.guard(() => this.#receiveMessage(message)))
    // The main thread closes its end of the port only when the call is over there.
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
      remembered(this.#session.told),
      wallMsOf(this.#context),
    )
    const askedAtMs = this.#context.clock()
    this.#marks.add('backend-connect', askedAtMs, this.#backend.capabilities.name)
    this.#backend.connect(session, this.#abort.signal).then(
      () => undefined,
      // Usually an error event of the backend came before. Without this event, the session would wait until its time
      // limit.
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

  /** Instructions for a session that begins now. */
  get instructions(): string {
    return this.#briefing.instructions
  }

  // --- steps of the tick ----------------------------------------------------------------------------------

  /**
   * True if the tick at `nowMs` has work. In most calls, one tick in four has work. Words are read without Atomics, so
   * a change may be seen one tick late.
   */
  due(nowMs: number, tick: number): boolean {
    const { words, inbound, outbound } = this.#shared
    if (
      nowMs >= this.#restsUntilMs ||
      words[Word.hangup] !== HANGUP_NONE ||
      (this.#watchesPlayout && outbound.takenSince(this.#taken)) ||
      ((inbound.waits || nowMs >= this.#framesDueMs) && !this.#framesWait(nowMs)) ||
      !this.#view.note(tick)
    )
      return true
    if (this.#restedFrom < 0) this.#restedFrom = tick
    this.#restedTo = tick
    return false
  }

  /** True if the packets that have come can wait for another tick. */
  #framesWait(nowMs: number): boolean {
    if (this.#waitEndsMs === Infinity)
      this.#waitEndsMs = Math.min(this.#mayWaitUntilMs, nowMs + FRAMES_WAIT_MS_MAX - TICK_MS)
    if (nowMs >= this.#waitEndsMs || this.#intake.isFull) return false
    return this.#mayWaitUntilMs < Infinity || (this.#shared.words[Word.inPower] as number) <= this.#loudPower
  }

  /** Does the work of the ticks in which the call rested. The steps of each tick run with that tick's time. */
  catchUp(): void {
    if (this.#restedFrom < 0) return
    const { ticks } = this.#context
    const view = this.#view
    const [from, to] = [Math.max(this.#restedFrom, ticks.oldest), this.#restedTo]
    // A step may cause an input, which calls `catchUp` again.
    this.#restedFrom = -1
    for (let tick = from; tick <= to && !this.#over; tick++) {
      const nowMs = ticks.atMs(tick)
      const noted = view.next(tick)
      if (this.#wasDue(nowMs)) this.#runTick(nowMs, ticks.readMs(tick))
      else if (noted) this.#played(nowMs)
    }
    this.#pastMs = NaN
    view.forget()
  }

  /** True if the tick whose delayed work is being done had work. */
  #wasDue(nowMs: number): boolean {
    const { inbound, outbound } = this.#shared
    return (
      nowMs >= this.#restsUntilMs ||
      nowMs >= this.#framesDueMs ||
      inbound.waitsBefore(this.#view.inHead) ||
      (this.#watchesPlayout && outbound.behind(this.#view.dated) !== this.#taken)
    )
  }

  #runTick(nowMs: number, readMs: number): void {
    this.#pastMs = nowMs
    this.#receive(nowMs)
    while (this.take(nowMs, readMs)) {
      this.detect()
      this.attend(nowMs)
    }
    if (this.#over) return
    this.decide(nowMs)
    this.speak(nowMs)
  }

  /** The present time. While delayed work of an earlier tick is done, that tick's time. */
  get #nowMs(): number {
    return Number.isNaN(this.#pastMs) ? this.#context.clock() : this.#pastMs
  }

  receive(nowMs: number): void {
    this.#view.look()
    this.#receive(nowMs)
  }

  /** Takes the packets and the playout's progress of this tick. The frames are judged by this progress. */
  #receive(nowMs: number): void {
    this.#intake.receive(nowMs, this.#view)
    this.#played(nowMs)
  }

  /** Takes the playout's progress. */
  #played(nowMs: number): void {
    const view = this.#view
    this.#intake.reference(view)
    const taken = this.#shared.outbound.behind(view.dated)
    this.#taken = taken
    const report = this.#report
    report.sentSamples = taken
    report.playoutEndMs = view.playoutEndMs
    report.lastSentAtMs = view.lastSentAtMs
    this.#ledger.report(report, nowMs)
  }

  /** Takes the next frame that is due. @returns false if no frame is due; otherwise `detect` and `attend` follow */
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

  /** Reports the progress of speech items to the session, and wakes the session when its time has come. */
  decide(nowMs: number): void {
    for (const input of this.#ledger.poll(nowMs)) {
      if (input.type === 'item-started') this.#speech.started(input.itemId, input.sentAtMs)
      this.#handle(input)
      if (input.type === 'item-heard') this.#heard.itemHeard(input.itemId, nowMs)
    }
    const wake = this.#session.nextWake()
    if (wake !== null && wake.atMs <= nowMs) this.#handle({ type: 'timer' })
    if (Atomics.load(this.#shared.words, Word.hangup) !== HANGUP_NONE) {
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

  /**
   * Sets the time until which the call rests. A change of a word that `due` reads may end the rest earlier; `#wake`
   * ends it too.
   */
  #rest(nowMs: number): void {
    // The playout's progress can wait until the next packet. Only the start of an item must be seen at once.
    this.#watchesPlayout = this.#ledger.awaitsStart
    const wakeAtMs = this.#session.nextWake()?.atMs ?? Infinity
    const refillMs = this.#speech.refillDueMs(nowMs)
    this.#restsUntilMs = Math.min(nowMs + REST_MS_MAX, this.#ledger.dueMs, wakeAtMs, refillMs)
    this.#framesDueMs = this.#intake.dueMs
    this.#waitEndsMs = Infinity
    this.#loudPower = this.#intake.quietPower
    this.#mayWaitUntilMs = this.#pace(nowMs, this.#factsAt(nowMs))
  }

  #factsAt(nowMs: number): PaceFacts {
    const facts = this.#facts
    const intake = this.#intake
    const session = this.#session
    facts.voicedAtMs = intake.voicedAtMs
    facts.keyAtMs = intake.keyAtMs
    // A full-duplex model decides who speaks, so it needs every frame at once.
    facts.isWatched = intake.isWatched || this.#backend.capabilities.fullDuplex === true
    facts.loudWaits = intake.loudWaits
    facts.countsFrames = session.countsFrames
    facts.speaking = session.callerSpeaks
    if (!facts.speaking) return facts
    facts.turnEndsAtMs = session.turnEndsAtMs
    // Computed without a request to the session, because the journal records requests.
    facts.agentSilent = !session.awaits && this.#ledger.pendingMs() === 0 && !this.#ledger.audible(nowMs)
    return facts
  }

  /** Makes the next tick run for this call, because work came between two ticks. */
  #wake(): void {
    this.#restsUntilMs = -Infinity
  }

  // --- from the backend -----------------------------------------------------------------------------------

  event(event: BackendEvent): void {
    if (this.#over) return
    this.#guard(() => {
      this.catchUp()
      if (event.type === 'audio-done') this.#speech.finish('backend', event.itemId)
      // After `turn-done` or `closed` the speech is complete, even if there was no `audio-done` for the last item.
      else if (event.type === 'turn-done' || event.type === 'closed') this.#speech.finish('backend')
      this.#parts.hear(event)
      if (event.type === 'turn-start') this.#marks.add('backend-response', this.#nowMs)
      if (event.type === 'transcript') this.#markWords(event)
      this.#backendFailed ||= event.type === 'error' && event.fatal
      this.#handle({
        type: 'backend',
        event: event.type === 'tool-call' ? this.#parts.toolCall(withPlainArguments(event)) : event,
      })
      const isWanted = 'generation' in event && this.#session.wantsResponse(event.generation)
      this.#heard.event(event, isWanted, this.#nowMs)
    })
  }

  /**
   * Marks the times of words, never the words themselves. It marks each whole segment of the caller, and the first
   * words of each answer.
   */
  #markWords({ role, final, generation }: Extract<BackendEvent, { type: 'transcript' }>): void {
    if (role === 'caller') {
      if (final) this.#marks.add('caller-words', this.#nowMs)
    } else if (generation > this.#wordsOf) {
      this.#wordsOf = generation
      this.#marks.add('agent-words', this.#nowMs)
    }
  }

  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    if (this.#restedFrom >= 0) this.#guard(() => this.catchUp())
    if (this.#over) return
    const nowMs = this.#nowMs
    this.#journal?.writer.audio(itemId, generation, nowMs)
    const wanted = this.#session.acceptAudio(itemId, generation, nowMs)
    this.#drain(nowMs)
    if (!wanted) return
    this.#speech.append('backend', itemId, pcm, sampleRateHz, nowMs)
    this.#heard.audio(itemId, generation, nowMs)
    if (!this.#watchesPlayout && this.#ledger.awaitsStart) {
      this.#watchesPlayout = true
      this.#post({ type: 'speech-waits' })
    }
    // More samples of an item that plays need no tick, unless the session must now be woken earlier.
    const wakeAtMs = this.#session.nextWake()?.atMs ?? Infinity
    this.#restsUntilMs = Math.min(this.#restsUntilMs, wakeAtMs, this.#speech.refillDueMs(nowMs))
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
        // The worker's speech client also listens to this port, and handles this message.
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
    this.catchUp()
    if (this.#over) return
    this.#wake()
    const nowMs = this.#nowMs
    if (input.type !== 'timer') this.#facts.inputAtMs = nowMs
    this.#journal?.writer.input(input, nowMs)
    if (input.type === 'announce-failed') this.#heard.announceFailed(input.itemId)
    this.#session.handle(input, nowMs)
    this.#drain(nowMs)
  }

  #digit(digit: string): void {
    this.#intake.digitCame(this.#nowMs)
    this.#digits++
    this.#parts.digit(digit)
  }

  #drain(nowMs: number): void {
    // All outputs are collected before the first is carried out, because carrying it out may cause the next input at
    // once.
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
   * The log is posted after the event handler that runs now. A backend updates its state only after it has reported the
   * caller's words, and the state must not be older than the log.
   */
  readonly #postWaiting = (): void => {
    this.#logWaits = false
    if (this.#over || (this.#entries.length === 0 && !this.#checkpointDue)) return
    this.#guard(() => this.#postLog(true))
  }

  /** @param live  true if the call continues, perhaps on another worker */
  #postLog(live: boolean): void {
    const entries = this.#entries
    const saved = live ? { checkpoint: this.#session.checkpoint(), backendState: this.#backendState() } : null
    const frameLatencyP99Ms = entries.some(({ kind }) => kind === 'turn') ? this.#intake.frameLatencyP99Ms : null
    this.#post({ type: 'log', entries, saved, frameLatencyP99Ms })
    this.#entries = []
    this.#checkpointDue = false
  }

  /**
   * State of the backend. Null if a backend module has a state that is not plain JSON, because another worker could not
   * read it.
   */
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
    if (output.type === 'announce') this.#heard.announced(output.itemId, nowMs)
    if (this.#parts.carryOut(output, nowMs)) {
      if (output.type === 'playout-clear') this.#heard.cut(nowMs)
      return this.#wake()
    }
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

  #turnHeard(turn: AgentTurn): void {
    const { by, claimedMs, heardMs } = turn
    const atMs = turn.atMs - this.#session.streamZeroMs
    this.#post({ type: 'turn-heard', turn: { atMs, by, claimedMs, heardMs } })
    const figures = `${by}: ${Math.round(heardMs)} of ${Math.round(claimedMs)} ms heard`
    if (isSilentTurn(turn)) this.#marks.add('agent-silent', this.#context.clock(), figures)
    this.#services.turnHeard(turn)
  }

  /** Sends marks. It runs a few times a second, not for each frame. */
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
      ducksUndecided: session.ducksUndecided,
      framesIn: stats.framesOut,
      framesConcealed: stats.framesConcealed,
      framesDropped: stats.framesDropped,
      agentFramesDropped: Math.ceil(this.#speech.droppedSamples / frameSamples(this.#start.legRateHz)),
      dtmf: this.#digits,
    }
    this.#journal?.end()
    this.#heard.cut(nowMs)
    if (this.#entries.length > 0) this.#postLog(false)
    this.#passMarks(nowMs)
    // The result is reported after the release, because a service may send its last usage figures at the end of its
    // session.
    void this.#release('the call is over').then(() => this.#settle({ ...result, report: this.#services.report() }))
  }

  /**
   * Ends this half of a call because another agent gets the call. The main thread starts the call again with that
   * agent.
   */
  #handOver(end: Extract<CallOutput, { type: 'handover' }>, nowMs: number): void {
    this.#postLog(true)
    this.#journal?.end()
    this.#heard.cut(nowMs)
    this.#passMarks(nowMs)
    void this.#release('another agent has the call').then(() => this.#settle(end))
  }

  /**
   * Ends this half of the call because of a fault in the gateway. The main thread may start the call on another worker.
   */
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

/**
 * Maximum time in ms between two ticks of a resting call. It limits the delay of work that is not urgent, such as
 * sending marks.
 */
const REST_MS_MAX = 100

/** Services that the worker makes for one call, besides its start data. */
interface CallServices extends PartServices {
  readonly options: (capabilities: BackendCapabilities) => CallSessionOptions
  readonly backend: BackendFactory
  /** Report of the backends on this call. It is read at the call's end. */
  readonly report: () => CallResult['report']
  /** Reports a finished turn of the agent, as the caller heard it. */
  readonly turnHeard: (turn: AgentTurn) => void
  /** Runs work of a call outside the tick; a fault in the work fails only this call. */
  readonly guard: (call: WorkerCall, work: () => void) => void
}

/** Message without the backend's state, which the journal does not contain. */
function sessionResume({ checkpoint, log, newStream }: NonNullable<CallStart['resume']>): SessionResume {
  return { checkpoint, log, ...(newStream === undefined ? {} : { newStream }) }
}

/**
 * The call log is plain JSON, so the arguments of a tool call must be plain JSON too. A tool call with other arguments
 * is marked invalid.
 */
function withPlainArguments(event: ToolCallEvent): ToolCallEvent {
  try {
    return { ...event, args: plainJson(event.args, 'the arguments') as ToolCallEvent['args'] }
  } catch (thrown) {
    return { ...event, args: {}, invalid: messageOf(thrown) }
  }
}
