import { FRAME_MS, type LegRateHz } from '../core/units.js'
import { tonesOf } from './dtmf.js'

/** A gap of one or two packets that the caller's network lost, or that its codec fell silent in, with what smears at its edges. */
const SAME_PRESS_MS = 60
const BLOCK_MS = 10
/** Share of a block's energy that its two tones have while the key sounds: half of a block of tone is enough. */
const SOUNDING_SHARE_MIN = 0.3

/**
 * Tells presses of keys from pieces of one: a key that is found again within 60 ms of its own end is still held. Nobody
 * presses a key twice as fast; mobile networks lose two packets, and codecs with DTX stop, within a tone.
 */
export class KeyPresses {
  readonly #blockSamples: number
  readonly #rateHz: number
  #key: string | null = null
  /** Since it sounded last. */
  #quietMs = 0
  /** Since a key sounded, to the end of the last frame. */
  sinceMs = Infinity

  constructor(sampleRateHz: LegRateHz) {
    this.#rateHz = sampleRateHz
    this.#blockSamples = (sampleRateHz * BLOCK_MS) / 1000
  }

  /**
   * @param frame  in which `digit` was recognised; the frames come in order
   * @returns the digit where it is a new press; null otherwise
   */
  press(frame: Int16Array, digit: string | null): string | null {
    const held = this.#key !== null && this.#stillHeld(this.#key, frame)
    this.sinceMs = digit !== null ? 0 : held ? this.#quietMs : this.sinceMs + FRAME_MS
    if (digit === null) {
      if (!held) this.#key = null
      return null
    }
    if (held && digit === this.#key) return null
    this.#key = digit
    this.#quietMs = 0
    return digit
  }

  /** @returns false once the key has been quiet for too long to be the same press */
  #stillHeld(key: string, frame: Int16Array): boolean {
    const tones = tonesOf(key)
    let within = true
    for (let from = 0; from < frame.length; from += this.#blockSamples) {
      const block = frame.subarray(from, from + this.#blockSamples)
      const energy = block.reduce((sum, sample) => sum + sample * sample, 0)
      const power = tones.reduce((sum, hz) => sum + this.#powerAt(block, hz), 0)
      if (2 * power >= SOUNDING_SHARE_MIN * block.length * energy && energy > 0) {
        within &&= this.#quietMs <= SAME_PRESS_MS
        this.#quietMs = 0
      } else this.#quietMs += BLOCK_MS
    }
    return within && this.#quietMs <= SAME_PRESS_MS
  }

  #powerAt(block: Int16Array, hz: number): number {
    const turn = (2 * Math.PI * hz) / this.#rateHz
    let [re, im] = [0, 0]
    for (const [at, sample] of block.entries()) {
      re += sample * Math.cos(turn * at)
      im += sample * Math.sin(turn * at)
    }
    return re * re + im * im
  }
}
