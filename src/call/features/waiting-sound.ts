import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { FactOf } from '../facts.js'

const HEARS = ['call-ends'] as const

/**
 * Sound that the caller hears instead of silence during a wait. This sound is not speech. Playout sends the sound in
 * pauses of speech, and quietly under speech.
 */
export class WaitingSound extends Feature implements CallFeature {
  readonly hears = HEARS
  #on = false

  due(name: DeadlineName): void {
    if (name === 'waiting-sound') this.#set(this.#wanted)
  }

  hear(fact: FactOf<typeof HEARS>): void {
    // The call ends, so the wait is over.
    if (fact.type === 'call-ends') this.#set(false)
  }

  /** Starts or ends the timing of a wait. */
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
