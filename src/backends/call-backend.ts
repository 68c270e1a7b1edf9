import { waitOf } from '../call/backend-events.js'
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
import { BackendList } from './failover/backend-list.js'
import type { Candidate, CandidateListener, CandidateOptions, CandidateSession } from './failover/backend-list.js'
import { DeafWatch } from './failover/deaf-watch.js'
import { RotationWatch } from './failover/rotation-watch.js'
import { StallWatch } from './failover/stall-watch.js'
import type { StallState } from './failover/stall-watch.js'

/**
 * The backend of a call: makes one of a list, and counts what the call uses (`Budget`). When the primary, which serves the
 * call, fails, the next candidate takes over. It gets everything that was said and done, and a replay of the inputs
 * without an answer.
 *
 *     idle    --connect--> seeking
 *     seeking --a candidate is ready--> serving                       the first time: `ready`; after a loss: `failover`
 *     seeking --it failed, or is too slow and there is another--> seeking the next of `BackendList`
 *     seeking --every candidate failed, and the last one to connect--> seeking  after a pause, until the search takes too long
 *     seeking --every candidate failed--> seeking                     a last resort, if there is one
 *     seeking --this one failed too--> over                           one fatal `error`, `closed`, `connect` rejects
 *     serving --fatal error, closed, stall, failed answers--> seeking: replacement, else standby, else next candidate
 *     serving --its session ends soon, both sides quiet--> serving, by a new session of the same candidate (rotation)
 *     (any)   --close--> over
 *
 * A single model runs as a list of one. That gives it a new session after `session_expired` or a broken connection,
 * rotation, `holding` while the caller waits for the new session, and the circuit that the calls of a worker share.
 *
 * Inputs are stored in `CallHistory` before they go to a backend, and a takeover replays them from there. So it does
 * not matter when exactly a backend is lost. All events that are passed on have the call's generations and ids
 * (`CandidateSession`).
 */
export class CallBackend implements Backend, CandidateListener {
  readonly stats = noFailovers()

  /** The call, or the budget that passes everything on to it. */
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
  /** While there is no primary: the session that becomes it when it is ready. */
  #next: CandidateSession | null = null
  readonly #connectAlarm: Alarm
  /** The search for a session: when it is given up, and how often every candidate was tried. */
  #searchUntilMs = 0
  #triesAgain = 0
  #loss: { readonly from: string; readonly atMs: number; readonly reason: string } | null = null
  /** When the caller began to wait for a takeover; NaN while no caller waits. */
  #holdFromMs = NaN
  readonly #holdAlarm: Alarm
  /** The primary has just taken over and may repeat tool calls of the one before: these are not run again. */
  #repeating = false
  #responsesFailed = 0
  /** The primary has made a sound or called a tool. */
  #primaryLives = false

  #standby: CandidateSession | null = null
  #standbyTries = 0
  readonly #standbyAlarm: Alarm

  /** A session of the primary's candidate that replaces it at a quiet moment. */
  #replacement: CandidateSession | null = null
  readonly #rotation: RotationWatch

  /** @throws GatewayError when no candidate can be made, or rates differ and there is no resampler */
  constructor(sink: BackendSink, options: CallBackendOptions) {
    const { timers } = options
    this.#budget = options.budget === undefined ? null : new Budget(sink, this, timers, options.budget)
    this.#sink = this.#budget ?? sink
    this.#options = options
    this.#candidates = new BackendList(options, this)
    const { inputRateHz, serverVad } = this.#candidates.capabilities
    this.#history = new CallHistory(timers, inputRateHz, serverVad)
    this.#stall = new StallWatch(timers, options.stallMs ?? FAILOVER_STALL_MS, (state) => this.#stalled(state))
    this.#deaf = new DeafWatch(timers, options.stallMs ?? FAILOVER_STALL_MS, () => this.#isDeaf())
    this.#connectAlarm = new Alarm(timers)
    this.#holdAlarm = new Alarm(timers)
    this.#standbyAlarm = new Alarm(timers)
    this.#rotation = new RotationWatch(timers, (last) => this.#beginRotation(last))
  }

  /** `name` and `changesSpeed` are the primary's; the rest does not change. */
  get capabilities(): BackendCapabilities {
    const { capabilities } = this.#candidates
    if (this.#primary === null) return capabilities
    const { name, changesSpeed = false, readsTexts = true } = this.#primary.backend.capabilities
    return { ...capabilities, name, changesSpeed, readsTexts }
  }

  // --- the call's side --------------------------------------------------------------------------------------

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
    // Nobody takes over from one that is alone: nothing is kept for another, and nothing watches it.
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
      // The service has reported this speech, and the call says that it may not be meant for the agent.
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
    // A call that the history does not know may be the backend's own, from before the call moved to this media worker.
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

  /** The budget is the whole call's, whichever worker or node goes on with it. */
  snapshot(): CallBackendSnapshot {
    const primary = this.#primary
    return {
      version: 2,
      used: this.#budget?.used() ?? null,
      serving: primary === null ? null : this.#candidates.snapshotOf(primary),
    }
  }

  /** The report so far; a copy. */
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

  // --- the sessions' side -----------------------------------------------------------------------------------

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

  /** Keeps what a takeover must know of a piece of an answer. @returns false for silence before its first sound, which is not played */
  #sounds(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): boolean {
    const ms = samplesToMs(pcm.length, sampleRateHz)
    // Silence after the first sound of an answer is a pause in it, and is played.
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
        // An answer that has begun must sound, also after speech that may have been a noise.
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
        // Services report speech late and do not say how late: assume that it began in the newest audio that is kept.
        history.speechStarted(this.#options.timers.nowMs() - (INPUT_REPLAY_MARGIN_MS - BACKEND_PRE_ROLL_MS))
        return this.#emit(event)
      case 'speech-stopped':
        this.#callerAsks()
        if (!this.#candidates.capabilities.serverVad) return
        history.speechEnded(this.#options.timers.nowMs())
        this.#stall.asked()
        return this.#emit(event)
      case 'error':
        // A rate-limited service will refuse further requests for a while.
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
      // The next backend gets the same question, so the caller need not repeat it.
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
    this.#emit(event)
  }

  #toolCall(session: CandidateSession, event: EventOf<'tool-call'>): void {
    const history = this.#history
    const reached = this.#bound.called(event.generation)
    if (reached !== null) return this.#answerFailed(session, reached)
    this.#primaryLives = true
    history.activity++
    const answer = history.answers.get(event.generation)
    // The answer goes on after a call whose result is not spoken about.
    if (answer !== undefined && waitOf(event) === 'now') answer.toolCalls++
    this.#stall.stop()
    // A dialogue asks in its own order, perhaps long after it took over.
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
    // A scripted dialogue runs locally; its silence is no fault.
    if (primary === null || primary.candidate.scripted || this.#alone) return
    if (history.callerSpeaking || !history.hasOpenInputs || history.toolsRunning) return
    if (state === 'sounding') {
      if (history.answers.size === 0) return
      // Sound comes faster than real time: the caller waits only after all of it has been played.
      const leftMs = history.speaksUntilMs + stallMs - timers.nowMs()
      if (leftMs > 0) return this.#stall.again(state, leftMs)
    }
    // `spoken` may follow a noise, so it counts only once.
    if (state === 'spoken' && this.stats.stalls > 0) return
    // Without another backend the call itself handles the silence, except that of a single service that says nothing at
    // all after speech, or nothing since its session began: a new session may do better, once.
    const silent = state === 'spoken' || !this.#primaryLives
    const reconnects = silent && this.stats.stalls === 0 && this.#candidates.regularCount === 1
    if (!reconnects && !this.#candidates.hasBetterThan(primary.candidate, true)) return
    this.stats.stalls++
    const what = state === 'sounding' ? 'in the middle of an answer' : 'after it was asked'
    this.failed(primary, vendorFault('timeout', `${primary.name}: silent for ${stallMs} ms ${what}`, true), 'stall')
  }

  /** The service does not report the speech that the gateway hears. */
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

  // --- the bound of requests ---------------------------------------------------------------------------------

  sessionAsks(session: CandidateSession): boolean {
    return this.#ask(session)
  }

  /** The caller has said or keyed something, which is answered. */
  #callerAsks(): void {
    this.#bound.turn()
    this.#gives()
  }

  /** The primary is given something to answer, and does not count itself how often it asks. @returns whether it may be given */
  #gives(): boolean {
    const primary = this.#primary
    return primary === null || primary.backend.capabilities.countsRequests === true || this.#ask(primary)
  }

  #ask(session: CandidateSession): boolean {
    // A script asks no model.
    if (session.candidate.scripted) return true
    const reached = this.#bound.ask(this.#options.timers.nowMs())
    // The session's own code is not left while it runs.
    if (reached !== null) queueMicrotask(() => this.#answerFailed(session, reached))
    return reached === null
  }

  /** A model that is asked again and again answers nobody: the caller is asked to say it again, to another session. */
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

  /** A session is lost, in any role. */
  failed(session: CandidateSession, fault: VendorFault, reason: string = fault.code): void {
    if (session.phase === 'over') return
    const { watch } = this.#candidates
    if (session.phase === 'connecting') {
      watch.session({ backend: session.name, role: session.role, connectMs: null, fault: fault.code })
    }
    watch.fault({ backend: session.name, code: fault.code, message: fault.message, sessionLost: true })
    this.#candidates.reportToCircuit(session, fault)
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
    // The end of a session's time is no fault of the service.
    const sameAgain = fault.code === 'session_expired'
    if (!sameAgain) this.#candidates.failed(session.candidate, fault.retryable)
    const exhausted = this.stats.failovers > (this.#options.failoversMax ?? FAILOVERS_MAX)
    const last = session.candidate.lastResort && exhausted ? null : this.#candidates.lastResort()
    this.#searchUntilMs = nowMs + (last === null ? SEARCH_MS : FIRST_SEARCH_MS)
    // It connects, but does not answer: where there is a last resort, another session of it is not worth the wait.
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

  /** From here on there is no primary. Open answers end as cancelled. */
  #leave(session: CandidateSession, reason: string): void {
    this.#primary = null
    this.#loss = { from: session.name, atMs: this.#options.timers.nowMs(), reason }
    this.#rotation.stop()
    this.#stall.stop()
    this.#deaf.reset()
    this.#repeating = true
    this.#responsesFailed = 0
    const answers = [...this.#history.answers]
    this.#history.answers.clear()
    for (const [generation, { itemsOpen }] of answers) {
      for (const itemId of itemsOpen) this.#emit({ type: 'audio-done', generation, itemId })
      this.#emit({ type: 'turn-done', generation, status: 'cancelled', reason: 'failover' })
    }
  }

  /** @param fault  the fault of the last one, which is reported if no candidate is left */
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
    // A new call tries each candidate at once; whoever comes back waits for its turn.
    if (!this.#served && this.#triesAgain === 0) return this.#try(candidate)
    const closedMs = this.#candidates.closedForMs(candidate)
    if (closedMs > 0) return this.#wait(closedMs, candidate, fault, () => this.#seek(fault, preferred))
    const turnMs = this.#candidates.turnMs(candidate)
    if (turnMs === 0) return this.#try(candidate)
    this.#wait(turnMs, candidate, fault, () => {
      // Others may have found meanwhile that it cannot be reached.
      if (this.#candidates.closedForMs(candidate) > 0) this.#seek(fault, preferred)
      else this.#try(candidate)
    })
  }

  #try(candidate: Candidate): void {
    const session = this.#candidates.take(candidate)
    this.#await(session)
    this.#connect(session, this.#served ? 'takeover' : 'first')
  }

  /** Goes on after `ms`, or at once without this candidate where the search does not last so long. */
  #wait(ms: number, candidate: Candidate, fault: VendorFault, goOn: () => void): void {
    if (this.#options.timers.nowMs() + ms <= this.#searchUntilMs) return this.#connectAlarm.set(ms, goOn)
    candidate.tried = true
    this.#seek(fault)
  }

  /** Every candidate was tried. One that could not be reached may be reachable a moment later. */
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

  /** `session` becomes the primary as soon as it is ready. */
  #await(session: CandidateSession): void {
    this.#next = session
    session.candidate.tried = true
    if (session.phase === 'ready') return this.#promote(session)
    // With another candidate left, a slow one gets only `connectMs`.
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
    // Mostly they are still the same words: two kilobytes that the call need not keep twice.
    const renewed = instructions === base.instructions ? base : { ...base, instructions }
    this.#candidates.connect(session, role, { ...renewed, ...this.#history.known }, state)
  }

  /** @param continued  the session goes on exactly where the one before it was: nothing needs to be replayed */
  #promote(session: CandidateSession, continued = false): void {
    const { timers } = this.#options
    const loss = this.#loss
    const first = !this.#served
    this.#connectAlarm.clear()
    this.#next = null
    this.#loss = null
    this.#served = true
    // Input that the call sends in reply is stored in the history, and replayed with the rest.
    if (first) this.#emit({ type: 'ready' })
    if (this.#over) return
    this.#primary = session
    this.#primaryLives = false
    this.#candidates.beginSearch()
    this.#rotation.begin(session.backend.capabilities.maxSessionMs)
    this.#deaf.reset()
    const replayed = continued
      ? NOTHING_REPLAYED
      : this.#history.replay(session, this.#session as BackendSession, loss !== null && session.candidate.scripted)
    this.stats.replayedSamples += replayed.samples
    this.stats.lostSamples += replayed.lostSamples
    // The session may have failed during the replay.
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

  /** Connects a replacement at a quiet moment, and another one if something was said before it was ready. */
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
    // Set before it connects, because it may fail at once.
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

  /** No candidate is left. */
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

/** Replacements of one call's backend that are made for a fault; rotations do not count. */
const FAILOVERS_MAX = 8
/** A backend that has not got ready after this is given up while there is another. */
const FAILOVER_CONNECT_MS = 3000
/** A backend that does not answer for this long is replaced. Half of the session's own limit. */
const FAILOVER_STALL_MS = 6000
/** Sessions of a call that are replaced because they do not hear the caller: after these the line may be at fault. */
const FAILOVER_DEAF_MAX = 2
/** How long a caller waits in silence while a backend is being replaced. */
const FAILOVER_HOLD_MS = 1500
/** Answers that may fail one after another before another backend is asked. */
const FAILOVER_RESPONSES_FAILED_MAX = 2
/** How long both sides are quiet before a session is rotated. */
const ROTATION_QUIET_MS = 400
/** Pause before a failed standby is tried again, and the number of tries. */
const STANDBY_RETRY_MS = 30_000
const STANDBY_TRIES_MAX = 5

/**
 * How long a caller waits for a model to be reached, before it is given up: at the start, where nothing was said yet, and
 * in mid-call, where the caller hears that it takes a moment. An attempt that was begun in time may take longer.
 */
const FIRST_SEARCH_MS = 3000
const SEARCH_MS = 10_000
/** Pause before a backend is tried again when all were tried; each time twice as long. */
const TRY_AGAIN_MS = 200
/** Times that this is done in one search: 200 ms to 6.4 s. */
const TRIES_AGAIN_MAX = 6

const NOTHING_REPLAYED = { samples: 0, lostSamples: 0, texts: 0, inputs: 0 }
const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006
/** Events which show that a service heard the caller, and those which show that it works on something. */
const HEARS: ReadonlySet<BackendEvent['type']> = new Set(['speech-started', 'understood'])
const ANSWERS: ReadonlySet<BackendEvent['type']> = new Set(['turn-start', 'tool-call'])
/** The agent's echo may follow its speech for this long. */
const ECHO_MS = 500
/** Shorter speech may be a noise: no answer is expected. */
const REAL_SPEECH_MS = 200

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

export interface CallBackendOptions extends CandidateOptions {
  /** The instructions of a session that begins now; absent: those of the call's session. */
  readonly instructionsNow?: () => string
  /** Keeps the next candidate connected, without audio, from the start of the call. */
  readonly standby?: boolean
  readonly connectMs?: number
  /** How long silence after a question lasts until it counts as a fault. */
  readonly stallMs?: number
  /** How long the caller waits before a `holding` event. */
  readonly holdAfterMs?: number
  readonly failoversMax?: number
  /** Limits of the call, and the meter of its cost; without it neither is counted. */
  readonly budget?: BudgetOptions
}

/** Counters of one call; plain fields. */
function noFailovers() {
  return {
    failovers: 0,
    rotations: 0,
    stalls: 0,
    /** From a fault until the next backend had the replayed input: the last and the longest; null before any. */
    gapMsLast: null as number | null,
    gapMsMax: null as number | null,
    /** From the last fault to the first sound of the new backend, null before any. */
    soundMsLast: null as number | null,
    /** Caller audio that was replayed, and that was too old to be replayed. */
    replayedSamples: 0,
    lostSamples: 0,
    /** Tool calls that got an earlier result and were not run again. */
    toolsSpared: 0,
    /** Audio and events of retired sessions. */
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

/** Words of the caller that the service heard; not keys, which the backend itself writes down. */
function isCallersVoice(event: BackendEvent): boolean {
  return event.type === 'transcript' && event.role === 'caller' && !isKeysItem(event.itemId)
}
