import type { LegRateHz } from '../../core/units.js'

/** Six bands up to 4 kHz: to 250, 500, 1000, 2000, 3000 and 4000 Hz. */
export const BANDS = 6
/** Samples below 1 kHz in a frame of 20 ms, at 2 kHz. */
export const LOW_SAMPLES = 40
// Digital silence and the last bit of mu-law would make the floor too low.
const DB_MIN = 14
const TEN_LOG = 10 / Math.LN10

/**
 * Bits of the bands (the lowest is bit 0) that a stream's first frame takes for louder than usual, when all that is
 * known is this frame: a level is compared with itself as it is kept, so rounding decides, and the first step is a
 * large one. The kernel, whose levels are not as fine, gets these bits, so that it begins where the units were derived.
 */
export function bandsAboveThemselves(firstFrame: Int16Array, sampleRateHz: LegRateHz): number {
  new BandSplitter({ sampleRateHz }).take(firstFrame, bandPower, low)
  return bandPower.reduce(
    (bits, power, band) => (decibels(power) > Math.fround(decibels(power)) ? bits | (1 << band) : bits),
    0,
  )
}

export function decibels(power: number): number {
  const db = TEN_LOG * Math.log(power + 1e-3)
  return db < DB_MIN ? DB_MIN : db
}

/** Halves a band: both halves at half the rate. The sum and the difference of two all-passes are its halves. */
class HalfSplit {
  #even = 0
  #odd = 0

  /** @param length of `samples`, even; both halves get half as many, and may not be `samples` */
  take(samples: Float32Array, length: number, lower: Float32Array, upper: Float32Array): void {
    let even = this.#even
    let odd = this.#odd
    for (let i = 0; i < length; i += 2) {
      const a = samples[i] as number
      const b = samples[i + 1] as number
      const passedA = even + ALL_PASS_EVEN * a
      even = a - ALL_PASS_EVEN * passedA
      const passedB = odd + ALL_PASS_ODD * b
      odd = b - ALL_PASS_ODD * passedB
      lower[i >> 1] = (passedA + passedB) / 2
      upper[i >> 1] = (passedA - passedB) / 2
    }
    this.#even = even
    this.#odd = odd
  }
}

// The pair of WebRTC's splitting filter.
const ALL_PASS_EVEN = 0.64
const ALL_PASS_ODD = 0.17

/** Splits frames of 20 ms into bands. The signal above 4 kHz is left out: a telephone line does not carry it. */
export class BandSplitter {
  readonly #splits: readonly HalfSplit[]
  readonly #wide: HalfSplit | null

  constructor(options: { readonly sampleRateHz: 8000 | 16000 }) {
    this.#splits = Array.from({ length: BANDS - 1 }, () => new HalfSplit())
    this.#wide = options.sampleRateHz === 16000 ? new HalfSplit() : null
  }

  /**
   * @param bandPower of each band, per sample at its own rate, is written there
   * @param low everything below 1 kHz, at 2 kHz: 40 samples, is written there
   */
  take(frame: Int16Array, bandPower: Float64Array, low: Float32Array): void {
    const [at2000, at1000, at3000, at500, at250] = this.#splits
    input.set(frame)
    if (this.#wide !== null) {
      this.#wide.take(input, frame.length, lower, upper)
      input.set(lower)
    }
    at2000?.take(input, 160, lower, upper)
    at3000?.take(upper, 80, high, input)
    // The upper half of a band is mirrored: its low part is what was highest.
    bandPower[5] = powerOf(high, 40)
    bandPower[4] = powerOf(input, 40)
    at1000?.take(lower, 80, low, upper)
    bandPower[3] = powerOf(upper, 40)
    at500?.take(low, 40, lower, upper)
    bandPower[2] = powerOf(upper, 20)
    at250?.take(lower, 20, high, upper)
    bandPower[1] = powerOf(upper, 10)
    bandPower[0] = powerOf(high, 10)
  }
}

function powerOf(samples: Float32Array, length: number): number {
  let sum = 0
  for (let i = 0; i < length; i++) sum += (samples[i] as number) * (samples[i] as number)
  return sum / length
}

// Scratch of all calls of a thread.
const input = new Float32Array(320)
const lower = new Float32Array(160)
const upper = new Float32Array(160)
const high = new Float32Array(40)

// Scratch of all calls of a thread.
const bandPower = new Float64Array(BANDS)
const low = new Float32Array(LOW_SAMPLES)
