/** Limits for data that a connection sends. */
interface StreamRates {
  readonly bytesPerS: number
  /** Bytes that may come at once, after a pause. */
  readonly bytesAtOnce: number
  readonly messagesPerS: number
  readonly messagesAtOnce: number
}

/**
 * Counts what one connection sends: bytes and messages, each at a rate, with some at once after a pause. Whoever sends more is
 * cut off by the connection's owner. Otherwise the thread that reads it does nothing else, and the other calls of the thread wait.
 */
export class StreamBudget {
  readonly #rates: StreamRates
  #bytes: number
  #messages: number
  #atMs = -Infinity

  constructor(rates: StreamRates) {
    this.#rates = rates
    this.#bytes = rates.bytesAtOnce
    this.#messages = rates.messagesAtOnce
  }

  /** @returns false where that is more than is allowed */
  take(bytes: number, messages: number, nowMs: number): boolean {
    const { bytesPerS, bytesAtOnce, messagesPerS, messagesAtOnce } = this.#rates
    const passedS = Math.max(0, nowMs - this.#atMs) / 1000
    this.#atMs = nowMs
    this.#bytes = Math.min(bytesAtOnce, this.#bytes + passedS * bytesPerS) - bytes
    this.#messages = Math.min(messagesAtOnce, this.#messages + passedS * messagesPerS) - messages
    return this.#bytes >= 0 && this.#messages >= 0
  }
}
