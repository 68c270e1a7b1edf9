import { unrefTimer } from '../core/clock.js'
import type { Log } from '../telemetry/log.js'

/** Interval in ms between requests for the balance. */
const LOOK_MS = 15 * 60_000
/** Wait in ms before the next request after the carrier refused a call because of the balance. */
const AGAIN_MS = 60_000

interface WalletWatchOptions {
  /** Requests the balance, as `SautikitClient.walletMinor`. */
  readonly ask: () => Promise<number | null>
  readonly log: Log
  /** Timer for tests. Default: real timers, which keep no process alive. @returns a function that cancels the timer */
  readonly later?: (ms: number, run: () => void) => () => void
}

/**
 * Balance of the carrier's prepaid wallet. The balance is unknown, not empty, if the API key may not read it, the
 * answer does not contain it, or the carrier is down. Only a balance from the carrier, or the carrier's refusal of a
 * call (402), changes the known balance.
 */
export class WalletWatch {
  /** Balance in minor units; null if not known. */
  minor: number | null = null
  readonly #options: WalletWatchOptions
  #end: () => void = () => undefined
  #isClosed = false
  #said = false

  constructor(options: WalletWatchOptions) {
    this.#options = options
  }

  /** Requests the balance now, and then at intervals. Does not reject. */
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

  /** Records that the carrier refused a call because the wallet is empty. */
  empty(): void {
    this.minor = 0
    this.#next(AGAIN_MS)
  }

  /**
   * Records a balance that the carrier sent without a request.
   * @param minor balance in minor units; null if the message contains none
   */
  heard(minor: number | null): void {
    if (minor !== null) this.minor = minor
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
