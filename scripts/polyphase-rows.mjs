// Computes the weights of the resampler's filters with libsamplerate, for the build.
//
// A sinc converter at a fixed rational ratio is a periodic linear filter: output n is a weighted sum of the input
// round n x downBy / upBy, and the weights depend only on (n x downBy) mod upBy. So this script resamples impulses with
// libsamplerate, and stores the weights as rows (`PolyphaseRows` in src/media/resample/polyphase.ts).
import assert from 'node:assert/strict'
import libsamplerate from '@alexanderolsen/libsamplerate-js'

/** Sample rates of audio in the gateway, and every pair of different rates. */
const RATES_HZ = [8000, 16000, 24000]
const PAIRS = RATES_HZ.flatMap((from) => RATES_HZ.filter((to) => to !== from).map((to) => [from, to]))

// Half the distance between two impulses, in input samples. The longest response (MEDIUM, 24 to 8 kHz) has 275 samples,
// 137 on each side. The value is divisible by 3 x 2, and so by every downBy.
const REACH_SAMPLES = 240
// Maximum sum of the weights that are cut from a row. At full scale the loss is 0.13 LSB, less than the rounding to
// s16.
const TRIM_ABS_SUM_MAX = 4e-6
const TAP_GROUP = 16

/** @returns the rows for each pair of rates. Takes about 20 ms per pair, mostly to create the converter */
export async function polyphaseRows() {
  const { create, ConverterType } = libsamplerate
  const all = []
  for (const [inRateHz, outRateHz] of PAIRS) {
    const converter = await create(1, inRateHz, outRateHz, {
      converterType: ConverterType.SRC_SINC_MEDIUM_QUALITY,
    })
    try {
      all.push(rowsOf(converter, inRateHz, outRateHz))
    } finally {
      converter.destroy()
    }
  }
  return all
}

function rowsOf(converter, inRateHz, outRateHz) {
  const unit = greatestCommonDivisor(inRateHz, outRateHz)
  const upBy = outRateHz / unit
  const downBy = inRateHz / unit

  // Impulse m is m samples after a multiple of downBy. So the impulses together show every row at every tap.
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
      const row = weights[(n * downBy) % upBy]
      row[impulseAt - base + REACH_SAMPLES] = response[n] ?? 0
    }
  }

  const { first, last } = sharedExtent(weights)
  const tapsPerRow = Math.ceil((last - first + 1) / TAP_GROUP) * TAP_GROUP
  // Padding is added at the old end, because the newest tap must not need samples after the newest sample.
  const oldest = last - tapsPerRow + 1
  const coefficients = new Float32Array(upBy * tapsPerRow)
  for (let p = 0; p < upBy; p++) {
    const row = weights[p]
    for (let j = 0; j < tapsPerRow; j++) coefficients[p * tapsPerRow + j] = row[oldest + j] ?? 0
  }
  const delaySamples = Math.ceil((last - REACH_SAMPLES) / downBy) * downBy
  const historySamples = delaySamples - (oldest - REACH_SAMPLES)
  return { inRateHz, outRateHz, upBy, downBy, tapsPerRow, coefficients, delaySamples, historySamples }
}

/** @returns the first and the last tap that at least one row needs */
function sharedExtent(weights) {
  let first = 2 * REACH_SAMPLES
  let last = 0
  for (const row of weights) {
    let left = 0
    let right = row.length - 1
    for (let sum = 0; (sum += Math.abs(row[left])) <= TRIM_ABS_SUM_MAX / 2;) left++
    for (let sum = 0; (sum += Math.abs(row[right])) <= TRIM_ABS_SUM_MAX / 2;) right--
    first = Math.min(first, left)
    last = Math.max(last, right)
  }
  return { first, last }
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}
