import { forgetOldest } from '../../core/forget-oldest.js'
import { CONTINUATION_MS } from '../../escalation/documents.js'
import type { AfterStream } from '../../escalation/escalation-events.js'

/** Calls that are observed at once, to learn what the carrier does after a stream. */
const AFTER_STREAM_CALLS_MAX = 1000

/** A carrier that continues the call asks within this time after the stream: the watchdog's time, and one webhook. */
export const ASKS_WITHIN_MS = CONTINUATION_MS + 500

/**
 * After-stream behaviour: after we have closed a leg's stream, the carrier asks how to continue, or holds the leg in
 * silence. Sources contradict each other (docs/PROTOCOL.md), so it is learnt from every call that ends this way, before
 * an escalation depends on it. The newest observation counts. A call whose caller hung up meanwhile shows nothing.
 */
export class AfterStreamBehaviour {
  readonly #fixed: AfterStream | null
  /** By call SID, in the order of closing. */
  readonly #closedAtMs = new Map<string, number>()
  #seen: AfterStream = 'unknown'
  #seenAtMs = -Infinity

  /** @param fixed  the behaviour from the settings; null to learn it */
  constructor(fixed: AfterStream | null) {
    this.#fixed = fixed
  }

  /** We closed the stream of a call and did not ask the carrier to end it. */
  closed(callSid: string, nowMs: number): void {
    this.#closedAtMs.delete(callSid)
    this.#closedAtMs.set(callSid, nowMs)
    forgetOldest(this.#closedAtMs, AFTER_STREAM_CALLS_MAX)
  }

  /** The carrier asked how that call continues. */
  asked(callSid: string, nowMs: number): void {
    const closedAtMs = this.#closedAtMs.get(callSid)
    if (closedAtMs === undefined) return
    this.#closedAtMs.delete(callSid)
    // After the watchdog's time a request is too late to be of use.
    this.#see(nowMs - closedAtMs <= ASKS_WITHIN_MS ? 'continues' : 'holds', nowMs)
  }

  /** That call is over. Before ASKS_WITHIN_MS this says nothing about the carrier. */
  over(callSid: string, nowMs: number): void {
    this.known(nowMs)
    this.#closedAtMs.delete(callSid)
  }

  /** Another node observed it `agoMs` ago. */
  learn(seen: 'continues' | 'holds', agoMs: number, nowMs: number): void {
    if (nowMs - agoMs > this.#seenAtMs) this.#see(seen, nowMs - agoMs)
  }

  /** The newest observation, of this node or of another; null before the first. */
  observed(nowMs: number): { readonly seen: 'continues' | 'holds'; readonly agoMs: number } | null {
    this.known(nowMs)
    return this.#seen === 'unknown' ? null : { seen: this.#seen, agoMs: nowMs - this.#seenAtMs }
  }

  #see(seen: 'continues' | 'holds', atMs: number): void {
    this.#seen = seen
    this.#seenAtMs = atMs
  }

  /** The behaviour as far as it is known now. */
  known(nowMs: number): AfterStream {
    if (this.#fixed !== null) return this.#fixed
    for (const [callSid, closedAtMs] of this.#closedAtMs) {
      if (nowMs - closedAtMs <= ASKS_WITHIN_MS) break
      this.#closedAtMs.delete(callSid)
      this.#see('holds', closedAtMs + ASKS_WITHIN_MS)
    }
    return this.#seen
  }
}
