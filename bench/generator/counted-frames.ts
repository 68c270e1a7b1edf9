import type { AudioCounts } from './received-audio.js'

/** Frames that come back on a call whose audio is not judged: with thousands of calls, only some are, in full. */
export class CountedFrames {
  readonly #counts: AudioCounts
  readonly #frame: number

  /** @param frame  samples of 20 ms */
  constructor(frame: number, counts: AudioCounts) {
    this.#counts = counts
    this.#frame = frame
  }

  audio(_samples: Int16Array, count: number, arrivalMs: number): void {
    const { windowStartMs, windowEndMs } = this.#counts
    if (arrivalMs >= windowStartMs && arrivalMs < windowEndMs) this.#counts.framesReceived += count / this.#frame
  }

  finish(): void {
    /* nothing is judged */
  }
}
