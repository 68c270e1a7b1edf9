import { Feature, QUIET_POLL_MS, WORDS_HEARD_MS_MAX } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'
import type { EndReason } from '../documents/record.js'
import type { EffectEnd } from '../effect-words.js'

/** Longest time that an end or a handover waits for effects and for words about them; then it cuts off those that still run. */
const HELD_MS_MAX = 60_000

/** Limit of the wait of an end or a handover for effects and for words about them; then it cuts off those that still run. */
const WORST: readonly EffectEnd[] = ['uncertain', 'failed', 'done']

/** An end of the call that waits. */
interface HeldEnd {
  readonly reason: EndReason
  readonly detail: string
  readonly run: () => void
}

/**
 * Tool calls with an effect that were sent. The gateway's own goodbye, handover or end waits until they have settled, or
 * their deadline has passed, and until the caller knows how they ended.
 *
 *     none --a tool with an effect is sent--> runs --it settles, nobody waits for that--> none
 *     runs --an end or a handover is due--> awaited --it settles--> untold
 *     untold --the agent has said it, or the gateway in its place--> none, and the end is carried out
 *     awaited, untold --HELD_MS_MAX--> none, and the end cuts off what still runs
 */
export class Effects extends Feature implements CallFeature {
  /** Since when an end or a handover waits; NaN: none does. */
  #heldFromMs = NaN
  #end: HeldEnd | null = null
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

  /** The end that waits; null: none does. */
  get end(): Pick<HeldEnd, 'reason' | 'detail'> | null {
    return this.#end
  }

  /** True if an end or a handover that is due has to wait: it asks again. */
  holds(): boolean {
    const open = this.call.ledger.effectsRunning.length > 0 || this.#untold !== null
    if (!open) {
      this.#heldFromMs = NaN
      return false
    }
    if (Number.isNaN(this.#heldFromMs)) {
      this.#heldFromMs = this.call.nowMs
      this.call.mark('effect-awaited', this.call.ledger.effectsRunning.join(' '))
    }
    this.call.in('effects', QUIET_POLL_MS)
    return this.call.nowMs - this.#heldFromMs < HELD_MS_MAX
  }

  /** @returns true where the end has to wait: `run` is called once it need not. A later end takes the place of an earlier one. */
  delays(reason: EndReason, detail: string, run: () => void): boolean {
    if (!this.holds()) return false
    this.#end = { reason, detail, run }
    this.call.changed()
    return true
  }

  /** Why the model may not end or hand over the call with that tool now; null where it may. */
  refusal(tool: string): string | null {
    const running = this.call.ledger.effectsRunning
    if (running.length === 0) return null
    return (
      `${running.join(' and ')} still runs, and the call goes on. Wait for its result and tell the caller how it ended. ` +
      `Then call ${tool} again.`
    )
  }

  /** A tool with an effect has ended. @param spoken  its result goes to a model that is to answer it */
  settled(end: EffectEnd, spoken: boolean): void {
    if (Number.isNaN(this.#heldFromMs)) return
    this.call.mark('effect-settled', end)
    // The gateway does not speak over a human on the line.
    if (this.call.state === 'bridged') return
    this.#untold = WORST.find((one) => one === end || one === this.#untold) ?? end
    this.#settledGeneration = this.call.agentSpeech.latest
    this.#told = false
    this.#tellByMs = spoken ? this.call.nowMs + this.call.options.answerTimeoutMs : this.call.nowMs
    this.call.in('effects', spoken ? QUIET_POLL_MS : 0)
  }

  #due(): void {
    if (this.#told && !this.call.agentTalking && !this.call.deadlines.isSet('answer')) this.#known()
    const quiet = !this.call.agentTalking && !this.call.callerSpeech.speaking
    if (this.#untold !== null && this.call.nowMs >= this.#tellByMs && this.call.ledger.effectsRunning.length === 0) {
      if (this.#itemId !== null) this.#known()
      else if (quiet) this.#say(this.#untold)
    }
    if (this.holds()) return
    const end = this.#end
    this.#end = null
    end?.run()
  }

  #say(end: EffectEnd): void {
    const text = this.call.text(this.call.options.effects?.said[end])
    if (text === '' || !this.call.streaming) return this.#known()
    this.#itemId = this.call.announce(text, 'prompt')
    this.#tellByMs = this.call.nowMs + WORDS_HEARD_MS_MAX
  }

  #known(): void {
    this.#untold = null
    this.#itemId = null
    this.#told = false
    this.#tellByMs = Infinity
  }
}
