import { likeBefore, likeLast, pitch, pitchLag, takePitch } from './correlation'
import { BAND_POWER, split } from './half-band'
import {
  HISTORY, HISTORY_SAMPLES, LEAST_DB, LEVELS, LEVELS_BYTES, LONG_WINDOW, LOW_SAMPLES, OVER, OVER_MEAN, PARTS, QUICK_DB, SCORES, SHORT_WINDOW,
  SMOOTH_DB, Stream, USUAL_DB, VOICED_SCORES,
} from './stream'
import { decibels, largest, sum, towards, towardsFour } from './vectors'

/** The numbers of ../voice-features.ts, which explains them; here are the same sums, four bands at a time. */

/** The inputs of the units; the four behind them are overwritten at times. */
export const INPUTS = memory.data(52 << 2, 16)

const DB_MIN: f32 = 14
const OVER_DB_MAX: f32 = 45
const FLOOR_BIAS_DB: f32 = 2
const PART_FRAMES = 30
const STEP_DB = 0.25

// @ts-ignore: decorator
@inline
function set(input: i32, value: f32): void {
  store<f32>(INPUTS + (<usize>input << 2), value)
}

/** Takes a frame and writes what is known of it to `INPUTS`. */
export function takeFeatures(stream: usize, wave: usize, wide: bool): void {
  const s = changetype<Stream>(stream)
  s.frames++
  const history = stream + HISTORY
  for (let at: usize = 0; at < <usize>(HISTORY_SAMPLES - LOW_SAMPLES) << 2; at += 16) {
    v128.store(history + at, v128.load(history + at + (LOW_SAMPLES << 2)))
  }
  split(stream, wave, wide)
  const step = max(STEP_DB, 3 / (1 + <f64>s.frames / 10))
  const score = takeBands(stream, step)
  takePitch(stream)
  notePitch(s)
  noteLevel(stream, step)
  noteScores(stream, score, step)
  s.newness = s.newness < 1e-9 ? 0 : s.newness * f32(0.9801986733067553)
  set(47, s.newness)
}

let levelDb: f32 = 0

/** Bands over their floors. Returns by how many decibels they all are, on average. */
function takeBands(stream: usize, step: f64): f32 {
  const s = changetype<Stream>(stream)
  const low = v128.load(BAND_POWER), high = v128.load(BAND_POWER, 16)
  const all = sum(f32x4.add(f32x4.mul(low, f32x4(1.0 / 16, 1.0 / 16, 1.0 / 8, 1.0 / 4)), f32x4.mul(high, f32x4(1.0 / 4, 1.0 / 4, 0, 0))))
  const first = s.frames === 1
  const least = LEAST_DB + <usize>s.part * LEVELS_BYTES
  const lowChange = takeFour(stream, 0, low, f32x4.splat(1), least, first, step)
  let score = fourScore
  const highChange = takeFour(stream, 16, f32x4.replace_lane(high, 2, all), f32x4(1, 1, 0, 0), least + 16, first, step)
  score += fourScore
  for (let lanes: usize = 0; lanes < LEVELS_BYTES; lanes += 16) {
    v128.store(INPUTS + (41 << 2) + lanes, f32x4.mul(v128.load(stream + OVER_MEAN + lanes), f32x4.splat(0.1)))
  }
  levelDb = fourLevelDb
  set(6, fourLevelOver * f32(0.1))
  const change = (lowChange + highChange) * f32(1.0 / 6)
  s.change = towards(s.change, change, 0.1)
  s.changeSlow = towards(s.changeSlow, change, 0.02)
  set(19, change * f32(0.2))
  set(20, s.change * f32(0.2))
  set(21, s.changeSlow * f32(0.2))
  if (++s.framesInPart === PART_FRAMES) {
    s.framesInPart = 0
    s.part = (s.part + 1) % PARTS
    const next = stream + LEAST_DB + <usize>s.part * LEVELS_BYTES
    v128.store(next, f32x4.splat(f32.MAX_VALUE))
    v128.store(next, f32x4.splat(f32.MAX_VALUE), 16)
  }
  return score * f32(1.0 / 6)
}

let fourScore: f32 = 0
let fourLevelDb: f32 = 0
let fourLevelOver: f32 = 0

/**
 * Four levels, at `lanes` bytes of each of the stream's vectors. Sets what `takeBands` adds up; returns by how much they changed.
 *
 * @param isBand 1 in lanes of bands, 0 in others
 */
// @ts-ignore: decorator
@inline
function takeFour(stream: usize, lanes: usize, power: v128, isBand: v128, least: usize, first: bool, step: f64): f32 {
  const at = stream + lanes
  const db = f32x4.pmax(decibels(f32x4.add(power, f32x4.splat(1e-3))), f32x4.splat(DB_MIN))
  let before = v128.load(at, USUAL_DB)
  let above = f32x4.gt(db, before)
  if (first) {
    before = db
    v128.store(at, db, SMOOTH_DB)
    v128.store(at, db, QUICK_DB)
    const bits = i32x4.splat(changetype<Stream>(stream).bandsAbove >> <i32>(lanes >> 2))
    above = i32x4.ne(v128.and(bits, i32x4(1, 2, 4, 8)), i32x4.splat(0))
  }
  const smooth = towardsFour(v128.load(at, SMOOTH_DB), db, 0.25)
  v128.store(at, smooth, SMOOTH_DB)
  v128.store(stream + least, f32x4.pmin(smooth, v128.load(stream + least)))
  let floor = v128.load(at, LEAST_DB)
  for (let part: usize = LEVELS_BYTES; part < LEVELS_BYTES * PARTS; part += LEVELS_BYTES) floor = f32x4.pmin(floor, v128.load(at + part, LEAST_DB))
  const over = f32x4.sub(db, floor)
  fourLevelDb = f32x4.extract_lane(db, 2)
  fourLevelOver = f32x4.extract_lane(over, 2)
  const bound = f32x4.mul(isBand, f32x4.pmax(f32x4.splat(-6), f32x4.pmin(f32x4.splat(OVER_DB_MAX), over)))
  fourScore = sum(f32x4.pmax(f32x4.splat(0), f32x4.sub(bound, f32x4.splat(FLOOR_BIAS_DB))))
  const change = sum(f32x4.abs(f32x4.sub(bound, v128.load(at, OVER))))
  v128.store(at, bound, OVER)
  const tenth = f32x4.splat(0.1)
  v128.store(INPUTS + lanes, f32x4.mul(bound, tenth))
  const quick = towardsFour(v128.load(at, QUICK_DB), db, 0.4)
  v128.store(at, quick, QUICK_DB)
  const steps = v128.bitselect(f32x4.splat(0.35), f32x4.splat(-0.65), above)
  const usual = f32x4.add(before, f32x4.mul(steps, f32x4.splat(<f32>step)))
  v128.store(at, usual, USUAL_DB)
  v128.store(at, towardsFour(v128.load(at, OVER_MEAN), bound, 0.08), OVER_MEAN)
  v128.store(INPUTS + (35 << 2) + lanes, f32x4.mul(f32x4.sub(quick, usual), tenth))
  return change
}

function notePitch(s: Stream): void {
  s.steady = towards(s.steady, likeLast, 0.04)
  s.steadyPitch = towards(s.steadyPitch, (likeBefore > 0 ? likeBefore : 0) * pitch, 0.015)
  s.pitchQuick = towards(s.pitchQuick, pitch, 0.3)
  s.pitchMean = towards(s.pitchMean, pitch, 0.12)
  s.pitchSlow = towards(s.pitchSlow, pitch, 0.02)
  const lag = pitch > 0.5 ? pitchLag : 0
  let moved: f32 = 0
  if (lag > 0 && s.lag > 0) {
    moved = <f32>abs<i32>(lag - s.lag) * 4 / <f32>s.lag
    if (moved > 1) moved = 1
  }
  s.lag = lag
  s.moved = towards(s.moved, moved, 0.2)
  set(10, pitch)
  set(11, s.pitchQuick)
  set(12, s.pitchMean)
  set(13, s.pitchSlow)
  set(14, likeLast)
  set(15, likeBefore)
  set(16, s.steady)
  set(17, s.steadyPitch)
  set(18, s.moved)
}

function noteLevel(stream: usize, step: f64): void {
  const s = changetype<Stream>(stream)
  const db = <f64>levelDb
  if (s.frames === 1) {
    s.softFifth = s.median = db
    s.loudTenth = db + 3
  }
  s.softFifth += (db > s.softFifth ? 0.2 : -0.8) * step
  s.median += (db > s.median ? 0.5 : -0.5) * step
  s.loudTenth += (db > s.loudTenth ? 0.9 : -0.1) * step
  set(7, <f32>(db - s.median) * f32(0.1))
  set(8, <f32>(db - s.loudTenth) * f32(0.1))
  set(9, <f32>(s.loudTenth - s.softFifth) * f32(0.1))
  const levels = stream + LEVELS
  const slot = levels + (<usize>(s.frames % LONG_WINDOW) << 2)
  // A window that is not full yet gives zeros back.
  const leavesLong = <f64>load<f32>(slot)
  const leavesShort = <f64>load<f32>(levels + (<usize>((s.frames + LONG_WINDOW - SHORT_WINDOW) % LONG_WINDOW) << 2))
  s.longSum += db - leavesLong
  s.longSquares += db * db - leavesLong * leavesLong
  s.shortSum += db - leavesShort
  s.shortSquares += db * db - leavesShort * leavesShort
  store<f32>(slot, levelDb)
  set(22, deviation(s.shortSum, s.shortSquares, min(s.frames, SHORT_WINDOW)) * f32(0.2))
  set(23, deviation(s.longSum, s.longSquares, min(s.frames, LONG_WINDOW)) * f32(0.2))
}

// @ts-ignore: decorator
@inline
function deviation(sum: f64, squares: f64, count: i32): f32 {
  const mean = sum / <f64>count
  const variance = squares / <f64>count - mean * mean
  return variance > 0 ? <f32>sqrt(variance) : 0
}

function noteScores(stream: usize, score: f32, step: f64): void {
  const s = changetype<Stream>(stream)
  const wide = <f64>score
  if (s.frames === 1) s.usualScore = s.higherScore = s.highScore = wide
  s.usualScore += (wide > s.usualScore ? 0.35 : -0.65) * step
  s.higherScore += (wide > s.higherScore ? 0.6 : -0.4) * step
  s.highScore += (wide > s.highScore ? 0.9 : -0.1) * step
  enter(stream + SCORES, score)
  enter(stream + VOICED_SCORES, pitch * score)
  const rise = score - s.score
  s.score = towards(s.score, score, 0.2)
  s.scoreQuick = towards(s.scoreQuick, score, 0.4)
  s.scoreSlow = towards(s.scoreSlow, score, 0.02)
  s.voiced = towards(s.voiced, pitch * score, 0.3)
  const held = s.hold - f32(1.0 / 15)
  s.hold = wide > (s.usualScore + s.highScore) * 0.5 ? 1 : held > 0 ? held : 0
  set(24, newest5(stream + SCORES) * f32(0.1))
  set(25, newest10(stream + SCORES) * f32(0.1))
  set(26, s.score * f32(0.1))
  set(27, s.scoreSlow * f32(0.1))
  set(28, rise * f32(0.1))
  set(29, <f32>(wide - s.usualScore) * f32(0.1))
  set(30, <f32>(s.scoreQuick - s.higherScore) * f32(0.1))
  set(31, <f32>(s.highScore - s.usualScore) * f32(0.1))
  set(32, s.hold)
  set(33, s.voiced * f32(0.1))
  set(34, newest10(stream + VOICED_SCORES) * f32(0.1))
}

/** Twelve values, the newest first: all make room for one. */
// @ts-ignore: decorator
@inline
function enter(values: usize, value: f32): void {
  const a = v128.load(values), b = v128.load(values, 16), c = v128.load(values, 32)
  v128.store(values, v128.shuffle<f32>(f32x4.splat(value), a, 0, 4, 5, 6))
  v128.store(values, v128.shuffle<f32>(a, b, 3, 4, 5, 6), 16)
  v128.store(values, v128.shuffle<f32>(b, c, 3, 4, 5, 6), 32)
}

// @ts-ignore: decorator
@inline
function newest5(values: usize): f32 {
  return largest(f32x4.pmax(v128.load(values), v128.load_splat<f32>(values + 16)))
}

// @ts-ignore: decorator
@inline
function newest10(values: usize): f32 {
  return largest(f32x4.pmax(f32x4.pmax(v128.load(values), v128.load(values, 16)), v128.load64_splat(values + 32)))
}
