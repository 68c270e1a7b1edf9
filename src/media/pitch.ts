import { smallArray } from '../core/small-arrays.js'
import { FRAME_MS, frameSamples, type LegRateHz } from '../core/units.js'
import { LineFilter } from './vad/line-filter.js'

const RATE_HZ = 2000
const FRAME = (RATE_HZ * FRAME_MS) / 1000
/** Number of samples in the window: two periods of the lowest voice. */
const WINDOW = 64
/** 400 to 71 Hz. */
const LAG_MIN = 5
const LAG_MAX = 28
const HISTORY = WINDOW + LAG_MAX + 1
/**
 * Minimum correlation of a voice. Voiced speech on a telephone line has 0.6 or more; one frame of noise has less than
 * 0.5.
 */
const CORRELATION_MIN = 0.55
/**
 * Share of the best correlation that a shorter lag needs to be chosen. Twice the period correlates as well as the
 * period itself, so the shortest good lag is the period.
 */
const SHORTER_IS_AS_GOOD = 0.85

/**
 * Finds the fundamental frequency of a voice by correlation of the last 46 ms below about 600 Hz. Higher harmonics
 * would make the peaks too narrow.
 *
 * `take` gets all frames in order (0.4 us per frame). `pitchHz` uses the newest frames (2.3 us); call it only for
 * voiced frames. These methods do not allocate memory.
 */
export class PitchTracker {
  readonly #samplesPerStep: number
  readonly #history = smallArray(Float32Array, HISTORY)
  readonly #correlations = smallArray(Float32Array, LAG_MAX + 2)
  #filter: LineFilter | null = null
  #last = 0
  #beforeLast = 0

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#samplesPerStep = frameSamples(options.sampleRateHz) / FRAME
  }

  /** @param filters  true if the line has a constant offset or mains hum; the pitch then excludes them */
  take(frame: Int16Array, filters = false): void {
    const history = this.#history
    history.copyWithin(0, FRAME)
    const step = this.#samplesPerStep
    let at = 0
    for (let i = HISTORY - FRAME; i < HISTORY; i++) {
      let sum = 0
      for (const end = at + step; at < end; at += 4) {
        const near = (frame[at] as number) + (frame[at + 1] as number)
        sum += near + ((frame[at + 2] as number) + (frame[at + 3] as number))
      }
      history[i] = sum + 2 * this.#last + this.#beforeLast
      this.#beforeLast = this.#last
      this.#last = sum
    }
    this.#filter = filters ? (this.#filter ?? new LineFilter()) : null
    this.#filter?.take(history, HISTORY - FRAME, HISTORY)
  }

  /** @returns the pitch in Hz, 71 to 400; 0 if the newest frames have no clear pitch */
  pitchHz(): number {
    const correlations = this.#correlations
    const from = HISTORY - WINDOW
    history.set(this.#history)
    let power = 0
    for (let i = from; i < HISTORY; i++) power += (history[i] as number) ** 2
    if (power === 0) return 0
    multiply()
    let best = 0
    let earlier = power
    for (let lag = 1; lag <= LAG_MAX + 1; lag++) {
      earlier += (history[from - lag] as number) ** 2 - (history[HISTORY - lag] as number) ** 2
      if (lag < LAG_MIN - 1) continue
      const correlation = (products[lag] as number) / Math.sqrt(power * Math.max(earlier, 1))
      correlations[lag] = correlation
      if (lag > LAG_MIN) best = Math.max(best, this.#peak(lag - 1))
    }
    if (best < CORRELATION_MIN) return 0
    for (let lag = LAG_MIN; lag <= LAG_MAX; lag++) {
      if (this.#peak(lag) < SHORTER_IS_AS_GOOD * best) continue
      const before = correlations[lag - 1] as number
      const after = correlations[lag + 1] as number
      const here = correlations[lag] as number
      const curve = before - 2 * here + after
      return RATE_HZ / (lag + (curve < 0 ? (before - after) / (2 * curve) : 0))
    }
    return 0
  }

  /** @returns the peak of the parabola through the correlations at and beside `lag`; 0 if there is no peak */
  #peak(lag: number): number {
    const before = this.#correlations[lag - 1] as number
    const here = this.#correlations[lag] as number
    const after = this.#correlations[lag + 1] as number
    if (here < before || here < after) return 0
    const curve = before - 2 * here + after
    return curve < 0 ? here - (before - after) ** 2 / (8 * curve) : here
  }
}

// Scratch that all calls of a thread share: the last samples, and the sums of their products with earlier samples, by
// lag.
const history = new Float64Array(HISTORY)
const products = new Float64Array(LAG_MAX + 2)

/**
 * Multiplies and adds for two lags and two samples at a time, because each addition to a single sum would have to wait
 * for the previous addition. On a line without faults all numbers are whole, so the order of the additions does not
 * matter.
 */
function multiply(): void {
  for (let lag = LAG_MIN - 1; lag <= LAG_MAX; lag += 2) {
    let [near0, near1, far0, far1] = [0, 0, 0, 0]
    for (let i = HISTORY - WINDOW; i < HISTORY; i += 2) {
      const one = history[i] as number
      const two = history[i + 1] as number
      const between = history[i - lag] as number
      near0 += one * between
      near1 += two * (history[i + 1 - lag] as number)
      far0 += one * (history[i - lag - 1] as number)
      far1 += two * between
    }
    products[lag] = near0 + near1
    products[lag + 1] = far0 + far1
  }
}
