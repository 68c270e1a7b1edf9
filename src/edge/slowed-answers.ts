import type { Exchange, Reply } from './http-exchange.js'

/**
 * Answers that are held back for a while, so that whoever guesses waits for each guess. All are held equally long, so the
 * oldest is always first; `sweep` writes those whose time has come. A sender who goes away is forgotten.
 */
export class SlowedAnswers {
  readonly #delayMs: number
  readonly #most: number
  readonly #held = new Map<Exchange, { readonly dueMs: number; readonly reply: Reply }>()

  /** @param most  answers held at once */
  constructor(delayMs: number, most: number) {
    this.#delayMs = delayMs
    this.#most = most
  }

  get held(): number {
    return this.#held.size
  }

  /** @returns false when too many are held already: the exchange is the caller's to answer. */
  hold(exchange: Exchange, reply: Reply, nowMs: number): boolean {
    if (this.#held.size >= this.#most) return false
    this.#held.set(exchange, { dueMs: nowMs + this.#delayMs, reply })
    exchange.onOver(() => {
      this.#held.delete(exchange)
    })
    return true
  }

  sweep(nowMs: number): void {
    for (const [exchange, { dueMs, reply }] of this.#held) {
      if (dueMs > nowMs) return
      exchange.reply(reply)
    }
  }
}
