/**
 * Polyphase FIR over s16 samples, in AssemblyScript. Coefficients have two parts of 16 bits (`FixedRows` of
 * ../polyphase.ts). It is compiled to fir-kernel.wasm; `WasmKernel` of ../resampler.ts runs it, and `filterInJs` there
 * gives equal samples. AssemblyScript is used instead of WebAssembly text, because its compiler inlines functions and
 * the V8 of Node 20 does not.
 *
 * Outputs are computed phase by phase. Outputs that are `upBy` apart use the same row of coefficients; their inputs are
 * `downBy` apart. So four such outputs share each load of coefficients. Four later outputs share the loads of samples.
 * If the input of a later output begins 8 samples after the input of an earlier output, both use the same vector of
 * samples. The later output uses it with the previous vector of coefficients. `downBy` is 1, 2 or 3. With 1, a phase
 * has 8 outputs in 8 samples; with 2, 4 outputs in 8 samples; with 3, 8 outputs in 24 samples.
 *
 * Two properties of V8 11.3 decide the form of the loops. V8 keeps the loads of a block in order and moves the sums
 * after them. So a block that loads more vectors than there are free registers (15 less the sums) spills registers.
 * Therefore the inner loops take 8 taps per turn, and V8 unrolls them. The branch of a common loop would be
 * mispredicted. Therefore low and high parts have separate loops.
 */

const VECTOR: usize = 16
const HIGH_SHIFT = 2
const OUTPUT_BITS = 13

/** Adds the products of 8 samples and 8 coefficients to `sum`: each lane gets two products. */
// @ts-ignore: a decorator
@inline
function plus(sum: v128, samples: v128, taps: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(samples, taps))
}

/** Returns the sums of neighbouring lanes: first the two sums of `a`, then the two sums of `b`. */
// @ts-ignore: a decorator
@inline
function halved(a: v128, b: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7))
}

/**
 * Adds the high sums to the low sums (both in units of 2^-OUTPUT_BITS), then adds the lanes. Rounds half up, clips to
 * 16 bits and stores.
 */
// @ts-ignore: a decorator
@inline
function store4(out: usize, apart: usize, a0: v128, a1: v128, a2: v128, a3: v128, h0: v128, h1: v128, h2: v128, h3: v128): void {
  const sums = halved(
    halved(i32x4.add(a0, i32x4.shr_s(h0, HIGH_SHIFT)), i32x4.add(a1, i32x4.shr_s(h1, HIGH_SHIFT))),
    halved(i32x4.add(a2, i32x4.shr_s(h2, HIGH_SHIFT)), i32x4.add(a3, i32x4.shr_s(h3, HIGH_SHIFT))))
  const rounded = i32x4.shr_s(i32x4.add(sums, i32x4.splat(1 << (OUTPUT_BITS - 1))), OUTPUT_BITS)
  const four = i64x2.extract_lane(i16x8.narrow_i32x4_s(rounded, rounded), 0)
  i64.store16(out, four)
  i64.store16(out + apart, four >> 16)
  i64.store16(out + 2 * apart, four >> 32)
  i64.store16(out + 3 * apart, four >> 48)
}

/**
 * Filters `inputSamples` new samples, which are in `scratch` after the space for the history. Copies the stream's history
 * before them, writes `outputSamples` outputs, and keeps the last samples as the next history. Addresses are in bytes.
 *
 * A row consists of `taps` low parts and `peakTaps` high parts. The high parts belong to the taps from `peakAt` on.
 * Both numbers are multiples of 8, and `taps` is at least 8 (downBy + 2). Each sum has four lanes; lane k takes taps 2k
 * and 2k + 1 of every 8. Lanes of the low sum are shifted right by `lowShift`, lanes of the high sum by 2. The unit is
 * then 2^-13, and their total cannot overflow.
 * @param position position of the first output after the first new sample, in units of 1 / upBy input samples
 */
export function run(
  history: usize, historySamples: i32, scratch: usize, inputSamples: i32,
  rows: usize, taps: i32, peakAt: i32, peakTaps: i32, lowShift: i32, upBy: i32, downBy: i32,
  position: i32, output: usize, outputSamples: i32,
): void {
  memory.copy(scratch, history, historySamples << 1)

  const step: usize = downBy << 1
  const stride: usize = upBy << 1
  const rowBytes: usize = (taps + peakTaps) << 1
  const peak: usize = peakAt << 1
  // Distance of the later four outputs from the first four. `later`: in outputs of the phase. `lag`: in bytes of input.
  const later = downBy == 2 ? 4 : 8
  const lag: usize = later * step
  for (let phase = 0, phases = min(upBy, outputSamples); phase < phases; phase++) {
    // This turn computes the outputs `phase`, `phase + upBy` and so on. Each lies (`at` mod `upBy`) / `upBy` samples
    // after an input sample.
    const at = position + phase * downBy
    let x: usize = scratch + ((at / upBy) << 1)
    let out: usize = output + (phase << 1)
    const low: usize = rows + (at % upBy) * rowBytes
    const high: usize = low + (taps << 1)
    const end: usize = low + rowBytes
    let left = (outputSamples - phase + upBy - 1) / upBy
    for (; left >= 2 * later; left -= 2 * later) {
      for (let i = 0; i < later; i += 4) {
        eight(x, step, lag, low, high, end, peak, lowShift, out, stride, later * stride)
        x += 4 * step
        out += 4 * stride
      }
      x += lag
      out += later * stride
    }
    for (; left > 0; left--) {
      one(x, low, high, end, peak, lowShift, out)
      x += step
      out += stride
    }
  }

  memory.copy(history, scratch + (inputSamples << 1), historySamples << 1)
}

/**
 * Computes eight outputs. The inputs of the first four begin at `x`, and are `step` bytes apart. The inputs of the
 * later four begin `lag` bytes later.
 */
// @ts-ignore: a decorator
@inline
function eight(
  x: usize, step: usize, lag: usize, low: usize, high: usize, end: usize, peak: usize, lowShift: i32, out: usize, stride: usize, toLater: usize,
): void {
  let x0 = x, x1 = x0 + step, x2 = x1 + step, x3 = x2 + step

  // The first vectors of coefficients are needed only for the first four outputs.
  let t = v128.load(low)
  let a0 = i32x4.dot_i16x8_s(v128.load(x0), t), a1 = i32x4.dot_i16x8_s(v128.load(x1), t)
  let a2 = i32x4.dot_i16x8_s(v128.load(x2), t), a3 = i32x4.dot_i16x8_s(v128.load(x3), t)
  let row = low + VECTOR
  x0 += VECTOR; x1 += VECTOR; x2 += VECTOR; x3 += VECTOR
  for (; row < low + lag; row += VECTOR) {
    t = v128.load(row)
    a0 = plus(a0, v128.load(x0), t); a1 = plus(a1, v128.load(x1), t)
    a2 = plus(a2, v128.load(x2), t); a3 = plus(a3, v128.load(x3), t)
    x0 += VECTOR; x1 += VECTOR; x2 += VECTOR; x3 += VECTOR
  }

  // From here on, each vector of samples is multiplied by two vectors of coefficients.
  let laterRow = low
  let u = v128.load(laterRow)
  t = v128.load(row)
  let s = v128.load(x0), b0 = i32x4.dot_i16x8_s(s, u); a0 = plus(a0, s, t)
  s = v128.load(x1); let b1 = i32x4.dot_i16x8_s(s, u); a1 = plus(a1, s, t)
  s = v128.load(x2); let b2 = i32x4.dot_i16x8_s(s, u); a2 = plus(a2, s, t)
  s = v128.load(x3); let b3 = i32x4.dot_i16x8_s(s, u); a3 = plus(a3, s, t)
  row += VECTOR; laterRow += VECTOR
  x0 += VECTOR; x1 += VECTOR; x2 += VECTOR; x3 += VECTOR
  do {
    t = v128.load(row)
    u = v128.load(laterRow)
    s = v128.load(x0); a0 = plus(a0, s, t); b0 = plus(b0, s, u)
    s = v128.load(x1); a1 = plus(a1, s, t); b1 = plus(b1, s, u)
    s = v128.load(x2); a2 = plus(a2, s, t); b2 = plus(b2, s, u)
    s = v128.load(x3); a3 = plus(a3, s, t); b3 = plus(b3, s, u)
    row += VECTOR; laterRow += VECTOR
    x0 += VECTOR; x1 += VECTOR; x2 += VECTOR; x3 += VECTOR
  } while (row < high)

  // The last vectors are needed only for the later four outputs.
  do {
    u = v128.load(laterRow)
    b0 = plus(b0, v128.load(x0), u); b1 = plus(b1, v128.load(x1), u)
    b2 = plus(b2, v128.load(x2), u); b3 = plus(b3, v128.load(x3), u)
    laterRow += VECTOR
    x0 += VECTOR; x1 += VECTOR; x2 += VECTOR; x3 += VECTOR
  } while (laterRow < high)
  a0 = i32x4.shr_s(a0, lowShift); a1 = i32x4.shr_s(a1, lowShift); a2 = i32x4.shr_s(a2, lowShift); a3 = i32x4.shr_s(a3, lowShift)
  b0 = i32x4.shr_s(b0, lowShift); b1 = i32x4.shr_s(b1, lowShift); b2 = i32x4.shr_s(b2, lowShift); b3 = i32x4.shr_s(b3, lowShift)

  storePeaks(x + peak, step, high, end, out, stride, a0, a1, a2, a3)
  storePeaks(x + peak + lag, step, high, end, out + toLater, stride, b0, b1, b2, b3)
}

/**
 * Adds the high parts of four outputs to their low sums, and stores the outputs. `x` is the address of the input at the
 * first output's peak.
 */
// @ts-ignore: a decorator
@inline
function storePeaks(
  x: usize, step: usize, high: usize, end: usize, out: usize, stride: usize, a0: v128, a1: v128, a2: v128, a3: v128,
): void {
  let x0 = x, x1 = x0 + step, x2 = x1 + step, x3 = x2 + step
  let t = v128.load(high)
  let h0 = i32x4.dot_i16x8_s(v128.load(x0), t), h1 = i32x4.dot_i16x8_s(v128.load(x1), t)
  let h2 = i32x4.dot_i16x8_s(v128.load(x2), t), h3 = i32x4.dot_i16x8_s(v128.load(x3), t)
  for (let row = high + VECTOR; row < end; row += VECTOR) {
    x0 += VECTOR; x1 += VECTOR; x2 += VECTOR; x3 += VECTOR
    t = v128.load(row)
    h0 = plus(h0, v128.load(x0), t); h1 = plus(h1, v128.load(x1), t)
    h2 = plus(h2, v128.load(x2), t); h3 = plus(h3, v128.load(x3), t)
  }
  store4(out, stride, a0, a1, a2, a3, h0, h1, h2, h3)
}

/** Computes one of the outputs that remain after the groups of eight. */
// @ts-ignore: a decorator
@inline
function one(x: usize, low: usize, high: usize, end: usize, peak: usize, lowShift: i32, out: usize): void {
  let a = i32x4.splat(0), h = a
  let at = x
  let row = low
  for (; row < high; row += VECTOR, at += VECTOR) a = plus(a, v128.load(at), v128.load(row))
  at = x + peak
  for (; row < end; row += VECTOR, at += VECTOR) h = plus(h, v128.load(at), v128.load(row))
  const lanes = i32x4.add(i32x4.shr_s(a, lowShift), i32x4.shr_s(h, HIGH_SHIFT))
  const sum = i32x4.extract_lane(lanes, 0) + i32x4.extract_lane(lanes, 1) + i32x4.extract_lane(lanes, 2) + i32x4.extract_lane(lanes, 3)
  store<i16>(out, max(-32768, min(32767, (sum + (1 << (OUTPUT_BITS - 1))) >> OUTPUT_BITS)))
}
