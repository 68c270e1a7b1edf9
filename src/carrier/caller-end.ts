import type { CallClock, CallerLeg } from './caller-leg.js'
import type { CallerVoices } from './caller-voices.js'
import type { RungOutcome } from './choices.js'
import type { Span } from './speech-spans.js'

export interface CallerEvents {
  onSaid?(text: string): void
  onHeard?(text: string): void
  onDigits?(digits: string): void
  onHungUp(why: string): void
}

/** A piece of speech and its words. The text is empty if the recogniser was uncertain. */
export interface HeardPiece extends Span {
  readonly text: string
}

/** Facts that a caller heard from an order line; null for a fact that the caller did not hear. */
export interface OrderFacts {
  readonly order: string | null
  /** The status by its name in the shop's API, such as `out_for_delivery`. */
  readonly status: string | null
  /** The time as heard, such as `today between four and six p m`. */
  readonly eta: string | null
}

/** The caller's end of a call: a simulated person, or a person at a browser. */
export interface CallerEnd {
  readonly leg: CallerLeg
  readonly heard: readonly HeardPiece[]
  /** Facts that the caller heard from the agent. */
  facts(): OrderFacts
  /** Called once, when the carrier answers the call: a real phone then hears no more ringing. */
  answered?(): void
  /** Handles a document that rejects the call. @param reason  the document's reason, such as `busy` */
  rejected?(reason: string): void
  /** Ends the leg, on either side's hang-up. Resolves when no more speech can arrive. */
  end(nowMs: number): Promise<void>
}

/** A caller with the data that the carrier needs before the call. */
export interface CallingPerson {
  /** Speaks for the carrier and the people that it rings. */
  readonly speech: Pick<CallerVoices, 'speak'>
  /** Rings a real phone, at most until `ended`. Absent: the outcome is in `OutboundLeg`. */
  ring?(ended: Promise<void>): Promise<RungOutcome>
  /** Starts the caller's end of the call. Called once. */
  open(clock: CallClock, events: CallerEvents): CallerEnd | Promise<CallerEnd>
}
