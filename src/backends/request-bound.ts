/** Requests to models for one turn of the caller, and in any minute of a call. */
export const TURN_REQUESTS_MAX = 12
export const MINUTE_REQUESTS_MAX = 40
const MINUTE_MS = 60_000
/** Calls of withheld tools after which an answer has failed: the model may have asked for the first before it knew. */
const WITHHELD_CALLS_MAX = 2

/** The limit that an answer has reached. */
export type BoundReached = 'withheld' | 'turn' | 'minute'

/** Counters of a backend whose answers the bound has ended (`RequestBound`). */
export const BOUND_COUNTERS: Readonly<Record<BoundReached, string>> = {
  withheld: 'answersBoundedByWithheldTools',
  turn: 'answersBoundedByTurn',
  minute: 'answersBoundedByMinute',
}

/**
 * How often the models of one call may be asked, whatever they do, and whichever backend or delegate asks them. `CallBackend` has
 * the only one.
 *
 *     open --MINUTE_REQUESTS_MAX in a minute, TURN_REQUESTS_MAX in a turn--> reached until the minute, or the turn, is over
 *     open --WITHHELD_CALLS_MAX calls of tools that were withheld--> reached; the answer has failed
 */
export class RequestBound {
  /** Times of the newest requests, at most MINUTE_REQUESTS_MAX. */
  readonly #askedAtMs: number[] = []
  #inTurn = 0
  /** The newest answer that may still know the tools; Infinity: they are offered. */
  #knowsTools = Infinity
  #withheldCalls = 0

  /** The caller has said or keyed something. */
  turn(): void {
    this.#inTurn = 0
    this.#withheldCalls = 0
  }

  /** A model is to be asked. @returns the limit that forbids it; null: it may be, and is counted */
  ask(nowMs: number): BoundReached | null {
    while ((this.#askedAtMs[0] ?? nowMs) <= nowMs - MINUTE_MS) this.#askedAtMs.shift()
    if (this.#inTurn >= TURN_REQUESTS_MAX) return 'turn'
    if (this.#askedAtMs.length >= MINUTE_REQUESTS_MAX) return 'minute'
    this.#inTurn++
    this.#askedAtMs.push(nowMs)
    return null
  }

  /** @param generation  the newest answer, in which calls may still come that were made before */
  tools(offered: boolean, generation: number): void {
    this.#knowsTools = offered ? Infinity : generation
    this.#withheldCalls = 0
  }

  /** A model has called a tool. @returns `withheld` where its answer has failed by that */
  called(generation: number): BoundReached | null {
    if (generation <= this.#knowsTools) return null
    return ++this.#withheldCalls >= WITHHELD_CALLS_MAX ? 'withheld' : null
  }
}
