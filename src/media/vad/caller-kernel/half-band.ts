import { HISTORY, HISTORY_SAMPLES, LOW_SAMPLES, SPLITS } from './stream'
import { energyOf } from './vectors'

/** The band splitter of ../half-band.ts, two or four outputs of each all-pass at a time. */

// The coefficients k of the even and the odd all-pass, as they meet a vector of samples: 1 - k^2, k^2 and k^4 as well. They lie in memory
// since the engine would build a constant vector anew at each use.
const K = memory.data<f32>([0.64, 0.17, 0.64, 0.17], 16)
const ONE_LESS_K2 = memory.data<f32>([0.5904, 0.9711, 0.5904, 0.9711], 16)
const K2 = memory.data<f32>([0.4096, 0.0289, 0.4096, 0.0289], 16)
const K4 = memory.data<f32>([0.16777216, 0.00083521, 0.16777216, 0.00083521], 16)
const BEFORE = memory.data<f32>([-0.64, -0.17, 1, 1], 16)

const LOWER = memory.data(160 << 2, 16)
const UPPER = memory.data(80 << 2, 16)
const HIGH = memory.data(40 << 2, 16)
const NEXT = memory.data(40 << 2, 16)
/** What is above 4 kHz came through no telephone and is looked at by nobody. */
const WAVE_ABOVE = memory.data(160 << 2, 16)

/** Of six bands, per sample; two lanes behind them are free. */
export const BAND_POWER = memory.data(32, 16)

/**
 * Both halves of a band, each twice as large as the twin's, which the callers make good.
 *
 * An all-pass is y(n) = k x(n) + s with s = x(n-1) - k y(n-1), so that each output waits for the one before. Put into itself it waits for
 * the one four before: y(n) = u(n) + k^2 u(n-2) + k^4 y(n-4), where u(n) = k (x(n) - x(n-2)) + (1 - k^2) x(n-1). A vector of
 * samples as they come holds two of the even all-pass and two of the odd one, by turns, so x(n-2) and u(n-2) lie in the vector before and
 * y(n-4) in the one before that. What was before the frame is all in s: x(-1) = s, x(-2) = -k s and nothing else give the same outputs.
 *
 * @param outputs of each half, a multiple of 4
 * @param state s of the two all-passes
 */
function halve(from: usize, outputs: i32, state: usize, lower: usize, upper: usize): void {
  let x = before(state)
  let u = f32x4.splat(0), y = u, nextY = u
  const end = lower + (<usize>outputs << 2)
  for (; lower < end; lower += 16, upper += 16, from += 32) {
    const firstX = v128.load(from)
    const firstU = inputsOf(x, firstX)
    y = f32x4.add(f32x4.add(firstU, f32x4.mul(v128.load(K2), u)), f32x4.mul(v128.load(K4), y))
    x = v128.load(from, 16)
    u = inputsOf(firstX, x)
    nextY = f32x4.add(f32x4.add(u, f32x4.mul(v128.load(K2), firstU)), f32x4.mul(v128.load(K4), nextY))
    const even = v128.shuffle<f32>(y, nextY, 0, 2, 4, 6), odd = v128.shuffle<f32>(y, nextY, 1, 3, 5, 7)
    v128.store(lower, f32x4.add(even, odd))
    v128.store(upper, f32x4.sub(even, odd))
  }
  keep(state, x, nextY)
}

/** The lowest split, 20 samples to 10 and 10, two at a time. Writes the power of its halves, as large as `halve` has them. */
function halveLast(from: usize, state: usize, power: usize): void {
  let x = before(state)
  let y = f32x4.splat(0)
  let lower = y, upper = y
  for (const end = from + (20 << 2); from < end; from += 16) {
    const next = v128.load(from)
    y = f32x4.add(inputsOf(x, next), f32x4.mul(v128.load(K2), y))
    x = next
    const odd = v128.shuffle<f32>(y, y, 1, 0, 3, 2)
    const sums = f32x4.add(y, odd), differences = f32x4.sub(y, odd)
    lower = f32x4.add(lower, f32x4.mul(sums, sums))
    upper = f32x4.add(upper, f32x4.mul(differences, differences))
  }
  keep(state, x, y)
  store<f32>(power, f32x4.extract_lane(lower, 0) + f32x4.extract_lane(lower, 2))
  store<f32>(power, f32x4.extract_lane(upper, 0) + f32x4.extract_lane(upper, 2), 4)
}

function before(state: usize): v128 {
  return f32x4.mul(v128.load64_splat(state), v128.load(BEFORE))
}

function inputsOf(x2: v128, x: v128): v128 {
  const x1 = v128.shuffle<f32>(x2, x, 2, 3, 4, 5)
  return f32x4.add(f32x4.mul(v128.load(K), f32x4.sub(x, x2)), f32x4.mul(v128.load(ONE_LESS_K2), x1))
}

function keep(state: usize, x: v128, y: v128): void {
  store<i64>(state, i64x2.extract_lane(f32x4.sub(x, f32x4.mul(v128.load(K), y)), 1))
}

/**
 * Splits a frame into `BAND_POWER` and the new end of the stream's history.
 *
 * @param wave 320 or 160 samples that are as much smaller as two splits, or three, make them larger
 */
export function split(stream: usize, wave: usize, wide: bool): void {
  const states = stream + SPLITS
  if (wide) {
    halve(wave, 160, states + 40, LOWER, WAVE_ABOVE)
    wave = LOWER
  }
  const low = stream + HISTORY + ((HISTORY_SAMPLES - LOW_SAMPLES) << 2)
  halve(wave, 80, states, LOWER, UPPER)
  halve(UPPER, 40, states + 16, HIGH, NEXT)
  // The upper half of a band is mirrored: its low part is what was highest.
  store<f32>(BAND_POWER, energyOf(HIGH, 40) * f32(1.0 / 40), 20)
  store<f32>(BAND_POWER, energyOf(NEXT, 40) * f32(1.0 / 40), 16)
  halve(LOWER, 40, states + 8, low, NEXT)
  store<f32>(BAND_POWER, energyOf(NEXT, 40) * f32(1.0 / 40), 12)
  halve(low, 20, states + 24, LOWER, UPPER)
  store<f32>(BAND_POWER, energyOf(UPPER, 20) * f32(1.0 / (4 * 20)), 8)
  halveLast(LOWER, states + 32, BAND_POWER)
  store<f32>(BAND_POWER, load<f32>(BAND_POWER) * f32(1.0 / (16 * 10)))
  store<f32>(BAND_POWER, load<f32>(BAND_POWER, 4) * f32(1.0 / (16 * 10)), 4)
}
