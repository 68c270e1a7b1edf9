import { BYTES_PER_SAMPLE } from '../core/units.js'

/** What the fork module keeps while its socket cannot be written to. */
const BUFFER_S = 2
/** The module's arithmetic leaves this much more than two seconds: a stall of 2.5 s was seen to lose 64,016 bytes. */
const BUFFER_SLACK_BYTES = 16

/**
 * Caller audio on its way to the socket. Everything that waits goes out as one message. When the buffer is full, all
 * of it is thrown away at once, in the middle of a frame if need be, and filling starts again: that is what the
 * carrier's lineage does, and what a gateway must stand.
 */
export class ForkBuffer {
  bytesDropped = 0
  /** How often the buffer was thrown away. */
  overruns = 0
  readonly #bytes: Buffer
  #filledBytes = 0

  constructor(options: { readonly sampleRateHz: number; readonly channels: number }) {
    const bytes = BUFFER_S * options.sampleRateHz * options.channels * BYTES_PER_SAMPLE + BUFFER_SLACK_BYTES
    this.#bytes = Buffer.alloc(bytes)
  }

  get waitingBytes(): number { return this.#filledBytes }

  /** Appends `samples` as s16le. */
  write(samples: Int16Array): void {
    for (const sample of samples) {
      if (this.#filledBytes + BYTES_PER_SAMPLE > this.#bytes.length) {
        this.bytesDropped += this.#filledBytes
        this.overruns++
        this.#filledBytes = 0
      }
      this.#bytes.writeInt16LE(sample, this.#filledBytes)
      this.#filledBytes += BYTES_PER_SAMPLE
    }
  }

  /** All that waits, as a copy that the caller owns; null when nothing does. */
  take(): Buffer | null {
    if (this.#filledBytes === 0) return null
    const message = Buffer.from(this.#bytes.subarray(0, this.#filledBytes))
    this.#filledBytes = 0
    return message
  }
}
