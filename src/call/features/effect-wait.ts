import { QUIET_POLL_MS, WORDS_HEARD_MS_MAX } from '../call-deadlines.js'
import type { DeadlineName } from '../call-deadlines.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { EffectEnd } from '../spoken/effect-words.js'
import type { FactOf } from '../facts.js'

/** Longest time that an end or a handover waits for effects and for words about them; then it cuts off those that still run. */
const HELD_MS_MAX = 60_000

/** Ends of effects, the worst first: the caller hears the worst one. */
const WORST: readonly EffectEnd[] = ['uncertain', 'failed', 'done']

const HEARS = ['effect-settled'] as const

/**
 * Tool calls with an effect that were sent. The gateway's own goodbye, handover or end waits until they have settled, or
 * their deadline has passed, and until the caller knows how they ended.
 *
 *     none --a tool with an effect is sent--> runs --it settles, nobody waits for that--> none
 *     runs --an end or a handover is due--> awaited --it settles--> untold
 *     untold --the agent has said it, or the gateway in its place--> none, and the end is carried out
 *     awaited, untold --HELD_MS_MAX--> none, and the end cuts off what still runs
 */
export class EffectWait extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['awaitEffects', 'delayEnd'] as const
  /** Since when an end or a handover waits; NaN: none does. */
  #heldFromMs = NaN
  /** The end of the call that waits. */
  #end: (() => void) | null = null
  /** How the last one ended that something waited for, and that the caller has not heard of. */
  #untold: EffectEnd | null = null
  /** Answers of the model of a later generation tell it. */
  #settledGeneration = 0
  /** The gateway says it then, where the model has not. */
  #tellByMs = Infinity
  /** The model has said something about it. */
  #told = false
  /** The gateway's words about it. */
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

  /** True if an end or a handover that is due has to wait: it asks again. */
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

  /** A later end takes the place of an earlier one. */
  delayEnd(run: () => void): boolean {
    if (!this.awaitEffects()) return false
    this.#end = run
    this.call.changed()
    return true
  }

  /** A tool with an effect has ended. @param spoken  its result goes to a model that is to answer it */
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
