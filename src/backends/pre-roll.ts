import { BACKEND_PRE_ROLL_MS } from '../core/limits.js'
import { msToSamples } from '../core/units.js'

/** Silence, or a soft onset, before the first voiced sample that belongs to speech. */
const BEFORE_SPEECH_MS = 200

/** How much audio from before now belongs to speech that was first heard `sinceMs` ago. */
export function preRollMs(sinceMs: number, leastMs = BACKEND_PRE_ROLL_MS): number {
  return Math.max(leastMs, sinceMs + BEFORE_SPEECH_MS)
}

/**
 * A ring of the newest caller audio. VAD reports the start of speech late, so the onset of an utterance is taken from
 * here.
 */
export class PreRoll {
  readonly #rateHz: number
  readonly #lengthSamples: number
  /** Empty before the first audio: many backends of a list never get any. */
  #ring = new Int16Array(0)
  #writeAt = 0
  #filled = 0

  constructor(lengthMs: number, rateHz: number) {
    this.#rateHz = rateHz
    this.#lengthSamples = msToSamples(lengthMs, rateHz)
  }

  /** Copies the samples in; the oldest are overwritten. */
  push(pcm: Int16Array): void {
    if (this.#ring.length === 0) this.#ring = new Int16Array(this.#lengthSamples)
    const ring = this.#ring
    for (let i = 0; i < pcm.length; i++) {
      ring[this.#writeAt] = pcm[i] as number
      this.#writeAt = this.#writeAt + 1 === ring.length ? 0 : this.#writeAt + 1
    }
    this.#filled = Math.min(ring.length, this.#filled + pcm.length)
  }

  /** A copy of the last `ms`, oldest first, or of less if there is less; empties the ring. */
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
