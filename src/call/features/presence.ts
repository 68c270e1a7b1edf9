import { assertNever } from '../../core/assert.js'
import { ANSWER_UNHEARD_MS } from '../../core/limits.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { FactOf } from '../facts.js'
import { Silence } from '../turns/silence.js'

const HEARS = [
  'conversation-begins',
  'conversation-continues',
  'put-on-hold',
  'agent-sounding',
  'unrecognised-sound',
  'caller-active',
  'caller-asks-to-wait',
  'understood',
  'agent-said',
] as const

/**
 * Presence of the caller: silence prompts, sound without recognised words, and a caller who has put the agent on hold.
 */
export class Presence extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly #clock: Silence
  /** Item of the last silence prompt. */
  #promptId = ''

  constructor(call: CallKernel) {
    super(call)
    const { options, log, resume } = call
    this.#clock = new Silence(
      options.silence,
      resume,
      log.transcript.some(({ role }) => role === 'caller'),
    )
  }

  due(name: DeadlineName): void {
    if (name === 'not-understood') this.#notUnderstoodDue()
    else if (name === 'silence') this.#silenceDue()
    else if (name === 'put-on-hold') this.#heldTooLong()
  }

  checkpoint(): Pick<CallCheckpoint, 'silencePrompts' | 'silent'> {
    return this.#clock.kept()
  }

  hear(fact: FactOf<typeof HEARS>): void {
    switch (fact.type) {
      case 'conversation-begins':
      case 'conversation-continues':
        return this.call.in('silence', this.call.options.silence.afterMs)
      case 'put-on-hold':
        return this.#waitOnHold()
      case 'agent-sounding':
        return this.call.clear('not-understood')
      case 'unrecognised-sound':
        return this.call.deadlines.set('not-understood', fact.untilMs)
      case 'caller-active':
        return this.#clock.callerSpoke(this.call.nowMs)
      case 'caller-asks-to-wait':
        if (fact.moment) this.#clock.callerAsksToWait()
        return this.call.in('silence', this.call.options.silence.afterMs)
      case 'understood':
        return this.#understood(fact.endsHold)
      case 'agent-said':
        if (fact.playedMs === 0 && fact.itemId === this.#promptId) this.#clock.unheard()
        return
      default:
        return
    }
  }

  #silenceDue(): void {
    if (this.call.line.state !== 'live') return
    const decision = this.#clock.due(
      this.call.nowMs,
      this.call.talk.engaged,
      Math.max(this.call.talk.agentHeardAtMs, this.call.streamZeroMs),
      this.call.input.asked.what !== 'nothing',
    )
    switch (decision.type) {
      case 'wait':
        return this.call.deadlines.set('silence', decision.untilMs)
      case 'end':
        if (this.call.talk.level.refusedMs >= this.call.options.speech.realSpeechMs) {
          // If a human has left or was not reached, another voice (a television) does not cause a second escalation.
          const other = this.call.talk.level.otherSpeaks && this.call.line.human === null
          if (other && this.#human('another voice than the caller on the line')) return
          this.call.talk.learnLevelAnew('nobody else speaks')
          return this.call.in('silence', this.call.options.silence.afterMs)
        }
        return this.call.ask('sayThenEnd', 'silence-limit', decision.detail, () => this.call.goodbye, false)
      case 'prompt': {
        const other = this.call.talk.level.otherSpeaks ? this.call.text(this.call.options.silence.otherVoice) : ''
        this.call.talk.level.ask()
        this.call.talk.putOnHold.ask()
        this.call.clear('put-on-hold')
        this.call.counters.silencePrompts++
        this.call.mark('silence-prompt', decision.detail)
        this.#promptId = this.call.talk.announce(other === '' ? this.call.text(decision.text) : other, 'prompt')
        return this.call.in('silence', this.call.options.silence.afterMs)
      }
      default:
        return assertNever(decision)
    }
  }

  /**
   * Notes that words of the caller were recognised or a digit was pressed.
   * @param endsHold  true if the caller no longer keeps the agent on hold
   */
  #understood(endsHold: boolean): void {
    const { speaking, firstVoicedMs } = this.call.callerSpeech
    if (endsHold) {
      if (this.call.talk.putOnHold.waiting) this.call.mark('put-on-hold-over', 'words, or a digit')
      this.call.talk.putOnHold.understood()
      this.call.clear('put-on-hold')
    }
    const dueMs = this.call.talk.unrecognised.understood(speaking, this.call.nowMs, firstVoicedMs)
    if (Number.isNaN(dueMs)) this.call.clear('not-understood')
    else this.call.deadlines.set('not-understood', dueMs)
  }

  /** Begins to wait, because the caller has put the agent on hold. */
  #waitOnHold(): void {
    const voiceMs = this.call.talk.putOnHold.voiceMs
    this.call.deadlines.set('put-on-hold', this.call.talk.putOnHold.wait(this.call.nowMs))
    this.call.counters.putOnHold++
    this.call.mark(
      'put-on-hold',
      `${voiceMs} ms of voice without words, ${this.call.options.putOnHold?.afterMs ?? 0} needed${this.call.talk.levelFigures}`,
    )
    this.call.wait.noAnswer()
    this.call.clear('not-understood')
    this.call.talk.unrecognised.over()
    this.#giveUpSegment()
    // Before the agent becomes silent, it says that it hears another voice.
    const text = this.call.text(this.call.options.silence.otherVoice)
    if (text !== '') this.call.talk.announce(text, 'prompt')
  }

  /** @returns true if the call is being escalated */
  #human(reason: string): boolean {
    if (this.call.options.escalation === null) return false
    return this.call.ask('escalate', { reason, summary: '', origin: 'rule', toolCallId: null })
  }

  /** Ends the caller's segment although its sound continues. The backend is not asked for an answer. */
  #giveUpSegment(): void {
    if (!this.call.callerSpeech.speaking) return
    this.call.talk.giveUpSegment(true)
  }

  /** Ends the wait on hold after `maxMs`, because the caller may never return. */
  #heldTooLong(): void {
    if (this.call.line.state !== 'live' || !this.call.talk.putOnHold.waiting) return
    const detail = `put on hold for ${this.call.options.putOnHold?.maxMs ?? 0} ms`
    if (this.call.options.escalation?.callback?.numberKnown !== true || this.call.keypad.grants.has('call-back'))
      return this.call.ask('sayThenEnd', 'silence-limit', detail, () => this.call.goodbye, false)
    this.call.mark('put-on-hold-over', detail)
    this.call.ask('offerCallBack', '', { reason: 'put on hold', summary: '' }, true)
  }

  #notUnderstoodDue(): void {
    if (this.call.line.state !== 'live') return
    const { speaking, firstVoicedMs } = this.call.callerSpeech
    if (this.call.talk.putOnHold.waiting) {
      // Each sound has a limit of its own. Otherwise a caller who returns after a pause could be cut off because of
      // earlier sound.
      const untilMs = firstVoicedMs + ANSWER_UNHEARD_MS
      if (speaking && this.call.nowMs < untilMs) return this.call.deadlines.set('not-understood', untilMs)
      this.call.talk.unrecognised.over()
      return this.#giveUpSegment()
    }
    const decision = this.call.talk.unrecognised.due({
      nowMs: this.call.nowMs,
      speaking,
      firstVoicedMs,
      quietMs: this.call.callerSpeech.quietMs(this.call.nowMs),
      agentHeard: this.call.talk.sounding || this.call.talk.bargeIn.undecided,
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
        this.call.talk.giveUpSegment(false)
        break
      case 'ask':
        this.call.talk.announce(this.call.text(decision.text), 'prompt')
        break
      case 'end':
        return this.call.ask('sayThenEnd', 'silence-limit', decision.detail, () => this.call.goodbye, false)
      default:
        return assertNever(decision)
    }
    this.call.deadlines.set('not-understood', decision.untilMs)
  }
}
