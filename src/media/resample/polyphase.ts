import { assert } from '../../core/assert.js'
import type { SampleRateHz } from '../../core/units.js'

/**
 * A sinc converter at a fixed rational ratio is a periodic linear filter: output n is a weighted sum of the input
 * round n x downBy / upBy, and the weights depend only on (n x downBy) mod upBy. So libsamplerate is driven once
 * with impulses, its weights are kept as rows, and the hot path runs the rows (`fir-kernel/`). The library stays
 * the source and the judge of the quality; see docs/LATENCY.md for what that saves.
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

/** What is used of a libsamplerate-js converter. */
export interface SincConverter {
  full(input: Float32Array): Float32Array
  destroy(): void
}

/** Makes a mono SINC_MEDIUM converter; given in, because loading the library is I/O. */
export type CreateConverter = (inRateHz: number, outRateHz: number) => Promise<SincConverter>

export type RatePair = readonly [inRateHz: SampleRateHz, outRateHz: SampleRateHz]

/** Every pair of different rates that audio has in the gateway. */
export const ALL_RATE_PAIRS: readonly RatePair[] = [
  [8000, 16000], [8000, 24000], [16000, 8000], [16000, 24000], [24000, 8000], [24000, 16000],
]

// Half the distance between two impulses, in input samples. The longest response, MEDIUM at 24 to 8 kHz, is 275
// samples long, 137 to a side; 3 x 2 divides it for every downBy.
const REACH_SAMPLES = 240
// What a row may lose at its ends: sums to at most 0.13 LSB at full scale, below the rounding to s16.
const TRIM_ABS_SUM_MAX = 4e-6
const TAP_GROUP = 16

/**
 * Rows for each pair of rates. Costs about 20 ms a pair, most of it making the converter: do it once a process and
 * post the rows to the workers.
 */
export async function derivePolyphaseRows(
  create: CreateConverter, pairs: readonly RatePair[] = ALL_RATE_PAIRS,
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
function sharedExtent(weights: readonly Float64Array[]): { first: number, last: number } {
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
