import { waitOf } from '../call/backend-events.js'
import { isSilentTurn, type AgentTurn } from '../call/turns/heard-turns.js'
import type { CallResult } from '../call/documents/kept-call.js'
import { GatewayError } from '../core/errors.js'
import { BACKEND_PRE_ROLL_MS, INPUT_REPLAY_MARGIN_MS } from '../core/limits.js'
import { samplesToMs } from '../core/units.js'
import type { SampleRateHz } from '../core/units.js'
import { hasSound } from '../media/pcm.js'
import type {
  Backend,
  BackendCapabilities,
  BackendEvent,
  BackendSession,
  BackendSink,
  ToolReply,
  TextOptions,
  SessionUpdate,
} from './backend.js'
import { Budget } from './budget.js'
import type { BudgetOptions } from './budget.js'
import { servingIn, usedIn } from './call-snapshot.js'
import type { CallBackendSnapshot } from './call-snapshot.js'
import { isKeysItem } from './key-entry.js'
import { lateToolText } from './prompts.js'
import { BOUND_COUNTERS, RequestBound } from './request-bound.js'
import type { BoundReached } from './request-bound.js'
import { Alarm } from './timers.js'
import { faultError, faultEvent, vendorFault } from './transport/vendor-fault.js'
import type { VendorFault } from './transport/vendor-fault.js'
import type { SessionRole } from './watch.js'
import { CallHistory, isSilent } from './failover/call-history.js'
import type { OpenAnswer } from './failover/call-history.js'
import { BackendList } from './failover/backend-list.js'
import type { Candidate, CandidateListener, CandidateOptions, CandidateSession } from './failover/backend-list.js'
import { DeafWatch } from './failover/deaf-watch.js'
import { RotationWatch } from './failover/rotation-watch.js'
import { StallWatch } from './failover/stall-watch.js'
import type { StallState } from './failover/stall-watch.js'

/**
 * The backend of a call: serves it with one backend of a list, and counts the call's usage (`Budget`). The backend that
 * serves the call is the primary. When the primary fails, the next candidate takes over. The new primary gets the
 * call's history and a replay of the unanswered inputs.
 *
 *     idle    --connect--> seeking
 *     seeking --a candidate is ready--> serving: `ready` the first time, `failover` after a loss
 *     seeking --the candidate failed, or is too slow and is not the last--> seeking: the next candidate of `BackendList`
 *     seeking --all candidates failed, the last while connecting--> seeking: all again, after a pause, within a time limit
 *     seeking --all candidates failed--> seeking: the last resort, if there is one
 *     seeking --the last resort failed too--> over: one fatal `error`, `closed`, `connect` rejects
 *     serving --fatal error, closed, stall, failed answers--> seeking: replacement, else standby, else next candidate
 *     serving --the session ends soon, both sides are silent--> serving: a new session of this candidate (rotation)
 *     (any)   --close--> over
 *
 * A single model runs as a list of one candidate. So rotation, `holding` and the worker's shared circuit work for a
 * single model too. After `session_expired` or a broken connection, a single model gets a new session.
 *
 * Inputs are stored in `CallHistory` before a backend gets them, and a takeover replays the stored inputs. So no input
 * is lost, whenever a backend fails. All emitted events have the call's generations and ids (`CandidateSession`).
 */
export class CallBackend implements Backend, CandidateListener {
  readonly stats = noFailovers()

  /** Receiver of all events: the call itself, or the budget, which passes them to the call. */
  readonly #sink: BackendSink
  readonly #budget: Budget | null
  readonly #options: CallBackendOptions
  readonly #candidates: BackendList
  readonly #history: CallHistory
  readonly #bound = new RequestBound()
  readonly #stall: StallWatch
  readonly #deaf: DeafWatch
  #deafSessions = 0
  #session: BackendSession | null = null
  #served = false
  #over = false
  #settle: { readonly resolve: () => void; readonly reject: (error: GatewayError) => void } | null = null

  /** The session that serves the call. */
  #primary: CandidateSession | null = null
  /** Result of `capabilities`, and the primary's own capabilities from which it was made. */
  #capabilities: BackendCapabilities
  #ownCapabilities: BackendCapabilities | null = null
  /** The session that becomes the primary when it is ready; null while a primary serves. */
  #next: CandidateSession | null = null
  readonly #connectAlarm: Alarm
  /** Time at which the search for a session ends, and number of rounds in which every candidate was tried. */
  #searchUntilMs = 0
  #triesAgain = 0
  #loss: { readonly from: string; readonly atMs: number; readonly reason: string } | null = null
  /** Time at which the caller began to wait for a takeover; NaN while the caller does not wait. */
  #holdFromMs = NaN
  readonly #holdAlarm: Alarm
  /**
   * True if the primary has just taken over and may repeat tool calls of the earlier session. The gateway does not run
   * repeated tool calls again.
   */
  #repeating = false
  #responsesFailed = 0
  /**
   * Number of consecutive answers of the primary without audible sound, and number of sessions that were replaced
   * because of such answers.
   */
  #silentAnswers = 0
  #silentSessions = 0
  /**
   * Highest generation of the earlier sessions. Answers with this generation or a lower generation do not belong to the
   * primary.
   */
  #primaryFrom = 0
  /** True if the primary has made a sound or called a tool. */
  #primaryLives = false

  #standby: CandidateSession | null = null
  #standbyTries = 0
  readonly #standbyAlarm: Alarm

  /** Second session of the primary's candidate, which replaces the primary at a quiet moment. */
  #replacement: CandidateSession | null = null
  readonly #rotation: RotationWatch

  /** @throws GatewayError if no candidate can be made, or if sample rates differ and no resampler is given */
  constructor(sink: BackendSink, options: CallBackendOptions) {
    const { timers } = options
    this.#budget = options.budget === undefined ? null : new Budget(sink, this, timers, options.budget)
    this.#sink = this.#budget ?? sink
    this.#options = options
    this.#candidates = new BackendList(options, this)
    this.#capabilities = this.#candidates.capabilities
    const { inputRateHz, serverVad } = this.#capabilities
    this.#history = new CallHistory(timers, inputRateHz, serverVad)
    this.#stall = new StallWatch(timers, options.stallMs ?? FAILOVER_STALL_MS, (state) => this.#stalled(state))
    this.#deaf = new DeafWatch(timers, options.stallMs ?? FAILOVER_STALL_MS, () => this.#isDeaf())
    this.#connectAlarm = new Alarm(timers)
    this.#holdAlarm = new Alarm(timers)
    this.#standbyAlarm = new Alarm(timers)
    this.#rotation = new RotationWatch(timers, (last) => this.#beginRotation(last))
  }

  /**
   * The primary determines `name`, `changesSpeed` and `readsTexts`. The other capabilities never change. The object is
   * made once for each primary, because a media worker reads it after every tick of a call. `changesSpeed` is read from
   * the primary each time, because a voice may refuse another speed during a call.
   */
  get capabilities(): BackendCapabilities {
    if (this.#primary === null) return this.#candidates.capabilities
    const own = this.#primary.backend.capabilities
    if (this.#ownCapabilities !== own) {
      const { name, readsTexts = true } = own
      this.#ownCapabilities = own
      this.#capabilities = {
        ...this.#candidates.capabilities,
        name,
        readsTexts,
        get changesSpeed() {
          return own.changesSpeed === true
        },
      }
    }
    return this.#capabilities
  }

  // --- methods for the call ---------------------------------------------------------------------------------

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    if (this.#over || this.#session !== null || signal.aborted) return Promise.reject(gone())
    this.#session = session
    this.#history.begin(session)
    this.#budget?.restore(usedIn(session.resume))
    const served = this.#candidates.resume(servingIn(session.resume))
    this.#repeating = session.toolLedger.length > 0 && !this.#alone
    signal.addEventListener(
      'abort',
      () => {
        if (!this.#served) void this.close('the call ended')
      },
      { once: true },
    )
    const ready = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    if (this.#alone) {
      this.#primary = this.#candidates.take(this.#candidates.first)
      this.#connect(this.#primary, 'first')
      return ready
    }
    this.#searchUntilMs = this.#options.timers.nowMs() + FIRST_SEARCH_MS
    this.#seek(vendorFault('internal', 'no backend was tried', true), served)
    return ready
  }

  pushAudio(pcm: Int16Array, voiced?: boolean): void {
    if (this.#over) return
    const primary = this.#primary
    // If there is only one backend and no successor, a history and a check of its speech detection are not needed.
    if (this.#alone) return primary?.feed(pcm, voiced)
    this.#history.audio(pcm, voiced ?? true)
    if (primary === null) return
    primary.feed(pcm, voiced)
    if (this.#candidates.capabilities.serverVad) this.#deaf.frame(voiced ?? true, this.#history.speaksUntilMs + ECHO_MS)
  }

  speechStart(atMs: number): void {
    this.#budget?.callerSpeaks(true)
    if (this.#over || this.#candidates.capabilities.serverVad) return
    this.#stall.stop()
    this.#history.speechStarted(atMs)
    if (this.#primary?.backend.capabilities.serverVad === false) this.#primary.backend.speechStart(atMs)
  }

  speechEnd(atMs: number, unless?: readonly string[]): void {
    this.#budget?.callerSpeaks(false)
    if (this.#over) return
    if (this.#candidates.capabilities.serverVad) {
      if (unless === undefined) return
      // The service itself reported this speech. The call only adds that the speech may not be meant for the agent.
      this.#history.speechWeighed()
      this.#stall.stop()
      return this.#primary?.backend.speechEnd(atMs, unless)
    }
    if (!this.#history.callerSpeaking) return
    const voiceMs = this.#history.speechEnded(atMs)
    if (this.#primary?.backend.capabilities.serverVad === false) this.#primary.backend.speechEnd(atMs, unless)
    if (unless !== undefined) this.#history.speechWeighed()
    else if (voiceMs >= REAL_SPEECH_MS) this.#stall.spoken()
    this.#callerAsks()
  }

  sendText(text: string, options: TextOptions): void {
    if (this.#over) return
    if (options.respond) {
      if (options.role === 'caller') this.#bound.turn()
      if (!this.#gives()) return
      this.#history.question(text, options.role)
      this.#stall.asked()
    } else if (options.role === 'agent') {
      this.#history.agentSaid(text)
    } else {
      this.#history.note(text)
    }
    this.#primary?.backend.sendText(text, options)
  }

  dtmf(digit: string): void {
    if (this.#over) return
    this.#history.digit(digit)
    this.#callerAsks()
    this.#primary?.backend.dtmf(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (this.#over || this.#budget?.asked(callId) === true) return
    const primary = this.#primary
    const answered = this.#history.toolAnswered(callId, reply)
    if (primary === null) return
    if (answered !== null && reply.pending !== true && !this.#history.toolsRunning && !this.#gives()) return
    // If a tool call is not in the history, the backend's state may contain it. The tool call was then made before the
    // phone call moved to this media worker.
    const inners = (answered?.callIds ?? [callId]).flatMap((id) => primary.inner(id) ?? [])
    for (const inner of inners) primary.backend.toolResult(inner, reply)
    if (answered === null) return
    if (inners.length === 0)
      primary.backend.sendText(lateToolText(answered.name, reply), { role: 'system', respond: false })
    else if (answered.asksForAnswer && reply.pending !== true && !this.#history.toolsRunning) this.#stall.asked()
  }

  toolOutcome(callId: string, reply: ToolReply): boolean {
    const primary = this.#primary
    if (this.#over || primary === null) return false
    const inners = this.#history.toolSettled(callId, reply).flatMap((id) => primary.inner(id) ?? [])
    const taken = inners.some((inner) => primary.backend.toolOutcome?.(inner, reply) === true)
    if (taken) this.#history.outcomeTaken(callId)
    return taken
  }

  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (this.#over) return
    this.#stall.stop()
    this.#history.interrupted(heard.itemId, heard.playedMs)
    const itemId = heard.itemId === null ? null : (this.#primary?.inner(heard.itemId) ?? null)
    const silentMs = heard.itemId === null ? 0 : this.#history.silentMs(heard.itemId)
    this.#primary?.backend.interrupt({ itemId, playedMs: itemId === null ? 0 : heard.playedMs + silentMs })
  }

  updateSession(update: SessionUpdate): void {
    if (this.#over || this.#session === null) return
    const { news: _, forget = false, ...kept } = update
    if (update.tools !== undefined) this.#bound.tools(update.tools.length > 0, this.#candidates.generation)
    if (forget) this.#history.forget()
    this.#session = { ...this.#session, ...kept }
    for (const one of [this.#primary, this.#next, this.#standby, this.#replacement]) one?.backend.updateSession(update)
  }

  /**
   * Handles the end of a response; `turn` contains the part that the caller heard. If several answers in a row are
   * silent, the backend counts as failed, and the next backend answers.
   */
  turnHeard(turn: AgentTurn): void {
    const primary = this.#primary
    if (this.#over || primary === null || turn.generation === null || turn.generation <= this.#primaryFrom) return
    if (!isSilentTurn(turn)) {
      // If the caller interrupted an answer before its sound, the backend need not be silent.
      if (turn.heardMs === 0) return
      this.#silentAnswers = this.#silentSessions = 0
      return primary.candidate.circuit.heard()
    }
    this.#history.unheard(turn.generation)
    this.#silentAnswers++
    if (this.#silentAnswers < FAILOVER_SILENT_ANSWERS_MAX || this.#alone || primary.candidate.scripted) return
    const words = `${primary.name}: ${this.#silentAnswers} answers in a row that the caller could not hear`
    // Runs later, because code of the session is running now and still needs the session.
    queueMicrotask(() => this.#isMute(primary, words))
  }

  /** The budget covers the whole call, on all workers and nodes. */
  snapshot(): CallBackendSnapshot {
    const primary = this.#primary
    return {
      version: 2,
      used: this.#budget?.used() ?? null,
      serving: primary === null ? null : this.#candidates.snapshotOf(primary),
    }
  }

  /** @returns a copy of the report so far */
  report(): CallBackendReport {
    const { replayedSamples, lostSamples, ...counters } = this.stats
    const { inputRateHz } = this.#candidates.capabilities
    const failover = {
      ...counters,
      replayedMs: samplesToMs(replayedSamples, inputRateHz),
      lostMs: samplesToMs(lostSamples, inputRateHz),
    }
    return {
      failover: this.#alone ? null : failover,
      irregular: this.#candidates.irregular(),
      budget: this.#budget?.report() ?? null,
    }
  }

  async close(reason: string): Promise<void> {
    const first = !this.#over
    if (first) {
      this.#end(reason)
      this.#settle?.reject(gone())
      this.#settle = null
    }
    await this.#candidates.closed()
    if (first) this.#sink.event({ type: 'closed', code: CLOSE_NORMAL, reason, clean: true })
  }

  // --- methods for the sessions -----------------------------------------------------------------------------

  sessionAudio(
    session: CandidateSession,
    pcm: Int16Array,
    sampleRateHz: SampleRateHz,
    itemId: string,
    generation: number,
  ): void {
    if (session !== this.#primary) return this.late()
    if (!this.#alone && !this.#sounds(pcm, sampleRateHz, itemId, generation)) return
    if (!session.hasSounded) {
      session.hasSounded = true
      this.#candidates.reportToCircuit(session, null)
    }
    if (!Number.isNaN(this.#holdFromMs)) {
      this.stats.soundMsLast = this.#options.timers.nowMs() - this.#holdFromMs
      this.#holdFromMs = NaN
      this.#holdAlarm.clear()
    }
    this.#sink.audio(pcm, sampleRateHz, itemId, generation)
  }

  /**
   * Records a piece of an answer, in case another backend takes over.
   * @returns false for silence before the answer's first sound, which is not played
   */
  #sounds(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): boolean {
    const ms = samplesToMs(pcm.length, sampleRateHz)
    // Silence after an answer's first sound is played, because it is a pause in the answer.
    if (this.#history.answer(generation).soundMs === 0 && !hasSound(pcm)) {
      this.#history.silence(generation, itemId, ms)
      return false
    }
    this.#primaryLives = true
    this.#history.sound(generation, itemId, ms)
    this.#stall.sounding()
    return true
  }

  sessionEvent(session: CandidateSession, event: BackendEvent): void {
    if (event.type === 'usage') {
      if (this.#over) this.#options.budget?.meter.add(session.name, event.usage)
      else this.#emit({ ...event, backend: session.name })
    } else if (event.type === 'error' && event.fatal) this.failed(session, event)
    else if (event.type === 'closed')
      this.failed(session, vendorFault('network', `${session.name}: closed with ${event.code}`, true))
    else if (event.type === 'expiring') {
      if (this.#alone) this.#emit(event)
      else if (session === this.#primary) this.#rotation.expiring(event.inMs)
      else if (session === this.#standby) this.#renewStandby(session)
    } else if (session === this.#primary) this.#primaryEvent(session, event)
  }

  late(): void {
    this.stats.lateDropped++
  }

  connected(session: CandidateSession): void {
    if (session.phase !== 'connecting') return
    session.phase = 'ready'
    if (session === this.#next) this.#promote(session)
    else if (session === this.#replacement) this.#rotate(session)
    else if (session === this.#primary) this.#connectedFirst()
  }

  #primaryEvent(
    session: CandidateSession,
    event: Exclude<BackendEvent, EventOf<'usage' | 'closed' | 'expiring'>>,
  ): void {
    const history = this.#history
    if (event.type !== 'ready') this.#stall.anyEvent()
    if (HEARS.has(event.type) || isCallersVoice(event)) this.#deaf.heard()
    else if (ANSWERS.has(event.type)) this.#deaf.answers()
    switch (event.type) {
      case 'turn-start':
        history.activity++
        history.answer(event.generation)
        // Once the service has begun an answer, the answer must have sound, even if the last speech was only noise.
        if (!history.answerSounding && !history.callerSpeaking) this.#stall.asked()
        return this.#emit(event)
      case 'audio-done':
        history.audioDone(event)
        return this.#emit(event)
      case 'turn-done':
        return this.#turnDone(session, event)
      case 'transcript':
        if (event.role === 'agent') history.agentWords(event)
        else if (history.callerWords(event)) this.#stall.asked()
        return this.#emit(event)
      case 'tool-call':
        return this.#toolCall(session, event)
      case 'tool-cancel':
        history.toolsCancelled(event.callIds)
        return this.#emit(event)
      case 'speech-started':
        if (!this.#candidates.capabilities.serverVad) return
        this.#stall.stop()
        // Services report speech late, by an unknown delay. The code assumes that the speech began in the newest stored
        // audio.
        history.speechStarted(this.#options.timers.nowMs() - (INPUT_REPLAY_MARGIN_MS - BACKEND_PRE_ROLL_MS))
        return this.#emit(event)
      case 'speech-stopped':
        this.#callerAsks()
        if (!this.#candidates.capabilities.serverVad) return
        history.speechEnded(this.#options.timers.nowMs())
        this.#stall.asked()
        return this.#emit(event)
      case 'error':
        // The session is replaced, because the service will refuse further requests for a while.
        if (event.code === 'rate_limit' && this.#candidates.hasBetterThan(session.candidate))
          return this.failed(session, event)
        this.#candidates.watch.fault({
          backend: session.name,
          code: event.code,
          message: event.message,
          sessionLost: false,
        })
        return this.#emit(event)
      default:
        return this.#emit(event)
    }
  }

  #turnDone(session: CandidateSession, event: EventOf<'turn-done'>): void {
    const { status } = event
    if (status === 'failed') {
      this.#responsesFailed++
      const limited = /rate_?limit/i.test(event.reason ?? '')
      // The unanswered question is replayed to the next backend, so that the caller need not repeat the question.
      const repeatedly = this.#responsesFailed >= FAILOVER_RESPONSES_FAILED_MAX
      if ((limited || repeatedly) && this.#candidates.hasBetterThan(session.candidate, repeatedly)) {
        const words = `${session.name}: ${this.#responsesFailed} answers failed`
        return this.failed(session, vendorFault(limited ? 'rate_limit' : 'internal', words, true), 'responses-failed')
      }
    }
    const answer = this.#history.turnDone(event)
    if (answer?.toolCalls === 0 && !isSilent(answer)) this.#stall.stop()
    if (status === 'completed') {
      this.#responsesFailed = 0
      if (answer?.toolCalls === 0 && answer.soundMs > 0) this.#repeating = false
    }
    this.#emit({ ...event, ...unplayed(answer) })
  }

  #toolCall(session: CandidateSession, event: EventOf<'tool-call'>): void {
    const history = this.#history
    const reached = this.#bound.called(event.generation)
    if (reached !== null) return this.#answerFailed(session, reached)
    this.#primaryLives = true
    history.activity++
    const answer = history.answers.get(event.generation)
    // A tool call counts as the end of the answer only if the agent will speak about the tool's result.
    if (answer !== undefined && waitOf(event) === 'now') answer.toolCalls++
    this.#stall.stop()
    // A scripted dialogue asks its questions in its own order. So, even long after a takeover, the dialogue may repeat
    // a tool call of an earlier backend.
    const again = this.#repeating || (session.candidate.scripted && history.owes(event))
    const known = again && event.invalid === undefined ? history.toolCalledAgain(event) : null
    if (known === null) {
      history.toolCalled(event)
      return this.#emit(event)
    }
    this.stats.toolsSpared++
    const inner = session.inner(event.callId)
    if (known === 'running' || inner === null) return
    session.backend.toolResult(inner, known)
    this.#stall.asked()
  }

  #stalled(state: StallState): void {
    const primary = this.#primary
    const history = this.#history
    const { timers, stallMs = FAILOVER_STALL_MS } = this.#options
    // A scripted dialogue runs locally, so its silence is not a fault.
    if (primary === null || primary.candidate.scripted || this.#alone) return
    if (history.callerSpeaking || !history.hasOpenInputs || history.toolsRunning) return
    if (state === 'sounding') {
      if (history.answers.size === 0) return
      // Audio arrives faster than real time, so the caller begins to wait only at the end of playout.
      const leftMs = history.speaksUntilMs + stallMs - timers.nowMs()
      if (leftMs > 0) return this.#stall.again(state, leftMs)
    }
    // In the state `spoken`, the last speech may have been noise, so this stall counts only once.
    if (state === 'spoken' && this.stats.stalls > 0) return
    // If there is no other backend, the call itself handles the silence. Exception: a single service gets one new
    // session if it is silent after speech, or if it was silent since its start.
    const silent = state === 'spoken' || !this.#primaryLives
    const reconnects = silent && this.stats.stalls === 0 && this.#candidates.regularCount === 1
    if (!reconnects && !this.#candidates.hasBetterThan(primary.candidate, true)) return
    this.stats.stalls++
    const what = state === 'sounding' ? 'in the middle of an answer' : 'after it was asked'
    this.failed(primary, vendorFault('timeout', `${primary.name}: silent for ${stallMs} ms ${what}`, true), 'stall')
  }

  /** Handles a service that does not report the speech that the gateway detects. */
  #isDeaf(): void {
    const primary = this.#primary
    if (primary === null || this.#alone || primary.candidate.scripted) return
    if (this.#deafSessions >= FAILOVER_DEAF_MAX) return
    if (this.#history.answers.size > 0 || this.#history.toolsRunning) return
    this.#deafSessions++
    this.stats.stalls++
    const { stallMs = FAILOVER_STALL_MS } = this.#options
    const words = `${primary.name}: has not reported the caller's speech for ${stallMs} ms`
    this.failed(primary, vendorFault('timeout', words, true), 'deaf')
  }

  #isMute(session: CandidateSession, words: string): void {
    if (this.#over || session !== this.#primary || this.#history.toolsRunning) return
    this.#silentSessions++
    // The caller still waits for an answer, because a silent answer does not answer a question.
    if (!this.#history.hasOpenInputs) this.#history.question('', 'system')
    this.failed(session, vendorFault('internal', words, true), UNHEARD)
  }

  // --- maximum number of requests to a model ----------------------------------------------------------------

  sessionAsks(session: CandidateSession): boolean {
    return this.#ask(session)
  }

  /** Handles speech or DTMF digits of the caller that need an answer. */
  #callerAsks(): void {
    this.#bound.turn()
    this.#gives()
  }

  /**
   * Counts an input that the primary has to answer, if the primary does not count its own requests. @returns true if
   * the primary may receive the input
   */
  #gives(): boolean {
    const primary = this.#primary
    return primary === null || primary.backend.capabilities.countsRequests === true || this.#ask(primary)
  }

  #ask(session: CandidateSession): boolean {
    // A script does not send requests to a model, so its inputs are not counted.
    if (session.candidate.scripted) return true
    const reached = this.#bound.ask(this.#options.timers.nowMs())
    // Runs later, because code of the session is running now and still needs the session.
    if (reached !== null) queueMicrotask(() => this.#answerFailed(session, reached))
    return reached === null
  }

  /**
   * Handles a model that needed too many requests for one answer. The agent asks the caller to repeat, and a new
   * session gets the repeated words.
   */
  #answerFailed(session: CandidateSession, reached: BoundReached): void {
    if (this.#over || session !== this.#primary) return
    this.#candidates.count(session, BOUND_COUNTERS[reached])
    this.#history.inputsOver()
    const generation = ++this.#candidates.generation
    if (!this.#alone) this.#emit({ type: 'turn-done', generation, status: 'failed', reason: `bounded-${reached}` })
    const message = `${session.name}: its model was asked too often (${reached}) and gave no answer`
    this.failed(session, vendorFault('internal', message, true), 'responses-failed')
  }

  // --- failover ---------------------------------------------------------------------------------------------

  /** Handles the loss of a session in any role. */
  failed(session: CandidateSession, fault: VendorFault, reason: string = fault.code): void {
    if (session.phase === 'over') return
    const { watch } = this.#candidates
    if (session.phase === 'connecting') {
      watch.session({ backend: session.name, role: session.role, connectMs: null, fault: fault.code })
    }
    watch.fault({ backend: session.name, code: fault.code, message: fault.message, sessionLost: true })
    this.#candidates.reportToCircuit(session, fault, reason === UNHEARD)
    this.#candidates.retire(session, 'failed')
    if (session === this.#primary) return this.#lostPrimary(session, fault, reason)
    this.#candidates.failed(session.candidate, fault.retryable)
    if (session === this.#next) {
      this.#next = null
      if (this.#candidates.next(null, this.#served) !== null || this.#candidates.lastResort() !== null)
        this.#emit(faultEvent({ ...fault, fatal: false }))
      this.#seek(fault)
    } else if (session === this.#standby) {
      this.stats.standbysLost++
      this.#standby = null
      this.#retryStandby()
    } else if (session === this.#replacement) {
      this.#replacement = null
      this.stats.rotationsAbandoned++
    }
  }

  #lostPrimary(session: CandidateSession, fault: VendorFault, reason: string): void {
    if (this.#alone) return this.#giveUp(fault)
    const nowMs = this.#options.timers.nowMs()
    const waiting = this.#history.hasOpenInputs || this.#history.answers.size > 0
    const waitingSinceMs = this.#stall.sinceMs ?? nowMs
    this.#leave(session, reason)
    if (this.#over) return
    this.stats.failovers++
    this.#candidates.beginSearch()
    this.#triesAgain = 0
    // The normal end of a session is not a fault of the service.
    const sameAgain = fault.code === 'session_expired'
    if (!sameAgain) this.#candidates.failed(session.candidate, fault.retryable)
    // Each backend is replaced for silence only once. A single service gets one new session.
    const allSilent = reason === UNHEARD && this.#silentSessions > this.#candidates.regularCount
    const exhausted = allSilent || this.stats.failovers > (this.#options.failoversMax ?? FAILOVERS_MAX)
    const last = session.candidate.lastResort && exhausted ? null : this.#candidates.lastResort()
    this.#searchUntilMs = nowMs + (last === null ? SEARCH_MS : FIRST_SEARCH_MS)
    // The backend connects but does not answer. So, if a last resort is left, the call does not wait for another
    // session of this backend.
    const mute = last !== null && (reason === 'responses-failed' || (reason === 'stall' && this.stats.stalls > 1))
    if (mute) session.candidate.tried = true
    if (last === null && (exhausted || this.#candidates.next() === null)) return this.#giveUp(fault)
    this.#emit(faultEvent({ ...fault, fatal: false }))
    if (waiting) {
      const { holdAfterMs = FAILOVER_HOLD_MS } = this.#options
      this.#holdFromMs = nowMs
      this.#holdAlarm.set(Math.max(0, holdAfterMs - (nowMs - waitingSinceMs)), () => this.#emit({ type: 'holding' }))
    }
    if (last !== null && (exhausted || (mute && this.#candidates.next() === null))) return this.#try(last)
    this.#seek(fault, sameAgain ? session.candidate : null)
  }

  /** Removes the primary, so that the call has no primary. Open answers end as cancelled. */
  #leave(session: CandidateSession, reason: string): void {
    this.#primary = null
    this.#loss = { from: session.name, atMs: this.#options.timers.nowMs(), reason }
    this.#rotation.stop()
    this.#stall.stop()
    this.#deaf.reset()
    this.#repeating = true
    this.#responsesFailed = 0
    this.#silentAnswers = 0
    const answers = [...this.#history.answers]
    this.#history.answers.clear()
    for (const [generation, answer] of answers) {
      for (const itemId of answer.itemsOpen) this.#emit({ type: 'audio-done', generation, itemId })
      this.#emit({ type: 'turn-done', generation, status: 'cancelled', reason: 'failover', ...unplayed(answer) })
    }
  }

  /** @param fault  fault of the last candidate, reported if no candidate is left */
  #seek(fault: VendorFault, preferred: Candidate | null = null): void {
    this.#connectAlarm.clear()
    if (this.#over) return
    const replacement = this.#replacement
    if (replacement !== null) {
      this.#replacement = null
      replacement.stale ||= this.#history.activity !== replacement.activityKnown
      return this.#await(replacement)
    }
    const standby = this.#standby
    const warm = standby?.phase === 'ready' && preferred === null && standby.candidate.isFree
    const candidate = warm ? standby.candidate : this.#candidates.next(preferred, this.#served)
    if (candidate === null) return this.#seekAgain(fault)
    if (standby?.candidate === candidate) {
      this.#standby = null
      return this.#await(standby)
    }
    // At the start of a call, each candidate is tried at once. Later, a candidate is tried only when its pause is over.
    if (!this.#served && this.#triesAgain === 0) return this.#try(candidate)
    const closedMs = this.#candidates.closedForMs(candidate)
    if (closedMs > 0) return this.#wait(closedMs, candidate, fault, () => this.#seek(fault, preferred))
    const turnMs = this.#candidates.turnMs(candidate)
    if (turnMs === 0) return this.#try(candidate)
    this.#wait(turnMs, candidate, fault, () => {
      // During the wait, other calls may have found that the service cannot be reached.
      if (this.#candidates.closedForMs(candidate) > 0) this.#seek(fault, preferred)
      else this.#try(candidate)
    })
  }

  #try(candidate: Candidate): void {
    const session = this.#candidates.take(candidate)
    this.#await(session)
    this.#connect(session, this.#served ? 'takeover' : 'first')
  }

  /** Runs `goOn` after `ms`. If the search ends before that, the candidate fails at once. */
  #wait(ms: number, candidate: Candidate, fault: VendorFault, goOn: () => void): void {
    if (this.#options.timers.nowMs() + ms <= this.#searchUntilMs) return this.#connectAlarm.set(ms, goOn)
    candidate.tried = true
    this.#seek(fault)
  }

  /** Starts again with the first candidate after a pause, because a service may become reachable soon. */
  #seekAgain(fault: VendorFault): void {
    const waitMs = this.#candidates.jittered(TRY_AGAIN_MS * 2 ** this.#triesAgain)
    const untilMs = this.#searchUntilMs
    const again =
      (fault.code === 'network' || fault.code === 'internal') &&
      this.#triesAgain < TRIES_AGAIN_MAX &&
      this.#options.timers.nowMs() + waitMs <= untilMs &&
      this.#candidates.anyBy(untilMs)
    const last = again ? null : this.#candidates.lastResort()
    if (last !== null) return this.#try(last)
    if (!again) return this.#giveUp((this.#served ? null : this.#candidates.exhausted()) ?? fault)
    this.#triesAgain++
    this.#connectAlarm.set(waitMs, () => {
      this.#candidates.beginSearch()
      this.#seek(fault)
    })
  }

  /** Makes `session` the primary as soon as the session is ready. */
  #await(session: CandidateSession): void {
    this.#next = session
    session.candidate.tried = true
    if (session.phase === 'ready') return this.#promote(session)
    // If another candidate is left, the maximum connection time is `connectMs`.
    const { connectMs = FAILOVER_CONNECT_MS } = this.#options
    if (this.#candidates.next(null, this.#served) === null && this.#candidates.lastResort() === null) return
    this.#connectAlarm.set(connectMs, () => {
      this.failed(
        session,
        vendorFault('timeout', `${session.name}: not ready ${connectMs} ms after the connection was begun`, true),
      )
    })
  }

  #connect(session: CandidateSession, role: SessionRole, state: unknown = null): void {
    session.toolAnswersKnown = this.#history.toolAnswers
    session.activityKnown = this.#history.activity
    const { instructionsNow } = this.#options
    const base = this.#session as BackendSession
    const instructions = instructionsNow?.() ?? base.instructions
    // If the instructions are equal, the earlier string is used, because instructions have about 2 kB and need not be
    // stored twice per call.
    const renewed = instructions === base.instructions ? base : { ...base, instructions }
    this.#candidates.connect(session, role, { ...renewed, ...this.#history.known }, state)
  }

  /**
   * @param continued true if the session continues exactly at the end of the earlier session; the input is then not
   * replayed
   */
  #promote(session: CandidateSession, continued = false): void {
    const { timers } = this.#options
    const loss = this.#loss
    const first = !this.#served
    this.#connectAlarm.clear()
    this.#next = null
    this.#loss = null
    this.#served = true
    // The call may react to the event with new input. This input is stored in the history and replayed with the other
    // inputs.
    if (first) this.#emit({ type: 'ready' })
    if (this.#over) return
    this.#primary = session
    this.#primaryFrom = this.#candidates.generation
    this.#primaryLives = false
    this.#candidates.beginSearch()
    this.#rotation.begin(session.backend.capabilities.maxSessionMs)
    this.#deaf.reset()
    const replayed = continued
      ? NOTHING_REPLAYED
      : this.#history.replay(session, this.#session as BackendSession, loss !== null && session.candidate.scripted)
    this.stats.replayedSamples += replayed.samples
    this.stats.lostSamples += replayed.lostSamples
    // The session may have failed during the replay, so this is checked again.
    if (this.#primary !== session) return
    if (replayed.texts > 0) this.#stall.asked()
    else if (replayed.inputs > 0 && !this.#history.callerSpeaking) this.#stall.spoken()
    this.#connectedFirst()
    if (loss !== null) {
      const gapMs = timers.nowMs() - loss.atMs
      this.stats.gapMsLast = gapMs
      this.stats.gapMsMax = Math.max(gapMs, this.stats.gapMsMax ?? 0)
      this.#emit({ type: 'failover', from: loss.from, to: session.name, gapMs, reason: loss.reason })
    }
    if (this.#options.standby === true && !this.#over) this.#fillStandby()
  }

  #connectedFirst(): void {
    this.#served = true
    this.#settle?.resolve()
    this.#settle = null
  }

  // --- rotation ---------------------------------------------------------------------------------------------

  /**
   * Connects a replacement of the primary at a quiet moment. If a party spoke before the replacement was ready,
   * connects another replacement.
   */
  #beginRotation(last: boolean): boolean {
    const primary = this.#primary
    if (primary === null || this.#replacement !== null || (!last && !this.#quiet())) return false
    if (this.#candidates.closedForMs(primary.candidate) > 0) return false
    const session = this.#candidates.take(primary.candidate)
    this.#replacement = session
    this.#connect(session, 'rotation', primary.backend.snapshot())
    return true
  }

  #quiet(): boolean {
    const { answers, hasOpenInputs, toolsRunning, speaksUntilMs } = this.#history
    return (
      answers.size === 0 &&
      !hasOpenInputs &&
      !toolsRunning &&
      this.#options.timers.nowMs() >= speaksUntilMs + ROTATION_QUIET_MS
    )
  }

  #rotate(session: CandidateSession): void {
    const old = this.#primary
    this.#replacement = null
    session.stale ||= this.#history.activity !== session.activityKnown
    if (old === null || (session.stale && !this.#rotation.isLastMoment)) {
      this.stats.rotationsAbandoned++
      this.#candidates.retire(session, 'too late')
      return
    }
    this.stats.rotations++
    const continued = !session.stale && session.backend.continueFrom?.(old.backend) === true
    this.#candidates.retire(old, 'replaced')
    this.#leave(old, 'rotation')
    if (!this.#over) this.#promote(session, continued)
  }

  // --- standby ----------------------------------------------------------------------------------------------

  #fillStandby(): void {
    if (this.#standby !== null || this.#standbyAlarm.isSet) return
    const session = this.#primary === null ? null : this.#candidates.takeStandby(this.#primary.candidate)
    if (session === null) return this.#retryStandby()
    session.stale = true
    // The field is set before the session connects, because the connection may fail at once.
    this.#standby = session
    this.#connect(session, 'standby')
  }

  #retryStandby(): void {
    if (this.#standbyAlarm.isSet || this.#standbyTries >= STANDBY_TRIES_MAX) return
    this.#standbyTries++
    this.#standbyAlarm.set(this.#candidates.jittered(STANDBY_RETRY_MS), () => this.#fillStandby())
  }

  #renewStandby(session: CandidateSession): void {
    this.#standby = null
    this.#candidates.retire(session, 'stood by for too long')
    this.#fillStandby()
  }

  // --- the end ----------------------------------------------------------------------------------------------

  /** Ends the search, because no candidate is left. */
  #giveUp(fault: VendorFault): void {
    const settle = this.#settle
    this.#settle = null
    const final = { ...fault, fatal: true }
    this.#end('failed')
    this.#sink.event(faultEvent(final))
    this.#sink.event({ type: 'closed', code: CLOSE_ABNORMAL, reason: fault.message, clean: false })
    settle?.reject(faultError(final))
  }

  get #alone(): boolean {
    return this.#options.alone === true
  }

  #emit(event: BackendEvent): void {
    if (!this.#over) this.#sink.event(event)
  }

  #end(reason: string): void {
    this.#over = true
    this.#stall.stop()
    this.#deaf.reset()
    this.#rotation.stop()
    for (const alarm of [this.#connectAlarm, this.#holdAlarm, this.#standbyAlarm]) alarm.clear()
    this.#budget?.stop()
    this.#candidates.retireAll(reason)
    this.#history.release()
  }
}

/** Maximum number of replacements of one call's backend because of a fault; rotations do not count. */
const FAILOVERS_MAX = 8
/** Maximum connection time of a backend in milliseconds, if another backend is left. */
const FAILOVER_CONNECT_MS = 3000
/**
 * Maximum time without an answer before a backend is replaced, in milliseconds; half of the call session's own limit.
 */
const FAILOVER_STALL_MS = 6000
/**
 * Maximum number of sessions of one call that are replaced because they do not detect the caller's speech. If more
 * sessions fail, the phone line may be at fault.
 */
const FAILOVER_DEAF_MAX = 2
/**
 * Number of consecutive answers without audible sound after which the backend counts as failed; and the name of this
 * failure.
 */
const FAILOVER_SILENT_ANSWERS_MAX = 2
const UNHEARD = 'silent'
/** Time in milliseconds that the caller waits in silence during a replacement before the `holding` event. */
const FAILOVER_HOLD_MS = 1500
/** Number of consecutive failed answers before another backend is used. */
const FAILOVER_RESPONSES_FAILED_MAX = 2
/** Minimum silence of both sides before a session is rotated, in milliseconds. */
const ROTATION_QUIET_MS = 400
/** Pause in milliseconds before a failed standby is tried again; and maximum number of tries. */
const STANDBY_RETRY_MS = 30_000
const STANDBY_TRIES_MAX = 5

/**
 * Maximum duration of the search for a model, in milliseconds. The limit at the start of a call is short, because the
 * agent has not spoken yet. During a call, the agent announces that the search takes a moment. An attempt that began
 * before the limit may end after it.
 */
const FIRST_SEARCH_MS = 3000
const SEARCH_MS = 10_000
/** Pause before failed backends are tried again, in milliseconds. The pause doubles each time. */
const TRY_AGAIN_MS = 200
/** Maximum number of pauses in one search. The pauses last 200 ms to 6.4 s. */
const TRIES_AGAIN_MAX = 6

const NOTHING_REPLAYED = { samples: 0, lostSamples: 0, texts: 0, inputs: 0 }
const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006
/** Events of a service that hears the caller, and events of a service that works on an answer. */
const HEARS: ReadonlySet<BackendEvent['type']> = new Set(['speech-started', 'understood'])
const ANSWERS: ReadonlySet<BackendEvent['type']> = new Set(['turn-start', 'tool-call'])
/** Maximum time in ms between the agent's speech and its echo. */
const ECHO_MS = 500
/** Minimum duration of speech that needs an answer, in milliseconds; shorter speech may be noise. */
const REAL_SPEECH_MS = 200

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

export interface CallBackendOptions extends CandidateOptions {
  /**
   * Returns the instructions for a session that begins now. If absent, the instructions of the call's session are used.
   */
  readonly instructionsNow?: () => string
  /** True if the next candidate is connected from the start of the call. It gets no audio. */
  readonly standby?: boolean
  readonly connectMs?: number
  /** Maximum silence after a question, in milliseconds. A longer silence counts as a fault. */
  readonly stallMs?: number
  /** Time in milliseconds that the caller waits before a `holding` event. */
  readonly holdAfterMs?: number
  readonly failoversMax?: number
  /** Limits of the call, and the meter of its cost. If absent, the call has no limit, and its cost is not counted. */
  readonly budget?: BudgetOptions
}

/** Counters of one call; plain fields. */
function noFailovers() {
  return {
    failovers: 0,
    rotations: 0,
    stalls: 0,
    /**
     * Last and maximum time from a fault until the next backend had the replayed input, in milliseconds; null before
     * the first fault.
     */
    gapMsLast: null as number | null,
    gapMsMax: null as number | null,
    /** Time from the last fault to the first sound of the new backend, in milliseconds; null before the first fault. */
    soundMsLast: null as number | null,
    /** Number of samples of caller audio that were replayed, and number of samples that were too old for a replay. */
    replayedSamples: 0,
    lostSamples: 0,
    /** Number of repeated tool calls that got the result of the earlier tool call. */
    toolsSpared: 0,
    /** Number of audio pieces and events that were dropped because they came from retired sessions. */
    lateDropped: 0,
    rotationsAbandoned: 0,
    standbysLost: 0,
  }
}

/** The backends' report about a call, without the cost. Plain data. */
export type CallBackendReport = Omit<CallResult['report'], 'cost'>

function gone(): GatewayError {
  return new GatewayError('BACKEND_CLOSED', 'the call ended before its backend was connected')
}

/** Duration of an answer's silence that was not played, in milliseconds. */
function unplayed(answer: OpenAnswer | undefined): { readonly silentMs?: number } {
  return answer === undefined || !isSilent(answer) ? {} : { silentMs: answer.silentMs }
}

/**
 * True for words of the caller that the service recognised. DTMF digits do not count, because the backend itself writes
 * their transcript.
 */
function isCallersVoice(event: BackendEvent): boolean {
  return event.type === 'transcript' && event.role === 'caller' && !isKeysItem(event.itemId)
}
