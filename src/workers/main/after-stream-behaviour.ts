import { forgetOldest } from '../../core/forget-oldest.js'
import { CONTINUATION_MS } from '../../escalation/documents.js'
import type { AfterStream } from '../../escalation/escalation-events.js'

/** Maximum number of calls that are observed at a time. From them we learn the carrier's after-stream behaviour. */
const AFTER_STREAM_CALLS_MAX = 1000

/**
 * Maximum time in ms from the end of a stream to the carrier's request for a continuation. It is CONTINUATION_MS plus
 * the time of one webhook.
 */
export const ASKS_WITHIN_MS = CONTINUATION_MS + 500

/**
 * Carrier's after-stream behaviour. After we close a leg's stream, the carrier either asks how to continue, or holds
 * the leg in silence. The sources about this behaviour contradict each other (docs/PROTOCOL.md), so it is learnt from
 * every call whose stream we close. The newest observation counts. A call whose caller hangs up first is not counted.
 */
export class AfterStreamBehaviour {
  readonly #fixed: AfterStream | null
  /** Monotonic time in ms at which we closed the stream of each call, by call SID. The oldest time is first. */
  readonly #closedAtMs = new Map<string, number>()
  #seen: AfterStream = 'unknown'
  #seenAtMs = -Infinity

  /** @param fixed  the behaviour from the settings; null to learn it */
  constructor(fixed: AfterStream | null) {
    this.#fixed = fixed
  }

  /** Notes that we closed the stream of a call without asking the carrier to end the call. */
  closed(callSid: string, nowMs: number): void {
    this.#closedAtMs.delete(callSid)
    this.#closedAtMs.set(callSid, nowMs)
    forgetOldest(this.#closedAtMs, AFTER_STREAM_CALLS_MAX)
  }

  /** Notes that the carrier asked how this call continues. */
  asked(callSid: string, nowMs: number): void {
    const closedAtMs = this.#closedAtMs.get(callSid)
    if (closedAtMs === undefined) return
    this.#closedAtMs.delete(callSid)
    // A request after ASKS_WITHIN_MS comes too late: the behaviour then counts as `holds`.
    this.#see(nowMs - closedAtMs <= ASKS_WITHIN_MS ? 'continues' : 'holds', nowMs)
  }

  /**
   * Notes that this call is over. If the call ends earlier than ASKS_WITHIN_MS, its end does not show the carrier's
   * behaviour.
   */
  over(callSid: string, nowMs: number): void {
    this.known(nowMs)
    this.#closedAtMs.delete(callSid)
  }

  /** Notes an observation of another node, made `agoMs` ago. */
  learn(seen: 'continues' | 'holds', agoMs: number, nowMs: number): void {
    if (nowMs - agoMs > this.#seenAtMs) this.#see(seen, nowMs - agoMs)
  }

  /** The newest observation, by this node or another node; null before the first observation. */
  observed(nowMs: number): { readonly seen: 'continues' | 'holds'; readonly agoMs: number } | null {
    this.known(nowMs)
    return this.#seen === 'unknown' ? null : { seen: this.#seen, agoMs: nowMs - this.#seenAtMs }
  }

  #see(seen: 'continues' | 'holds', atMs: number): void {
    this.#seen = seen
    this.#seenAtMs = atMs
  }

  /** Returns the fixed behaviour, or the newest observation; `unknown` before the first observation. */
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
