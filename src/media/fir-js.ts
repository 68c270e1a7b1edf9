import type { PolyphaseRows } from './polyphase.js'

/**
 * The FIR kernel in JavaScript: the same samples as `fir-kernel.wat`, bit for bit, because it adds in the same
 * order and rounds every step to f32. For machines without SIMD, and to test the kernel against.
 *
 * @param scratch  history then new samples as f32: `historySamples + inputSamples` values
 * @param position of the first output behind the first new sample, in units of 1 / upBy input samples
 */
export function filterInJs(
  rows: PolyphaseRows, scratch: Float32Array, position: number, output: Int16Array, outputSamples: number,
): void {
  const { coefficients, tapsPerRow, upBy, downBy } = rows
  const fround = Math.fround
  let at = position
  for (let n = 0; n < outputSamples; n++) {
    const x = Math.floor(at / upBy)
    const row = (at % upBy) * tapsPerRow
    at += downBy
    let s0 = fround(0), s1 = fround(0), s2 = fround(0), s3 = fround(0)
    let s4 = fround(0), s5 = fround(0), s6 = fround(0), s7 = fround(0)
    for (let k = 0; k < tapsPerRow; k += 8) {
      const i = x + k
      const j = row + k
      s0 = fround(s0 + fround((scratch[i] as number) * (coefficients[j] as number)))
      s1 = fround(s1 + fround((scratch[i + 1] as number) * (coefficients[j + 1] as number)))
      s2 = fround(s2 + fround((scratch[i + 2] as number) * (coefficients[j + 2] as number)))
      s3 = fround(s3 + fround((scratch[i + 3] as number) * (coefficients[j + 3] as number)))
      s4 = fround(s4 + fround((scratch[i + 4] as number) * (coefficients[j + 4] as number)))
      s5 = fround(s5 + fround((scratch[i + 5] as number) * (coefficients[j + 5] as number)))
      s6 = fround(s6 + fround((scratch[i + 6] as number) * (coefficients[j + 6] as number)))
      s7 = fround(s7 + fround((scratch[i + 7] as number) * (coefficients[j + 7] as number)))
    }
    const sum = fround(fround(fround(s0 + s4) + fround(s1 + s5)) + fround(fround(s2 + s6) + fround(s3 + s7)))
    output[n] = nearestEven(sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum)
  }
}

// 1.5 x 2^23: added to an f32 of this size, everything behind the point is rounded off, ties to even.
const ROUNDING = 12582912

function nearestEven(value: number): number {
  return Math.fround(Math.fround(value + ROUNDING) - ROUNDING)
}
