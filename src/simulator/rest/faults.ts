/** What goes wrong with requests to the REST API, on demand. */

export interface Fault {
  /** Method and beginning of the path: `POST /v1/calls`; empty for every request. */
  readonly match: string
  /** Answers with this status instead; null answers as always (after `delayMs`). */
  readonly status: number | null
  readonly retryAfterS?: number | null
  /** Waits before the answer. */
  readonly delayMs?: number
  /** Does not answer: the connection breaks. */
  readonly cut?: boolean
  /** An answer that is no JSON. */
  readonly html?: boolean
  /** Requests that it meets; unlimited when not given. */
  readonly times?: number
}

const FAULTS_MAX = 100

export class Faults {
  readonly #faults: { readonly fault: Fault; left: number }[] = []

  constructor(faults: readonly Fault[] = []) {
    for (const fault of faults) this.add(fault)
  }

  /** @returns false when there are too many. */
  add(fault: Fault): boolean {
    if (this.#faults.length >= FAULTS_MAX) return false
    this.#faults.push({ fault, left: fault.times ?? Infinity })
    return true
  }

  clear(): void {
    this.#faults.length = 0
  }

  /** The fault that this request meets; it is used up by that. */
  take(method: string, path: string): Fault | null {
    const entry = this.#faults.find(({ fault, left }) => left > 0 && `${method} ${path}`.startsWith(fault.match))
    if (entry === undefined) return null
    entry.left--
    return entry.fault
  }
}
