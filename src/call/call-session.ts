import { assertNever } from '../core/assert.js'
import type { Wake } from '../core/clock.js'
import type { BackendUsage } from './backend-events.js'
import { BackendInbox } from './backend-inbox.js'
import { CallCore, DEADLINES } from './call-core.js'
import type { DeadlineName } from './call-core.js'
import type { CallCounters, CallMachine, CallState } from './call-machine.js'
import type { CallSessionOptions } from './call-options.js'
import { CALL_CHECKPOINT_VERSION } from './checkpoint.js'
import type { CallCheckpoint, OwedAnswer, SessionResume } from './checkpoint.js'
import type { CallLog } from './call-log.js'
import { Conversation } from './conversation.js'
import { Ending, wordsDeadlineMs } from './ending.js'
import type { CallInput, CallOutput, CarrierState, PlayoutView } from './events.js'
import { Handover } from './transfer.js'
import type { EndReason, EscalationRecord } from './record.js'
import { Patience } from './patience.js'
import { Rules } from './rules.js'
import { Silence } from './silence.js'
import { ToolDesk } from './tool-desk.js'

/** Speech that waits beyond this is not in the shared ring and dies with its worker. */
const SURVIVING_SPEECH_MS = 2000
/** How soon the limit of a call is looked at again while a human is being fetched or a goodbye is spoken. */
const DURATION_POLL_MS = 5000

/**
 * One call, decided: inputs with their time go in, outputs come out, nothing else happens. No sockets, timers,
 * clocks or logs; the same inputs give the same outputs, which is what a journal replays.
 *
 *     waiting    --stream-opened-->                          connecting   (greeting of ours, if one is set)
 *     connecting --backend ready-->                          live         (the backend is kicked off)
 *     connecting --not ready in time-->                      escalating | closing   with an apology
 *     live       --backend died, answers nothing-->          escalating | closing   with an apology
 *     live       --escalate_to_human, operator-->            escalating   see `Handover`
 *     live       --end_call, silence, duration, operator-->  closing      see `Ending`
 *     (any)      --carrier completed, end now-->             closed
 *     (any)      --stream-closed-->                          ended
 *
 * The parts: `BackendInbox`, `Conversation` (who speaks), `Patience` (who is not understood), `ToolDesk`, `Silence`, `Handover`, `Ending`, on the shared
 * books of `CallCore`. This class hands inputs and due deadlines to them.
 */
export class CallSession implements CallMachine {
  readonly #core: CallCore
  readonly #ending: Ending
  readonly #handover: Handover
  readonly #silence: Silence
  readonly #tools: ToolDesk
  readonly #patience: Patience
  readonly #conversation: Conversation
  readonly #backend: BackendInbox
  readonly #rules: Rules | null
  /** Checkpoint of the life before, until the stream is open again. */
  #resume: CallCheckpoint | null

  /** @param resume  of the same call: the session goes on from it and does not greet again. */
  constructor(options: CallSessionOptions, playout: PlayoutView, resume?: SessionResume) {
    this.#core = new CallCore(options, playout, resume)
    this.#ending = new Ending(this.#core)
    this.#handover = new Handover(this.#core, this.#ending)
    this.#silence = new Silence(this.#core, this.#ending, resume?.checkpoint.silencePrompts ?? 0)
    this.#tools = new ToolDesk(this.#core, this.#ending, this.#handover)
    this.#patience = new Patience(this.#core, this.#ending)
    this.#conversation = new Conversation(this.#core, this.#ending, this.#silence, this.#tools, this.#patience)
    this.#backend = new BackendInbox(this.#core, this.#conversation, this.#silence, this.#tools, this.#patience, {
      ready: () => this.#backendReady(),
      failed: (detail) => this.#backendFailed(detail),
    })
    this.#rules = options.rules === null ? null : new Rules(options.rules)
    this.#resume = resume?.checkpoint ?? null
  }

  get state(): CallState { return this.#core.state }
  /** What happened so far; each entry was an output. */
  get log(): CallLog { return this.#core.log }
  get usage(): BackendUsage { return this.#core.usage }
  get greetingMs(): number | null { return this.#core.greetingMs }
  get escalation(): EscalationRecord | null { return this.#core.escalation }

  get counters(): Readonly<CallCounters> {
    this.#core.syncCounters()
    return this.#core.counters
  }

  /** Time zero of turns, barge-ins and transcript, on the clock of the inputs. */
  get streamZeroMs(): number { return this.#core.streamZeroMs }

  streamMs(nowMs: number): number {
    const { streamOpenedAtMs, streamClosedAtMs } = this.#core
    return streamOpenedAtMs === null ? 0 : (streamClosedAtMs ?? nowMs) - streamOpenedAtMs
  }

  setIdentity(identity: Readonly<Record<string, unknown>>): void {
    this.#core.identity = identity
    this.#core.checkpointDue = true
  }

  handle(input: CallInput, nowMs: number): void {
    if (this.#core.state === 'ended') return
    this.#core.nowMs = Math.max(nowMs, this.#core.nowMs)
    this.#input(input)
    this.#applyRules(input)
    this.#afterwards()
  }

  callerFrame(voiced: boolean, nowMs: number): void {
    const core = this.#core
    if (!core.streaming || core.screening) return
    core.nowMs = Math.max(nowMs, core.nowMs)
    if (this.#conversation.frame(voiced, nowMs)) this.#afterwards()
  }

  acceptAudio(itemId: string, generation: number, nowMs: number): boolean {
    const core = this.#core
    const known = core.items.get(itemId)
    if (known !== undefined && known.generation === null) return known.over !== 'cut' && core.streaming
    if (!core.streaming || !core.noteGeneration(generation) || known?.over === 'cut') {
      core.counters.lateAudioDropped++
      return false
    }
    core.nowMs = Math.max(nowMs, core.nowMs)
    core.backendActiveAtMs = core.nowMs
    if (known === undefined) {
      core.greetingGeneration ??= generation
      core.addItem({ itemId, kind: 'answer', generation, started: false, over: 'no' })
      core.mark('agent-audio')
    }
    return true
  }

  pollOutput(): CallOutput | null {
    return this.#core.outputs.poll()
  }

  nextWake(): Wake | null {
    return this.#core.deadlines.next()
  }

  checkpoint(): CallCheckpoint {
    const core = this.#core
    const itemId = core.playout.currentItem(core.nowMs)
    const plan = this.#ending.plan
    const request = this.#handover.request
    return {
      version: CALL_CHECKPOINT_VERSION,
      callSid: core.options.callSid,
      state: checkpointState(core.state),
      streamOpenedWallMs: core.streamOpenedAtMs === null
        ? this.#resume?.streamOpenedWallMs ?? null
        : core.streamOpenedAtMs + core.options.wallOffsetMs,
      // A greeting that was asked for and never heard is still owed.
      greeted: core.greeted && core.greetingMs !== null,
      greetingMs: core.greetingMs,
      owed: this.#owed(),
      heard: itemId === null ? null : { itemId, heardMs: core.playout.heardMs(itemId, core.nowMs) },
      silencePrompts: this.#silence.prompts,
      nextAnnouncement: core.nextAnnouncement,
      identity: core.identity,
      openTranscript: core.transcript.open,
      toolsRunning: core.tools.unanswered(core.streamZeroMs),
      ending: plan === null ? this.#resume?.ending ?? null : { reason: plan.reason, detail: plan.detail },
      escalation: request === null ? null : { reason: request.reason, summary: request.summary },
    }
  }

  #owed(): OwedAnswer {
    const core = this.#core
    if (core.streamOpenedAtMs === null) return this.#resume?.owed ?? 'nothing'
    if (core.turns.waitingForReal || core.deadlines.isSet('answer') || core.tools.running > 0) return 'answer'
    return core.responseGeneration !== null || core.playout.pendingMs() > SURVIVING_SPEECH_MS
      ? 'rest-of-answer'
      : 'nothing'
  }

  #input(input: CallInput): void {
    const core = this.#core
    switch (input.type) {
      case 'stream-opened': return this.#streamOpened()
      case 'stream-metadata': return core.mark(input.matches ? 'stream-metadata' : 'stream-metadata-mismatch')
      case 'stream-closed': return core.streamOpenedAtMs === null ? undefined : this.#ending.streamClosed(input.code, input.fault ?? null)
      case 'carrier-state': return this.#carrierState(input.state)
      case 'screened': return this.#screened(input.who, input.why)
      case 'hangup-requested': return this.#hangup(input.reason, input.detail, input.speak)
      case 'escalate-requested': return this.#operatorEscalates(input.reason)
      case 'escalation': return this.#handover.step(input.step)
      case 'dtmf': return this.#handover.callback.digit(input.digit) ? undefined : this.#conversation.digit(input.digit)
      case 'backend': return this.#backend.event(input.event)
      case 'tool-result': return this.#tools.result(input.callId, input.ok, input.value, input.error)
      case 'item-started': return this.#itemStarted(input.itemId, input.sentAtMs)
      case 'item-heard': return this.#itemOver(input.itemId, 'heard')
      case 'announce-failed': return this.#announceFailed(input.itemId)
      case 'timer': return
      default: return assertNever(input)
    }
  }

  #afterwards(): void {
    const core = this.#core
    // Each pass clears a deadline; the bound only guards against a part that sets one in the past.
    for (let passes = 0; passes < 2 * DEADLINES.length; passes++) {
      const due = core.deadlines.takeDue(core.nowMs)
      if (due === null) break
      this.#due(due)
    }
    if (!core.checkpointDue) return
    core.checkpointDue = false
    if (core.state !== 'ended') core.out({ type: 'checkpoint-due' })
  }

  #due(name: DeadlineName): void {
    const core = this.#core
    switch (name) {
      case 'backend-ready':
        return this.#backendFailed(`not ready ${core.options.backendReadyTimeoutMs} ms after the stream opened`)
      case 'answer': return this.#backend.answerDue()
      case 'end-of-speech': return this.#conversation.endOfSpeechDue()
      case 'not-understood': return this.#patience.due(() => this.#conversation.giveUpSegment())
      case 'barge-in-resume': return this.#conversation.resumeDue()
      case 'barge-in-settle': return this.#conversation.settleDue()
      case 'filler': return this.#tools.fillerDue()
      case 'tool-limit': return this.#tools.limitDue()
      case 'silence': return this.#silence.due()
      case 'duration': return this.#durationDue()
      case 'words-heard': return core.state === 'closing' ? this.#ending.wordsOverdue() : this.#handover.wordsOverdue()
      case 'escalation-step': return this.#handover.fail('failed', 'no step from the escalation machine')
      case 'hold': return this.#handover.fail('no-answer', 'held too long')
      case 'offer': return this.#handover.callback.due()
      case 'consent': return this.#consented(false)
      case 'quiet-goodbye': return this.#ending.checkQuiet()
      case 'quiet-goodbye-limit': return this.#ending.wordsOverdue()
      case 'stream-close': return this.#ending.streamCloseOverdue()
      default: return assertNever(name)
    }
  }

  #streamOpened(): void {
    const core = this.#core
    if (core.streamOpenedAtMs !== null || core.state !== 'waiting') return
    const resume = this.#resume
    const openedWallMs = resume?.streamOpenedWallMs ?? null
    core.streamOpenedAtMs = openedWallMs === null
      ? core.nowMs
      : Math.min(core.nowMs, openedWallMs - core.options.wallOffsetMs)
    core.state = 'connecting'
    core.mark(openedWallMs === null ? 'stream-opened' : 'taken-over')
    core.checkpointDue = true
    core.deadlines.set('duration', core.streamOpenedAtMs + core.options.duration.maxMs)
    core.agentHeardAtMs = core.nowMs
    if (resume !== null && this.#resumeElsewhere(resume)) return
    if (core.options.screening !== null && resume === null) {
      core.screening = true
      core.mark('screening')
      return
    }
    this.#converse()
  }

  /** The agent and whoever has the line begin to talk; first of all the caller is told that they are recorded. */
  #converse(): void {
    const core = this.#core
    const { consentText } = core.options
    if (consentText !== null && this.#resume === null && core.consent === 'due') {
      core.consent = 'saying'
      core.consentItemId = core.announce(consentText, 'prompt')
      core.in('consent', wordsDeadlineMs(core, consentText))
      return
    }
    if (core.options.greeting !== null && !core.greeted) {
      core.greeted = true
      core.greetingItemId = core.announce(core.options.greeting, 'prompt')
    }
    if (core.backendDead) return this.#backendFailed('died before the stream opened')
    if (core.backendReady) return this.#begin()
    core.in('backend-ready', core.options.backendReadyTimeoutMs)
  }

  /** The words were heard, or never will be; then nothing of the recording is kept. */
  #consented(heard: boolean): void {
    const core = this.#core
    if (core.consent !== 'saying') return
    core.consent = 'said'
    core.deadlines.clear('consent')
    core.mark('recording', heard ? 'the caller was told' : 'the caller could not be told')
    if (heard) core.out({ type: 'recording-announced' })
    if (core.state === 'connecting') this.#converse()
  }

  /** Who took a call that we placed. */
  #screened(who: 'human' | 'machine' | 'silence', why: string): void {
    const core = this.#core
    const { screening } = core.options
    if (!core.screening || screening === null) return
    core.screening = false
    core.mark('answered-by', `${who}: ${why}`)
    if (core.state !== 'connecting') return
    core.agentHeardAtMs = core.nowMs
    if (who === 'human' || (who === 'silence' && screening.onSilence === 'speak')) return this.#converse()
    if (who === 'silence') return this.#ending.endNow('nobody-there', why)
    if (screening.message === null) return this.#ending.endNow('answering-machine', why)
    this.#ending.speakThenEnd('answering-machine', why, screening.message, false)
  }

  /** A taken-over call that was not in conversation. @returns true when it is dealt with. */
  #resumeElsewhere(resume: CallCheckpoint): boolean {
    switch (resume.state) {
      case 'closing':
        this.#ending.endNow(
          resume.ending?.reason ?? 'call-fault', resume.ending?.detail ?? 'taken over while it was ending')
        return true
      case 'escalating':
      case 'holding':
        this.#handover.resume(resume.escalation?.reason ?? '', resume.escalation?.summary ?? '', resume.state === 'holding')
        return true
      case 'bridged':
        this.#handover.step({ type: 'bridged', strategy: 'supervision' })
        return true
      case 'waiting':
      case 'live':
        return false
      default:
        return assertNever(resume.state)
    }
  }

  #backendReady(): void {
    const core = this.#core
    if (core.backendReady) return
    core.backendReady = true
    core.mark('backend-ready')
    if (core.state === 'connecting' && !core.screening && core.consent !== 'saying') this.#begin()
  }

  /** Stream open and backend ready: the conversation begins, or goes on. */
  #begin(): void {
    const core = this.#core
    core.deadlines.clear('backend-ready')
    core.state = 'live'
    this.#silence.start()
    for (const { callId, value } of core.tools.takeLost()) {
      core.out({ type: 'backend-tool-result', callId, ok: false, value })
    }
    if (core.greeted) {
      core.greetingGeneration = 0 // no response of this backend is a greeting
      if (core.greetingItemId !== null || this.#resume === null || this.#resume.owed === 'nothing') return
      core.mark('resume', this.#resume.owed)
      core.out({ type: 'backend-text', text: core.options.resumeText, role: 'system', respond: true })
    } else {
      core.greeted = true
      core.mark('kick-off')
      core.out({ type: 'backend-text', text: core.options.kickOffText, role: 'system', respond: true })
    }
    core.in('answer', core.options.answerTimeoutMs)
  }

  #carrierState(state: CarrierState): void {
    const core = this.#core
    core.mark('carrier-state', state)
    if (core.state === 'closed') return
    const noStream = core.streamOpenedAtMs === null
    switch (state) {
      case 'completed':
      case 'failed':
        if (noStream) {
          return this.#ending.finish(state === 'failed' ? 'stream-error' : 'caller-hung-up', 'before the stream opened')
        }
        // The socket may stay open for seconds after the leg is gone: stop speaking now.
        core.hushAgent()
        return core.state === 'bridged'
          ? this.#ending.endNow('escalated', 'the call with the human ended', false)
          : this.#ending.endNow('caller-hung-up', `carrier says ${state}`, false)
      case 'busy':
      case 'no-answer':
        // With a stream they speak of another leg.
        return noStream ? this.#ending.finish('caller-hung-up', state) : undefined
      case 'stream-error':
        return noStream ? this.#ending.endNow('stream-error', 'the carrier could not open the stream') : undefined
      case 'ringing':
      case 'answered':
      case 'stream-started':
      case 'stream-stopped':
      case 'dial-completed':
      case 'unknown':
        return
      default:
        return assertNever(state)
    }
  }

  #hangup(reason: EndReason, detail: string, speak: boolean): void {
    const core = this.#core
    if (core.state === 'closed') return
    if (!speak || !core.streaming) return this.#ending.endNow(reason, detail)
    if (core.state === 'closing' && this.#ending.plan?.cancellable === false) return
    // Whoever holds the line with a human is not spoken over.
    if (core.state === 'bridged' || core.state === 'holding') return this.#ending.endNow(reason, detail)
    this.#ending.speakThenEnd(reason, detail, core.options.goodbyeText, true)
  }

  /** The agent's own rules, whatever the backend makes of what happened. */
  #applyRules(input: CallInput): void {
    const core = this.#core
    const reason = this.#rules?.applies(input, core.identity) ?? null
    if (reason !== null && core.state === 'live') this.#handover.start({ reason, summary: '', origin: 'rule', toolCallId: null })
  }

  #operatorEscalates(reason: string): void {
    const core = this.#core
    const possible = core.state === 'live' || core.state === 'connecting'
      || core.state === 'escalating' || core.state === 'holding'
    const request = { reason, summary: '', origin: 'operator', toolCallId: null } as const
    if (!possible || !this.#handover.start(request)) core.mark('escalation-refused', core.state)
  }

  #durationDue(): void {
    const core = this.#core
    if (core.state === 'bridged') return
    if (core.state === 'live' || core.state === 'connecting') {
      const { text, maxMs } = core.options.duration
      return this.#ending.speakThenEnd('duration-limit', `${maxMs} ms`, text, true)
    }
    core.in('duration', DURATION_POLL_MS)
  }

  #itemStarted(itemId: string, sentAtMs: number): void {
    const core = this.#core
    const item = core.items.get(itemId)
    if (item?.over === 'cut' || item?.started === true) return
    if (item !== undefined) item.started = true
    const kind = item?.kind ?? 'answer'
    core.transcript.started(itemId, sentAtMs - core.streamZeroMs)
    if (core.greetingMs === null) {
      core.greetingMs = sentAtMs - core.streamZeroMs
      core.mark('greeting')
    }
    if (kind === 'answer') this.#backend.answered()
    if (kind !== 'filler') core.agentSpokeLast = true
    core.mark('agent-sound', kind)
    this.#patience.agentSounds()
    this.#conversation.agentSoundBegins(item?.generation ?? null, sentAtMs)
    core.turn(core.turns.agentSound(kind, item?.generation ?? null, sentAtMs, core.streamZeroMs))
  }

  #itemOver(itemId: string, over: 'heard' | 'cut'): void {
    const core = this.#core
    const item = core.items.get(itemId)
    if (item !== undefined) {
      if (item.over !== 'no') return
      item.over = over
    }
    core.agentHeardAtMs = core.nowMs
    core.transcript.heard(itemId, core.streamMs)
    if (itemId === core.consentItemId) this.#consented(over === 'heard')
    this.#handover.itemOver(itemId)
    this.#ending.itemOver(itemId)
  }

  /** The phrase will never be heard: whatever waits for it goes on, and a lost greeting becomes the backend's. */
  #announceFailed(itemId: string): void {
    const core = this.#core
    core.mark('announce-failed')
    if (itemId === core.greetingItemId && core.greetingMs === null && core.state !== 'escalating') {
      core.greetingItemId = null
      core.greeted = false
      if (core.state === 'live') this.#begin()
    }
    this.#itemOver(itemId, 'cut')
  }

  /** The backend is dead, in one way or another. Never silence: words, then a human or the end. */
  #backendFailed(detail: string): void {
    const core = this.#core
    if (core.backendDead && core.streaming && core.state !== 'connecting') return
    core.backendDead = true
    if (core.state === 'waiting' || core.screening) return
    core.mark('backend-failed', detail)
    if (core.state !== 'live' && core.state !== 'connecting') return
    if (core.bargeIn.paused) core.hushAgent()
    core.responseGeneration = null
    core.cancelTools()
    core.closeBackend('backend-failed')
    const request = {
      reason: 'technical problem', summary: detail, origin: 'backend-failed', toolCallId: null,
    } as const
    if (core.options.onBackendFailure === 'escalate' && this.#handover.start(request)) return
    this.#ending.speakThenEnd('backend-failed', detail, core.options.apologyText, false)
  }
}

function checkpointState(state: CallState): CallCheckpoint['state'] {
  switch (state) {
    case 'connecting': return 'live'
    case 'closed':
    case 'ended': return 'closing'
    default: return state
  }
}
