import { msToSamples } from '../../core/units.js'
import { RECOGNISER_RATE_HZ } from '../../speech/speech-protocol.js'

/** What came in before speech was reported: its first sounds lie in there. */
export class PreRoll {
  readonly #ring: Int16Array
  #writeAt = 0
  #filled = 0

  constructor(lengthMs: number) {
    this.#ring = new Int16Array(msToSamples(lengthMs, RECOGNISER_RATE_HZ))
  }

  /** Copies the samples in; the oldest go. */
  push(pcm: Int16Array): void {
    const ring = this.#ring
    for (let i = 0; i < pcm.length; i++) {
      ring[this.#writeAt] = pcm[i] as number
      this.#writeAt = this.#writeAt + 1 === ring.length ? 0 : this.#writeAt + 1
    }
    this.#filled = Math.min(ring.length, this.#filled + pcm.length)
  }

  /** The last `ms` in order, or as much as there is, the caller's to keep; the ring is empty afterwards. */
  take(ms: number): Int16Array {
    const out = new Int16Array(Math.min(this.#filled, msToSamples(ms, RECOGNISER_RATE_HZ)))
    let readAt = (this.#writeAt - out.length + this.#ring.length) % this.#ring.length
    for (let i = 0; i < out.length; i++) {
      out[i] = this.#ring[readAt] as number
      readAt = readAt + 1 === this.#ring.length ? 0 : readAt + 1
    }
    this.clear()
    return out
  }

  clear(): void {
    this.#filled = 0
  }
}
