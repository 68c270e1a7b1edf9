import { GatewayError } from '../../core/errors.js'
import { BACKEND_PRE_ROLL_MS, FAILOVER_RESPONSES_FAILED_MAX, FAILOVER_STALL_MS, INPUT_REPLAY_MARGIN_MS } from '../../core/limits.js'
import { samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import type { Backend, BackendCapabilities, BackendEvent, BackendSession, BackendSink, ToolReply, ToolSpec } from '../backend.js'
import { faultError, faultEvent, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { CallSoFar } from './call-so-far.js'
import type { Told } from './call-so-far.js'
import { Crew } from './crew.js'
import type { CrewEvents } from './crew.js'
import type { MemberSession } from './member-session.js'
import type { FailoverOptions, FailoverReport, FailoverStats } from './options.js'
import { snapshotOf } from './snapshot.js'
import type { FailoverSnapshot } from './snapshot.js'
import { StallWatch } from './stall-watch.js'
import type { StallState } from './stall-watch.js'
import { Succession } from './succession.js'
import { lateToolText } from './texts.js'

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006
/** Shorter speech was no question. */
const REAL_SPEECH_MS = 200

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
 * What the members are given is entered in `CallSoFar` first, whoever is there; a takeover reads it from there, so that no
 * word depends on when exactly a backend was lost. All events that are passed on carry the call's numbers and ids
 * (`MemberSession`), and what a retired backend still says is dropped.
 *
 * Members may differ in rate and in who hears the caller's turns. The call sees one rate, and `serverVad` only where every
 * member listens by itself; otherwise the gateway's VAD marks the turns, and members with ears of their own hear the same
 * audio and are not told. Such a list works best with all members set to the gateway's turns.
 */
export class FailoverBackend implements Backend, CrewEvents {
  readonly stats: FailoverStats = {
    failovers: 0, rotations: 0, stalls: 0, gapMsLast: NaN, gapMsMax: NaN, soundMsLast: NaN, reFedSamples: 0, lostSamples: 0,
    toolsSpared: 0, lateDropped: 0, rotationsAbandoned: 0, standbysLost: 0,
  }

  readonly #sink: BackendSink
  readonly #options: FailoverOptions
  readonly #crew: Crew
  readonly #call: CallSoFar
  readonly #stall: StallWatch
  readonly #succession: Succession
  #begun = false
  #over = false
  #settle: { readonly resolve: () => void; readonly reject: (error: GatewayError) => void } | null = null
  /** The session now serving repeats what the one before did: tools are not run for that. */
  #repeating = false
  #responsesFailed = 0

  /** @throws GatewayError where no member can be made, or a rate cannot be reached */
  constructor(sink: BackendSink, options: FailoverOptions) {
    const { timers } = options
    this.#sink = sink
    this.#options = options
    this.#crew = new Crew(options, this)
    const { inputRateHz, serverVad } = this.#crew.capabilities
    this.#call = new CallSoFar({ timers, inputRateHz, unmarked: serverVad, reFeedMs: options.reFeedMs })
    this.#stall = new StallWatch(timers, options.stallMs ?? FAILOVER_STALL_MS, (state) => this.#stalled(state))
    this.#succession = new Succession(options, this.#crew, this.#call, this.stats, {
      event: (event) => this.#pass(event),
      vacated: () => this.#vacated(),
      ready: () => this.#pass({ type: 'ready' }),
      serving: (told) => this.#serving(told),
      gaveUp: (fault) => this.#giveUp(fault),
    })
  }

  /** `name` is that of the member which serves the call now; the rest is fixed. */
  get capabilities(): BackendCapabilities {
    const { capabilities } = this.#crew
    const name = this.#succession.active?.name
    return name === undefined || name === capabilities.name ? capabilities : { ...capabilities, name }
  }

  // --- the call's side --------------------------------------------------------------------------------------

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    if (this.#over || this.#begun || signal.aborted) return Promise.reject(gone())
    this.#begun = true
    this.#call.begin(session)
    this.#repeating = session.toolLedger.length > 0
    signal.addEventListener('abort', () => {
      if (!this.#succession.served) void this.close('the call ended')
    }, { once: true })
    const ready = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.#succession.begin(session, snapshotOf(session.resume))
    return ready
  }

  pushAudio(pcm: Int16Array, voiced = true): void {
    if (this.#over) return
    this.#call.audio(pcm, voiced)
    this.#succession.active?.feed(pcm)
  }

  speechStart(atMs: number): void {
    if (this.#over || this.#crew.capabilities.serverVad) return
    this.#stall.stop()
    this.#call.speechStarted(atMs)
    const { active } = this.#succession
    if (active !== null && !active.backend.capabilities.serverVad) active.backend.speechStart(atMs)
  }

  speechEnd(atMs: number): void {
    if (this.#over || this.#crew.capabilities.serverVad || !this.#call.inputs.speaking) return
    const voiceMs = this.#call.speechEnded(atMs)
    const { active } = this.#succession
    if (active !== null && !active.backend.capabilities.serverVad) active.backend.speechEnd(atMs)
    if (voiceMs >= REAL_SPEECH_MS) this.#stall.spoken()
  }

  sendText(text: string, options: { readonly role: 'caller' | 'system'; readonly respond: boolean }): void {
    if (this.#over) return
    if (options.respond) {
      this.#call.question(text, options.role)
      this.#stall.asked()
    } else {
      this.#call.note(text)
    }
    this.#succession.active?.backend.sendText(text, options)
  }

  dtmf(digit: string): void {
    if (this.#over) return
    this.#call.digit(digit)
    this.#succession.active?.backend.dtmf(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (this.#over) return
    const { active } = this.#succession
    const { tools } = this.#call
    const known = tools.answered(callId, reply)
    if (known === null) {
      // Asked for in an earlier life of this call, or nothing at all: the backend knows.
      const inner = active?.inner(callId) ?? null
      if (inner !== null) active?.backend.toolResult(inner, reply)
      return
    }
    this.#call.activity++
    if (active === null) return
    const inners = known.callIds.flatMap((id) => active.inner(id) ?? [])
    for (const inner of inners) active.backend.toolResult(inner, reply)
    if (inners.length === 0) active.backend.sendText(lateToolText(known.name, reply), { role: 'system', respond: false })
    else if (!tools.running) this.#stall.asked()
  }

  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (this.#over) return
    this.#stall.stop()
    this.#call.interrupted(heard.itemId, heard.playedMs)
    const { active } = this.#succession
    const itemId = heard.itemId === null ? null : active?.inner(heard.itemId) ?? null
    active?.backend.interrupt({ itemId, playedMs: itemId === null ? 0 : heard.playedMs })
  }

  updateSession(update: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    if (!this.#over) this.#succession.updateSession(update)
  }

  snapshot(): FailoverSnapshot | null {
    const { active } = this.#succession
    if (active === null) return null
    return {
      version: 1, member: active.name, serial: active.serial, generation: this.#crew.numbering.highest, state: active.backend.snapshot(),
    }
  }

  /** What the list did so far; a copy. */
  failoverReport(): FailoverReport {
    const { gapMsLast, gapMsMax, soundMsLast, reFedSamples, lostSamples, ...counters } = this.stats
    const { inputRateHz } = this.#crew.capabilities
    return {
      ...counters,
      gapMsLast: orNull(gapMsLast), gapMsMax: orNull(gapMsMax), soundMsLast: orNull(soundMsLast),
      reFedMs: samplesToMs(reFedSamples, inputRateHz), lostMs: samplesToMs(lostSamples, inputRateHz),
      irregular: this.#crew.irregular(),
    }
  }

  async close(reason: string): Promise<void> {
    const first = !this.#over
    if (first) {
      this.#end(reason)
      this.#settle?.reject(gone())
      this.#settle = null
    }
    await this.#crew.closed()
    if (first) this.#sink.event({ type: 'closed', code: CLOSE_NORMAL, reason, clean: true })
  }

  // --- the members' side ------------------------------------------------------------------------------------

  sessionAudio(session: MemberSession, pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    if (session !== this.#succession.active) return this.late()
    this.#call.sound(generation, itemId, samplesToMs(pcm.length, sampleRateHz))
    this.#stall.sounding()
    this.#succession.sounded(session)
    this.#sink.audio(pcm, sampleRateHz, itemId, generation)
  }

  sessionEvent(session: MemberSession, event: BackendEvent): void {
    if (event.type === 'usage') this.#pass(event)
    else if (event.type === 'error' && event.fatal) this.#succession.failed(session, event)
    else if (event.type === 'closed') this.#succession.failed(session, vendorFault('network', `${session.name}: closed with ${event.code}`, true))
    else if (event.type === 'expiring') this.#succession.expiring(session, event.inMs)
    else if (session === this.#succession.active) this.#activeSays(session, event)
  }

  late(): void {
    this.stats.lateDropped++
  }

  connected(session: MemberSession): void {
    this.#succession.connected(session)
  }

  refused(session: MemberSession, fault: VendorFault): void {
    this.#succession.failed(session, fault)
  }

  #activeSays(session: MemberSession, event: Exclude<BackendEvent, EventOf<'usage' | 'closed' | 'expiring'>>): void {
    if (event.type !== 'ready') this.#stall.signOfLife()
    switch (event.type) {
      case 'ready':
        return
      case 'turn-start':
        this.#call.activity++
        this.#call.answer(event.generation)
        // An answer that is begun is owed, even where the question may have been a noise.
        if (!this.#call.answers.sounding && !this.#call.inputs.speaking) this.#stall.asked()
        return this.#pass(event)
      case 'audio-done':
        this.#call.audioDone(event)
        return this.#pass(event)
      case 'turn-done':
        return this.#turnDone(session, event)
      case 'transcript':
        if (event.role === 'agent') this.#call.agentWords(event)
        else if (this.#call.callerWords(event)) this.#stall.asked()
        return this.#pass(event)
      case 'tool-call':
        return this.#toolCall(session, event)
      case 'tool-cancel':
        this.#call.tools.cancelled(event.callIds)
        return this.#pass(event)
      case 'speech-started':
        if (!this.#crew.capabilities.serverVad) return
        this.#stall.stop()
        // It tells of it late: the beginning lies in what is kept.
        this.#call.speechStarted(this.#options.timers.nowMs() - (INPUT_REPLAY_MARGIN_MS - BACKEND_PRE_ROLL_MS))
        return this.#pass(event)
      case 'speech-stopped':
        if (!this.#crew.capabilities.serverVad) return
        this.#call.speechEnded(this.#options.timers.nowMs())
        this.#stall.asked()
        return this.#pass(event)
      case 'error':
        // It says itself that it will not serve us for a while.
        if (event.code === 'rate_limit' && this.#succession.hasBetterThan(session)) return this.#succession.failed(session, event)
        this.#crew.watch.fault({ backend: session.name, code: event.code, message: event.message, sessionLost: false })
        return this.#pass(event)
      default:
        return this.#pass(event)
    }
  }

  #turnDone(session: MemberSession, event: EventOf<'turn-done'>): void {
    const { status } = event
    if (status === 'failed') {
      this.#responsesFailed++
      const busy = /rate_?limit/i.test(event.reason ?? '')
      // What was asked is asked again of the next one, so the caller need not hear of it.
      if ((busy || this.#responsesFailed >= FAILOVER_RESPONSES_FAILED_MAX) && this.#succession.hasBetterThan(session)) {
        const words = `${session.name}: ${this.#responsesFailed} answers failed`
        return this.#succession.failed(session, vendorFault(busy ? 'rate_limit' : 'internal', words, true), 'responses-failed')
      }
    }
    const answer = this.#call.turnDone(event)
    if (answer?.calls === 0) this.#stall.stop()
    if (status === 'completed') {
      this.#responsesFailed = 0
      if (answer?.calls === 0 && answer.soundMs > 0) this.#repeating = false
    }
    this.#pass(event)
  }

  #toolCall(session: MemberSession, event: EventOf<'tool-call'>): void {
    const { tools, answers } = this.#call
    const { callId, name, args } = event
    this.#call.activity++
    const answer = answers.get(event.generation)
    if (answer !== undefined) answer.calls++
    this.#stall.stop()
    const known = this.#repeating && event.invalid === undefined ? tools.askedAgain(callId, name, args) : null
    if (known === null) {
      tools.asked(callId, name, args)
      return this.#pass(event)
    }
    this.stats.toolsSpared++
    const inner = session.inner(callId)
    if (known.type === 'running' || inner === null) return
    session.backend.toolResult(inner, known.reply)
    this.#stall.asked()
  }

  // --- the succession's side --------------------------------------------------------------------------------

  #vacated(): number | null {
    const { sinceMs } = this.#stall
    this.#stall.stop()
    this.#repeating = true
    this.#responsesFailed = 0
    return sinceMs
  }

  #serving(told: Told): void {
    if (told.texts > 0) this.#stall.asked()
    else if (told.inputs > 0 && !this.#call.inputs.speaking) this.#stall.spoken()
    this.#settle?.resolve()
    this.#settle = null
  }

  #giveUp(fault: VendorFault): void {
    const settle = this.#settle
    this.#settle = null
    const final = { ...fault, fatal: true }
    this.#end('failed')
    this.#sink.event(faultEvent(final))
    this.#sink.event({ type: 'closed', code: CLOSE_ABNORMAL, reason: fault.message, clean: false })
    settle?.reject(faultError(final))
  }

  #stalled(state: StallState): void {
    const { active } = this.#succession
    const { inputs, answers, tools, speaksUntilMs } = this.#call
    const { timers, stallMs = FAILOVER_STALL_MS } = this.#options
    // A dialogue on this machine says nothing where it has nothing to say.
    if (active === null || active.member.scripted === true || inputs.speaking || inputs.list.length === 0 || tools.running) return
    if (state === 'sounding') {
      if (answers.size === 0) return
      // Sound comes faster than it is heard: only when it has run out the caller waits.
      const leftMs = speaksUntilMs + stallMs - timers.nowMs()
      if (leftMs > 0) return this.#stall.again(state, leftMs)
    }
    // With nobody to take over silence is for the call to deal with; and who makes noises may make many.
    if (!this.#succession.hasBetterThan(active) || (state === 'spoken' && this.stats.stalls > 0)) return
    this.stats.stalls++
    const what = state === 'sounding' ? 'in the middle of an answer' : 'after it was asked'
    this.#succession.failed(active, vendorFault('timeout', `${active.name}: silent for ${stallMs} ms ${what}`, true), 'stall')
  }

  // --- the end ----------------------------------------------------------------------------------------------

  #pass(event: BackendEvent): void {
    if (!this.#over) this.#sink.event(event)
  }

  #end(reason: string): void {
    this.#over = true
    this.#stall.stop()
    this.#succession.end(reason)
    this.#call.release()
  }
}

function orNull(ms: number): number | null {
  return Number.isNaN(ms) ? null : ms
}

function gone(): GatewayError {
  return new GatewayError('BACKEND_CLOSED', 'the call ended before its backend was connected')
}
