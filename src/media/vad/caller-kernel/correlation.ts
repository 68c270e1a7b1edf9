import {
  CORRELATIONS, CORRELATION_BYTES, CORRELATION_RING, HISTORY, HISTORY_SAMPLES, LAGS, LAG_MAX, LAG_MIN, NEWEST_PRODUCTS, Stream,
} from './stream'
import { energyOf, largest, sum, sumsFromLeft, sumsFromRight } from './vectors'

/** Pitch: the history beside itself, and beside what it was. */

// The coefficients of this frame, the longest lag first, with a place on either side that no peak is higher than.
const PADDED = memory.data(16 + 96 + 16, 16)
export const CORRELATION: usize = PADDED + 16
// What each window has behind the samples that all have.
const BEHIND = memory.data(96, 16)

export let pitch: f32 = 0
export let pitchLag: i32 = 0
export let likeLast: f32 = 0
export let likeBefore: f32 = 0

/**
 * The last 64 samples beside those 28 to 5 samples earlier. The products of the first 24 of them were summed when they were the last of
 * a frame. The rest is taken in two parts, so that what the next frame needs is at hand in between.
 */
function correlate(history: usize, newestProducts: usize): void {
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0
  let from = history + ((HISTORY_SAMPLES - 24) << 2)
  let end = history + (HISTORY_SAMPLES << 2)
  for (let part = 0; part < 2; part++) {
    // Each vector is four lags; a sample is loaded once for all.
    for (let lagged = from - (LAG_MAX << 2); from < end; from += 4, lagged += 4) {
      const x = v128.load_splat<f32>(from)
      s0 = f32x4.add(s0, f32x4.mul(x, v128.load(lagged)))
      s1 = f32x4.add(s1, f32x4.mul(x, v128.load(lagged, 16)))
      s2 = f32x4.add(s2, f32x4.mul(x, v128.load(lagged, 32)))
      s3 = f32x4.add(s3, f32x4.mul(x, v128.load(lagged, 48)))
      s4 = f32x4.add(s4, f32x4.mul(x, v128.load(lagged, 64)))
      s5 = f32x4.add(s5, f32x4.mul(x, v128.load(lagged, 80)))
    }
    if (part === 1) break
    s0 = exchanged(newestProducts, s0)
    s1 = exchanged(newestProducts + 16, s1)
    s2 = exchanged(newestProducts + 32, s2)
    s3 = exchanged(newestProducts + 48, s3)
    s4 = exchanged(newestProducts + 64, s4)
    s5 = exchanged(newestProducts + 80, s5)
    from = history + ((HISTORY_SAMPLES - 40) << 2)
    end = history + ((HISTORY_SAMPLES - 24) << 2)
  }
  v128.store(CORRELATION, s0)
  v128.store(CORRELATION, s1, 16)
  v128.store(CORRELATION, s2, 32)
  v128.store(CORRELATION, s3, 48)
  v128.store(CORRELATION, s4, 64)
  v128.store(CORRELATION, s5, 80)
  normalize(history)
}

/** Leaves `value` in the place of another, which is added to it. */
function exchanged(at: usize, value: v128): v128 {
  const other = v128.load(at)
  v128.store(at, value)
  return f32x4.add(value, other)
}

/**
 * Divides by the lengths of what was multiplied. The 24 windows have the samples 24 to 63 in common; the energies of what is before and
 * behind those grow from window to window. That is a tenth of summing each window by itself, and as exact, since nothing is subtracted.
 */
function normalize(history: usize): void {
  let behind = f32x4.splat(0)
  for (let lag: usize = 0; lag < CORRELATION_BYTES; lag += 16) {
    const x = v128.load(history + (64 << 2) + lag)
    const further = f32x4.add(sumsFromLeft(f32x4.mul(x, x)), v128.shuffle<f32>(behind, behind, 3, 3, 3, 3))
    // The first window has none of these samples.
    v128.store(BEHIND + lag, v128.shuffle<f32>(behind, further, 3, 4, 5, 6))
    behind = further
  }
  // One on either side keeps silence from dividing by nothing.
  const common = f32x4.splat(energyOf(history + (24 << 2), 40) + 1)
  const energy = f32x4.splat(energyOf(history + (LAG_MAX << 2), 64) + 1)
  let before = f32x4.splat(0)
  for (let lag = CORRELATION_BYTES; lag > 0;) {
    lag -= 16
    const x = v128.load(history + lag)
    before = f32x4.add(sumsFromRight(f32x4.mul(x, x)), v128.shuffle<f32>(before, before, 0, 0, 0, 0))
    const lagged = f32x4.add(f32x4.add(before, common), v128.load(BEHIND + lag))
    v128.store(CORRELATION + lag, f32x4.div(v128.load(CORRELATION + lag), f32x4.sqrt(f32x4.mul(energy, lagged))))
  }
}

/**
 * Sets `pitch`, 0 to 1, and `pitchLag` by the highest peak between the lags, of several the longest lag's; both are 0 where none is
 * above 0.
 */
function findPitch(): void {
  let highest = f32x4.splat(0)
  for (let at = CORRELATION; at < CORRELATION + CORRELATION_BYTES; at += 16) {
    highest = f32x4.pmax(highest, peaksAt(at))
  }
  pitch = largest(highest)
  pitchLag = 0
  if (pitch <= 0) return
  const enough = f32x4.splat(pitch)
  for (let lag = 0; lag < LAGS; lag += 4) {
    const found = i32x4.bitmask(f32x4.ge(peaksAt(CORRELATION + (<usize>lag << 2)), enough))
    if (found === 0) continue
    pitchLag = LAG_MIN + LAGS - 1 - lag - ctz(found)
    return
  }
}

/** Four coefficients, and below 0 those that are lower than a neighbour. */
function peaksAt(at: usize): v128 {
  const here = v128.load(at)
  const isPeak = v128.and(f32x4.ge(here, v128.load(at - 4)), f32x4.ge(here, v128.load(at + 4)))
  return v128.bitselect(here, f32x4.splat(-1), isPeak)
}

/** Finds the pitch, and in how far the correlation is that of the last frame and of the fourth before. */
export function takePitch(stream: usize): void {
  const s = changetype<Stream>(stream)
  store<f32>(CORRELATION - 4, f32.MAX_VALUE)
  store<f32>(CORRELATION + CORRELATION_BYTES, f32.MAX_VALUE)
  correlate(stream + HISTORY, stream + NEWEST_PRODUCTS)
  findPitch()
  let squares = f32x4.splat(0)
  for (let at: usize = 0; at < CORRELATION_BYTES; at += 16) {
    const here = v128.load(CORRELATION + at)
    squares = f32x4.add(squares, f32x4.mul(here, here))
  }
  const scale = f32x4.splat(f32(1) / sqrt(sum(squares) + f32(1e-6)))
  const ring = stream + CORRELATION_RING
  const newest = ring + <usize>(s.frames % CORRELATIONS) * CORRELATION_BYTES
  const last = ring + <usize>((s.frames + 4) % CORRELATIONS) * CORRELATION_BYTES
  const fourBefore = ring + <usize>((s.frames + 1) % CORRELATIONS) * CORRELATION_BYTES
  let lasts = f32x4.splat(0), befores = f32x4.splat(0)
  for (let at: usize = 0; at < CORRELATION_BYTES; at += 16) {
    const here = f32x4.mul(v128.load(CORRELATION + at), scale)
    lasts = f32x4.add(lasts, f32x4.mul(here, v128.load(last + at)))
    befores = f32x4.add(befores, f32x4.mul(here, v128.load(fourBefore + at)))
    v128.store(newest + at, here)
  }
  likeLast = sum(lasts)
  likeBefore = sum(befores)
}
