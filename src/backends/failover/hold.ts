import type { BackendTimers } from './timers.js'

/**
 * A caller who waits for a backend to take over: told after a while that they are not forgotten, unless a sound comes before.
 * Also the clock of how long that takes.
 */
export class Hold {
  readonly #timers: BackendTimers
  readonly #afterMs: number
  readonly #tell: () => void
  #fromMs = NaN
  #cancel: (() => void) | null = null

  /** @param afterMs  how long the caller has waited when they are told */
  constructor(timers: BackendTimers, afterMs: number, tell: () => void) {
    this.#timers = timers
    this.#afterMs = afterMs
    this.#tell = tell
  }

  /** @param waitingSinceMs  the caller waits already since then */
  begin(waitingSinceMs: number): void {
    const nowMs = this.#timers.nowMs()
    this.#fromMs = nowMs
    this.#cancel?.()
    this.#cancel = this.#timers.after(Math.max(0, this.#afterMs - (nowMs - waitingSinceMs)), () => {
      this.#cancel = null
      this.#tell()
    })
  }

  /** A sound for the caller. @returns how long it took, null where nobody waited */
  sounded(): number | null {
    if (Number.isNaN(this.#fromMs)) return null
    const ms = this.#timers.nowMs() - this.#fromMs
    this.#fromMs = NaN
    this.stop()
    return ms
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
  }
}
