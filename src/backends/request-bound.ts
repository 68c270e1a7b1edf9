/** Maximum number of requests to models for one turn of the caller, and for one minute of a call. */
export const TURN_REQUESTS_MAX = 12
export const MINUTE_REQUESTS_MAX = 40
const MINUTE_MS = 60_000
/**
 * Number of tool calls after which an answer fails, if the tools were withheld. The first of them may have been made
 * before the model knew that the tools are withheld.
 */
const WITHHELD_CALLS_MAX = 2

/** Name of the limit that was reached. */
export type BoundReached = 'withheld' | 'turn' | 'minute'

/** Names of the counters that count answers which `RequestBound` has ended, by limit. */
export const BOUND_COUNTERS: Readonly<Record<BoundReached, string>> = {
  withheld: 'answersBoundedByWithheldTools',
  turn: 'answersBoundedByTurn',
  minute: 'answersBoundedByMinute',
}

/**
 * Limits the number of requests to models in one call. Requests of all the call's backends and delegates count.
 * `CallBackend` has the only instance.
 *
 *     open --MINUTE_REQUESTS_MAX in a minute--> reached: until the minute is over
 *     open --TURN_REQUESTS_MAX in a turn--> reached: until the turn is over
 *     open --WITHHELD_CALLS_MAX calls of withheld tools--> reached: the answer has failed
 */
export class RequestBound {
  /** Times of the newest requests, at most MINUTE_REQUESTS_MAX. */
  readonly #askedAtMs: number[] = []
  #inTurn = 0
  /** Generation of the newest answer that may still use the tools; Infinity while the tools are offered. */
  #knowsTools = Infinity
  #withheldCalls = 0

  /** Starts a new turn, because the caller has spoken or pressed keys. */
  turn(): void {
    this.#inTurn = 0
    this.#withheldCalls = 0
  }

  /**
   * Requests permission to send a request to a model. @returns null if the request is allowed and counted; otherwise
   * the limit that forbids the request
   */
  ask(nowMs: number): BoundReached | null {
    while ((this.#askedAtMs[0] ?? nowMs) <= nowMs - MINUTE_MS) this.#askedAtMs.shift()
    if (this.#inTurn >= TURN_REQUESTS_MAX) return 'turn'
    if (this.#askedAtMs.length >= MINUTE_REQUESTS_MAX) return 'minute'
    this.#inTurn++
    this.#askedAtMs.push(nowMs)
    return null
  }

  /** @param generation generation of the newest answer, which may still contain tool calls from before the change */
  tools(offered: boolean, generation: number): void {
    this.#knowsTools = offered ? Infinity : generation
    this.#withheldCalls = 0
  }

  /** Counts a tool call of a model. @returns `withheld` if the answer fails because of this tool call */
  called(generation: number): BoundReached | null {
    if (generation <= this.#knowsTools) return null
    return ++this.#withheldCalls >= WITHHELD_CALLS_MAX ? 'withheld' : null
  }
}
