import { AFTER_KILL_SILENCE_MS } from '../core/limits.js'
import { FRAME_MS } from '../core/units.js'
import type { BargeInStart } from './barge-in.js'
import type { CallCore } from './call-core.js'
import type { Ending } from './ending.js'
import type { Patience } from './patience.js'
import type { Silence } from './silence.js'
import type { ToolDesk } from './tool-desk.js'

/** Frames end a segment; only when none has come for this long past its end does the clock. */
const FRAMES_STOPPED_MS = 500

/** A pause that found the caller not quiet yet looks again after this. */
const RESUME_POLL_MS = 60
/** Quiet after which a backend with ears of its own may have taken the caller's speech for ended. */
const EARLY_ANSWER_QUIET_MS = 100

/** The backend's end of speech comes late; our own last voiced sample is taken when it is no older than this. */
const OWN_CLOCK_MS_MAX = 3000

/**
 * Who speaks: the caller's segments, the backend's own view of them, and what happens when both sides speak.
 *
 *     caller's onset, agent silent         --> backend-speech-start (backends without their own VAD)
 *     caller's onset, agent talking        --> playout-pause; the backend is told nothing yet, it may be a cough
 *     commitMs of voice | backend decides  --> playout-clear, backend-interrupt, backend-speech-start from the onset
 *     no commit, caller quiet              --> playout-resume; the backend never hears of it
 *     caller's onset over protected speech --> backend-speech-start, the agent talks on
 *     caller stopped                       --> backend-speech-end, a turn begins
 *     caller goes on and nobody understands --> the same, see `Patience`
 *     backend speech-stopped (its own VAD) --> a turn begins, on our clock
 *
 * A pause that finds only the lead left (nothing pending, response over) stops nothing, so none is made: the caller
 * is answering, not interrupting.
 */
export class Conversation {
  readonly #core: CallCore
  readonly #ending: Ending
  readonly #silence: Silence
  readonly #tools: ToolDesk
  readonly #patience: Patience
  /** The backend knows of the segment that runs. */
  #speechTold = false
  /** The last voiced sample to which an answer was heard before our own clock took the speech for ended; NaN before any. */
  #answeredFromMs = NaN
  /** Voice since the agent was paused, in all segments since. */
  #voiceOverAgentMs = 0

  constructor(core: CallCore, ending: Ending, silence: Silence, tools: ToolDesk, patience: Patience) {
    this.#core = core
    this.#ending = ending
    this.#silence = silence
    this.#tools = tools
    this.#patience = patience
  }

  /** One frame whose last sample is of `atMs`; the core's time is set. @returns true when something changed. */
  frame(voiced: boolean, atMs: number): boolean {
    const core = this.#core
    if (this.#patience.ignores(voiced)) return false
    const edge = core.speech.frame(voiced, atMs)
    if (edge === 'none' && !voiced) return false
    if (edge === 'end') {
      this.#segmentEnded()
      return true
    }
    let changed = false
    if (edge === 'onset') {
      core.deadlines.set('end-of-speech', core.speech.endsAtMs + FRAMES_STOPPED_MS)
      this.#speechTold = false
      core.mark('caller-speech')
    }
    if (core.bargeIn.paused) {
      if (core.speech.speaking) this.#voiceOverAgentMs += edge === 'onset' ? core.speech.voicedMs : FRAME_MS
    } else if (core.speech.speaking) {
      changed = this.#meet(edge === 'onset', atMs)
    }
    if (core.speech.real) this.#patience.sounds()
    if (core.speech.real && edge !== 'none') {
      this.#silence.callerSpoke()
      changed = true
    }
    if (core.bargeIn.paused && core.bargeIn.shouldCommit(this.#voiceOverAgentMs)) {
      this.commit(`${this.#voiceOverAgentMs} ms of voice, ${core.options.bargeIn.commitMs} needed`, core.generationSeen)
      return true
    }
    return changed || edge !== 'none'
  }

  /** Frames may have stopped coming in the middle of a segment. */
  endOfSpeechDue(): void {
    const core = this.#core
    if (!core.speech.speaking) return
    if (core.speech.overdue(core.nowMs - FRAMES_STOPPED_MS) === 'end') this.#segmentEnded()
    else core.deadlines.set('end-of-speech', core.speech.endsAtMs + FRAMES_STOPPED_MS)
  }

  /** The segment that runs counts as ended, though its sound goes on. */
  giveUpSegment(): void {
    const core = this.#core
    if (!core.speech.speaking) return
    core.speech.giveUp()
    this.#segmentEnded()
  }

  resumeDue(): void {
    const core = this.#core
    if (!core.bargeIn.paused) return
    if (core.bargeIn.verdict(core.speech.quietMs(core.nowMs)) === 'wait') {
      return core.in('barge-in-resume', RESUME_POLL_MS)
    }
    const lastSentAtMs = core.playout.lastSentAtMs()
    const record = core.bargeIn.resume(this.#voiceOverAgentMs, core.nowMs, lastSentAtMs, core.streamZeroMs)
    core.out({ type: 'playout-resume' })
    if (record !== null) core.record({ kind: 'barge-in', record })
    core.mark('barge-in-resume', record?.why)
  }

  settleDue(): void {
    const core = this.#core
    const record = core.bargeIn.settle(core.playout.lastSentAtMs(), core.streamZeroMs)
    if (record !== null) core.record({ kind: 'barge-in', record })
  }

  /** Gives the agent's speech up for the caller's. */
  commit(why: string, fence: number): void {
    const core = this.#core
    this.settleDue()
    const start = core.bargeIn.start ?? this.#startNow(core.speech.speaking ? core.speech.firstVoicedMs : core.nowMs)
    core.deadlines.clear('barge-in-resume')
    const paused = core.bargeIn.paused
    core.bargeIn.commit(start, why)
    core.mark('barge-in', `${why}; ${Math.round(start.heardMs)} ms of it heard`)
    core.cutAgent(start, fence)
    const callId = this.#ending.takeBack()
    if (callId !== null) {
      this.#tools.endTakenBack(callId)
      this.#silence.start()
    }
    core.agentHeardAtMs = core.nowMs
    core.agentSpokeLast = false
    this.#silence.callerSpoke()
    // Its announcement is cut: a handover goes on without.
    if (core.state === 'escalating') core.in('words-heard', 0)
    if (core.speech.speaking) this.#tellSpeechStart(Math.max(start.firstVoicedMs, core.speech.firstVoicedMs))
    // After a pause the last sample has long left; after a decision at once it leaves now.
    if (paused) this.settleDue()
    else core.in('barge-in-settle', AFTER_KILL_SILENCE_MS)
  }

  /** The backend's own VAD. */
  backendHeardSpeech(): void {
    const core = this.#core
    core.mark('backend-speech-started')
    this.#patience.reported()
    if (this.#interruptible()) this.commit('the backend heard speech', core.generationSeen)
    this.#silence.callerSpoke()
  }

  backendHeardStop(): void {
    const core = this.#core
    const own = core.speech.quietMs(core.nowMs)
    const stoppedAtMs = own <= OWN_CLOCK_MS_MAX ? core.speech.lastVoicedMs : core.nowMs
    core.turn(core.turns.callerStopped(stoppedAtMs, true, core.generationSeen, core.streamZeroMs))
    core.agentSpokeLast = false
  }

  backendInterrupted(generation: number): void {
    const core = this.#core
    if (generation <= core.generationFence) return
    if (this.#interruptible()) {
      return this.commit('the backend gave its answer up', Math.max(generation, core.generationFence))
    }
    core.generationFence = generation
    if (core.responseGeneration !== null && core.responseGeneration <= generation) core.responseGeneration = null
  }

  digit(digit: string): void {
    const core = this.#core
    if (!core.backendUsable || (core.state !== 'live' && core.state !== 'connecting' && core.state !== 'closing')) {
      return
    }
    // Who keys "4127#" may hear the answer begin before the #: it ends an entry, and never interrupts one's answer.
    if (digit === '#' && this.#interruptible()) return core.out({ type: 'backend-dtmf', digit })
    if (core.options.bargeIn.onDtmf && this.#interruptible()) this.commit('a digit', core.generationSeen)
    this.#patience.understood()
    this.#silence.callerSpoke()
    core.agentSpokeLast = false
    core.out({ type: 'backend-dtmf', digit })
    core.turn(core.turns.callerStopped(core.nowMs, true, core.generationSeen, core.streamZeroMs))
  }

  /** The caller's speech meets the agent's, or not. */
  #meet(onset: boolean, atMs: number): boolean {
    const core = this.#core
    // Later than the onset only where the segment's beginning was a cough over the agent's speech.
    const fromMs = onset ? core.speech.firstVoicedMs : atMs - FRAME_MS
    if (this.#interruptible() && !this.#tailOnly()) {
      this.#voiceOverAgentMs = onset ? core.speech.voicedMs : FRAME_MS
      core.bargeIn.pause(this.#startNow(fromMs))
      core.out({ type: 'playout-pause' })
      core.in('barge-in-resume', core.options.bargeIn.resumeAfterMs)
      core.mark('barge-in-pause', `${this.#voiceOverAgentMs} ms of voice over the agent, ${core.options.speech.onsetMs} needed`)
      return true
    }
    return this.#tellSpeechStart(fromMs)
  }

  #startNow(firstVoicedMs: number): BargeInStart {
    const { playout, nowMs } = this.#core
    const itemId = playout.currentItem(nowMs)
    return {
      firstVoicedMs,
      itemId,
      heardMs: itemId === null ? 0 : playout.heardMs(itemId, nowMs),
      audible: playout.audible(nowMs),
    }
  }

  #segmentEnded(): void {
    const core = this.#core
    core.deadlines.clear('end-of-speech')
    core.mark('caller-speech-end')
    if (!this.#speechTold) return // a cough over the agent's speech: nobody waits for an answer to it
    this.#speechTold = false
    core.agentSpokeLast = false
    if (core.options.serverVad) return
    const atMs = core.speech.lastVoicedMs
    if (core.backendUsable) core.out({ type: 'backend-speech-end', atMs })
    // The answer to it may have begun already.
    if (atMs !== this.#answeredFromMs) core.turn(core.turns.callerStopped(atMs, core.speech.real, core.generationSeen, core.streamZeroMs))
  }

  /**
   * Agent sound while our own clock still waits for the end of the caller's speech: a backend that listens by itself
   * has heard the end first, and this is its answer.
   * @param generation  of the response, null for an item of the gateway's own
   */
  agentSoundBegins(generation: number | null, sentAtMs: number): void {
    const core = this.#core
    const { speaking, lastVoicedMs, real } = core.speech
    if (!speaking || generation === null || core.options.serverVad || sentAtMs - lastVoicedMs < EARLY_ANSWER_QUIET_MS) return
    this.#answeredFromMs = lastVoicedMs
    core.turn(core.turns.callerStopped(lastVoicedMs, real, generation - 1, core.streamZeroMs))
  }

  #tellSpeechStart(atMs: number): boolean {
    const core = this.#core
    if (this.#speechTold) return false
    this.#speechTold = true
    if (core.options.serverVad || !core.backendUsable || !this.#listening()) return false
    core.out({ type: 'backend-speech-start', atMs })
    return true
  }

  /** The backend should hear the caller in this state. */
  #listening(): boolean {
    const { state } = this.#core
    return state === 'live' || state === 'connecting' || state === 'escalating'
      || (state === 'closing' && this.#ending.plan?.cancellable === true)
  }

  /** There is agent speech, and it may be given up for the caller. */
  #interruptible(): boolean {
    const core = this.#core
    const { protectGreeting, protectEscalation } = core.options.bargeIn
    const open = core.state === 'live' || core.state === 'connecting'
      || (core.state === 'closing' && this.#ending.plan?.cancellable === true)
      || (core.state === 'escalating' && !protectEscalation)
    if (!open || !core.agentTalking || core.consent === 'saying') return false
    if (!protectGreeting && !protectEscalation) return true
    const itemId = core.playout.currentItem(core.nowMs)
    const item = itemId === null ? undefined : core.items.get(itemId)
    if (item === undefined || item.over !== 'no') return true
    const greeting = item.itemId === core.greetingItemId
      || (item.generation !== null && item.generation === core.greetingGeneration)
    return !(protectGreeting && greeting) && !(protectEscalation && item.kind === 'escalation')
  }

  /** Nothing is left but what was sent already, and that cannot be paused. */
  #tailOnly(): boolean {
    const core = this.#core
    return core.playout.pendingMs() === 0 && core.responseGeneration === null
  }
}
