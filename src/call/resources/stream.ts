import type { LegRateHz } from '../../core/units.js'

/** The audio stream of the call, on the clock of the inputs. */
export class Stream {
  #openedAtMs: number | null = null
  #closedAtMs: number | null = null
  #gapMs: number
  #rateHz: LegRateHz = 16_000

  constructor(gapMs: number) {
    this.#gapMs = gapMs
  }

  /**
   * Time zero of the call's stream, which may have opened at a previous worker; null until the stream is open at this
   * worker.
   */
  get openedAtMs(): number | null {
    return this.#openedAtMs
  }

  /** Time at which the stream was closed; null until then. */
  get closedAtMs(): number | null {
    return this.#closedAtMs
  }

  /** Time without a stream since `openedAtMs`, in milliseconds. */
  get gapMs(): number {
    return this.#gapMs
  }

  /** Sample rate of the carrier's leg. */
  get rateHz(): LegRateHz {
    return this.#rateHz
  }

  /** @param gapMs  time without a stream; null keeps the present value */
  open(atMs: number, gapMs: number | null, rateHz: LegRateHz): void {
    this.#openedAtMs = atMs
    this.#rateHz = rateHz
    this.#gapMs = gapMs ?? this.#gapMs
  }

  /** Notes that the stream is closed. Later calls are ignored. */
  close(atMs: number): void {
    this.#closedAtMs ??= atMs
  }
}
