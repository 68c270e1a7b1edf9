import { assert } from '../../core/assert.js'
import type { SampleRateHz } from '../../core/units.js'

/**
 * A sinc converter at a fixed rational ratio is a periodic linear filter: output n is a weighted sum of the input
 * round n x downBy / upBy, and the weights depend only on (n x downBy) mod upBy. So the build drives libsamplerate
 * with impulses and keeps its weights as rows, and the hot path runs the rows (`fir-kernel/`). The library stays
 * the source and the reference for the quality; see docs/LATENCY.md for what that saves.
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

/** The part of a libsamplerate-js converter that is used here. */
interface SincConverter {
  full(input: Float32Array): Float32Array
  destroy(): void
}

/** Makes a mono SINC_MEDIUM converter; given in, because loading the library is I/O. */
export type CreateConverter = (inRateHz: number, outRateHz: number) => Promise<SincConverter>

type RatePair = readonly [inRateHz: SampleRateHz, outRateHz: SampleRateHz]

/** Every pair of different rates that audio has in the gateway. */
export const ALL_RATE_PAIRS: readonly RatePair[] = [
  [8000, 16000],
  [8000, 24000],
  [16000, 8000],
  [16000, 24000],
  [24000, 8000],
  [24000, 16000],
]

// Half the distance between two impulses, in input samples. The longest response, MEDIUM at 24 to 8 kHz, is 275
// samples long, 137 to a side; 3 x 2 divides it for every downBy.
const REACH_SAMPLES = 240
// What a row may lose at its ends: sums to at most 0.13 LSB at full scale, below the rounding to s16.
const TRIM_ABS_SUM_MAX = 4e-6
const TAP_GROUP = 16

/** Rows for each pair of rates. Costs about 20 ms a pair, most of it making the converter: the build does it. */
export async function derivePolyphaseRows(
  create: CreateConverter,
  pairs: readonly RatePair[] = ALL_RATE_PAIRS,
): Promise<readonly PolyphaseRows[]> {
  const all: PolyphaseRows[] = []
  for (const [inRateHz, outRateHz] of pairs) {
    const converter = await create(inRateHz, outRateHz)
    try {
      all.push(deriveRows(converter, inRateHz, outRateHz))
    } finally {
      converter.destroy()
    }
  }
  return all
}

function deriveRows(converter: SincConverter, inRateHz: SampleRateHz, outRateHz: SampleRateHz): PolyphaseRows {
  const unit = greatestCommonDivisor(inRateHz, outRateHz)
  const upBy = outRateHz / unit
  const downBy = inRateHz / unit

  // Impulse m lies at m past a multiple of downBy, so that together they show every row at every tap.
  const spacing = 2 * REACH_SAMPLES
  const input = new Float32Array((downBy + 2) * spacing)
  for (let m = 0; m < downBy; m++) input[(m + 1) * spacing + m] = 1
  const response = converter.full(input)
  assert(response.length >= (((downBy + 1) * spacing) / downBy) * upBy, 'converter held back more than it should')

  // weights[p][k + REACH_SAMPLES] multiplies input sample floor(n x downBy / upBy) + k for outputs of row p.
  const weights = Array.from({ length: upBy }, () => new Float64Array(2 * REACH_SAMPLES + 1))
  for (let m = 0; m < downBy; m++) {
    const impulseAt = (m + 1) * spacing + m
    const firstOutput = Math.ceil(((impulseAt - REACH_SAMPLES) * upBy) / downBy)
    const endOutput = Math.floor(((impulseAt + REACH_SAMPLES) * upBy) / downBy)
    for (let n = firstOutput; n < endOutput; n++) {
      const base = Math.floor((n * downBy) / upBy)
      const row = weights[(n * downBy) % upBy] as Float64Array
      row[impulseAt - base + REACH_SAMPLES] = response[n] ?? 0
    }
  }

  const { first, last } = sharedExtent(weights)
  const tapsPerRow = Math.ceil((last - first + 1) / TAP_GROUP) * TAP_GROUP
  // Filling up goes to the old end: the newest tap must not reach past the newest sample.
  const oldest = last - tapsPerRow + 1
  const coefficients = new Float32Array(upBy * tapsPerRow)
  for (let p = 0; p < upBy; p++) {
    const row = weights[p] as Float64Array
    for (let j = 0; j < tapsPerRow; j++) coefficients[p * tapsPerRow + j] = row[oldest + j] ?? 0
  }
  const delaySamples = Math.ceil((last - REACH_SAMPLES) / downBy) * downBy
  const historySamples = delaySamples - (oldest - REACH_SAMPLES)
  return { inRateHz, outRateHz, upBy, downBy, tapsPerRow, coefficients, delaySamples, historySamples }
}

/** The first and last tap that any row needs. */
function sharedExtent(weights: readonly Float64Array[]): { first: number; last: number } {
  let first = 2 * REACH_SAMPLES
  let last = 0
  for (const row of weights) {
    let left = 0
    let right = row.length - 1
    for (let sum = 0; (sum += Math.abs(row[left] as number)) <= TRIM_ABS_SUM_MAX / 2;) left++
    for (let sum = 0; (sum += Math.abs(row[right] as number)) <= TRIM_ABS_SUM_MAX / 2;) right--
    first = Math.min(first, left)
    last = Math.max(last, right)
  }
  return { first, last }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
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
  /** What a sum of low parts is shifted right by to count in 2^-OUTPUT_BITS. */
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
