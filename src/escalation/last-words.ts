import type { VoiceAction } from '../sautikit/actions.js'
import { HANG_UP, NO_ACTIONS, REPEAT_MS, farewell, offerActions } from './escalation-documents.js'
import type { EscalationAsker, EscalationOptions } from './escalation-events.js'

/** The key that stands for yes. */
const YES_KEY = '1'

/** What the carrier is given for a caller whom nobody reached and who has no stream any more. */
export interface LastWord {
  readonly actions: readonly VoiceAction[]
  /** A key may come back. */
  readonly asks: boolean
  /** The caller wants to be called back; true once. */
  readonly accepted: boolean
}

const nothing: LastWord = { actions: NO_ACTIONS, asks: false, accepted: false }

/**
 * Words and a hang-up, or, where a call back can be offered, the question first.
 *
 *     none  --somebody asks--> asked     the same for a repeated request
 *     asked --key 1--> done              noted, confirmed
 *     asked --another key, none--> asked    the line is hung up
 *     none  --nobody asks--> done        called back all the same
 */
export class LastWords {
  readonly #options: EscalationOptions
  #state: 'none' | 'asked' | 'done' = 'none'
  #askedAtMs = Infinity

  constructor(options: EscalationOptions) {
    this.#options = options
  }

  ask(asker: EscalationAsker, digits: string | null, nowMs: number): LastWord {
    const { offer } = this.#options
    if (offer === null) return { ...nothing, actions: farewell(this.#options) }
    if (digits !== null && this.#state !== 'none') {
      if (digits !== YES_KEY) return { ...nothing, actions: HANG_UP }
      const accepted = this.#state === 'asked'
      this.#state = 'done'
      return { actions: [offer.confirmed, ...HANG_UP], asks: false, accepted }
    }
    // Later edges of a leg that listens to the question ask nothing.
    if (this.#state === 'done' || nowMs - this.#askedAtMs > REPEAT_MS) return nothing
    // A status callback is seldom read: the question is still to be put.
    if (asker === 'stream-status') return { ...nothing, actions: offerActions(this.#options) }
    this.#state = 'asked'
    this.#askedAtMs = Math.min(this.#askedAtMs, nowMs)
    return { actions: offerActions(this.#options), asks: true, accepted: false }
  }

  /** Nobody asks how to go on. @returns true when the caller is to be called back without having been asked */
  nobodyAsks(): boolean {
    if (this.#options.offer === null || this.#state !== 'none') return false
    this.#state = 'done'
    return true
  }
}
