import { assert } from '../../core/assert.js'
import type { SampleRateHz } from '../../core/units.js'

/**
 * The build keeps libsamplerate's weights as rows (`scripts/polyphase-rows.mjs`), and the hot path runs the rows
 * (`fir-kernel/`). The library stays the source and the reference for the quality; see docs/LATENCY.md for what that
 * saves.
 */

/** The polyphase rows of one ratio: plain data, can be posted to a worker. */
export interface PolyphaseRows {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  /** outRateHz / gcd */
  readonly upBy: number
  /** inRateHz / gcd */
  readonly downBy: number
  /** Taps of each row, a multiple of 16. */
  readonly tapsPerRow: number
  /** `upBy` rows of `tapsPerRow`; row p is for outputs p / upBy behind an input sample, oldest input first. */
  readonly coefficients: Float32Array
  /** Delay of the output against the input, in input samples: a multiple of `downBy`, so that phases are kept. */
  readonly delaySamples: number
  /** Samples of history that the filter needs before the first new one. */
  readonly historySamples: number
}

/** Taps of a row that are held in two parts: a multiple of this. */
const PEAK_GROUP = 16
/** Fewest fraction bits of the low parts. */
const LOW_BITS_MIN = 19
/**
 * Taps that a kernel takes at once, two in each of four lanes. Cutting off a multiple of it leaves each tap in its
 * lane.
 */
export const TAP_STEP = 8
// The high parts count in 2^-15. What the sums of four lanes lose at their end so that they cannot run over, in bits.
const HIGH_BITS = 15
export const LANE_BITS = 2
/** Bits behind the point of an output, before it is rounded. */
export const OUTPUT_BITS = HIGH_BITS - LANE_BITS
const LOW_BITS_MAX = 20
const LANES = 4

/**
 * Polyphase rows as whole numbers, for products of 16 by 16 bits, eight at a time: half the work of floats.
 *
 * Sixteen bits are not enough for a whole row: with the peak of the sinc in steps of 2^-15 the error of its hundred
 * taps would be noise at -84 dB and 2 LSB high. So the taps round the peak are held in two parts. Their high parts
 * count in 2^-15; what is left of them, and all other taps, which are under 1/16, count in 2^-19. Then the result is
 * within 1 LSB of libsamplerate's (test/media/resampler.test.ts); eight taps in two parts, the rest in 2^-18, left it
 * at 1.3. The price is one product in seven.
 */
export interface FixedRows {
  readonly rows: PolyphaseRows
  /** Low parts of a row: `rows.tapsPerRow` less the oldest that are zero in every row, a multiple of 8. */
  readonly taps: number
  /** Samples of history that these taps need before the first new one. */
  readonly historySamples: number
  /** `upBy` rows of `taps` low parts and `peakTaps` high parts. */
  readonly coefficients: Int16Array
  readonly peakTaps: number
  /** Tap that the first high part belongs to. */
  readonly peakAt: number
  /** Right shift of a sum of low parts, so that it counts in 2^-OUTPUT_BITS. */
  readonly lowShift: number
}

/** @throws Error when a row does not fit; the rows of these low-pass filters always do */
export function fixedRows(rows: PolyphaseRows): FixedRows {
  // A filter to a lower rate has a wider peak.
  for (let peakTaps = PEAK_GROUP; peakTaps <= rows.tapsPerRow; peakTaps += PEAK_GROUP) {
    const fixed = withPeak(rows, peakTaps)
    if (fixed !== null) return withoutOldZeros(fixed)
  }
  throw new Error(`the filter from ${rows.inRateHz} to ${rows.outRateHz} Hz amplifies`)
}

/** Null when a tap outside a peak of this width is too large for the low parts. */
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
      // For any samples, no lane may overflow 32 bits.
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
 * Rows are filled up to a multiple of 16 at their old end: what is zero there is a product in eighteen from 24 to 16
 * kHz.
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

/** Where a window of `peakTaps` taps leaves the smallest maximum outside it. */
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
