import type { AudioCounts } from './received-audio.js'

/**
 * Counts frames that come back on a call whose audio is not judged. With thousands of calls, only some calls are judged
 * completely.
 */
export class CountedFrames {
  readonly #counts: AudioCounts
  readonly #frame: number

  /** @param frame  number of samples in 20 ms */
  constructor(frame: number, counts: AudioCounts) {
    this.#counts = counts
    this.#frame = frame
  }

  audio(_samples: Int16Array, count: number, arrivalMs: number): void {
    const { windowStartMs, windowEndMs } = this.#counts
    if (arrivalMs >= windowStartMs && arrivalMs < windowEndMs) this.#counts.framesReceived += count / this.#frame
  }

  finish(): void {
    /* no audio is judged */
  }
}
