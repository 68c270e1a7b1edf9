import type { LegRateHz } from '../../core/units.js'
import { LineFilter } from './line-filter.js'

/** Six bands from 0 to 4 kHz; their upper limits are 250, 500, 1000, 2000, 3000 and 4000 Hz. */
export const BANDS = 6
/** Number of samples in a frame of 20 ms below 1 kHz, at 2 kHz. */
export const LOW_SAMPLES = 40
// Minimum level in dB. Without it, digital silence or the last bit of mu-law would make the noise floor too low.
const DB_MIN = 14
const TEN_LOG = 10 / Math.LN10

/**
 * @returns one bit for each band (bit 0: the lowest band): 1 if the band counts as louder than usual in the first frame
 * of a stream.
 *
 * In the first frame a band's level is compared with its own rounded value, so rounding decides. The kernel's levels
 * are less exact, so the kernel gets these bits from here.
 */
export function bandsAboveThemselves(firstFrame: Int16Array, sampleRateHz: LegRateHz, filters: boolean): number {
  new BandSplitter({ sampleRateHz }).take(firstFrame, bandPower, low, filters)
  return bandPower.reduce(
    (bits, power, band) => (decibels(power) > Math.fround(decibels(power)) ? bits | (1 << band) : bits),
    0,
  )
}

export function decibels(power: number): number {
  const db = TEN_LOG * Math.log(power + 1e-3)
  return db < DB_MIN ? DB_MIN : db
}

/** Splits a band into two halves at half the rate. They are the sum and the difference of two all-passes. */
class HalfSplit {
  #even = 0
  #odd = 0

  /** @param length  number of `samples`, even; each half gets length / 2 samples, and needs memory of its own */
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

// Coefficients of WebRTC's splitting filter.
const ALL_PASS_EVEN = 0.64
const ALL_PASS_ODD = 0.17

/** Splits frames of 20 ms into bands. Ignores the signal above 4 kHz, because a telephone line does not carry it. */
export class BandSplitter {
  readonly #splits: readonly HalfSplit[]
  readonly #wide: HalfSplit | null
  #filter: LineFilter | null = null

  constructor(options: { readonly sampleRateHz: 8000 | 16000 }) {
    this.#splits = Array.from({ length: BANDS - 1 }, () => new HalfSplit())
    this.#wide = options.sampleRateHz === 16000 ? new HalfSplit() : null
  }

  /**
   * @param bandPower  output: power per sample of each band, at the band's rate
   * @param low  output: 40 samples below 1 kHz
   * @param filters  true on a faulty line: uses `LineFilter`
   */
  take(frame: Int16Array, bandPower: Float64Array, low: Float32Array, filters: boolean): void {
    const [at2000, at1000, at3000, at500, at250] = this.#splits
    input.set(frame)
    if (this.#wide !== null) {
      this.#wide.take(input, frame.length, lower, upper)
      input.set(lower)
    }
    at2000?.take(input, 160, lower, upper)
    at3000?.take(upper, 80, high, input)
    // The upper half of a band is mirrored, so its low part contains the highest frequencies.
    bandPower[5] = powerOf(high, 40)
    bandPower[4] = powerOf(input, 40)
    at1000?.take(lower, 80, low, upper)
    // When the line becomes faulty, a new filter begins.
    this.#filter = filters ? (this.#filter ?? new LineFilter()) : null
    this.#filter?.take(low, 0, LOW_SAMPLES)
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

// Scratch that all calls of a thread share.
const input = new Float32Array(320)
const lower = new Float32Array(160)
const upper = new Float32Array(160)
const high = new Float32Array(40)

// Scratch that all calls of a thread share.
const bandPower = new Float64Array(BANDS)
const low = new Float32Array(LOW_SAMPLES)
