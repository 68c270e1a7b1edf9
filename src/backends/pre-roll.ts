import { BACKEND_PRE_ROLL_MS } from '../core/limits.js'
import { msToSamples } from '../core/units.js'

/**
 * Duration of audio before the first voiced sample that belongs to speech, in milliseconds. It is silence or a soft
 * onset.
 */
const BEFORE_SPEECH_MS = 200

/**
 * @returns the duration of stored audio that belongs to speech, in milliseconds, if the first voice of the speech was
 * `sinceMs` ago
 */
export function preRollMs(sinceMs: number, leastMs = BACKEND_PRE_ROLL_MS): number {
  return Math.max(leastMs, sinceMs + BEFORE_SPEECH_MS)
}

/**
 * Ring buffer of the newest caller audio. Voice activity detection reports the start of speech late. So the first part
 * of an utterance is read from this buffer.
 */
export class PreRoll {
  readonly #rateHz: number
  readonly #lengthSamples: number
  /** Allocated when the first audio arrives, because many backends of a list never get audio. */
  #ring = new Int16Array(0)
  #writeAt = 0
  #filled = 0

  constructor(lengthMs: number, rateHz: number) {
    this.#rateHz = rateHz
    this.#lengthSamples = msToSamples(lengthMs, rateHz)
  }

  /** Copies the samples into the buffer, and overwrites the oldest samples if the buffer is full. */
  push(pcm: Int16Array): void {
    if (this.#ring.length === 0) this.#ring = new Int16Array(this.#lengthSamples)
    const ring = this.#ring
    for (let i = 0; i < pcm.length; i++) {
      ring[this.#writeAt] = pcm[i] as number
      this.#writeAt = this.#writeAt + 1 === ring.length ? 0 : this.#writeAt + 1
    }
    this.#filled = Math.min(ring.length, this.#filled + pcm.length)
  }

  /**
   * Empties the buffer.
   * @returns a copy of the last `ms` of audio, oldest sample first; the whole content if it is shorter
   */
  take(ms = Infinity): Int16Array {
    const out = new Int16Array(Math.min(this.#filled, msToSamples(ms, this.#rateHz)))
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
