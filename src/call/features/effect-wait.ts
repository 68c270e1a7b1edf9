import { QUIET_POLL_MS, WORDS_HEARD_MS_MAX } from '../call-deadlines.js'
import type { DeadlineName } from '../call-deadlines.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { EffectEnd } from '../spoken/effect-words.js'
import type { FactOf } from '../facts.js'

/**
 * Maximum time that an end or a handover waits for effects and for words about the effects, in milliseconds. After this
 * time running effects are cut off.
 */
const HELD_MS_MAX = 60_000

/**
 * Ways in which an effect can end, beginning with the worst way. If several effects end, the caller hears about the
 * worst result.
 */
const WORST: readonly EffectEnd[] = ['uncertain', 'failed', 'done']

const HEARS = ['effect-settled'] as const

/**
 * Wait for the end of tool calls with an effect whose requests were sent. The gateway's own goodbye, handover or end
 * waits until the effects have ended and the caller has heard the result. A deadline limits the wait.
 *
 *     none --a tool with an effect is sent--> runs --it ends, and no end or handover is due--> none
 *     runs --an end or a handover is due--> awaited --the tool ends--> untold
 *     untold --the agent or the gateway has reported the effect--> none, and the end is carried out
 *     awaited, untold --HELD_MS_MAX--> none, and the end cuts off the running tools
 */
export class EffectWait extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['awaitEffects', 'delayEnd'] as const
  /** Time at which an end or a handover began to wait; NaN if neither waits. */
  #heldFromMs = NaN
  /** The end of the call, if it has to wait; null otherwise. */
  #end: (() => void) | null = null
  /** Worst result of the awaited effects that the caller has not heard about; null without such a result. */
  #untold: EffectEnd | null = null
  /** Generation of the newest response when the effect ended. Only answers of later generations report the effect. */
  #settledGeneration = 0
  /** Time at which the gateway reports the effect if the model has not reported it. */
  #tellByMs = Infinity
  /** True if the model has said something about the effect. */
  #told = false
  /** Item of the gateway's words about the effect; null without such words. */
  #itemId: string | null = null

  due(name: DeadlineName): void {
    if (name === 'effects') this.#due()
  }

  itemOver(itemId: string, over: 'heard' | 'cut'): void {
    if (this.#untold === null) return
    if (itemId === this.#itemId) this.#known()
    const generation = this.call.agentSpeech.item(itemId)?.generation ?? null
    if (over === 'heard' && generation !== null && generation > this.#settledGeneration) this.#told = true
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (fact.type === 'effect-settled') this.#settled(fact.end, fact.spoken)
  }

  /** True if a due end or handover must wait. The feature that wants the end or handover then asks again later. */
  awaitEffects(): boolean {
    const open = this.call.effects.ledger.effectsRunning.length > 0 || this.#untold !== null
    if (!open) {
      this.#heldFromMs = NaN
      return false
    }
    if (Number.isNaN(this.#heldFromMs)) {
      this.#heldFromMs = this.call.nowMs
      this.call.mark('effect-awaited', this.call.effects.ledger.effectsRunning.join(' '))
    }
    this.call.in('effects', QUIET_POLL_MS)
    return this.call.nowMs - this.#heldFromMs < HELD_MS_MAX
  }

  /** Delays the end of the call. A later end replaces an earlier end. */
  delayEnd(run: () => void): boolean {
    if (!this.awaitEffects()) return false
    this.#end = run
    this.call.changed()
    return true
  }

  /**
   * Notes that a tool with an effect has ended. @param spoken  true if its result goes to a model that should answer it
   */
  #settled(end: EffectEnd, spoken: boolean): void {
    if (Number.isNaN(this.#heldFromMs)) return
    this.call.mark('effect-settled', end)
    // The gateway does not speak over a human on the line.
    if (this.call.line.state === 'bridged') return
    this.#untold = WORST.find((one) => one === end || one === this.#untold) ?? end
    this.#settledGeneration = this.call.agentSpeech.latest
    this.#told = false
    this.#tellByMs = spoken ? this.call.nowMs + this.call.options.answerTimeoutMs : this.call.nowMs
    this.call.in('effects', spoken ? QUIET_POLL_MS : 0)
  }

  #due(): void {
    if (this.#told && !this.call.talk.agentTalking && !this.call.wait.answerDue) this.#known()
    const quiet = !this.call.talk.agentTalking && !this.call.callerSpeech.speaking
    if (
      this.#untold !== null &&
      this.call.nowMs >= this.#tellByMs &&
      this.call.effects.ledger.effectsRunning.length === 0
    ) {
      if (this.#itemId !== null) this.#known()
      else if (quiet) this.#say(this.#untold)
    }
    if (this.awaitEffects()) return
    const end = this.#end
    this.#end = null
    end?.()
  }

  #say(end: EffectEnd): void {
    const text = this.call.text(this.call.options.effects?.said[end])
    if (text === '' || !this.call.line.streaming) return this.#known()
    this.#itemId = this.call.talk.announce(text, 'prompt')
    this.#tellByMs = this.call.nowMs + WORDS_HEARD_MS_MAX
  }

  #known(): void {
    this.#untold = null
    this.#itemId = null
    this.#told = false
    this.#tellByMs = Infinity
  }
}
