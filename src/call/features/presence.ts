import { assertNever } from '../../core/assert.js'
import { ANSWER_UNHEARD_MS } from '../../core/limits.js'
import { Feature } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import { PutOnHold } from '../put-on-hold.js'
import { Silence, UnrecognisedSpeech } from '../silence.js'

/** Words that may still change keep the caller present for this long after they came. */
const PARTIAL_ALIVE_MS = 10_000

/**
 * The caller's presence: silence prompts, sound that nobody understands, a caller who has put us on hold.
 */
export class Presence extends Feature implements CallFeature {
  readonly clock: Silence
  readonly unrecognised: UnrecognisedSpeech
  readonly putOnHold: PutOnHold
  /** The last silence prompt. */
  #promptId = ''
  /** When words of the caller came that may still change. */
  #partialAtMs = -Infinity

  constructor(call: CallKernel) {
    super(call)
    const { options, log, resume } = call
    this.clock = new Silence(
      options.silence,
      resume,
      log.transcript.some(({ role }) => role === 'caller'),
    )
    this.unrecognised = new UnrecognisedSpeech(options)
    this.putOnHold = new PutOnHold(options.putOnHold, options.weighsSpeech || options.serverVad)
  }

  due(name: DeadlineName): void {
    if (name === 'not-understood') this.#notUnderstoodDue()
    else if (name === 'silence') this.#silenceDue()
    else if (name === 'put-on-hold') this.#heldTooLong()
  }

  checkpoint(): Pick<CallCheckpoint, 'silencePrompts' | 'silent'> {
    return this.clock.kept()
  }

  /** Takes a frame. @returns true when the agent begins to wait because the caller has put us on hold */
  heard(voiced: boolean): boolean {
    if (!this.putOnHold.frame(voiced, this.call.agentSpeech.anyOpen)) return false
    this.#waitOnHold()
    return true
  }

  agentSounds(): void {
    this.unrecognised.agentSounds()
    this.putOnHold.agentSounds()
    this.call.clear('not-understood')
  }

  /** Words came that may still change. */
  partialWords(): void {
    this.#partialAtMs = this.call.nowMs
  }

  /** A phrase of the gateway was not heard. */
  unheard(itemId: string): void {
    if (itemId === this.#promptId) this.clock.unheard()
  }

  #silenceDue(): void {
    if (this.call.state !== 'live') return
    const decision = this.clock.due(
      this.call.nowMs,
      this.engaged,
      Math.max(this.call.agentHeardAtMs, this.call.streamZeroMs),
      this.call.words.asked.what !== 'nothing',
    )
    switch (decision.type) {
      case 'wait':
        return this.call.deadlines.set('silence', decision.untilMs)
      case 'end':
        if (this.call.level.refusedMs >= this.call.options.speech.realSpeechMs) {
          this.call.learnLevelAnew('nobody else speaks')
          return this.call.in('silence', this.call.options.silence.afterMs)
        }
        return this.call.ending.speakThenEnd('silence-limit', decision.detail, this.call.goodbye, false)
      case 'prompt':
        this.call.level.ask()
        this.putOnHold.ask()
        this.call.clear('put-on-hold')
        this.call.counters.silencePrompts++
        this.call.mark('silence-prompt', decision.detail)
        this.#promptId = this.call.announce(this.call.text(decision.text), 'prompt')
        return this.call.in('silence', this.call.options.silence.afterMs)
      default:
        return assertNever(decision)
    }
  }

  /** The caller waits for an outcome, or answers a question of the gateway's. */
  get callerWaits(): boolean {
    return this.call.features.some((feature) => feature.busy === true)
  }

  /** Somebody speaks, or the caller waits for the agent. */
  get engaged(): boolean {
    const responding =
      this.call.agentSpeech.responding !== null &&
      this.call.nowMs - this.call.backend.activeAtMs < this.call.options.answerTimeoutMs // a lost turn-done must not stop the clock
    return (
      this.call.sounding ||
      responding ||
      this.callerWaits ||
      this.call.bargeIn.paused ||
      (this.call.callerSpeech.speaking && this.call.callerSpeech.real) ||
      (this.call.transcript.callerOpen && this.call.nowMs - this.#partialAtMs < PARTIAL_ALIVE_MS) ||
      (this.unrecognised.ignoring && this.call.deadlines.isSet('not-understood')) ||
      this.call.deadlines.isSet('answer')
    )
  }

  /**
   * Words of the caller were understood, or a digit was pressed.
   * @param endsHold  he is on the line, and does not keep us on hold
   */
  understood(endsHold = true): void {
    const { speaking, firstVoicedMs } = this.call.callerSpeech
    if (endsHold) {
      if (this.putOnHold.waiting) this.call.mark('put-on-hold-over', 'words, or a digit')
      this.putOnHold.understood()
      this.call.clear('put-on-hold')
    }
    this.call.callBack.callerIsThere()
    const dueMs = this.unrecognised.understood(speaking, this.call.nowMs, firstVoicedMs)
    if (Number.isNaN(dueMs)) this.call.clear('not-understood')
    else this.call.deadlines.set('not-understood', dueMs)
  }

  /** The caller has put us on hold: from here on the agent waits. */
  #waitOnHold(): void {
    const voiceMs = this.putOnHold.voiceMs
    this.call.deadlines.set('put-on-hold', this.putOnHold.wait(this.call.nowMs))
    this.call.counters.putOnHold++
    this.call.mark(
      'put-on-hold',
      `${voiceMs} ms of voice without words, ${this.call.options.putOnHold?.afterMs ?? 0} needed${this.call.levelFigures}`,
    )
    this.call.clear('answer', 'not-understood')
    this.unrecognised.over()
    this.#giveUpSegment()
  }

  /** Ends the segment although its sound continues; nothing is asked of the backend. */
  #giveUpSegment(): void {
    if (!this.call.callerSpeech.speaking) return
    this.call.giveUpSegment(true)
  }

  /** On hold until `maxMs`: nobody may come back any more. */
  #heldTooLong(): void {
    if (this.call.state !== 'live' || !this.putOnHold.waiting) return
    const detail = `put on hold for ${this.call.options.putOnHold?.maxMs ?? 0} ms`
    if (this.call.options.escalation?.callback?.numberKnown !== true || this.call.callBack.offer !== null)
      return this.call.ending.speakThenEnd('silence-limit', detail, this.call.goodbye, false)
    this.call.mark('put-on-hold-over', detail)
    this.call.callBack.make('', { reason: 'put on hold', summary: '' }, true)
  }

  #notUnderstoodDue(): void {
    if (this.call.state !== 'live') return
    const { speaking, firstVoicedMs } = this.call.callerSpeech
    if (this.putOnHold.waiting) {
      // Each sound of its own: the caller who comes back after a pause is not cut because of what played before it.
      const untilMs = firstVoicedMs + ANSWER_UNHEARD_MS
      if (speaking && this.call.nowMs < untilMs) return this.call.deadlines.set('not-understood', untilMs)
      this.unrecognised.over()
      return this.#giveUpSegment()
    }
    const decision = this.unrecognised.due({
      nowMs: this.call.nowMs,
      speaking,
      firstVoicedMs,
      quietMs: this.call.callerSpeech.quietMs(this.call.nowMs),
      agentHeard: this.call.sounding || this.call.bargeIn.paused,
      anyItemOpen: this.call.agentSpeech.anyOpen,
    })
    switch (decision.type) {
      case 'none':
        return
      case 'wait':
        break
      case 'give-up':
        this.call.mark('not-understood', `${Math.round(decision.unrecognisedMs)} ms of sound without words`)
        this.call.counters.notUnderstood++
        this.call.giveUpSegment(false)
        break
      case 'ask':
        this.call.announce(this.call.text(decision.text), 'prompt')
        break
      case 'end':
        return this.call.ending.speakThenEnd('silence-limit', decision.detail, this.call.goodbye, false)
      default:
        return assertNever(decision)
    }
    this.call.deadlines.set('not-understood', decision.untilMs)
  }
}
