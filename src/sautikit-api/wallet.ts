import { unrefTimer } from '../core/clock.js'
import type { Log } from '../telemetry/log.js'

/** How often the carrier is asked. */
const LOOK_MS = 15 * 60_000
/** After the carrier refused a call for want of money. */
const AGAIN_MS = 60_000

interface WalletWatchOptions {
  /** As `SautikitClient.walletMinor`. */
  readonly ask: () => Promise<number | null>
  readonly log: Log
  /** For tests; real timers, which keep no process alive, otherwise. @returns ends it */
  readonly later?: (ms: number, run: () => void) => () => void
}

/**
 * Balance of the carrier's prepaid wallet. A key that may not read it, an answer without it, and a carrier that is down
 * leave it unknown, which is not empty: only the carrier's own number, or its refusal of a call (402), says so.
 */
export class WalletWatch {
  /** In minor units; null: not known. */
  minor: number | null = null
  readonly #options: WalletWatchOptions
  #end: () => void = () => undefined
  #isClosed = false
  #said = false

  constructor(options: WalletWatchOptions) {
    this.#options = options
  }

  /** Looks now, and then again and again. Does not reject. */
  async look(): Promise<void> {
    this.#end()
    try {
      this.minor = await this.#options.ask()
      this.#next(LOOK_MS)
    } catch (thrown) {
      this.minor = null
      if (!this.#said)
        this.#options.log.warn({ err: thrown }, "the carrier's wallet cannot be read: it counts as unknown")
      this.#said = true
      this.#next(LOOK_MS)
    }
  }

  /** The carrier refused a call because there is no money. */
  empty(): void {
    this.minor = 0
    this.#next(AGAIN_MS)
  }

  close(): void {
    this.#isClosed = true
    this.#end()
  }

  #next(ms: number): void {
    this.#end()
    if (this.#isClosed) return
    const { later = unrefTimer } = this.#options
    this.#end = later(ms, () => void this.look())
  }
}
