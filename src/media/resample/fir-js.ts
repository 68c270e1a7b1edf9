import { LANE_BITS, OUTPUT_BITS, TAP_STEP, type FixedRows } from './fixed-rows.js'

const HALF = 1 << (OUTPUT_BITS - 1)

/**
 * The FIR kernel in JavaScript: the same samples as `fir-kernel/`, bit for bit, because it sums in the same four
 * lanes. For machines without SIMD, and to test the kernel against.
 *
 * @param scratch  history then new samples: `historySamples + inputSamples` values
 * @param position of the first output behind the first new sample, in units of 1 / upBy input samples
 */
export function filterInJs(
  fixed: FixedRows, scratch: Int16Array, position: number, output: Int16Array, outputSamples: number,
): void {
  const { coefficients, taps, peakAt, peakTaps, lowShift } = fixed
  const { upBy, downBy } = fixed.rows
  let at = position
  for (let n = 0; n < outputSamples; n++) {
    const x = Math.floor(at / upBy)
    const row = (at % upBy) * (taps + peakTaps)
    at += downBy
    let sum = 0
    for (let lane = 0; lane < TAP_STEP; lane += 2) {
      let low = 0
      for (let k = lane; k < taps; k += TAP_STEP) low += pair(scratch, x + k, coefficients, row + k)
      let high = 0
      for (let k = lane; k < peakTaps; k += TAP_STEP) high += pair(scratch, x + peakAt + k, coefficients, row + taps + k)
      sum += (low >> lowShift) + (high >> LANE_BITS)
    }
    const rounded = (sum + HALF) >> OUTPUT_BITS
    output[n] = rounded > 32767 ? 32767 : rounded < -32768 ? -32768 : rounded
  }
}

function pair(samples: Int16Array, i: number, coefficients: Int16Array, j: number): number {
  return (samples[i] as number) * (coefficients[j] as number) + (samples[i + 1] as number) * (coefficients[j + 1] as number)
}
