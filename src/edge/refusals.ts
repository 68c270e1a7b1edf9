import { REFUSALS_KEPT } from '../core/limits.js'
import type { WallClock } from '../core/clock.js'
import type { RefusalReason } from '../telemetry/metrics.js'

/** Somebody who was not served: a call that got no stream, or a socket that was not opened. */
export interface Refusal {
  /** Calendar time, ISO 8601. */
  readonly at: string
  readonly reason: RefusalReason
  /** Why, with the figures that decided it. */
  readonly why: string
  /** Null where the refused never said which call it was, or had no right to. */
  readonly callSid: string | null
  readonly agent: string | null
}

/** The last refusals, for the operator: a refused call has no record of its own. */
export class Refusals {
  /** Older ones that were let go. */
  dropped = 0
  readonly #wallClock: WallClock
  readonly #kept: Refusal[] = []

  constructor(wallClock: WallClock) {
    this.#wallClock = wallClock
  }

  note(refused: Omit<Refusal, 'at'>): void {
    this.#kept.push({ at: new Date(this.#wallClock()).toISOString(), ...refused })
    if (this.#kept.length <= REFUSALS_KEPT) return
    this.#kept.shift()
    this.dropped++
  }

  /** Newest first. */
  get newest(): readonly Refusal[] {
    return this.#kept.toReversed()
  }
}
