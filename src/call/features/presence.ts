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
 * The caller's presence: silence prompts, sound that nobody understands, a caller who has put us on hold.
 */
export class Presence extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly #clock: Silence
  /** The last silence prompt. */
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
        this.#clock.callerAsksToWait()
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
          this.call.talk.learnLevelAnew('nobody else speaks')
          return this.call.in('silence', this.call.options.silence.afterMs)
        }
        return this.call.ask('sayThenEnd', 'silence-limit', decision.detail, () => this.call.goodbye, false)
      case 'prompt':
        this.call.talk.level.ask()
        this.call.talk.putOnHold.ask()
        this.call.clear('put-on-hold')
        this.call.counters.silencePrompts++
        this.call.mark('silence-prompt', decision.detail)
        this.#promptId = this.call.talk.announce(this.call.text(decision.text), 'prompt')
        return this.call.in('silence', this.call.options.silence.afterMs)
      default:
        return assertNever(decision)
    }
  }

  /**
   * Words of the caller were understood, or a digit was pressed.
   * @param endsHold  he is on the line, and does not keep us on hold
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

  /** The caller has put us on hold: from here on the agent waits. */
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
  }

  /** Ends the segment although its sound continues; nothing is asked of the backend. */
  #giveUpSegment(): void {
    if (!this.call.callerSpeech.speaking) return
    this.call.talk.giveUpSegment(true)
  }

  /** On hold until `maxMs`: nobody may come back any more. */
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
      // Each sound of its own: the caller who comes back after a pause is not cut because of what played before it.
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
      agentHeard: this.call.talk.sounding || this.call.talk.bargeIn.paused,
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
