/** Limits for data that a connection sends. */
interface StreamRates {
  readonly bytesPerS: number
  /** Number of bytes that may arrive at once after a pause. */
  readonly bytesAtOnce: number
  readonly messagesPerS: number
  readonly messagesAtOnce: number
}

/**
 * Counts the bytes and the messages of one connection against its limits. After a pause, a limited number may arrive at
 * once. If the sender exceeds a limit, the connection's owner must close the connection. Otherwise the thread would
 * only read this connection, and the thread's other calls would wait.
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

  /** @returns false if this data exceeds the limits */
  take(bytes: number, messages: number, nowMs: number): boolean {
    const { bytesPerS, bytesAtOnce, messagesPerS, messagesAtOnce } = this.#rates
    const passedS = Math.max(0, nowMs - this.#atMs) / 1000
    this.#atMs = nowMs
    this.#bytes = Math.min(bytesAtOnce, this.#bytes + passedS * bytesPerS) - bytes
    this.#messages = Math.min(messagesAtOnce, this.#messages + passedS * messagesPerS) - messages
    return this.#bytes >= 0 && this.#messages >= 0
  }
}
