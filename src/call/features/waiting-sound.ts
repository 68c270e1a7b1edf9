import { Feature } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'

/**
 * The sound that callers hear in place of silence while they wait: for a tool that takes long, for an outcome from outside, or for a
 * human who is being rung. It is no speech of the agent's: playout sends it where it has no speech, and softly under speech.
 */
export class WaitingSound extends Feature implements CallFeature {
  #on = false

  due(name: DeadlineName): void {
    if (name === 'waiting-sound') this.#set(this.#wanted)
  }

  /** After each input: begins to count a wait, or ends it. */
  follow(): void {
    const { waitingSoundAfterMs: afterMs } = this.call.options
    if (afterMs === undefined) return
    if (!this.#wanted) {
      this.call.clear('waiting-sound')
      this.#set(false)
    } else if (!this.#on && !this.call.deadlines.isSet('waiting-sound')) this.call.in('waiting-sound', afterMs)
  }

  get #wanted(): boolean {
    const { state, ledger, waits } = this.call
    return state === 'holding' || (state === 'live' && (ledger.running > 0 || waits.busy))
  }

  #set(on: boolean): void {
    if (on === this.#on) return
    this.#on = on
    this.call.mark(on ? 'waiting-sound' : 'waiting-sound-over')
    this.call.out({ type: 'waiting-sound', on })
  }
}
