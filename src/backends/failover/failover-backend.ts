import { GatewayError } from '../../core/errors.js'
import {
  BACKEND_PRE_ROLL_MS, BACKEND_WAITING_TEXTS_MAX, FAILOVERS_MAX, FAILOVER_CONNECT_MS, FAILOVER_HOLD_MS, FAILOVER_RESPONSES_FAILED_MAX,
  FAILOVER_STALL_MS, RE_FEED_MARGIN_MS, RE_FEED_MS, ROTATION_QUIET_MS, STANDBY_RETRY_MS, STANDBY_TRIES_MAX,
} from '../../core/limits.js'
import { frameSamples, msToSamples, samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import type { StreamResampler } from '../../media/resampler.js'
import { AudioHistory } from '../audio-history.js'
import type { Backend, BackendCapabilities, BackendEvent, BackendSession, BackendSink, ToolReply, ToolSpec } from '../backend.js'
import { Circuits } from '../circuit-breaker.js'
import { openingText } from '../prompts.js'
import { faultError, faultEvent, vendorFault } from '../vendor-fault.js'
import type { VendorFault } from '../vendor-fault.js'
import { CallMemory } from './call-memory.js'
import { Candidates } from './candidates.js'
import { MemberSession } from './member-session.js'
import type { Numbering, SessionOwner } from './member-session.js'
import { OpenAnswers } from './open-answers.js'
import { OpenInputs } from './open-inputs.js'
import type { FailoverOptions, FailoverStats } from './options.js'
import { reFeed } from './re-feed.js'
import { Rotation } from './rotation.js'
import { StallWatch } from './stall-watch.js'
import { snapshotOf } from './snapshot.js'
import type { FailoverSnapshot } from './snapshot.js'
import { lateToolText, recapText } from './texts.js'
import { ToolMemory } from './tool-memory.js'

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

/** The search for a backend after one was lost. */
interface Loss {
  readonly from: string
  readonly index: number
  readonly atMs: number
  readonly reason: string
}

const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006
/** Shorter speech was no question. */
const REAL_SPEECH_MS = 200
const MEMBER_CLOSE_MS = 900

/**
 * A list of backends that is one backend: when the one that serves the call fails, the next takes over with everything that
 * was said, done and not yet answered.
 *
 *     idle    --connect--> seeking
 *     seeking --a member is ready--> serving            the first time: `ready`; after a loss: `failover`
 *     seeking --every member failed--> over             one fatal `error`, `closed`, `connect` rejects
 *     serving --fatal error, closed, silence after a question, answers that fail--> seeking
 *     serving --its session nears its end, both sides quiet--> serving, by a new session of the same member
 *     (any)   --close--> over
 *
 * What the members are given goes through two books, whoever is there: `OpenInputs` (speech, keys and texts without an
 * answer) and `AudioHistory` (the caller's samples). A takeover reads them, so that no word depends on when exactly a
 * backend was lost. `CallMemory` and `ToolMemory` are what the next one is told. All events that are passed on carry the
 * call's numbers and ids (`MemberSession`), and what a retired backend still says is dropped.
 *
 * Members may differ in rate and in who hears the caller's turns. The call sees one rate, and `serverVad` only where every
 * member listens by itself; otherwise the gateway's VAD marks the turns, and members with ears of their own hear the same
 * audio and are not told. Such a list works best with all members set to the gateway's turns.
 */
export class FailoverBackend implements Backend, SessionOwner {
  readonly stats: FailoverStats = {
    failovers: 0, rotations: 0, stalls: 0, gapMsLast: NaN, gapMsMax: NaN, soundMsLast: NaN, reFedSamples: 0, lostSamples: 0,
    toolsSpared: 0, lateDropped: 0, rotationsAbandoned: 0, standbysLost: 0,
  }

  readonly #sink: BackendSink
  readonly #options: FailoverOptions
  readonly #capabilities: BackendCapabilities
  readonly #numbering: Numbering = { highest: 0 }
  readonly #circuits: Circuits
  readonly #candidates: Candidates
  /** Made to see what they can do, and used when they are first needed. */
  readonly #unused: (MemberSession | null)[]
  readonly #history: AudioHistory
  readonly #frame: Int16Array
  readonly #marginSamples: number
  readonly #inputs = new OpenInputs()
  readonly #answers = new OpenAnswers()
  readonly #stall: StallWatch
  readonly #rotation: Rotation
  readonly #closings = new Set<Promise<void>>()
  readonly #notes: string[] = []
  #memory = new CallMemory([])
  #tools = new ToolMemory([])
  #session: BackendSession | null = null
  #resume: FailoverSnapshot | null = null
  #active: MemberSession | null = null
  #incoming: MemberSession | null = null
  #standby: MemberSession | null = null
  #successor: MemberSession | null = null
  #loss: Loss | null = null
  #serials = 0
  #served = false
  #over = false
  #settle: { readonly resolve: () => void; readonly reject: (error: GatewayError) => void } | null = null
  #connectTimer: (() => void) | null = null
  #holdTimer: (() => void) | null = null
  #standbyTimer: (() => void) | null = null
  #standbyTries = 0
  /** The session now serving repeats what the one before did: tools are not run for that. */
  #repeating = false
  #soundAwaitedFromMs = NaN
  #responsesFailed = 0
  #speaksUntilMs = -Infinity
  /** Position in the caller's audio up to which they have their answer; only where nobody marks speech for us. */
  #answeredTo = 0
  #speechFrom = 0
  /** Raised by everything that a session which is being prepared would have to know. */
  #activity = 0
  #activityPrepared = 0

  constructor(sink: BackendSink, options: FailoverOptions) {
    this.#sink = sink
    this.#options = options
    this.#unused = options.members.map((member, index) => new MemberSession(index, member, this, this.#numbering))
    const all = this.#unused.map((session) => (session as MemberSession).backend.capabilities)
    const [first] = all
    if (first === undefined) throw new GatewayError('AGENT_INVALID', 'a failover list needs one backend at least')
    this.#capabilities = {
      name: first.name,
      inputRateHz: options.inputRateHz ?? highest(all.map((one) => one.inputRateHz)),
      outputRateHz: highest(all.map((one) => one.outputRateHz)),
      serverVad: all.every((one) => one.serverVad),
      // Whether a member cares or not: the memory of what was said does.
      truncate: true,
      maxSessionMs: null,
    }
    const { inputRateHz } = this.#capabilities
    const missing = all.find((one) => one.inputRateHz !== inputRateHz)
    if (missing !== undefined && options.resamplers === undefined) {
      throw new GatewayError('AGENT_INVALID', `backend ${missing.name} takes ${missing.inputRateHz} Hz, the list ${inputRateHz} Hz, and there is no resampler`)
    }
    this.#circuits = options.circuits ?? new Circuits()
    this.#candidates = new Candidates(all.map((one) => this.#circuits.of(one.name)))
    this.#frame = new Int16Array(frameSamples(inputRateHz))
    this.#marginSamples = msToSamples(RE_FEED_MARGIN_MS, inputRateHz)
    this.#history = new AudioHistory({ sampleRateHz: inputRateHz, keepMsMax: Math.max(RE_FEED_MARGIN_MS, options.reFeedMs ?? RE_FEED_MS) })
    this.#stall = new StallWatch(options.timers, options.stallMs ?? FAILOVER_STALL_MS, (state) => this.#stalled(state))
    this.#rotation = new Rotation(options.timers, {
      quiet: () => this.#quiet(), prepare: () => this.#prepareSuccessor(), preparing: () => this.#successor !== null,
    })
  }

  /** `name` is that of the member which serves the call now; the rest is fixed. */
  get capabilities(): BackendCapabilities {
    const name = this.#active?.name
    return name === undefined || name === this.#capabilities.name ? this.#capabilities : { ...this.#capabilities, name }
  }

  // --- the call's side --------------------------------------------------------------------------------------

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    if (this.#over || this.#session !== null || signal.aborted) return Promise.reject(gone())
    this.#session = session
    this.#resume = snapshotOf(session.resume)
    this.#numbering.highest = this.#resume?.generation ?? 0
    this.#memory = new CallMemory(session.history)
    this.#tools = new ToolMemory(session.toolLedger)
    this.#repeating = session.toolLedger.length > 0
    signal.addEventListener('abort', () => {
      if (!this.#served) void this.close('the call ended')
    }, { once: true })
    const ready = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    const before = this.#resume?.member
    const preferred = before === undefined ? -1 : this.#unused.findIndex((one) => one?.name === before)
    this.#seek(vendorFault('internal', 'no backend was tried', true), preferred < 0 ? null : preferred)
    return ready
  }

  pushAudio(pcm: Int16Array): void {
    if (this.#over) return
    this.#history.push(pcm)
    this.#history.forget(this.#keptFrom())
    this.#active?.feed(pcm)
  }

  speechStart(atMs: number): void {
    if (this.#over || this.#capabilities.serverVad) return
    this.#heardSpeech(atMs)
    const active = this.#active
    if (active !== null && !active.backend.capabilities.serverVad) active.backend.speechStart(atMs)
  }

  speechEnd(atMs: number): void {
    if (this.#over || this.#capabilities.serverVad || !this.#inputs.speaking) return
    this.#inputs.speechEnded(this.#history.written)
    const active = this.#active
    if (active !== null && !active.backend.capabilities.serverVad) active.backend.speechEnd(atMs)
    const voiceToMs = samplesToMs(this.#history.written - this.#speechFrom, this.#capabilities.inputRateHz) - (this.#options.timers.nowMs() - atMs)
    if (voiceToMs >= REAL_SPEECH_MS) this.#stall.spoken()
  }

  sendText(text: string, options: { readonly role: 'caller' | 'system'; readonly respond: boolean }): void {
    if (this.#over) return
    this.#activity++
    if (options.respond) {
      this.#inputs.text(text, options.role, this.#history.written)
      this.#stall.asked()
    } else {
      this.#notes.push(text)
      if (this.#notes.length > BACKEND_WAITING_TEXTS_MAX) this.#notes.shift()
    }
    this.#active?.backend.sendText(text, options)
  }

  dtmf(digit: string): void {
    if (this.#over) return
    this.#activity++
    this.#inputs.digit(digit, this.#history.written)
    this.#active?.backend.dtmf(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (this.#over) return
    const active = this.#active
    const known = this.#tools.answered(callId, reply)
    if (known === null) {
      // Asked for in an earlier life of this call, or nothing at all: the backend knows.
      const inner = active?.inner(callId) ?? null
      if (inner !== null) active?.backend.toolResult(inner, reply)
      return
    }
    this.#activity++
    if (active === null) return
    const inners = known.callIds.flatMap((id) => active.inner(id) ?? [])
    for (const inner of inners) active.backend.toolResult(inner, reply)
    if (inners.length === 0) active.backend.sendText(lateToolText(known.name, reply), { role: 'system', respond: false })
    else if (!this.#tools.running) this.#stall.asked()
  }

  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (this.#over) return
    this.#stall.stop()
    this.#speaksUntilMs = this.#options.timers.nowMs()
    this.#memory.interrupted(heard.itemId, heard.playedMs, (generation) => this.#answers.has(generation))
    const active = this.#active
    const itemId = heard.itemId === null ? null : active?.inner(heard.itemId) ?? null
    active?.backend.interrupt({ itemId, playedMs: itemId === null ? 0 : heard.playedMs })
  }

  updateSession(update: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    if (this.#over || this.#session === null) return
    this.#session = { ...this.#session, ...update }
    for (const one of [this.#active, this.#incoming, this.#standby, this.#successor]) one?.backend.updateSession(update)
  }

  snapshot(): FailoverSnapshot | null {
    const active = this.#active
    if (active === null) return null
    return { version: 1, member: active.name, serial: active.serial, generation: this.#numbering.highest, state: active.backend.snapshot() }
  }

  async close(reason: string): Promise<void> {
    if (!this.#over) {
      this.#end(reason)
      const settle = this.#settle
      this.#settle = null
      settle?.reject(gone())
      await this.#closedMembers()
      this.#sink.event({ type: 'closed', code: CLOSE_NORMAL, reason, clean: true })
      return
    }
    await this.#closedMembers()
  }

  // --- the members' side ------------------------------------------------------------------------------------

  sessionAudio(session: MemberSession, pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    if (session !== this.#active) {
      this.stats.lateDropped++
      return
    }
    const nowMs = this.#options.timers.nowMs()
    const ms = samplesToMs(pcm.length, sampleRateHz)
    const answer = this.#answer(generation)
    answer.soundMs += ms
    answer.itemsOpen.add(itemId)
    this.#memory.sound(itemId, ms, answer.order, generation)
    this.#speaksUntilMs = Math.max(this.#speaksUntilMs, nowMs) + ms
    this.#stall.stop()
    if (!Number.isNaN(this.#soundAwaitedFromMs)) {
      this.stats.soundMsLast = nowMs - this.#soundAwaitedFromMs
      this.#soundAwaitedFromMs = NaN
      this.#cancelHold()
    }
    session.pass?.succeeded(nowMs)
    this.#sink.audio(pcm, sampleRateHz, itemId, generation)
  }

  sessionEvent(session: MemberSession, event: BackendEvent): void {
    if (event.type === 'usage') {
      this.#sink.event(event)
      return
    }
    if (event.type === 'error' && event.fatal) {
      this.#failed(session, event)
    } else if (event.type === 'closed') {
      this.#failed(session, vendorFault('network', `${session.name}: closed with ${event.code}`, true))
    } else if (session === this.#active) {
      this.#fromActive(session, event)
    } else if (session === this.#standby && event.type === 'expiring') {
      this.#dropStandby()
    }
  }

  #fromActive(session: MemberSession, event: Exclude<BackendEvent, EventOf<'usage' | 'closed'>>): void {
    if (event.type !== 'ready' && event.type !== 'expiring') this.#stall.signOfLife()
    switch (event.type) {
      case 'ready':
        return
      case 'expiring':
        return this.#rotation.expiring(event.inMs)
      case 'turn-start':
        this.#activity++
        this.#answer(event.generation)
        return this.#pass(event)
      case 'audio-done':
        this.#answers.get(event.generation)?.itemsOpen.delete(event.itemId)
        this.#memory.whole(event.itemId)
        return this.#pass(event)
      case 'turn-done':
        return this.#turnDone(session, event)
      case 'transcript':
        return this.#words(event)
      case 'tool-call':
        return this.#toolCall(session, event)
      case 'tool-cancel':
        this.#tools.cancelled(event.callIds)
        return this.#pass(event)
      case 'speech-started':
        if (!this.#capabilities.serverVad) return
        // It tells of it late: the beginning lies in what is kept.
        this.#heardSpeech(this.#options.timers.nowMs() - (RE_FEED_MARGIN_MS - BACKEND_PRE_ROLL_MS))
        return this.#pass(event)
      case 'speech-stopped':
        if (!this.#capabilities.serverVad) return
        this.#inputs.speechEnded(this.#history.written)
        this.#stall.asked()
        return this.#pass(event)
      case 'error':
        // It says itself that it will not serve us for a while.
        if (event.code === 'rate_limit' && this.#candidates.hasBetterThan(session.index, this.#options.timers.nowMs())) {
          return this.#failed(session, event)
        }
        return this.#pass(event)
      default:
        return this.#pass(event)
    }
  }

  #turnDone(session: MemberSession, event: EventOf<'turn-done'>): void {
    const { status } = event
    if (status === 'failed') {
      const busy = /rate_?limit/i.test(event.reason ?? '')
      this.#responsesFailed++
      const enough = busy || this.#responsesFailed >= FAILOVER_RESPONSES_FAILED_MAX
      if (enough && this.#candidates.hasBetterThan(session.index, this.#options.timers.nowMs())) {
        const words = `${session.name}: ${this.#responsesFailed} answers failed`
        return this.#failed(session, vendorFault(busy ? 'rate_limit' : 'internal', words, true), 'responses-failed')
      }
    }
    const answer = this.#answers.end(event.generation)
    const given = status === 'completed' || (status === 'cancelled' && (answer?.soundMs ?? 0) > 0)
    if (answer !== undefined && given && answer.calls === 0) {
      this.#inputs.answered(answer.order)
      this.#answeredTo = Math.max(this.#answeredTo, answer.at)
    }
    if (status === 'completed') {
      this.#responsesFailed = 0
      if (answer?.calls === 0) {
        this.#stall.stop()
        if (answer.soundMs > 0) this.#repeating = false
      }
    }
    this.#pass(event)
  }

  #words(event: EventOf<'transcript'>): void {
    const { role, itemId, text, generation } = event
    if (role === 'agent') {
      // Words may come when their answer is over.
      const order = this.#answers.get(generation)?.order ?? this.#memory.orderOf(role, itemId) ?? this.#inputs.takeOrder()
      this.#memory.words(role, itemId, text, order, generation)
      return this.#pass(event)
    }
    this.#activity++
    const order = this.#memory.orderOf(role, itemId) ?? this.#inputs.heardNow()?.order ?? this.#inputs.takeOrder()
    this.#memory.words(role, itemId, text, order, generation)
    const waits = event.final && text.trim() !== '' && this.#inputs.isOpen(order) && !this.#inputs.speaking
    this.#pass(event)
    if (waits && !this.#answers.sounding && !this.#tools.running) this.#stall.asked()
  }

  #toolCall(session: MemberSession, event: EventOf<'tool-call'>): void {
    this.#activity++
    const answer = this.#answers.get(event.generation)
    if (answer !== undefined) answer.calls++
    this.#stall.stop()
    const known = this.#repeating && event.invalid === undefined ? this.#tools.askedAgain(event.callId, event.name, event.args) : null
    if (known === null) {
      this.#tools.asked(event.callId, event.name, event.args)
      return this.#pass(event)
    }
    this.stats.toolsSpared++
    const inner = session.inner(event.callId)
    if (known.type === 'answered' && inner !== null) {
      session.backend.toolResult(inner, known.reply)
      this.#stall.asked()
    }
  }

  // --- losing a backend and finding another -----------------------------------------------------------------

  #failed(session: MemberSession, fault: VendorFault, reason: string = fault.code): void {
    if (session.phase === 'over') return
    const nowMs = this.#options.timers.nowMs()
    session.pass?.failed(fault.code, fault.message, nowMs)
    this.#retire(session, 'failed')
    if (session === this.#active) return this.#lost(session, fault, reason)
    this.#candidates.failed(session.index, fault.retryable, nowMs)
    if (session === this.#incoming) {
      this.#incoming = null
      this.#connectTimer?.()
      if (this.#candidates.next(nowMs) !== null) this.#pass(faultEvent({ ...fault, fatal: false }))
      this.#seek(fault)
    } else if (session === this.#standby) {
      this.#standby = null
      this.stats.standbysLost++
      this.#standbyLater()
    } else if (session === this.#successor) {
      this.#successor = null
      this.stats.rotationsAbandoned++
    }
  }

  /** The backend that served the call is gone. */
  #lost(session: MemberSession, fault: VendorFault, reason: string): void {
    const nowMs = this.#options.timers.nowMs()
    this.#active = null
    this.#rotation.stop()
    this.#loss = { from: session.name, index: session.index, atMs: nowMs, reason }
    const waiting = this.#inputs.list.length > 0 || this.#answers.size > 0
    const waitingSinceMs = this.#stall.sinceMs ?? nowMs
    this.#stall.stop()
    this.#cutAnswers()
    if (this.#over) return
    this.stats.failovers++
    this.#candidates.begin()
    // At the end of its time the same service is as good as it was.
    const sameAgain = fault.code === 'session_expired'
    if (!sameAgain) this.#candidates.failed(session.index, fault.retryable, nowMs)
    if (this.stats.failovers > (this.#options.failoversMax ?? FAILOVERS_MAX) || this.#candidates.next(nowMs) === null) {
      return this.#giveUp(fault)
    }
    this.#pass(faultEvent({ ...fault, fatal: false }))
    if (waiting) {
      this.#soundAwaitedFromMs = nowMs
      const holdAfterMs = this.#options.holdAfterMs ?? FAILOVER_HOLD_MS
      this.#cancelHold()
      this.#holdTimer = this.#options.timers.after(Math.max(0, holdAfterMs - (nowMs - waitingSinceMs)), () => {
        this.#holdTimer = null
        this.#pass({ type: 'holding' })
      })
    }
    this.#seek(fault, sameAgain ? session.index : null)
  }

  #seek(fault: VendorFault, preferred: number | null = null): void {
    if (this.#over) return
    const nowMs = this.#options.timers.nowMs()
    const successor = this.#successor
    if (successor !== null) {
      // The session that was to replace it anyway.
      this.#successor = null
      successor.stale ||= this.#activity !== this.#activityPrepared
      return this.#await(successor)
    }
    const standby = this.#standby
    if (standby?.phase === 'ready' && preferred === null && this.#candidates.isFree(standby.index)) {
      this.#standby = null
      return this.#await(standby)
    }
    const index = this.#candidates.next(nowMs, preferred)
    if (index === null) return this.#giveUp(fault)
    if (standby?.index === index) {
      this.#standby = null
      return this.#await(standby)
    }
    const session = this.#take(index)
    this.#incoming = session
    this.#patience(session)
    this.#connect(session)
  }

  /** A session that is there, or on its way, takes over. */
  #await(session: MemberSession): void {
    this.#incoming = session
    if (session.phase === 'ready') this.#promote(session)
    else this.#patience(session)
  }

  /** While there is another, a slow one is not waited for. */
  #patience(session: MemberSession): void {
    this.#candidates.tried(session.index)
    this.#connectTimer?.()
    this.#connectTimer = null
    if (this.#candidates.next(this.#options.timers.nowMs()) === null) return
    const connectMs = this.#options.connectMs ?? FAILOVER_CONNECT_MS
    this.#connectTimer = this.#options.timers.after(connectMs, () => {
      this.#connectTimer = null
      this.#failed(session, vendorFault('timeout', `${session.name}: not ready ${connectMs} ms after the connection was begun`, true))
    })
  }

  #take(index: number): MemberSession {
    const unused = this.#unused[index]
    this.#unused[index] = null
    return unused ?? new MemberSession(index, this.#options.members[index] as FailoverOptions['members'][number], this, this.#numbering)
  }

  #connect(session: MemberSession, resume: unknown = null): void {
    const first = this.#session as BackendSession
    const before = this.#resume
    const isHeir = before !== null && before.member === session.name
    // The ids that a checkpoint knows must still mean this session.
    session.serial = isHeir ? before.serial : Math.max(this.#serials, before?.serial ?? 0) + 1
    this.#serials = Math.max(this.#serials, session.serial)
    if (isHeir) this.#resume = null
    session.pass = this.#circuits.of(session.name).enter(this.#options.timers.nowMs())
    session.answersKnown = this.#tools.answers
    const { voice } = session.member
    const told: BackendSession = {
      ...first,
      ...(voice === undefined ? {} : { voice }),
      history: this.#memory.history((order) => this.#inputs.isOpen(order)),
      toolLedger: this.#tools.ledger(),
      resume: isHeir ? before.state : resume,
    }
    session.connect(told, this.#resamplerFor(session), this.#frame.length).then(
      () => this.#connected(session),
      (error: unknown) => this.#failed(session, faultOf(session.name, error)),
    )
  }

  #resamplerFor(session: MemberSession): StreamResampler | null {
    const { inputRateHz } = session.backend.capabilities
    const { resamplers } = this.#options
    return resamplers === undefined || inputRateHz === this.#capabilities.inputRateHz
      ? null : resamplers.open(this.#capabilities.inputRateHz, inputRateHz)
  }

  #connected(session: MemberSession): void {
    if (session.phase !== 'connecting') return
    session.phase = 'ready'
    if (session === this.#incoming) return this.#promote(session)
    if (session !== this.#successor) return
    this.#successor = null
    session.stale ||= this.#activity !== this.#activityPrepared
    if (session.stale && !this.#rotation.last) {
      // Something was said meanwhile that it does not know.
      this.stats.rotationsAbandoned++
      this.#retire(session, 'too late')
      return
    }
    this.#rotate(session)
  }

  #promote(session: MemberSession): void {
    const { timers } = this.#options
    const loss = this.#loss
    this.#connectTimer?.()
    this.#connectTimer = null
    this.#incoming = null
    this.#loss = null
    const first = !this.#served
    this.#served = true
    // What the call does at once is entered in the books, and then given with the rest.
    if (first) this.#pass({ type: 'ready' })
    if (this.#over) return
    this.#active = session
    this.#repeating ||= loss !== null
    this.#responsesFailed = 0
    this.#candidates.begin()
    this.#rotation.begin(session.backend.capabilities.maxSessionMs)
    this.#tellAll(session, loss !== null)
    if (loss !== null && !this.#over) {
      const gapMs = timers.nowMs() - loss.atMs
      this.stats.gapMsLast = gapMs
      this.stats.gapMsMax = Math.max(gapMs, Number.isNaN(this.stats.gapMsMax) ? 0 : this.stats.gapMsMax)
      this.#pass({ type: 'failover', from: loss.from, to: session.name, gapMs, reason: loss.reason })
    }
    const settle = this.#settle
    this.#settle = null
    settle?.resolve()
    this.#standBy()
  }

  /** Everything that the session now serving has not been told. */
  #tellAll(session: MemberSession, takesOver: boolean): void {
    const { backend, member } = session
    const inputs = [...this.#inputs.list]
    const history = this.#memory.history((order) => this.#inputs.isOpen(order))
    const note = (text: string): void => backend.sendText(text, { role: 'system', respond: false })
    for (const text of this.#notes) note(text)
    if (session.stale) note(recapText(history, this.#tools.ledger()))
    else for (const { name, reply } of this.#tools.answersSince(session.answersKnown)) note(lateToolText(name, reply))
    if (takesOver && member.scripted === true && inputs[0]?.type !== 'text') backend.sendText('', { role: 'system', respond: true })
    const known = this.#session as BackendSession
    const from = this.#reFeedFrom()
    const { oldest } = this.#history
    if (oldest > from) this.stats.lostSamples += oldest - Math.max(0, from)
    this.stats.reFedSamples += reFeed({
      session, history: this.#history, from, inputs, timers: this.#options.timers, frame: this.#frame,
      // To begin means something else for a session that was connected before anything was said.
      wording: (text) => (text === '' && session.stale ? openingText({ ...known, history }) : text),
    })
    if (inputs.some((input) => input.type === 'text')) this.#stall.asked()
    else if (inputs.length > 0 && !this.#inputs.speaking) this.#stall.spoken()
  }

  /** Nobody is left. */
  #giveUp(fault: VendorFault): void {
    const settle = this.#settle
    this.#settle = null
    const final = { ...fault, fatal: true }
    this.#end('failed')
    this.#sink.event(faultEvent(final))
    this.#sink.event({ type: 'closed', code: CLOSE_ABNORMAL, reason: fault.message, clean: false })
    settle?.reject(faultError(final))
  }

  // --- rotation and standby ---------------------------------------------------------------------------------

  #quiet(): boolean {
    return this.#active !== null && this.#answers.size === 0 && this.#inputs.list.length === 0 && !this.#tools.running
      && this.#options.timers.nowMs() >= this.#speaksUntilMs + ROTATION_QUIET_MS
  }

  #prepareSuccessor(): void {
    const active = this.#active
    if (active === null) return
    const session = this.#take(active.index)
    this.#successor = session
    this.#activityPrepared = this.#activity
    this.#connect(session, active.backend.snapshot())
  }

  #rotate(session: MemberSession): void {
    const old = this.#active
    if (old === null) return
    this.stats.rotations++
    this.#active = null
    this.#stall.stop()
    this.#loss = { from: old.name, index: old.index, atMs: this.#options.timers.nowMs(), reason: 'rotation' }
    this.#retire(old, 'replaced')
    this.#cutAnswers()
    if (!this.#over) this.#promote(session)
  }

  /** Connects the next of the list beside the one that serves. */
  #standBy(): void {
    const active = this.#active
    if (this.#options.standby !== true || this.#over || active === null || this.#standby !== null) return
    const index = this.#candidates.beside(active.index, (i) => this.#options.members[i]?.scripted !== true, this.#options.timers.nowMs())
    if (index === null) return this.#standbyLater()
    const session = this.#take(index)
    session.stale = true
    this.#standby = session
    this.#connect(session)
  }

  #standbyLater(): void {
    if (this.#over || this.#standbyTimer !== null || this.#standbyTries >= STANDBY_TRIES_MAX) return
    this.#standbyTries++
    this.#standbyTimer = this.#options.timers.after(STANDBY_RETRY_MS, () => {
      this.#standbyTimer = null
      this.#standBy()
    })
  }

  #dropStandby(): void {
    const standby = this.#standby
    this.#standby = null
    if (standby !== null) this.#retire(standby, 'stood by for too long')
    this.#standBy()
  }

  // --- the books --------------------------------------------------------------------------------------------

  #answer(generation: number): NonNullable<ReturnType<OpenAnswers['get']>> {
    return this.#answers.get(generation) ?? this.#answers.begin(generation, this.#inputs.takeOrder(), this.#history.written)
  }

  #heardSpeech(atMs: number): void {
    this.#stall.stop()
    const behind = Math.max(0, msToSamples(this.#options.timers.nowMs() - atMs, this.#capabilities.inputRateHz))
    const start = Math.max(this.#history.oldest, this.#history.written - behind)
    // At the beginning of a frame, so that whole frames are given again.
    this.#speechFrom = Math.floor(start / this.#frame.length) * this.#frame.length
    this.#inputs.speechStarted(this.#speechFrom)
  }

  #stalled(state: 'asked' | 'spoken'): void {
    const active = this.#active
    // A dialogue on this machine says nothing where it has nothing to say.
    if (active === null || active.member.scripted === true || this.#inputs.speaking || this.#inputs.list.length === 0) return
    // With nobody to take over silence is for the call to deal with, and silence after a noise is none.
    if (!this.#candidates.hasBetterThan(active.index, this.#options.timers.nowMs())) return
    if (state === 'spoken' && this.stats.stalls > 0) return
    this.stats.stalls++
    const waitedMs = this.#options.stallMs ?? FAILOVER_STALL_MS
    this.#failed(active, vendorFault('timeout', `${active.name}: silent for ${waitedMs} ms after it was asked`, true), 'stall')
  }

  /** The answers that were being given end here. What was delivered of them is heard. */
  #cutAnswers(): void {
    for (const { generation, itemsOpen } of this.#answers.takeAll()) {
      for (const itemId of itemsOpen) this.#pass({ type: 'audio-done', generation, itemId })
      this.#pass({ type: 'turn-done', generation, status: 'cancelled', reason: 'failover' })
    }
  }

  /** The oldest sample that somebody may still need. */
  #keptFrom(): number {
    if (this.#capabilities.serverVad) return this.#answeredTo
    const margin = this.#history.written - this.#marginSamples
    const { firstSpeechAt } = this.#inputs
    return firstSpeechAt === null ? margin : Math.min(margin, firstSpeechAt - this.#marginSamples)
  }

  #reFeedFrom(): number {
    if (this.#capabilities.serverVad) return this.#answeredTo
    const margin = this.#history.written - this.#marginSamples
    const { firstSpeechAt } = this.#inputs
    const preRoll = msToSamples(BACKEND_PRE_ROLL_MS, this.#capabilities.inputRateHz)
    const from = firstSpeechAt === null ? margin : Math.min(margin, firstSpeechAt - preRoll)
    return Math.max(0, Math.floor(from / this.#frame.length) * this.#frame.length)
  }

  #cancelHold(): void {
    this.#holdTimer?.()
    this.#holdTimer = null
  }

  #pass(event: BackendEvent): void {
    if (!this.#over) this.#sink.event(event)
  }

  // --- the end ----------------------------------------------------------------------------------------------

  #retire(session: MemberSession, reason: string): void {
    const closing: Promise<void> = session.retire(reason).finally(() => this.#closings.delete(closing))
    this.#closings.add(closing)
  }

  #end(reason: string): void {
    this.#over = true
    this.#stall.stop()
    this.#rotation.stop()
    this.#connectTimer?.()
    this.#standbyTimer?.()
    this.#cancelHold()
    for (const session of [this.#active, this.#incoming, this.#standby, this.#successor, ...this.#unused]) {
      if (session !== null) this.#retire(session, reason)
    }
    this.#history.release()
  }

  /** Resolves when all members are closed, or are not waited for any longer. */
  async #closedMembers(): Promise<void> {
    if (this.#closings.size === 0) return
    let cancel: () => void = () => undefined
    const patience = new Promise<void>((resolve) => {
      cancel = this.#options.timers.after(MEMBER_CLOSE_MS, resolve)
    })
    await Promise.race([Promise.allSettled([...this.#closings]), patience])
    cancel()
  }
}

function highest(rates: readonly SampleRateHz[]): SampleRateHz {
  return rates.reduce((a, b) => (a > b ? a : b))
}

function gone(): GatewayError {
  return new GatewayError('BACKEND_CLOSED', 'the call ended before its backend was connected')
}

const FAULT_CODES = {
  BACKEND_AUTH: 'auth', BACKEND_RATE_LIMIT: 'rate_limit', BACKEND_QUOTA: 'quota', BACKEND_SESSION_EXPIRED: 'session_expired',
  BACKEND_BAD_REQUEST: 'bad_request', BACKEND_NETWORK: 'network', BACKEND_TIMEOUT: 'timeout',
} as const

/** A rejection of `connect` as a fault; most were told as an event before. */
function faultOf(name: string, error: unknown): VendorFault {
  if (!(error instanceof GatewayError)) return { code: 'internal', message: `${name}: failed while it connected`, fatal: true, retryable: false }
  const code = FAULT_CODES[error.code as keyof typeof FAULT_CODES] ?? 'internal'
  return { code, message: error.message, fatal: true, retryable: error.retryable }
}
