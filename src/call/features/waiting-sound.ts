import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { FactOf } from '../facts.js'

const HEARS = ['call-ends'] as const

/**
 * The sound that callers hear in place of silence while they wait: for a tool that takes long, for an outcome from outside, or for a
 * human who is being rung. It is no speech of the agent's: playout sends it where it has no speech, and softly under speech.
 */
export class WaitingSound extends Feature implements CallFeature {
  readonly hears = HEARS
  #on = false

  due(name: DeadlineName): void {
    if (name === 'waiting-sound') this.#set(this.#wanted)
  }

  hear(fact: FactOf<typeof HEARS>): void {
    // Nothing follows the end of the call.
    if (fact.type === 'call-ends') this.#set(false)
  }

  /** Begins to count a wait, or ends it. */
  afterwards(): void {
    const { waitingSoundAfterMs: afterMs } = this.call.options
    if (afterMs === undefined) return
    if (!this.#wanted) {
      this.call.clear('waiting-sound')
      this.#set(false)
    } else if (!this.#on && !this.call.deadlines.isSet('waiting-sound')) this.call.in('waiting-sound', afterMs)
  }

  get #wanted(): boolean {
    const { line, effects } = this.call
    return line.state === 'holding' || (line.state === 'live' && (effects.running > 0 || effects.awaited))
  }

  #set(on: boolean): void {
    if (on === this.#on) return
    this.#on = on
    this.call.mark(on ? 'waiting-sound' : 'waiting-sound-over')
    this.call.out({ type: 'waiting-sound', on })
  }
}
