import { FRAME_MS } from '../../src/core/units.js'

/** How often a caller interrupts, and for how long it speaks. */
const INTERRUPT_EVERY_MS = 4000
export const SPEECH_MS = 800
/** Share of frames at which the line stalls, and for how long at most: later than any playout waits for nothing. */
const STALL_SHARE = 0.005
const STALL_FRAMES_MAX = 3

/**
 * What the line and the caller do at level L3, from a seed: one frame in two hundred begins a stall of 20 to 60 ms,
 * after which what was held back comes at once, so that one frame in a hundred is late; and every four seconds the
 * caller speaks over the agent.
 */
export class Interruptions {
  #state: number
  #stallFrames = 0
  #nextMs = NaN

  constructor(seed: number) {
    this.#state = (seed * 2654435761) >>> 0
  }

  /** Whether the frame that is due now is held back. */
  hold(): boolean {
    if (this.#stallFrames > 0) {
      this.#stallFrames--
      return this.#stallFrames > 0
    }
    if (this.#random() < STALL_SHARE) this.#stallFrames = 1 + Math.floor(this.#random() * STALL_FRAMES_MAX)
    return this.#stallFrames > 0
  }

  /** Whether the caller begins to speak with the frame due at `dueMs`; `startMs` was its first. */
  begins(dueMs: number, startMs: number): boolean {
    if (Number.isNaN(this.#nextMs)) {
      // Callers are spread over the period, on the grid of their frames, and let the agent begin.
      const frames = Math.floor(this.#random() * (INTERRUPT_EVERY_MS / FRAME_MS))
      this.#nextMs = startMs + 2000 + frames * FRAME_MS
    }
    if (dueMs < this.#nextMs) return false
    this.#nextMs += INTERRUPT_EVERY_MS
    return true
  }

  /** xorshift32. */
  #random(): number {
    let x = this.#state === 0 ? 1 : this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x >>> 0
    return this.#state / 4294967296
  }
}
