/** The time of one call that is not spoken: it stands still until it is moved. */
export class TextClock {
  #nowMs: number
  #waiting: { readonly atMs: number; readonly wake: () => void }[] = []

  constructor(startMs: number) {
    this.#nowMs = startMs
  }

  readonly nowMs = (): number => this.#nowMs

  /** Calls `work` once after `ms` of this time. @returns what takes that back */
  readonly after = (ms: number, work: () => void): (() => void) => {
    const entry = { atMs: this.#nowMs + ms, wake: work }
    this.#waiting.push(entry)
    return () => { this.#waiting = this.#waiting.filter((one) => one !== entry) }
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => { this.after(ms, resolve) })
  }

  /** Moves on and wakes what is due, the earliest first. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    for (;;) {
      const due = this.#waiting.filter((one) => one.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (due === undefined) break
      this.#waiting = this.#waiting.filter((one) => one !== due)
      this.#nowMs = Math.max(this.#nowMs, due.atMs)
      due.wake()
    }
    this.#nowMs = untilMs
  }

  /** Wakes everything at once: the call is over. */
  end(): void {
    for (const { wake } of this.#waiting.splice(0)) wake()
  }
}
