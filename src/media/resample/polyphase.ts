import { assert } from '../../core/assert.js'
import type { SampleRateHz } from '../../core/units.js'

/**
 * The build stores the weights of libsamplerate as rows (`scripts/polyphase-rows.mjs`), and `fir-kernel/` filters with
 * these rows. The library remains the reference for quality. docs/LATENCY.md states how much time this saves.
 */

/** The polyphase rows of one ratio: plain data that can be posted to a worker. */
export interface PolyphaseRows {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  /** outRateHz / gcd */
  readonly upBy: number
  /** inRateHz / gcd */
  readonly downBy: number
  /** Number of taps in each row, a multiple of 16. */
  readonly tapsPerRow: number
  /**
   * `upBy` rows of `tapsPerRow` coefficients; the coefficient of the oldest input comes first. Row p is for an output
   * that lies p / upBy after an input sample.
   */
  readonly coefficients: Float32Array
  /** Delay of the output in input samples. It is a multiple of `downBy`, so that an output keeps its phase. */
  readonly delaySamples: number
  /** Number of earlier samples that the filter needs before the first new sample. */
  readonly historySamples: number
}

/** Step by which the number of taps that are stored in two parts grows. */
const PEAK_GROUP = 16
/** Minimum number of fraction bits in the low parts. */
const LOW_BITS_MIN = 19
/**
 * Number of taps that a kernel processes at once: two in each of four lanes. If a multiple of this number is removed,
 * each tap stays in its lane.
 */
export const TAP_STEP = 8
// Number of fraction bits in the high parts. `LANE_BITS`: number of bits by which a lane's sum is shifted right, so
// that the sum of four lanes cannot overflow.
const HIGH_BITS = 15
export const LANE_BITS = 2
/** Number of fraction bits in an output before it is rounded. */
export const OUTPUT_BITS = HIGH_BITS - LANE_BITS
const LOW_BITS_MAX = 20
const LANES = 4

/**
 * Polyphase rows as whole numbers, for products of 16 by 16 bits, eight at a time: half the work of floats.
 *
 * Sixteen bits are too few for a whole row. Because the sinc's peak would have steps of 2^-15, the errors of its
 * hundred taps would be noise at -84 dB, up to 2 LSB. So the taps around the peak are stored in two parts: the high
 * part in units of 2^-15, the low part in units of 2^-19. All other taps are less than 1/16 and are stored in units of
 * 2^-19. The result is within 1 LSB of libsamplerate's (test/media/resampler.test.ts). With only eight taps in two
 * parts, and units of 2^-18, the error was up to 1.3 LSB. The additional taps cost one product in seven.
 */
export interface FixedRows {
  readonly rows: PolyphaseRows
  /**
   * Number of low parts in a row, a multiple of 8. It is `rows.tapsPerRow` without the oldest taps, if they are zero in
   * every row.
   */
  readonly taps: number
  /** Number of earlier samples that these taps need before the first new sample. */
  readonly historySamples: number
  /** `upBy` rows of `taps` low parts and `peakTaps` high parts. */
  readonly coefficients: Int16Array
  readonly peakTaps: number
  /** Index of the tap that the first high part belongs to. */
  readonly peakAt: number
  /** Number of bits by which a sum of low parts is shifted right to have the unit 2^-OUTPUT_BITS. */
  readonly lowShift: number
}

/** @throws Error if a row is too large. The rows of these low-pass filters never are */
export function fixedRows(rows: PolyphaseRows): FixedRows {
  // The peak is wider if the filter goes to a lower rate, so larger numbers are tried too.
  for (let peakTaps = PEAK_GROUP; peakTaps <= rows.tapsPerRow; peakTaps += PEAK_GROUP) {
    const fixed = withPeak(rows, peakTaps)
    if (fixed !== null) return withoutOldZeros(fixed)
  }
  throw new Error(`the filter from ${rows.inRateHz} to ${rows.outRateHz} Hz amplifies`)
}

/** @returns null if a tap outside a peak of this width is too large for the low parts */
function withPeak(rows: PolyphaseRows, peakTaps: number): FixedRows | null {
  const { coefficients: exact, tapsPerRow, upBy } = rows
  const peakAt = peakOf(rows, peakTaps)
  const stride = tapsPerRow + peakTaps
  for (let lowBits = LOW_BITS_MAX; lowBits >= LOW_BITS_MIN; lowBits--) {
    const coefficients = new Int16Array(upBy * stride)
    let fits = true
    for (let row = 0; row < upBy; row++) {
      const lowSums = new Float64Array(LANES)
      const highSums = new Float64Array(LANES)
      for (let tap = 0; tap < tapsPerRow; tap++) {
        let rest = exact[row * tapsPerRow + tap] as number
        if (tap >= peakAt && tap < peakAt + peakTaps) {
          const high = Math.round(rest * 2 ** HIGH_BITS)
          assert(Math.abs(high) < 32768, 'a filter that amplifies')
          coefficients[row * stride + tapsPerRow + tap - peakAt] = high
          add(highSums, tap - peakAt, high)
          rest -= high / 2 ** HIGH_BITS
        }
        const low = Math.round(rest * 2 ** lowBits)
        coefficients[row * stride + tap] = low
        add(lowSums, tap, low)
        if (Math.abs(low) > 32767) fits = false
      }
      // For any samples, the sum in a lane must fit into 32 bits.
      if (lowSums.some(runsOver)) fits = false
      assert(!highSums.some(runsOver), 'a filter that amplifies')
    }
    if (fits) {
      return {
        rows,
        taps: tapsPerRow,
        historySamples: rows.historySamples,
        coefficients,
        peakAt,
        peakTaps,
        lowShift: lowBits - OUTPUT_BITS,
      }
    }
  }
  return null
}

/**
 * Removes the zeros at the old end of the rows, which were filled up to a multiple of 16 taps. From 24 to 16 kHz, these
 * zeros are one product in eighteen.
 */
function withoutOldZeros(fixed: FixedRows): FixedRows {
  const { rows, taps, peakTaps, peakAt, coefficients } = fixed
  const stride = taps + peakTaps
  let zeros = peakAt
  for (let row = 0; row < rows.upBy; row++) {
    const first = coefficients.subarray(row * stride, row * stride + peakAt).findIndex((low) => low !== 0)
    if (first >= 0) zeros = Math.min(zeros, first)
  }
  zeros -= zeros % TAP_STEP
  const shorter = new Int16Array(rows.upBy * (stride - zeros))
  for (let row = 0; row < rows.upBy; row++) {
    shorter.set(coefficients.subarray(row * stride + zeros, (row + 1) * stride), row * (stride - zeros))
  }
  return {
    ...fixed,
    taps: taps - zeros,
    peakAt: peakAt - zeros,
    historySamples: fixed.historySamples - zeros,
    coefficients: shorter,
  }
}

function add(sums: Float64Array, tap: number, coefficient: number): void {
  const lane = (tap >> 1) % LANES
  sums[lane] = (sums[lane] as number) + Math.abs(coefficient)
}

function runsOver(sum: number): boolean {
  return sum * 32768 >= 2 ** 31
}

/** @returns the position of the window of `peakTaps` taps at which the largest tap outside the window is smallest */
function peakOf({ coefficients, tapsPerRow, upBy }: PolyphaseRows, peakTaps: number): number {
  const largest = Array.from({ length: tapsPerRow }, (_, tap) =>
    Math.max(
      ...Array.from({ length: upBy }, (_unused, row) => Math.abs(coefficients[row * tapsPerRow + tap] as number)),
    ),
  )
  let best = 0
  let least = Infinity
  for (let at = 0; at + peakTaps <= tapsPerRow; at++) {
    const outside = Math.max(...largest.slice(0, at), ...largest.slice(at + peakTaps))
    if (outside >= least) continue
    least = outside
    best = at
  }
  return best
}
