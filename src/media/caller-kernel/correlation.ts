import {
  CORRELATIONS, CORRELATION_BYTES, CORRELATION_RING, HISTORY, HISTORY_SAMPLES, LAGS, LAG_MAX, LAG_MIN, Stream,
} from './stream'
import { largest, sum } from './vectors'

/** Pitch: the history beside itself, and beside what it was. */

// The coefficients of this frame, the longest lag first, with a place on either side that no peak is higher than.
const PADDED = memory.data(16 + 96 + 16, 16)
export const CORRELATION: usize = PADDED + 16

export let pitch: f32 = 0
export let pitchLag: i32 = 0
export let likeLast: f32 = 0
export let likeBefore: f32 = 0


/** The last 64 samples beside those 28 to 5 samples earlier. Each vector is four lags; a sample is loaded once for all. */
function correlate(history: usize): void {
  let lagged = history
  let from = history + (LAG_MAX << 2)
  const end = history + (HISTORY_SAMPLES << 2)
  // One on either side keeps silence from dividing by nothing.
  const one = f32x4.splat(1)
  let energy = one
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0
  let e0 = one, e1 = one, e2 = one, e3 = one, e4 = one, e5 = one
  for (; from < end; from += 4, lagged += 4) {
    const x = v128.load_splat<f32>(from)
    energy = f32x4.add(energy, f32x4.mul(x, x))
    const h0 = v128.load(lagged), h1 = v128.load(lagged, 16), h2 = v128.load(lagged, 32)
    const h3 = v128.load(lagged, 48), h4 = v128.load(lagged, 64), h5 = v128.load(lagged, 80)
    s0 = f32x4.add(s0, f32x4.mul(x, h0))
    s1 = f32x4.add(s1, f32x4.mul(x, h1))
    s2 = f32x4.add(s2, f32x4.mul(x, h2))
    s3 = f32x4.add(s3, f32x4.mul(x, h3))
    s4 = f32x4.add(s4, f32x4.mul(x, h4))
    s5 = f32x4.add(s5, f32x4.mul(x, h5))
    e0 = f32x4.add(e0, f32x4.mul(h0, h0))
    e1 = f32x4.add(e1, f32x4.mul(h1, h1))
    e2 = f32x4.add(e2, f32x4.mul(h2, h2))
    e3 = f32x4.add(e3, f32x4.mul(h3, h3))
    e4 = f32x4.add(e4, f32x4.mul(h4, h4))
    e5 = f32x4.add(e5, f32x4.mul(h5, h5))
  }
  v128.store(CORRELATION, f32x4.div(s0, f32x4.sqrt(f32x4.mul(energy, e0))))
  v128.store(CORRELATION, f32x4.div(s1, f32x4.sqrt(f32x4.mul(energy, e1))), 16)
  v128.store(CORRELATION, f32x4.div(s2, f32x4.sqrt(f32x4.mul(energy, e2))), 32)
  v128.store(CORRELATION, f32x4.div(s3, f32x4.sqrt(f32x4.mul(energy, e3))), 48)
  v128.store(CORRELATION, f32x4.div(s4, f32x4.sqrt(f32x4.mul(energy, e4))), 64)
  v128.store(CORRELATION, f32x4.div(s5, f32x4.sqrt(f32x4.mul(energy, e5))), 80)
}

/** Sets `pitch`, 0 to 1, and `pitchLag` by the highest peak between the lags; both are 0 where none is above 0. */
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
// @ts-ignore: decorator
@inline
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
  correlate(stream + HISTORY)
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
