import { HISTORY, HISTORY_SAMPLES, LOW_SAMPLES, SPLITS } from './stream'
import { energyOf } from './vectors'

/** The band splitter of ../half-band.ts, four outputs of each all-pass at a time. */

const EVEN: f32 = 0.64
const ODD: f32 = 0.17

const LOWER = memory.data(160 << 2, 16)
const UPPER = memory.data(80 << 2, 16)
const HIGH = memory.data(40 << 2, 16)
const NEXT = memory.data(40 << 2, 16)
/** What is above 4 kHz came through no telephone and is looked at by nobody. */
const WAVE_ABOVE = memory.data(160 << 2, 16)

/** Of six bands, per sample; two lanes behind them are free. */
export const BAND_POWER = memory.data(32, 16)

// @ts-ignore: decorator
@inline
function oneBefore(before: v128, v: v128): v128 {
  return v128.shuffle<f32>(before, v, 3, 4, 5, 6)
}

// @ts-ignore: decorator
@inline
function twoBefore(before: v128, v: v128): v128 {
  return v128.shuffle<f32>(before, v, 2, 3, 4, 5)
}

/**
 * Both halves of a band, each twice as large as the twin's, which the callers make good.
 *
 * An all-pass is y(n) = k x(n) + s with s = x(n-1) - k y(n-1), so that each output waits for the one before. Put into itself it
 * waits for the one four before, y(n) = u(n) + k^2 u(n-2) + k^4 y(n-4), where u(n) = v(n) - k v(n-1) and v(n) = k x(n) + x(n-1): four
 * outputs are had at once. What was before the frame is all in s, which stands in for x(-1) with every other sum at zero.
 *
 * @param outputs of each half, a multiple of 4
 * @param state of the two all-passes
 */
function halve(from: usize, outputs: i32, state: usize, lower: usize, upper: usize): void {
  const zero = f32x4.splat(0)
  let even = f32x4.splat(load<f32>(state)), odd = f32x4.splat(load<f32>(state, 4))
  let evenV = zero, evenU = zero, evenY = zero
  let oddV = zero, oddU = zero, oddY = zero
  const end = lower + (<usize>outputs << 2)
  for (; lower < end; lower += 16, upper += 16, from += 32) {
    const a = v128.load(from), b = v128.load(from, 16)
    const evenX = v128.shuffle<f32>(a, b, 0, 2, 4, 6)
    const ev = f32x4.add(f32x4.mul(f32x4.splat(EVEN), evenX), oneBefore(even, evenX))
    const eu = f32x4.sub(ev, f32x4.mul(f32x4.splat(EVEN), oneBefore(evenV, ev)))
    evenY = f32x4.add(
      f32x4.add(eu, f32x4.mul(f32x4.splat(EVEN * EVEN), twoBefore(evenU, eu))),
      f32x4.mul(f32x4.splat(EVEN * EVEN * EVEN * EVEN), evenY))
    even = evenX
    evenV = ev
    evenU = eu
    const oddX = v128.shuffle<f32>(a, b, 1, 3, 5, 7)
    const ov = f32x4.add(f32x4.mul(f32x4.splat(ODD), oddX), oneBefore(odd, oddX))
    const ou = f32x4.sub(ov, f32x4.mul(f32x4.splat(ODD), oneBefore(oddV, ov)))
    oddY = f32x4.add(
      f32x4.add(ou, f32x4.mul(f32x4.splat(ODD * ODD), twoBefore(oddU, ou))),
      f32x4.mul(f32x4.splat(ODD * ODD * ODD * ODD), oddY))
    odd = oddX
    oddV = ov
    oddU = ou
    v128.store(lower, f32x4.add(evenY, oddY))
    v128.store(upper, f32x4.sub(evenY, oddY))
  }
  store<f32>(state, f32x4.extract_lane(even, 3) - EVEN * f32x4.extract_lane(evenY, 3))
  store<f32>(state, f32x4.extract_lane(odd, 3) - ODD * f32x4.extract_lane(oddY, 3), 4)
}

/** The lowest split, 20 samples to 10 and 10: too few for four at a time. Writes the power of its halves, as large as `halve` has them. */
function halveLast(from: usize, state: usize, power: usize): void {
  let even = load<f32>(state), odd = load<f32>(state, 4)
  let lower: f32 = 0, upper: f32 = 0
  for (const end = from + (20 << 2); from < end; from += 8) {
    const a = load<f32>(from), b = load<f32>(from, 4)
    const passedA = even + EVEN * a
    even = a - EVEN * passedA
    const passedB = odd + ODD * b
    odd = b - ODD * passedB
    lower += (passedA + passedB) * (passedA + passedB)
    upper += (passedA - passedB) * (passedA - passedB)
  }
  store<f32>(state, even)
  store<f32>(state, odd, 4)
  store<f32>(power, lower)
  store<f32>(power, upper, 4)
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
