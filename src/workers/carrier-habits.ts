import type { AfterStream } from '../escalation/escalation-events.js'
import { CARRIER_HABITS_CALLS_MAX } from '../core/limits.js'

/** A carrier that goes on with a call asks within this of the stream's end (the watchdog's time, and one webhook). */
const ASKS_WITHIN_MS = 3500

/**
 * What the carrier does with a leg when we have closed its stream, learnt from every call that ends so: it asks how to go
 * on, or it holds the leg in silence. Sources contradict each other (docs/PROTOCOL.md), and a caller who is to be handed
 * over must not pay for finding out. The newest observation counts; a call whose caller hung up meanwhile is none.
 */
export class CarrierHabits {
  readonly #fixed: AfterStream | null
  readonly #closedAtMs = new Map<string, number>()
  #seen: AfterStream = 'unknown'

  /** @param fixed  what is known otherwise; null to learn it */
  constructor(fixed: AfterStream | null) {
    this.#fixed = fixed
  }

  /** We closed the stream of a call that the carrier was not asked to end. */
  closed(callSid: string, nowMs: number): void {
    this.#closedAtMs.delete(callSid)
    this.#closedAtMs.set(callSid, nowMs)
    if (this.#closedAtMs.size <= CARRIER_HABITS_CALLS_MAX) return
    for (const oldest of this.#closedAtMs.keys()) {
      this.#closedAtMs.delete(oldest)
      return
    }
  }

  /** The carrier asked how that call goes on. */
  asked(callSid: string, nowMs: number): void {
    const closedAtMs = this.#closedAtMs.get(callSid)
    if (closedAtMs === undefined) return
    this.#closedAtMs.delete(callSid)
    // Later than anybody waits is as good as not at all.
    this.#seen = nowMs - closedAtMs <= ASKS_WITHIN_MS ? 'continues' : 'holds'
  }

  /** That call is over: before its time, what would have come of it is not known. */
  over(callSid: string, nowMs: number): void {
    this.afterStream(nowMs)
    this.#closedAtMs.delete(callSid)
  }

  afterStream(nowMs: number): AfterStream {
    if (this.#fixed !== null) return this.#fixed
    // In the order of their closing.
    for (const [callSid, closedAtMs] of this.#closedAtMs) {
      if (nowMs - closedAtMs <= ASKS_WITHIN_MS) break
      this.#closedAtMs.delete(callSid)
      this.#seen = 'holds'
    }
    return this.#seen
  }
}
