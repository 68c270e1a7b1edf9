import type { CallClock, CallerLeg } from './caller-leg.js'
import type { CallerVoices } from './caller-voices.js'
import type { Span } from './speech-spans.js'

export interface CallerEvents {
  onSaid?(text: string): void
  onHeard?(text: string): void
  onDigits?(digits: string): void
  onHungUp(why: string): void
}

/** A piece of speech and its words. The text is empty if the recogniser was not sure. */
export interface HeardPiece extends Span {
  readonly text: string
}

/** Facts that a caller heard from an order line; null for those not heard. */
export interface OrderFacts {
  readonly order: string | null
  /** The status by its name in the shop's API, such as `out_for_delivery`. */
  readonly status: string | null
  /** The time as heard, such as `today between four and six p m`. */
  readonly eta: string | null
}

/** Whoever is at the caller's end of a call: a simulated person, or somebody at a browser. */
export interface CallerEnd {
  readonly leg: CallerLeg
  readonly heard: readonly HeardPiece[]
  /** Facts that the caller heard from the agent. */
  facts(): OrderFacts
  /** Ends the leg, whichever side hung up. Resolves when nothing more is heard. */
  end(nowMs: number): Promise<void>
}

/** Who calls, before the call. */
export interface CallingPerson {
  /** Speaks for the carrier and the people that it rings. */
  readonly speech: Pick<CallerVoices, 'speak'>
  /** The caller's end of the call, from now on. Once. */
  open(clock: CallClock, events: CallerEvents): CallerEnd | Promise<CallerEnd>
}
