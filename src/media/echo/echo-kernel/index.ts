/**
 * Computations of the echo canceller that run for each band, delay or sample, in AssemblyScript (ADR 0007).
 * ../echo-kernel.ts runs this code; ../loudspeaker-echo.ts and ../echo-canceller.ts decide with its results.
 *
 * Addresses are in bytes. Sums are computed in f64, or in i32 if they are exact there. If a comment says so, the order
 * of additions does not change the result.
 */
import {
  APART_DB_MAX, AUDIBLE_BANDS_MIN, BANDS, DB_MAX, DB_MIN, DELAY_MIN, DELAYS, DELAYS_MOVED, HEARD_FRAMES,
  MOVED_FRAMES_MAX, REACH_SLOTS_MAX, SEARCH_PEAKS, SEARCH_SAMPLES, SENT_LOUD_DB, SLOTS, STEPS_PER_DB, WINDOW,
} from '../echo-limits'

/** Level in dB of a band that contains no sound. */
const BAND_DB_MIN = -96
const FRAME_SLOTS = 2
/** 20 ms at 8 kHz. */
const NARROW_FRAME = 160

/** Start of the free memory. */
export const FREE: usize = __heap_base

// --- state of a call: a block that `begin` initialises --------------------------------------------------

/**
 * Sent levels, by slot and band. `HEARD`: heard levels, by frame and band. The unit is half a decibel above
 * `BAND_DB_MIN`.
 */
const SENT: usize = 0
const HEARD: usize = SENT + SLOTS * BANDS
/** Bits of the sent bands: one u32 for each slot. A bit is 1 if its band is louder than usual. */
const SENT_BITS: usize = HEARD + HEARD_FRAMES * BANDS
/** Slot of each heard frame, f64. */
const HEARD_SLOTS: usize = SENT_BITS + 4 * SLOTS
/** f32 by band. */
const SENT_USUAL: usize = HEARD_SLOTS + 8 * HEARD_FRAMES
const HEARD_USUAL: usize = SENT_USUAL + 4 * BANDS
const HEARD_BEFORE: usize = HEARD_USUAL + 4 * BANDS
const NOISE: usize = HEARD_BEFORE + 4 * BANDS
/**
 * Gain from the sent to the heard level in dB, f32 by band. `COUPLING_FRAMES`: number of frames from which the gain was
 * learnt, i32 by band.
 */
const COUPLING: usize = NOISE + 4 * BANDS
const COUPLING_FRAMES: usize = COUPLING + 4 * BANDS
const EXPECTED_USUAL: usize = COUPLING_FRAMES + 4 * BANDS
/**
 * Share of equal bits, f32 by delay. `FITS`: similarity between the rises and falls of the levels in this run of
 * speech, f32 by delay.
 */
const AGREEMENT: usize = EXPECTED_USUAL + 4 * BANDS
const FITS: usize = AGREEMENT + 4 * DELAYS
/** Last samples at 8 kHz, f32. */
const SENT_WINDOW: usize = FITS + 4 * DELAYS_MOVED + 8
const HEARD_WINDOW: usize = SENT_WINDOW + 4 * (WINDOW + NARROW_FRAME)
/** Last six samples at 16 kHz, s16. */
const SENT_HISTORY: usize = HEARD_WINDOW + 4 * WINDOW
const HEARD_HISTORY: usize = SENT_HISTORY + 16
export const BLOCK_BYTES: usize = HEARD_HISTORY + 16

export function begin(block: usize): void {
  memory.fill(block, 0, BLOCK_BYTES)
  for (let band: usize = 0; band < <usize>BANDS; band++) {
    const at = block + (band << 2)
    store<f32>(at + SENT_USUAL, USUAL_DB_AT_START)
    store<f32>(at + HEARD_USUAL, USUAL_DB_AT_START)
    store<f32>(at + NOISE, USUAL_DB_AT_START)
    store<f32>(at + EXPECTED_USUAL, USUAL_DB_AT_START)
  }
  for (let i: usize = 0; i < <usize>DELAYS; i++) store<f32>(block + AGREEMENT + (i << 2), 0.5)
}

// --- samples --------------------------------------------------------------------------------------------

const HISTORY_BYTES: usize = 12
/** Space for the last samples of the previous frame, and behind it for the frame, s16. */
const HISTORY = memory.data(16 + 640 + 32, 16)
/** Address to which TypeScript copies a frame, s16: 320 or 160 samples. */
export const FRAME: usize = HISTORY + 16

/**
 * Writes the frame in `FRAME` to `to`, as 160 f32 samples at 8 kHz. A frame at 16 kHz passes a half-band filter, and
 * every second sample is written.
 */
function narrow(history: usize, wide: bool, to: usize): void {
  if (!wide) {
    for (let i: usize = 0; i < <usize>NARROW_FRAME; i += 4)
      v128.store(to + (i << 2), f32x4.convert_i32x4_s(v128.load16x4_s(FRAME + (i << 1))))
    return
  }
  memory.copy(FRAME - HISTORY_BYTES, history, HISTORY_BYTES)
  halve(FRAME - HISTORY_BYTES, NARROW_FRAME, to)
  memory.copy(history, FRAME + 640 - HISTORY_BYTES, HISTORY_BYTES)
}

// @ts-ignore: decorator
@inline
function even(x: v128): v128 {
  return i32x4.shr_s(i32x4.shl(x, 16), 16)
}

/** Computes four outputs of the half-band filter from fourteen input samples. The outputs are multiplied by 32. */
// @ts-ignore: decorator
@inline
function halved(from: usize): v128 {
  const x0 = v128.load(from), x2 = v128.load(from, 4), x4 = v128.load(from, 8), x6 = v128.load(from, 12)
  const near = i32x4.mul(i32x4.add(even(x2), even(x4)), i32x4.splat(9))
  const middle = i32x4.shl(i32x4.shr_s(x2, 16), 4)
  return i32x4.sub(i32x4.sub(i32x4.add(middle, near), even(x0)), even(x6))
}

/** Writes `length` samples, a multiple of four, from 2 x `length` + 6 input samples. The results are exact. */
function halve(from: usize, length: usize, to: usize): void {
  for (let i: usize = 0; i < <usize>length; i += 4, from += 16, to += 16)
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(halved(from)), f32x4.splat(1.0 / 32)))
}

/**
 * Returns the exact energy below 4 kHz, times 32 * 32, of `count` samples of the frame at 16 kHz, beginning at sample
 * `from`.
 */
export function telephoneEnergy(from: usize, count: usize): f64 {
  let at = FRAME + (from << 1)
  let sums = i64x2.splat(0)
  for (let left = count; left > 0; at += 16) {
    let samples = halved(at)
    if (left < 4) {
      const kept = i32x4.lt_u(v128.load(PLACES), i32x4.splat(<i32>left))
      samples = v128.and(samples, kept)
      left = 0
    } else left -= 4
    sums = i64x2.add(sums, i64x2.extmul_low_i32x4_s(samples, samples))
    sums = i64x2.add(sums, i64x2.extmul_high_i32x4_s(samples, samples))
  }
  return <f64>(i64x2.extract_lane(sums, 0) + i64x2.extract_lane(sums, 1))
}

const PLACES = memory.data<i32>([0, 1, 2, 3], 16)

/** Appends the 20 ms in `FRAME` to the sent audio. @param gap  true if no audio was sent before these 20 ms */
export function takeSent(block: usize, wide: bool, gap: bool): void {
  const window = block + SENT_WINDOW
  if (gap) memory.fill(window, 0, 4 * (WINDOW + NARROW_FRAME))
  memory.copy(window, window + 4 * NARROW_FRAME, 4 * WINDOW)
  narrow(block + SENT_HISTORY, wide, window + 4 * WINDOW)
}

export function takeHeard(block: usize, wide: bool): void {
  const window = block + HEARD_WINDOW
  memory.copy(window, window + 4 * NARROW_FRAME, 4 * (WINDOW - NARROW_FRAME))
  narrow(block + HEARD_HISTORY, wide, window + 4 * (WINDOW - NARROW_FRAME))
}

// --- levels of bands ------------------------------------------------------------------------------------

const HALF = WINDOW / 2
/** Tables, f64. ../echo-kernel.ts documents and writes them. */
export const WINDOW_SHAPE = memory.data(8 * 256, 16)
export const TURNS = memory.data(8 * 2 * 128, 16)
export const PASSES = memory.data(8 * 4 * (2 + 8 + 32), 16)
export const REVERSED = memory.data(128, 16)
export const EDGES = memory.data(33 + 15, 16)

const REAL = memory.data(8 * 128, 16)
const IMAGINARY = memory.data(8 * 128, 16)
const BINS = memory.data(8 * 128, 16)
const POWERS = memory.data(4 * 32, 16)
/** f32 by band, dB. */
const LEVELS = memory.data(4 * 32, 16)
/** Changes of the heard levels since the previous frame, f32. */
const CHANGES = memory.data(4 * 32, 16)

// @ts-ignore: decorator
@inline
function mul(a: v128, b: v128): v128 {
  return f64x2.mul(a, b)
}
// @ts-ignore: decorator
@inline
function add(a: v128, b: v128): v128 {
  return f64x2.add(a, b)
}
// @ts-ignore: decorator
@inline
function sub(a: v128, b: v128): v128 {
  return f64x2.sub(a, b)
}

/**
 * Writes the bands' levels of a window of the sent audio.
 * @param from  first sample of the window
 * @returns the sum of the bands' powers, like `levelsAt`
 */
export function levelsOfSent(block: usize, from: usize): f64 {
  return levelsAt(block + SENT_WINDOW + (from << 2))
}

export function levelsOfHeard(block: usize): f64 {
  return levelsAt(block + HEARD_WINDOW)
}

/**
 * Writes the bands' levels of the window at `at` to `LEVELS`, in dB. A full-scale sine has about 0 dB.
 * @returns the sum of the bands' powers; 1 is 0 dB
 */
function levelsAt(at: usize): f64 {
  // In the transform of digital silence, all bins are zero.
  if (isSilent(at)) memory.fill(BINS, 0, 8 * HALF)
  else {
    transform(at)
    binPowers()
  }
  let total: f64 = 0
  let bin: usize = load<u8>(EDGES)
  for (let band: usize = 0; band < <usize>BANDS; band++) {
    let power: f64 = 0
    for (const end = <usize>load<u8>(EDGES + band + 1); bin < end; bin++) power += load<f64>(BINS + (bin << 3))
    const scaled = max<f64>(POWER_MIN, power * SCALE)
    store<f32>(POWERS + (band << 2), <f32>scaled)
    total += scaled
  }
  for (let band: usize = 0; band < <usize>BANDS; band += 2) {
    const bits = v128.load64_zero(POWERS + (band << 2))
    v128.store64_lane(LEVELS + (band << 2), f32x4.demote_f64x2_zero(dbOfBits(bits)), 0)
  }
  return total
}

/**
 * True if all samples of the window are zero, for example during a pause of the line's codec, or between two sentences
 * of the agent.
 */
function isSilent(samples: usize): bool {
  for (let at: usize = 0; at < <usize>(4 * WINDOW); at += 64) {
    const near = v128.or(v128.load(samples + at), v128.load(samples + at, 16))
    const far = v128.or(v128.load(samples + at, 32), v128.load(samples + at, 48))
    if (v128.any_true(v128.or(near, far))) return false
  }
  return true
}

/**
 * 10 log10 of two floats, exact to 0.0001 dB.
 * @param bits the bits of normal, positive floats
 */
function dbOfBits(bits: v128): v128 {
  const y = mul(f64x2.convert_low_i32x4_s(v128.and(bits, i32x4.splat(0x7fffff))), f64x2.splat(1.0 / 0x800000))
  const exponent = f64x2.convert_low_i32x4_s(i32x4.sub(i32x4.shr_u(bits, 23), i32x4.splat(127)))
  // log2(1 + y) = y + y (1 - y) q(y). It is exact at both ends of the range; between them the error is at most 1.5e-5.
  // q was fitted by least squares, with weights that spread the error evenly.
  let q = add(f64x2.splat(0.14841718112309027), mul(y, f64x2.splat(-0.04514367577844133)))
  q = add(f64x2.splat(-0.2671745466614983), mul(y, q))
  q = add(f64x2.splat(0.44191635858894424), mul(y, q))
  const rest = mul(mul(y, sub(f64x2.splat(1), y)), q)
  return mul(f64x2.splat(TEN_LOG10_2), add(add(exponent, y), rest))
}

/**
 * Writes the discrete Fourier transform of the windowed samples to `REAL` and `IMAGINARY`. It computes a complex
 * transform of half the length: the even samples are the real part, and the odd samples are the imaginary part. Each
 * pass after the first does the work of two radix-2 passes, so that numbers are loaded and stored only half as often.
 */
function transform(samples: usize): void {
  for (let pair: usize = 0; pair < <usize>HALF; pair += 2) {
    const at = <usize>load<u8>(REVERSED + pair) << 1
    const near = mul(f64x2.promote_low_f32x4(v128.load64_zero(samples + (at << 2))), v128.load(WINDOW_SHAPE + (at << 3)))
    const far = mul(
      f64x2.promote_low_f32x4(v128.load64_zero(samples + (at << 2), 4 * HALF)),
      v128.load(WINDOW_SHAPE + (at << 3), 8 * HALF),
    )
    const sum = add(near, far), difference = sub(near, far)
    v128.store(REAL + (pair << 3), v128.shuffle<f64>(sum, difference, 0, 2))
    v128.store(IMAGINARY + (pair << 3), v128.shuffle<f64>(sum, difference, 1, 3))
  }
  let turns = PASSES
  for (let m: usize = 2; m < <usize>HALF; m <<= 2) {
    const bytes = m << 3
    for (let first: usize = 0; first < bytes; first += 16) {
      const c1 = v128.load(turns + first), s1 = v128.load(turns + bytes + first)
      const c2 = v128.load(turns + 2 * bytes + first), s2 = v128.load(turns + 3 * bytes + first)
      for (let a = first; a < <usize>HALF << 3; a += 4 * bytes) {
        const re = REAL + a, im = IMAGINARY + a
        const aRe = v128.load(re), aIm = v128.load(im)
        const bRe0 = v128.load(re + bytes), bIm0 = v128.load(im + bytes)
        const cRe = v128.load(re + 2 * bytes), cIm = v128.load(im + 2 * bytes)
        const dRe0 = v128.load(re + 3 * bytes), dIm0 = v128.load(im + 3 * bytes)
        const bRe = add(mul(bRe0, c1), mul(bIm0, s1)), bIm = sub(mul(bIm0, c1), mul(bRe0, s1))
        const dRe = add(mul(dRe0, c1), mul(dIm0, s1)), dIm = sub(mul(dIm0, c1), mul(dRe0, s1))
        const p0Re = add(aRe, bRe), p0Im = add(aIm, bIm), p1Re = sub(aRe, bRe), p1Im = sub(aIm, bIm)
        const q0Re = add(cRe, dRe), q0Im = add(cIm, dIm), q1Re = sub(cRe, dRe), q1Im = sub(cIm, dIm)
        const t0Re = add(mul(q0Re, c2), mul(q0Im, s2)), t0Im = sub(mul(q0Im, c2), mul(q0Re, s2))
        // Turn by another quarter of a circle: multiplication by -i.
        const t1Re = sub(mul(q1Im, c2), mul(q1Re, s2)), t1Im = f64x2.neg(add(mul(q1Re, c2), mul(q1Im, s2)))
        v128.store(re, add(p0Re, t0Re))
        v128.store(im, add(p0Im, t0Im))
        v128.store(re + 2 * bytes, sub(p0Re, t0Re))
        v128.store(im + 2 * bytes, sub(p0Im, t0Im))
        v128.store(re + bytes, add(p1Re, t1Re))
        v128.store(im + bytes, add(p1Im, t1Im))
        v128.store(re + 3 * bytes, sub(p1Re, t1Re))
        v128.store(im + 3 * bytes, sub(p1Im, t1Im))
      }
    }
    turns += 4 * bytes
  }
}

// @ts-ignore: decorator
@inline
function swapped(x: v128): v128 {
  return v128.shuffle<f64>(x, x, 1, 0)
}

/**
 * Computes four times the powers of the real transform from the complex transform. A bin and its mirror are computed
 * together from the same numbers.
 */
function binPowers(): void {
  for (let bin: usize = 1; bin <= <usize>(HALF / 2); bin += 2) {
    const at = bin << 3, mirror = (<usize>HALF - 1 - bin) << 3
    const re = v128.load(REAL + at), im = v128.load(IMAGINARY + at)
    const mirrorRe = swapped(v128.load(REAL + mirror)), mirrorIm = swapped(v128.load(IMAGINARY + mirror))
    const evenRe = add(re, mirrorRe), evenIm = sub(im, mirrorIm)
    const oddRe = add(im, mirrorIm), oddIm = sub(mirrorRe, re)
    const c = v128.load(TURNS + at), s = v128.load(TURNS + at, 8 * HALF)
    const turnedRe = add(mul(c, oddRe), mul(s, oddIm)), turnedIm = sub(mul(c, oddIm), mul(s, oddRe))
    const nearRe = add(evenRe, turnedRe), nearIm = add(evenIm, turnedIm)
    const farRe = sub(evenRe, turnedRe), farIm = sub(evenIm, turnedIm)
    v128.store(BINS + at, add(mul(nearRe, nearRe), mul(nearIm, nearIm)))
    v128.store(BINS + mirror, swapped(add(mul(farRe, farRe), mul(farIm, farIm))))
  }
}

const TEN_LOG10_2: f64 = 3.010299956639812
// 10^(BAND_DB_MIN / 10)
const POWER_MIN: f64 = 2.511886431509582e-10
// Scale of the powers. With this window, a sine of amplitude A has the power (A * WINDOW / 4)^2 in its bin, and some
// power in the bins beside it. `BINS` contains four times the powers, so the scale is 1 / (4 * (32768 * WINDOW / 4)^2).
const SCALE: f64 = 5.684341886080802e-14

/** @returns the level in dB of the loudest band */
function loudestLevel(): f64 {
  let most = f32x4.splat(<f32>BAND_DB_MIN)
  for (let at: usize = 0; at < <usize>(4 * BANDS); at += 16) most = f32x4.max(most, v128.load(LEVELS + at))
  most = f32x4.max(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1))
  return <f64>max<f32>(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1))
}

/** Converts two f32 to f64. Learnt values are stored as f32, but computed as f64. */
// @ts-ignore: decorator
@inline
function pair(at: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(at))
}
// @ts-ignore: decorator
@inline
function storePair(at: usize, x: v128): void {
  v128.store64_lane(at, f32x4.demote_f64x2_zero(x), 0)
}

/**
 * Compares `LEVELS` with the usual levels, and updates the usual levels.
 * @param learn  share of the difference by which a usual level moves towards the new level
 * @returns one bit per band: 1 if the band is louder than usual
 */
function bitsOver(usual: usize, learn: f64): u32 {
  let bits: u32 = 0
  for (let band: usize = 0; band < <usize>BANDS; band += 2) {
    const at = usual + (band << 2)
    const was = pair(at)
    const over = sub(f64x2.pmax(pair(LEVELS + (band << 2)), f64x2.splat(BITS_DB_MIN)), was)
    bits |= <u32>i64x2.bitmask(f64x2.gt(over, f64x2.splat(0))) << <u32>band
    storePair(at, add(was, mul(over, f64x2.splat(learn))))
  }
  return bits
}

/** Returns four levels in half decibels above `BAND_DB_MIN`, rounded. @param leastDb  lower limit of each level */
// @ts-ignore: decorator
@inline
function halfDecibels(levels: usize, leastDb: v128): v128 {
  const low = f64x2.pmax(pair(levels), leastDb), high = f64x2.pmax(pair(levels + 8), leastDb)
  const none = f64x2.splat(BAND_DB_MIN), two = f64x2.splat(2), half = f64x2.splat(0.5)
  return v128.shuffle<i32>(
    i32x4.trunc_sat_f64x2_s_zero(add(mul(two, sub(low, none)), half)),
    i32x4.trunc_sat_f64x2_s_zero(add(mul(two, sub(high, none)), half)),
    0, 1, 4, 5,
  )
}

/** Writes `LEVELS` to `to`, in half decibels, one byte per band. */
function storeLevels(to: usize, leastDb: f64): void {
  const least = f64x2.splat(leastDb)
  for (let band: usize = 0; band < <usize>BANDS; band += 8) {
    const at = LEVELS + (band << 2)
    const halves = i16x8.narrow_i32x4_s(halfDecibels(at, least), halfDecibels(at + 16, least))
    v128.store64_lane(to + band, i8x16.narrow_i16x8_u(halves, halves), 0)
  }
}

/**
 * Stores the sent levels at `slot`.
 * @param spreadDb  minimum level that each band gets from a loudspeaker that clips
 * @returns true if the audio is loud
 */
export function noteSent(block: usize, slot: i32, spreadDb: f64): bool {
  const loud = loudestLevel() > SENT_LOUD_DB
  const bits = bitsOver(block + SENT_USUAL, loud ? SENT_USUAL_LEARN : 0)
  store<u32>(block + SENT_BITS + (<usize>slot << 2), bits)
  storeLevels(block + SENT + <usize>slot * BANDS, spreadDb)
  return loud
}

export function noteSilence(block: usize, slot: i32): void {
  memory.fill(block + SENT + <usize>slot * BANDS, 0, BANDS)
  store<u32>(block + SENT_BITS + (<usize>slot << 2), 0)
}

/**
 * Learns the noise of each band, and notes the change of the band's level since the previous frame.
 * @returns the loudest band's level
 */
export function hear(block: usize): f64 {
  for (let at: usize = 0; at < <usize>(4 * BANDS); at += 8) {
    const db = pair(LEVELS + at)
    storePair(CHANGES + at, within(sub(db, pair(block + HEARD_BEFORE + at)), CHANGE_DB_MAX))
    storePair(block + HEARD_BEFORE + at, db)
    const noise = pair(block + NOISE + at)
    const over = sub(db, noise)
    const fall = mul(over, f64x2.splat(NOISE_FALL_SHARE))
    const rise = f64x2.pmin(mul(over, f64x2.splat(0.1)), f64x2.splat(NOISE_RISE_DB))
    storePair(block + NOISE + at, add(noise, v128.bitselect(fall, rise, f64x2.lt(over, f64x2.splat(0)))))
  }
  return loudestLevel()
}

// @ts-ignore: decorator
@inline
function within(value: v128, most: f64): v128 {
  return f64x2.pmax(f64x2.pmin(value, f64x2.splat(most)), f64x2.splat(-most))
}

export function remember(block: usize, frame: i32, slot: f64): void {
  store<f64>(block + HEARD_SLOTS + (<usize>frame << 3), slot)
  storeLevels(block + HEARD + <usize>frame * BANDS, BAND_DB_MIN)
}

/**
 * Writes the levels of the stored heard frame to `LEVELS`.
 * @returns the frame's slot
 */
export function recall(block: usize, frame: i32): f64 {
  const from = block + HEARD + <usize>frame * BANDS
  for (let band: usize = 0; band < <usize>BANDS; band++) store<f32>(LEVELS + (band << 2), <f32>(<f64>load<u8>(from + band) / 2 + BAND_DB_MIN))
  return load<f64>(block + HEARD_SLOTS + (<usize>frame << 3))
}

// --- the delay ------------------------------------------------------------------------------------------

/**
 * Searches for the delay of our speech in the heard levels.
 * @param age  number of slots from the frame's slot (`slot`) to the newest slot
 * @param known the known delay, or a large number
 * @returns the best delay; minus `NOT_AHEAD` if this delay is not clearly the best
 */
export function align(block: usize, slot: i32, age: i32, known: i32): i32 {
  const bits = bitsOver(block + HEARD_USUAL, HEARD_USUAL_LEARN)
  const agreement = block + AGREEMENT
  let best = 0
  let most: f32 = -1
  for (let i = 0; i < DELAYS; i++) {
    const back = i + DELAY_MIN
    const isKnown = <u32>(age + back) < <u32>SLOTS
    const sent = load<u32>(block + SENT_BITS + (<usize>((slot - back) & (SLOTS - 1)) << 2))
    const same: f64 = isKnown ? 1 - <f64>popcnt<u32>(bits ^ sent) / BANDS : 0.5
    const at = agreement + (<usize>i << 2)
    const was = <f64>load<f32>(at)
    const now = <f32>(was + (same - was) * AGREEMENT_LEARN)
    store<f32>(at, now)
    if (now > most) {
      most = now
      best = i
    }
  }
  let rival: f64 = 0
  if (known < DELAYS_MOVED) {
    const from = max<i32>(0, known - DELAY_MIN - NEAR_SLOTS), to = min<i32>(DELAYS - 1, known - DELAY_MIN + NEAR_SLOTS)
    for (let i = from; i <= to; i++) rival = max<f64>(rival, <f64>load<f32>(agreement + (<usize>i << 2)))
    rival += AGREES_OVER_KNOWN
  }
  for (let i = 0; i < DELAYS; i++)
    if (abs<i32>(i - best) > NEAR_SLOTS) rival = max<f64>(rival, <f64>load<f32>(agreement + (<usize>i << 2)) + AGREES_OVER_OTHERS)
  return best + DELAY_MIN - (<f64>most > rival ? 0 : NOT_AHEAD)
}

export const NOT_AHEAD = 1000

export function beginRun(block: usize): void {
  memory.fill(block + FITS, 0, 4 * DELAYS_MOVED)
}

/**
 * Compares the rises and falls of the level at each delay; they are more exact than the levels.
 * @param now  the present delay
 * @returns the best delay; `UNSURE` if no delay is clearly better than `now`
 */
export function follow(block: usize, slot: i32, first: i32, last: i32, now: i32, learn: f64): i32 {
  const fits = block + FITS
  let best = now
  for (let other = first; other <= last; other++) {
    const at = block + SENT + <usize>((slot - other) & (SLOTS - 1)) * BANDS
    const before = block + SENT + <usize>((slot - other - FRAME_SLOTS) & (SLOTS - 1)) * BANDS
    // These products and their sums are exact.
    let sums = f64x2.splat(0)
    for (let band: usize = 0; band < <usize>BANDS; band += 8) {
      const change = i16x8.sub(v128.load8x8_u(at + band), v128.load8x8_u(before + band))
      const clipped = i16x8.max_s(i16x8.min_s(change, i16x8.splat(2 * <i16>CHANGE_DB_MAX)), i16x8.splat(-2 * <i16>CHANGE_DB_MAX))
      const low = i32x4.extend_low_i16x8_s(clipped), high = i32x4.extend_high_i16x8_s(clipped)
      const changes = CHANGES + (band << 2)
      sums = add(sums, products(low, changes))
      sums = add(sums, products(v128.shuffle<i64>(low, low, 1, 0), changes + 8))
      sums = add(sums, products(high, changes + 16))
      sums = add(sums, products(v128.shuffle<i64>(high, high, 1, 0), changes + 24))
    }
    const fit = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1)
    const to = fits + (<usize>(other - DELAY_MIN) << 2)
    const was = <f64>load<f32>(to)
    const is = <f32>(was + (fit - was) * learn)
    store<f32>(to, is)
    if (is > load<f32>(fits + (<usize>(best - DELAY_MIN) << 2))) best = other
  }
  const better = <f64>load<f32>(fits + (<usize>(best - DELAY_MIN) << 2)) > 1.1 * <f64>load<f32>(fits + (<usize>(now - DELAY_MIN) << 2))
  return best === now || better ? best : UNSURE
}

export const UNSURE = i32.MIN_VALUE

// @ts-ignore: decorator
@inline
function products(whole: v128, changes: usize): v128 {
  return mul(f64x2.convert_low_i32x4_s(whole), f64x2.promote_low_f32x4(v128.load64_zero(changes)))
}

// --- the expected level ---------------------------------------------------------------------------------

/**
 * Expected level of each band in half decibels above `BAND_DB_MIN`. `EXPECTED`: this level in dB, f32. `EXCESSES`:
 * excess of the heard level, f32.
 */
const HALVES = memory.data(32, 16)
const EXPECTED = memory.data(4 * 32, 16)
const EXCESSES = memory.data(4 * 32, 16)
/**
 * Table of 10^(dB/10), f64. `SUM_TABLE`: table of the dB that the softer of two powers adds to the louder power, f64.
 * ../echo-kernel.ts writes both tables.
 */
export const POWER_TABLE = memory.data(8 * 1922, 16)
export const SUM_TABLE = memory.data(8 * 322, 16)
/**
 * Result of `compare`, f64: number of audible bands, sum of their excess, sum of their excess above `OVER_DB`, and
 * power of the expected echo.
 */
export const FOUND = memory.data(8 * 4, 16)

/**
 * Writes to `HALVES`, for each band, the loudest sent level around the delay. The decay of sound in the room is
 * subtracted.
 */
function loudestNear(block: usize, slot: i32, age: i32, delay: i32, either: i32): void {
  let low = i8x16.splat(0), high = i8x16.splat(0)
  for (let later = -max<i32>(either, BEFORE_SLOTS); later <= TAIL_SLOTS + either; later++) {
    const back = delay + later
    if (<u32>(age + back) >= <u32>SLOTS) continue
    const at = block + SENT + <usize>((slot - back) & (SLOTS - 1)) * BANDS
    const softer = i8x16.splat(later > either ? <i8>(2 * TAIL_DB * (later - either)) : 0)
    low = i8x16.max_u(low, i8x16.sub_sat_u(v128.load(at), softer))
    high = i8x16.max_u(high, i8x16.sub_sat_u(v128.load(at, 16), softer))
  }
  v128.store(HALVES, low)
  v128.store(HALVES, high, 16)
}

/**
 * Computes the expected level at `delay`.
 * @param either  number of slots by which the true delay may differ from `delay`
 * @returns the loudest band's level
 */
export function expect(block: usize, slot: i32, age: i32, delay: i32, either: i32): f64 {
  loudestNear(block, slot, age, delay, either)
  let most: u32 = 0
  for (let band: usize = 0; band < <usize>BANDS; band++) {
    const half = <u32>load<u8>(HALVES + band)
    store<f32>(EXPECTED + (band << 2), <f32>half * 0.5 + <f32>BAND_DB_MIN)
    most = max<u32>(most, half)
  }
  return <f64>most / 2 + BAND_DB_MIN
}

/** 10^(db/10) */
function powerOfDb(db: f64): f64 {
  const at = (max<f64>(DB_MIN, min<f64>(DB_MAX, db)) - DB_MIN) * STEPS_PER_DB
  const step = <i32>at
  const below = load<f64>(POWER_TABLE + (<usize>step << 3))
  return below + (load<f64>(POWER_TABLE + (<usize>step << 3), 8) - below) * (at - <f64>step)
}

/** Returns the level of two powers together: 10 log10(10^(a/10) + 10^(b/10)). */
// @ts-ignore: decorator
@inline
function sumOfDb(a: f64, b: f64): f64 {
  const apart = a < b ? b - a : a - b
  const louder = a < b ? b : a
  if (apart >= APART_DB_MAX) return louder
  const at = apart * STEPS_PER_DB
  const step = <i32>at
  const below = load<f64>(SUM_TABLE + (<usize>step << 3))
  return louder + below + (load<f64>(SUM_TABLE + (<usize>step << 3), 8) - below) * (at - <f64>step)
}

/**
 * Returns the part of `excess` (dB above the expected level) above `OVER_DB`. An excess above `OVER_DB_MAX` counts as
 * `OVER_DB_MAX`.
 */
// @ts-ignore: decorator
@inline
function beyond(excess: f64): f64 {
  return excess > OVER_DB ? min<f64>(OVER_DB_MAX, excess) - OVER_DB : 0
}

/** Compares the heard levels with the expected levels, and writes the result to `FOUND`. */
export function compare(block: usize, gainDb: f64): void {
  let audible: f64 = 0, sum: f64 = 0, over: f64 = 0, power: f64 = 0
  for (let at: usize = 0; at < <usize>(4 * BANDS); at += 4) {
    const db = <f64>load<f32>(LEVELS + at)
    const noise = <f64>load<f32>(block + NOISE + at)
    const echoDb = <f64>load<f32>(EXPECTED + at) + <f64>load<f32>(block + COUPLING + at) + gainDb
    const excess = db - sumOfDb(echoDb, noise)
    store<f32>(EXCESSES + at, <f32>excess)
    power += powerOfDb(echoDb)
    if (db < noise + AUDIBLE_DB) continue
    audible += 1
    sum += excess
    over += beyond(excess)
  }
  store<f64>(FOUND, audible)
  store<f64>(FOUND, sum, 8)
  store<f64>(FOUND, over, 16)
  store<f64>(FOUND, power, 24)
}

/** Computes the excess of the heard levels over the expected levels. The noise is ignored. */
export function compareEcho(block: usize): void {
  for (let at: usize = 0; at < <usize>(4 * BANDS); at += 4)
    store<f32>(EXCESSES + at, <f32>(<f64>load<f32>(LEVELS + at) - <f64>load<f32>(EXPECTED + at) - <f64>load<f32>(block + COUPLING + at)))
}

/** Forgets the gains of the bands. */
export function unlearn(block: usize): void {
  memory.fill(block + COUPLING_FRAMES, 0, 4 * BANDS)
}

/**
 * Learns the gain of each band in which more than usual was sent.
 * @param learning  true if a gain may change by any amount at once
 */
export function learn(block: usize, share: f64, learning: bool, gainDb: f64): void {
  for (let at: usize = 0; at < <usize>(4 * BANDS); at += 8) {
    const sent = pair(EXPECTED + at)
    const usual = pair(block + EXPECTED_USUAL + at)
    storePair(block + EXPECTED_USUAL + at, add(usual, mul(sub(sent, usual), f64x2.splat(EXPECTED_USUAL_LEARN))))
    const tells = f64x2.ge(sent, usual)
    const lanes = v128.shuffle<i32>(tells, tells, 0, 2, 0, 2)
    const coupling = block + COUPLING + at
    const was = v128.load64_zero(coupling)
    const framesWere = v128.load64_zero(block + COUPLING_FRAMES + at)
    const frames = f64x2.convert_low_i32x4_s(framesWere)
    const first = sub(sub(pair(LEVELS + at), sent), f64x2.splat(gainDb))
    const excess = pair(EXCESSES + at)
    const step = learning ? excess : within(excess, COUPLING_STEP_DB_MAX)
    const one = f64x2.splat(1)
    const follows = f64x2.pmax(f64x2.div(one, add(frames, one)), f64x2.splat(COUPLING_LEARN))
    const later = add(f64x2.promote_low_f32x4(was), mul(mul(follows, f64x2.splat(share)), step))
    const is = f32x4.demote_f64x2_zero(v128.bitselect(first, later, f64x2.eq(frames, f64x2.splat(0))))
    v128.store64_lane(coupling, v128.bitselect(is, was, lanes), 0)
    const framesAre = i32x4.min_s(i32x4.add(framesWere, i32x4.splat(1)), i32x4.splat(COUPLING_FRAMES_MAX))
    v128.store64_lane(block + COUPLING_FRAMES + at, v128.bitselect(framesAre, framesWere, lanes), 0)
  }
}

/** Returns the mean gain of the bands in dB. */
export function meanCoupling(block: usize): f64 {
  let sum: f64 = 0
  for (let at: usize = 0; at < <usize>(4 * BANDS); at += 4) sum += <f64>load<f32>(block + COUPLING + at)
  return sum / BANDS
}

// --- a moved delay --------------------------------------------------------------------------------------

/** Number of slots of sent audio that may have been heard. */
const ECHO_SLOTS = (MOVED_FRAMES_MAX + 1) * FRAME_SLOTS + 2 * REACH_SLOTS_MAX + 1
/** Expected level of the echo and the line's noise together, f32 by slot and band. */
const ECHOES = memory.data(4 * 32 * 87, 16)
/**
 * Heard levels, newest frame first; f32 by frame and band. `AUDIBLE_FROM`: level from which a band is audible, f32 by
 * band.
 */
const HEARD_DB = memory.data(4 * 32 * 12, 16)
const AUDIBLE_FROM = memory.data(4 * 32, 16)
/**
 * Lowest expected level in any slot, f32 by band. `ECHOES_MOST`: highest expected level in any slot, f32 by band.
 * `BANDS_LEFT`: maximum number of audible bands in the frames that are still to be compared, i32 by frame.
 */
const ECHOES_LEAST = memory.data(4 * 32, 16)
const ECHOES_MOST = memory.data(4 * 32, 16)
const BANDS_LEFT = memory.data(4 * 13, 16)

/**
 * Finds out if the echo has moved to a new delay: all heard sound fits the new delay, but not the known delay.
 * @param slot  the frame's slot; see `align` for `index` and `age`
 * @param frames  number of frames to compare; the newest is number `heardFrames`
 * @returns the new delay, or `UNSURE`
 */
export function moved(block: usize, slot: f64, index: i32, age: i32, known: i32, frames: i32, heardFrames: i32, either: i32, gainDb: f64): i32 {
  const first = max<i32>(DELAY_MIN, known - REACH_SLOTS_MAX)
  const last = min<i32>(DELAY_MIN + DELAYS_MOVED - 1, known + REACH_SLOTS_MAX)
  const back = MOVED_FRAMES_MAX * FRAME_SLOTS + last
  const slots = back - first + 1
  for (let band: usize = 0; band < <usize>BANDS; band++) {
    const from = <f64>load<f32>(block + NOISE + (band << 2)) + AUDIBLE_DB
    const rounded = <f32>from
    // Levels are f32. So a level below `from` is also below the next f32 after `from`.
    store<f32>(AUDIBLE_FROM + (band << 2), <f64>rounded < from ? nextUp(rounded) : rounded)
  }
  let oldest = slot
  for (let k = 1; k <= frames; k++) {
    const place = <usize>((heardFrames - k) % HEARD_FRAMES)
    oldest = min<f64>(oldest, load<f64>(block + HEARD_SLOTS + (place << 3)))
    const from = block + HEARD + place * BANDS
    const to = HEARD_DB + <usize>(k - 1) * (4 * BANDS)
    for (let band: usize = 0; band < <usize>BANDS; band++) store<f32>(to + (band << 2), <f32>load<u8>(from + band) * 0.5 + <f32>BAND_DB_MIN)
  }
  // Slots that were sent too early for an echo in the oldest of these frames are skipped.
  expectSlots(block, index - back, age + back, max<i32>(0, <i32>(oldest - slot) + back - last), slots, either, gainDb)
  store<i32>(BANDS_LEFT + (<usize>frames << 2), 0)
  for (let k = frames; k > 0; k--) {
    const heard = HEARD_DB + <usize>(k - 1) * (4 * BANDS)
    let counts = i32x4.splat(0)
    for (let at: usize = 0; at < <usize>(4 * BANDS); at += 16)
      counts = i32x4.sub(counts, f32x4.ge(f32x4.max(v128.load(heard + at), v128.load(ECHOES_MOST + at)), v128.load(AUDIBLE_FROM + at)))
    store<i32>(BANDS_LEFT + (<usize>(k - 1) << 2), load<i32>(BANDS_LEFT + (<usize>k << 2)) + <i32>sumOf(counts))
  }
  const knownDb = offAt(block, slot, back - known, frames, heardFrames, f64.MAX_VALUE)
  // Limit for a new delay. Only the best delay is needed, so the limit becomes lower with each better delay.
  let leastDb = min<f64>(MOVED_OFF_DB, MOVED_OFF_SHARE * knownDb)
  if (offAtLeast(block, slot, back - last, frames, heardFrames) > leastDb * max<f64>(<f64>load<i32>(BANDS_LEFT), AUDIBLE_BANDS_MIN * <f64>frames) * ROUNDED_UP) return UNSURE
  let best = UNSURE
  let bestOverDb: f64 = 0
  for (let delay = first; delay <= last; delay++) {
    const offDb = offAt(block, slot, back - delay, frames, heardFrames, leastDb)
    if (best === UNSURE ? offDb > leastDb : offDb >= leastDb) continue
    leastDb = offDb
    best = delay
    bestOverDb = overDb
  }
  return bestOverDb > MOVED_OVER_DB ? UNSURE : best
}

/** Second result of `offAt`: the mean over the audible bands of their excess above `OVER_DB`. */
let overDb: f64 = 0

/**
 * Computes the mean difference between the heard and the expected level.
 * @param place  distance from the frame's slot to the slot in `ECHOES`
 * @returns the difference, or any value above `mostDb` if it exceeds `mostDb`
 */
function offAt(block: usize, slot: f64, place: i32, frames: i32, heardFrames: i32, mostDb: f64): f64 {
  let counts = i32x4.splat(0), offs = i32x4.splat(0), overs = i32x4.splat(0)
  for (let k = 1; k <= frames; k++) {
    const heardSlot = load<f64>(block + HEARD_SLOTS + (<usize>((heardFrames - k) % HEARD_FRAMES) << 3))
    const sent = <i32>(heardSlot - slot) + place
    if (sent < 0) break
    const echoes = ECHOES + <usize>sent * (4 * BANDS)
    const heard = HEARD_DB + <usize>(k - 1) * (4 * BANDS)
    for (let at: usize = 0; at < <usize>(4 * BANDS); at += 16) {
      const db = v128.load(heard + at), echoDb = v128.load(echoes + at)
      const audible = f32x4.ge(f32x4.max(db, echoDb), v128.load(AUDIBLE_FROM + at))
      const excess = f32x4.sub(db, echoDb)
      counts = i32x4.sub(counts, audible)
      const off = f32x4.min(f32x4.splat(<f32>OVER_DB_MAX), f32x4.abs(excess))
      const over = f32x4.sub(f32x4.max(f32x4.splat(<f32>OVER_DB), f32x4.min(f32x4.splat(<f32>OVER_DB_MAX), excess)), f32x4.splat(<f32>OVER_DB))
      // These sums are exact, because a level has only a few bits.
      offs = i32x4.add(offs, v128.and(audible, i32x4.trunc_sat_f32x4_s(f32x4.mul(off, f32x4.splat(<f32>PARTS_OF_DB)))))
      overs = i32x4.add(overs, v128.and(audible, i32x4.trunc_sat_f32x4_s(f32x4.mul(over, f32x4.splat(<f32>PARTS_OF_DB)))))
    }
    // Upper limits for the frames that remain: they add at most this number of bands, and they never reduce the sum.
    const bandsMax = max<f64>(sumOf(counts) + <f64>load<i32>(BANDS_LEFT + (<usize>k << 2)), AUDIBLE_BANDS_MIN * <f64>frames)
    if (sumOf(offs) / PARTS_OF_DB > mostDb * bandsMax * ROUNDED_UP) return f64.MAX_VALUE
  }
  const bands = max<f64>(sumOf(counts), AUDIBLE_BANDS_MIN * <f64>frames)
  overDb = sumOf(overs) / PARTS_OF_DB / bands
  return sumOf(offs) / PARTS_OF_DB / bands
}

/**
 * Returns a lower bound of the sum of differences in `offAt`, for all delays. If the bound is above the limit, the
 * search is skipped. This saves the search on a steady tone, at which all delays are alike and near the bound.
 * @param place  see `offAt`; here for the longest delay
 */
function offAtLeast(block: usize, slot: f64, place: i32, frames: i32, heardFrames: i32): f64 {
  let offs = i32x4.splat(0)
  for (let k = 1; k <= frames; k++) {
    const heardSlot = load<f64>(block + HEARD_SLOTS + (<usize>((heardFrames - k) % HEARD_FRAMES) << 3))
    if (<i32>(heardSlot - slot) + place < 0) break
    const heard = HEARD_DB + <usize>(k - 1) * (4 * BANDS)
    for (let at: usize = 0; at < <usize>(4 * BANDS); at += 16) {
      const db = v128.load(heard + at), least = v128.load(ECHOES_LEAST + at)
      const audible = f32x4.ge(f32x4.max(db, least), v128.load(AUDIBLE_FROM + at))
      const apart = f32x4.max(f32x4.sub(db, v128.load(ECHOES_MOST + at)), f32x4.sub(least, db))
      const off = f32x4.min(f32x4.splat(<f32>OVER_DB_MAX), f32x4.max(f32x4.splat(0), apart))
      offs = i32x4.add(offs, v128.and(audible, i32x4.trunc_sat_f32x4_s(f32x4.mul(off, f32x4.splat(<f32>PARTS_OF_DB)))))
    }
  }
  return sumOf(offs) / PARTS_OF_DB
}

/** Factor for a limit, so that the rounding error of a product cannot matter. */
const ROUNDED_UP = 1.000001

/**
 * Fills the places `first` to `slots` of `ECHOES`. Place 0 belongs to the slot at `index`. If a slot's levels equal the
 * levels of the previous slot, the result is copied.
 */
function expectSlots(block: usize, index: i32, age: i32, first: i32, slots: i32, either: i32, gainDb: f64): void {
  let beforeLow = i8x16.splat(0), beforeHigh = i8x16.splat(0)
  for (let i = first; i < slots; i++) {
    loudestNear(block, index + i, age - i, 0, either)
    const to = ECHOES + <usize>i * (4 * BANDS)
    const low = v128.load(HALVES), high = v128.load(HALVES, 16)
    let same = <u32>i8x16.bitmask(i8x16.eq(low, beforeLow)) | <u32>i8x16.bitmask(i8x16.eq(high, beforeHigh)) << 16
    if (i === first) same = 0
    else memory.copy(to, to - 4 * BANDS, 4 * BANDS)
    for (let other = ~same; other !== 0; other &= other - 1) {
      const band = <usize>ctz(other)
      const echoDb = <f64>load<u8>(HALVES + band) / 2 + BAND_DB_MIN + <f64>load<f32>(block + COUPLING + (band << 2)) + gainDb
      store<f32>(to + (band << 2), <f32>sumOfDb(echoDb, <f64>load<f32>(block + NOISE + (band << 2))))
    }
    for (let at: usize = 0; at < <usize>(4 * BANDS); at += 16) {
      const is = v128.load(to + at)
      v128.store(ECHOES_LEAST + at, i === first ? is : f32x4.min(v128.load(ECHOES_LEAST + at), is))
      v128.store(ECHOES_MOST + at, i === first ? is : f32x4.max(v128.load(ECHOES_MOST + at), is))
    }
    beforeLow = low
    beforeHigh = high
  }
}

function sumOf(x: v128): f64 {
  return <f64>i32x4.extract_lane(x, 0) + <f64>i32x4.extract_lane(x, 1) + <f64>i32x4.extract_lane(x, 2) + <f64>i32x4.extract_lane(x, 3)
}

/** Returns the next larger float. */
function nextUp(x: f32): f32 {
  const bits = reinterpret<i32>(x)
  return reinterpret<f32>(x < 0 ? bits - 1 : bits + 1)
}

const PARTS_OF_DB = 524288.0

const USUAL_DB_AT_START: f32 = -60
const BITS_DB_MIN = -75.0
const SENT_USUAL_LEARN = 0.02
const HEARD_USUAL_LEARN = 0.03

// --- the delay: constants chosen with the calls of `bench/echo --tuning`
// In these calls the delay is found 0.7 to 1.5 s after our speech begins.
const AGREEMENT_LEARN = 0.04
const NEAR_SLOTS = 6
const AGREES_OVER_OTHERS = 0.07
const AGREES_OVER_KNOWN = 0.05
const CHANGE_DB_MAX = 12.0

// --- the expected level
const BEFORE_SLOTS = 2
const TAIL_SLOTS = 6
const TAIL_DB = 2
const NOISE_FALL_SHARE = 0.2
const NOISE_RISE_DB = 0.04
const EXPECTED_USUAL_LEARN = 0.03
const COUPLING_LEARN = 0.03
const COUPLING_STEP_DB_MAX = 6.0
const COUPLING_FRAMES_MAX = 1000

// --- caller or echo
/** Minimum level in dB of a band above the line's noise. Softer bands do not count. */
const AUDIBLE_DB = 6
const OVER_DB = 8.0
const OVER_DB_MAX = 28.0

// --- a moved delay: constants chosen with `bench/echo --tuning --disturbed waits --ms 200`
// Mean difference from the expected level, over the audible bands. It is 2 to 6 dB for an echo at its delay, and 9 to
// 17 dB at a wrong delay. The mean excess above `OVER_DB` is almost 0 dB for an echo, and 0.5 to 1.3 dB if a caller
// seems to fit.
const MOVED_OFF_DB = 6.0
const MOVED_OFF_SHARE = 0.6
const MOVED_OVER_DB = 0.5

// --- our own speech, sample for sample ------------------------------------------------------------------

/** Copy of the sent audio, s16 at the leg's rate. Its size is the size that a search needs, which is the largest. */
export const SENT_PART = memory.data(2 * (2 * SEARCH_SAMPLES + 8), 16)
/** A frame of the caller's side, f64 at 8 kHz. `SENT_NARROW`: a part of the sent audio, f64 at 8 kHz. */
const HEARD_FRAME = memory.data(8 * 160, 16)
const SENT_NARROW = memory.data(8 * SEARCH_SAMPLES, 16)
const NARROWED = memory.data(4 * SEARCH_SAMPLES, 16)

/**
 * Converts the frame in `FRAME` to 8 kHz; the result is exact. The six samples before `FRAME` belong to the previous
 * frame.
 * @returns the energy of the result
 */
export function matchFrame(wide: bool): f64 {
  widen(wide ? FRAME - HISTORY_BYTES : FRAME, NARROW_FRAME, wide, HEARD_FRAME)
  return dot(HEARD_FRAME, HEARD_FRAME, NARROW_FRAME)
}

/** Writes `length` samples, a multiple of four, as f64 at 8 kHz. */
function widen(from: usize, length: i32, wide: bool, to: usize): void {
  const end = to + (<usize>length << 3)
  if (wide) {
    halve(from, length, NARROWED)
    for (let at = NARROWED; to < end; to += 16, at += 8) v128.store(to, f64x2.promote_low_f32x4(v128.load64_zero(at)))
  } else for (; to < end; to += 16, from += 4) v128.store(to, f64x2.convert_low_i32x4_s(v128.load16x4_s(from)))
}

/**
 * Returns the sum of products of two series of samples. The sum is exact in any order of additions, because the samples
 * have only a few bits.
 */
function dot(a: usize, b: usize, length: i32): f64 {
  let sum0 = f64x2.splat(0), sum1 = f64x2.splat(0)
  for (const end = a + (<usize>length << 3); a < end; a += 32, b += 32) {
    sum0 = add(sum0, mul(v128.load(a), v128.load(b)))
    sum1 = add(sum1, mul(v128.load(a, 16), v128.load(b, 16)))
  }
  const all = add(sum0, sum1)
  return f64x2.extract_lane(all, 0) + f64x2.extract_lane(all, 1)
}

// Least squares: explains a signal by shifted copies of another signal.
const FIT_TAPS = 5
const TAPS_MAX = 16
/**
 * Normal equations of the fit. The right side has the products of the target with the copies. The matrix has the
 * products of the copies with each other, by rows, in its upper half.
 */
const CROSS = memory.data(8 * 16, 16)
const NORMAL = memory.data(8 * 16 * 16, 16)
const FACTOR = memory.data(8 * 16 * 16 + 16, 16)
const WEIGHTS = memory.data(8 * 16, 16)

/**
 * Explains the frame of `matchFrame` by `SENT_PART`, with one tap per shift.
 * @param powerMin  minimum power per sample of `SENT_PART`
 * @returns the explained power; -1 if nothing is explained
 */
export function fit(wide: bool, powerMin: f64): f64 {
  widen(SENT_PART, NARROW_FRAME + FIT_TAPS - 1 + 4 & ~3, wide, SENT_NARROW)
  const power = dot(SENT_NARROW, SENT_NARROW, NARROW_FRAME)
  if (power < powerMin * NARROW_FRAME) return -1
  for (let tap: usize = 0; tap < <usize>FIT_TAPS; tap++) {
    store<f64>(CROSS + (tap << 3), dot(HEARD_FRAME, SENT_NARROW + (tap << 3), NARROW_FRAME))
    store<f64>(NORMAL + (tap << 3), dot(SENT_NARROW, SENT_NARROW + (tap << 3), NARROW_FRAME))
  }
  moveRows(SENT_NARROW, NARROW_FRAME, FIT_TAPS)
  return solve(FIT_TAPS)
}

/** Power of the middle tap's copy in the last `fit`. */
export function middlePower(): f64 {
  return load<f64>(NORMAL + 8 * (FIT_TAPS / 2 * FIT_TAPS + FIT_TAPS / 2))
}

/**
 * Computes the rows of the matrix after the first row. A row follows from the row before it, because its window is
 * moved by one sample.
 */
function moveRows(source: usize, length: i32, taps: i32): void {
  for (let row = 1; row < taps; row++) {
    for (let column = row; column < taps; column++) {
      const from = NORMAL + <usize>((row - 1) * taps + column - 1 << 3)
      const first = source + <usize>(row - 1 << 3), second = source + <usize>(column - 1 << 3)
      const left = load<f64>(from) - load<f64>(first) * load<f64>(second)
      const last = <usize>length << 3
      store<f64>(from + <usize>(taps + 1 << 3), left + load<f64>(first + last) * load<f64>(second + last))
    }
  }
}

/**
 * Solves the normal equations by Cholesky decomposition.
 * @returns the explained power of the target
 */
function solve(taps: i32): f64 {
  const ridge = load<f64>(NORMAL) * RIDGE + 1
  const bytes = <usize>taps << 3
  for (let row: usize = 0; row < bytes; row += 8) {
    let product = load<f64>(CROSS + row)
    let diagonal = load<f64>(NORMAL + row * <usize>taps + row) + ridge
    for (let k: usize = 0; k < row; k += 8) {
      const factor = load<f64>(FACTOR + k * <usize>taps + row)
      product -= factor * load<f64>(WEIGHTS + k)
      diagonal -= factor * factor
    }
    const root = sqrt<f64>(max<f64>(diagonal, 1))
    store<f64>(FACTOR + row * <usize>taps + row, root)
    // A vector may pass the end of its row. The extra values are below the diagonal of the next row, where they are
    // never read.
    for (let column = row + 8; column < bytes; column += 16) {
      let a = v128.load(NORMAL + row * <usize>taps + column)
      for (let k: usize = 0; k < row; k += 8) {
        const at = FACTOR + k * <usize>taps
        a = sub(a, mul(v128.load64_splat(at + row), v128.load(at + column)))
      }
      v128.store(FACTOR + row * <usize>taps + column, f64x2.div(a, f64x2.splat(root)))
    }
    store<f64>(WEIGHTS + row, product / root)
  }
  let power: f64 = 0
  for (let row: usize = 0; row < bytes; row += 8) power += load<f64>(WEIGHTS + row) * load<f64>(WEIGHTS + row)
  for (let row = bytes; row > 0; ) {
    row -= 8
    let weight = load<f64>(WEIGHTS + row)
    for (let k = row + 8; k < bytes; k += 8) weight -= load<f64>(FACTOR + row * <usize>taps + k) * load<f64>(WEIGHTS + k)
    store<f64>(WEIGHTS + row, weight / load<f64>(FACTOR + row * <usize>taps + row))
  }
  return power
}

/** Shifted copies of the sent audio, f64. `LEFT`: the part of the frame that the copies do not explain. */
const COPIES = memory.data(8 * (320 + 16), 16)
const LEFT = memory.data(8 * 320, 16)

/**
 * Removes the audio in `SENT_PART`, at the leg's rate, from the frame in `FRAME`, in place.
 * @returns the explained power; -1 if nothing was explained
 */
export function cancel(wide: bool, powerMin: f64): f64 {
  const length = wide ? 320 : 160
  const taps = wide ? TAPS_MAX : TAPS_MAX / 2
  if (dotWhole(SENT_PART, SENT_PART, length) < powerMin * <f64>length) return -1
  for (let tap: usize = 0; tap < <usize>taps; tap++) {
    store<f64>(CROSS + (tap << 3), dotWhole(FRAME, SENT_PART + (tap << 1), length))
    store<f64>(NORMAL + (tap << 3), dotWhole(SENT_PART, SENT_PART + (tap << 1), length))
  }
  for (let i: usize = 0; i < <usize>(length + taps); i += 2)
    v128.store(COPIES + (i << 3), f64x2.convert_low_i32x4_s(v128.load16x4_s(SENT_PART + (i << 1))))
  moveRows(COPIES, length, taps)
  const power = solve(taps)
  const bytes = <usize>length << 3
  for (let i: usize = 0; i < bytes; i += 16) v128.store(LEFT + i, f64x2.convert_low_i32x4_s(v128.load16x4_s(FRAME + (i >> 2))))
  for (let tap: usize = 0; tap < <usize>taps << 3; tap += 32) {
    const w0 = v128.load64_splat(WEIGHTS + tap), w1 = v128.load64_splat(WEIGHTS + tap, 8)
    const w2 = v128.load64_splat(WEIGHTS + tap, 16), w3 = v128.load64_splat(WEIGHTS + tap, 24)
    for (let i: usize = 0; i < bytes; i += 16) {
      const at = COPIES + tap + i
      let own = add(mul(w0, v128.load(at)), mul(w1, v128.load(at, 8)))
      own = add(add(own, mul(w2, v128.load(at, 16))), mul(w3, v128.load(at, 24)))
      v128.store(LEFT + i, sub(v128.load(LEFT + i), own))
    }
  }
  for (let i: usize = 0; i < <usize>length; i += 4) {
    const low = i32x4.trunc_sat_f64x2_s_zero(rounded(v128.load(LEFT + (i << 3))))
    const high = i32x4.trunc_sat_f64x2_s_zero(rounded(v128.load(LEFT + (i << 3), 16)))
    v128.store64_lane(FRAME + (i << 1), i16x8.narrow_i32x4_s(v128.shuffle<i64>(low, high, 0, 2), low), 0)
  }
  return power
}

/** Rounds to a whole number; halves are rounded up. */
// @ts-ignore: decorator
@inline
function rounded(x: v128): v128 {
  const above = f64x2.ceil(x)
  return sub(above, v128.and(f64x2.gt(sub(above, f64x2.splat(0.5)), x), f64x2.splat(1)))
}

/** Exact sum of products of `length` whole numbers, a multiple of eight. */
function dotWhole(a: usize, b: usize, length: i32): f64 {
  let sums = i64x2.splat(0)
  let wraps = i32x4.splat(0)
  for (const end = a + (<usize>length << 1); a < end; a += 16, b += 16) {
    const pairs = i32x4.dot_i16x8_s(v128.load(a), v128.load(b))
    // A pair of products gives this number only if both are (-32768)^2. Their sum is 2^31, which does not fit.
    wraps = i32x4.sub(wraps, i32x4.eq(pairs, i32x4.splat(i32.MIN_VALUE)))
    sums = i64x2.add(sums, i64x2.add(i64x2.extend_low_i32x4_s(pairs), i64x2.extend_high_i32x4_s(pairs)))
  }
  return <f64>(i64x2.extract_lane(sums, 0) + i64x2.extract_lane(sums, 1)) + sumOf(wraps) * 4294967296.0
}

const RIDGE = 0.0003

// The search for a delay, at 2 kHz.
const COARSE = 4
const COARSE_FRAME = NARROW_FRAME / COARSE
const COARSE_HEARD = memory.data(8 * 40, 16)
const COARSE_SENT = memory.data(8 * (1662 + 8), 16)
const PRODUCTS = memory.data(8 * (1622 + 8), 16)
export const PEAKS = memory.data(4 * 5 + 12, 16)
const PEAK_SCORES = memory.data(4 * 5 + 12, 16)

/**
 * Finds the shifts at which the frame of `matchFrame` resembles `SENT_PART` most. Writes them to `PEAKS`, the best
 * first, in samples at 2 kHz.
 * @returns their number
 */
export function search(wide: bool, shifts: i32, energyMin: f64): i32 {
  const coarseLength = shifts + COARSE_FRAME + 2
  widen(SENT_PART, COARSE * coarseLength, wide, SENT_NARROW)
  fourth(HEARD_FRAME, COARSE_FRAME, COARSE_HEARD)
  fourth(SENT_NARROW, coarseLength, COARSE_SENT)
  // Eight shifts are computed at a time, so that each sample of the frame is loaded once for all eight.
  for (let shift: usize = 0; shift <= <usize>shifts; shift += 8) {
    let sum0 = f64x2.splat(0), sum1 = f64x2.splat(0), sum2 = f64x2.splat(0), sum3 = f64x2.splat(0)
    let sent = COARSE_SENT + (shift << 3)
    for (let i: usize = 0; i < <usize>COARSE_FRAME << 3; i += 8, sent += 8) {
      const heard = v128.load64_splat(COARSE_HEARD + i)
      sum0 = add(sum0, mul(heard, v128.load(sent)))
      sum1 = add(sum1, mul(heard, v128.load(sent, 16)))
      sum2 = add(sum2, mul(heard, v128.load(sent, 32)))
      sum3 = add(sum3, mul(heard, v128.load(sent, 48)))
    }
    const to = PRODUCTS + (shift << 3)
    v128.store(to, sum0)
    v128.store(to, sum1, 16)
    v128.store(to, sum2, 32)
    v128.store(to, sum3, 48)
  }
  let count = 0
  let energy = dot(COARSE_SENT, COARSE_SENT, COARSE_FRAME)
  let before: f64 = 0, score: f64 = 0
  for (let shift = 0; shift <= shifts + 1; shift++) {
    let after: f64 = 0
    const at = COARSE_SENT + (<usize>shift << 3)
    if (shift <= shifts && energy > energyMin) {
      const product = load<f64>(PRODUCTS + (<usize>shift << 3))
      after = product * product / energy
    }
    if (score > before && score >= after) count = notePeak(shift - 1, score, count)
    before = score
    score = after
    const next = load<f64>(at + (<usize>COARSE_FRAME << 3)), first = load<f64>(at)
    energy += next * next - first * first
  }
  return count
}

/** Notes a peak. Only the `SEARCH_PEAKS` highest peaks are kept. @returns the number of peaks */
function notePeak(shift: i32, score: f64, count: i32): i32 {
  let at = count
  for (; at > 0 && score > <f64>load<f32>(PEAK_SCORES + (<usize>(at - 1) << 2)); at--) {
    if (at === SEARCH_PEAKS) continue
    store<i32>(PEAKS + (<usize>at << 2), load<i32>(PEAKS + (<usize>(at - 1) << 2)))
    store<f32>(PEAK_SCORES + (<usize>at << 2), load<f32>(PEAK_SCORES + (<usize>(at - 1) << 2)))
  }
  if (at === SEARCH_PEAKS) return SEARCH_PEAKS
  store<i32>(PEAKS + (<usize>at << 2), shift)
  store<f32>(PEAK_SCORES + (<usize>at << 2), <f32>score)
  return min<i32>(SEARCH_PEAKS, count + 1)
}

/** Writes one sample for each four samples: their mean. */
function fourth(from: usize, length: i32, to: usize): void {
  for (const end = to + (<usize>length << 3); to < end; to += 8, from += 32)
    store<f64>(to, (load<f64>(from) + load<f64>(from, 8) + load<f64>(from, 16) + load<f64>(from, 24)) / COARSE)
}

const EDGES_HEARD = memory.data(8 * 160, 16)

/**
 * @returns the shift at which the frame of `matchFrame` resembles `SENT_PART` most, 1 to 2 x `reach` - 1; 0 if there is
 * none. The search compares the differences between neighbouring samples. The samples of a vowel change too smoothly
 * for an exact result.
 */
export function refine(wide: bool, reach: i32): i32 {
  const length = NARROW_FRAME + 2 * reach
  widen(SENT_PART, length, wide, SENT_NARROW)
  for (let i = <usize>(length - 1) << 3; i > 0; i -= 8)
    store<f64>(SENT_NARROW + i, load<f64>(SENT_NARROW + i) - load<f64>(SENT_NARROW + i - 8))
  store<f64>(EDGES_HEARD, 0)
  for (let i: usize = 8; i < <usize>NARROW_FRAME << 3; i += 8)
    store<f64>(EDGES_HEARD + i, load<f64>(HEARD_FRAME + i) - load<f64>(HEARD_FRAME + i - 8))
  let best: f64 = 0
  let refined = 0
  for (let shift = 1; shift < 2 * reach; shift++) {
    const part = SENT_NARROW + (<usize>shift << 3)
    const product = dot(EDGES_HEARD, part, NARROW_FRAME)
    const score = product * product / (dot(part, part, NARROW_FRAME) + 1)
    if (score <= best) continue
    best = score
    refined = shift
  }
  return refined
}
