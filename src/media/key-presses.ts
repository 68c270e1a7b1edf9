import { FRAME_MS, type LegRateHz } from '../core/units.js'
import { tonesOf } from './dtmf.js'

/**
 * Maximum gap in ms within one press. It covers two packets that the caller's network lost or its codec left out, and
 * the edges of the gap.
 */
const SAME_PRESS_MS = 60
/**
 * Maximum change of phase in radians across a gap within one press. A second press begins at a random phase, so one of
 * 62 presses ((pi / 0.4)^2) matches by chance.
 */
const SAME_PHASE_RAD = 0.4
/**
 * Time in ms that a decoder needs to be in phase again after it lost two packets. Measured with GSM; shorter with other
 * codecs.
 */
const IN_PHASE_MS = 100
const BLOCK_MS = 10
/** Minimum share of a block's energy in the key's two tones if the key sounds. Half a block of tone is enough. */
const SOUNDING_SHARE_MIN = 0.3
/** Weight of the earlier phase in a tone's average phase. About the last three blocks count. */
const PHASE_KEPT = 0.6
/** Minimum number of block pairs for an estimate of a tone's own frequency. */
const PAIRS_MIN = 5

/**
 * Distinguishes a new key press from a continued press. Mobile networks lose two packets inside a tone, and codecs with
 * DTX stop inside a tone.
 *
 * After a gap of up to 60 ms, the key is still held if its tones continue in phase. This is decided at the end of the
 * sound after the gap, or 100 ms after the gap.
 */
export class KeyPresses {
  readonly #blockSamples: number
  readonly #rateHz: number
  #key: string | null = null
  #tones: readonly Tone[] = []
  /** Number of blocks since the key was recognised. It is the time axis of the oscillators. */
  #blocks = 0
  /** Time in ms since the key last sounded. */
  #quietMs = 0
  /** Time in ms for which the key has sounded after a gap; null if there was no gap. */
  #againMs: number | null = null
  /** Last gap in milliseconds. */
  #gapMs = 0
  /** Time in ms from a key's last sound to the end of the last frame. */
  sinceMs = Infinity

  constructor(sampleRateHz: LegRateHz) {
    this.#rateHz = sampleRateHz
    this.#blockSamples = (sampleRateHz * BLOCK_MS) / 1000
  }

  /**
   * @param frame the frame in which `digit` was recognised; frames come in order
   * @returns the digit if it is a new press; otherwise null
   */
  press(frame: Int16Array, digit: string | null): string | null {
    const held = this.#key !== null && this.#stillHeld(frame)
    this.sinceMs = digit !== null ? 0 : held ? this.#quietMs : this.sinceMs + FRAME_MS
    if (held && digit === this.#key && this.#gapMs > 0) this.#againMs ??= 0
    if (digit === null || (held && digit === this.#key)) {
      const again = this.#pressedAgain() ? this.#key : null
      if (!held) this.#key = null
      return again
    }
    this.#key = digit
    this.#tones = tonesOf(digit).map((hz) => new Tone((2 * Math.PI * hz) / this.#rateHz))
    this.#againMs = null
    this.#blocks = 0
    this.#stillHeld(frame)
    this.#quietMs = this.#gapMs = 0
    return digit
  }

  /** @returns false if the key has been quiet for too long to be held */
  #stillHeld(frame: Int16Array): boolean {
    let within = true
    for (let from = 0; from < frame.length; from += this.#blockSamples) {
      const block = frame.subarray(from, from + this.#blockSamples)
      const energy = block.reduce((sum, sample) => sum + sample * sample, 0)
      const startsAt = this.#blocks++ * this.#blockSamples
      const power = this.#tones.reduce((sum, tone) => sum + tone.measure(block, startsAt), 0)
      if (2 * power >= SOUNDING_SHARE_MIN * block.length * energy && energy > 0) {
        within &&= this.#quietMs <= SAME_PRESS_MS
        if (this.#quietMs > 0) this.#gapMs = this.#quietMs
        for (const tone of this.#tones) tone.sounds(this.#quietMs / BLOCK_MS)
        this.#quietMs = 0
      } else this.#quietMs += BLOCK_MS
      if (this.#againMs !== null) this.#againMs += BLOCK_MS
    }
    return within && this.#quietMs <= SAME_PRESS_MS
  }

  /** @returns true if the tone after the gap does not continue the tone before the gap. A second call returns false */
  #pressedAgain(): boolean {
    if (this.#againMs === null || (this.#quietMs === 0 && this.#againMs < IN_PHASE_MS)) return false
    this.#againMs = null
    this.#gapMs = 0
    return this.#tones.some((tone) => tone.offRad > SAME_PHASE_RAD)
  }
}

/** One of a key's two tones, compared with an oscillator that runs on at the tone's frequency. */
class Tone {
  /** Angle per sample, in radians. */
  readonly #sampleRad: number
  // Complex amplitude of the newest block. `SoFar`: of the tone so far. `Before`: of the tone before the gap.
  #re = 0
  #im = 0
  #reSoFar = 0
  #imSoFar = 0
  #reBefore = 0
  #imBefore = 0
  /** Number of blocks between the last block before the gap and the newest block. */
  #blocksBetween = 0
  // Phase change from the previous block to the newest block.
  #reTurn = 0
  #imTurn = 0
  // Sum of the phase changes between consecutive blocks, over `#pairs` pairs. It gives the tone's own frequency,
  // because a phone's tone may differ by 1.5 % from the nominal frequency (ITU-T Q.24).
  #reTurns = 0
  #imTurns = 0
  #pairs = 0

  constructor(sampleRad: number) {
    this.#sampleRad = sampleRad
  }

  /** @returns the power of the tone in a block that begins at sample `startsAt` */
  measure(block: Int16Array, startsAt: number): number {
    const [reLast, imLast] = [this.#re, this.#im]
    let [re, im] = [0, 0]
    for (const [i, sample] of block.entries()) {
      re += sample * Math.cos(this.#sampleRad * (startsAt + i))
      im -= sample * Math.sin(this.#sampleRad * (startsAt + i))
    }
    this.#re = re
    this.#im = im
    this.#reTurn = re * reLast + im * imLast
    this.#imTurn = im * reLast - re * imLast
    return re * re + im * im
  }

  /**
   * Records that the key sounds in the newest block.
   * @param gapBlocks number of silent blocks before the newest block
   */
  sounds(gapBlocks: number): void {
    this.#blocksBetween += 1 + gapBlocks
    if (gapBlocks > 0) {
      this.#reBefore = this.#reSoFar
      this.#imBefore = this.#imSoFar
      this.#reSoFar = this.#re
      this.#imSoFar = this.#im
      this.#blocksBetween = 1 + gapBlocks
      return
    }
    if (this.#reBefore === 0 && this.#imBefore === 0) {
      this.#reTurns += this.#reTurn
      this.#imTurns += this.#imTurn
      this.#pairs++
    }
    const [cos, sin] = [PHASE_KEPT * Math.cos(this.#turnRad), PHASE_KEPT * Math.sin(this.#turnRad)]
    const [re, im] = [this.#reSoFar, this.#imSoFar]
    this.#reSoFar = re * cos - im * sin + this.#re
    this.#imSoFar = re * sin + im * cos + this.#im
  }

  /**
   * Angle, 0 to pi, between the tone after the gap and the tone before the gap, if the tone before the gap had
   * continued. It continues at its nominal frequency or its own frequency; the smaller angle counts.
   */
  get offRad(): number {
    const [re, im] = [
      this.#reSoFar * this.#reBefore + this.#imSoFar * this.#imBefore,
      this.#imSoFar * this.#reBefore - this.#reSoFar * this.#imBefore,
    ]
    const rad = Math.atan2(im, re)
    const own = rad - this.#turnRad * this.#blocksBetween
    return Math.min(Math.abs(rad), Math.abs(Math.atan2(Math.sin(own), Math.cos(own))))
  }

  /** Phase change of the tone per block, relative to the oscillator; 0 until the tone's own frequency is known. */
  get #turnRad(): number {
    return this.#pairs < PAIRS_MIN ? 0 : Math.atan2(this.#imTurns, this.#reTurns)
  }
}
