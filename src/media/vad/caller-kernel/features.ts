import { likeBefore, likeLast, pitch, pitchLag, takePitch } from './correlation'
import { BAND_POWER, split } from './half-band'
import {
  HISTORY, HISTORY_SAMPLES, LEAST_DB, LEVELS, LEVELS_BYTES, LONG_WINDOW, LOW_SAMPLES, OVER, OVER_MEAN, PARTS, QUICK_DB, SCORES, SHORT_WINDOW,
  SMOOTH_DB, Stream, USUAL_DB, VOICED_SCORES,
} from './stream'
import { decibels, largest, sum, towards, towardsFour } from './vectors'

/** The numbers of ../voice-features.ts, which explains them; here are the same sums, four bands at a time. */

/** The inputs of the units, and a place behind them that is written with the last. */
export const INPUTS = memory.data(49 << 2, 16)

const DB_MIN: f32 = 14
const OVER_DB_MAX: f32 = 45
const FLOOR_BIAS_DB: f32 = 2
const PART_FRAMES = 30
const STEP_DB = 0.25

function set(input: i32, value: f32): void {
  store<f32>(INPUTS + (<usize>input << 2), value)
}

function setTenths(input: i32, four: v128): void {
  v128.store(INPUTS + (<usize>input << 2), f32x4.mul(four, f32x4.splat(0.1)))
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
  const score = takeBands(stream, <f32>step)
  takePitch(stream)
  notePitch(s)
  noteLevel(stream, step)
  noteScores(stream, score, step)
  // e^(-frames / 50)
  s.newness = s.newness < 1e-9 ? 0 : s.newness * f32(0.9801986733067553)
  set(47, s.newness)
}

let levelDb: f32 = 0

/** Bands over their floors, and beside them all bands together. Returns by how many decibels the bands are, on average. */
function takeBands(stream: usize, step: f32): f32 {
  const s = changetype<Stream>(stream)
  const high = stream + 16
  const power = v128.load(BAND_POWER), highPower = v128.load(BAND_POWER, 16)
  const all = sum(f32x4.add(
    f32x4.mul(power, f32x4(1.0 / 16, 1.0 / 16, 1.0 / 8, 1.0 / 4)), f32x4.mul(highPower, f32x4(1.0 / 4, 1.0 / 4, 0, 0))))
  const db = levelsOf(power), highDb = levelsOf(f32x4.replace_lane(highPower, 2, all))
  levelDb = f32x4.extract_lane(highDb, 2)
  if (s.frames === 1) {
    beginLevels(stream, db, s.bandsAbove)
    beginLevels(high, highDb, s.bandsAbove >> 4)
  }
  takeLevels(stream, db, step)
  takeLevels(high, highDb, step)
  const part = <usize>s.part * LEVELS_BYTES
  const over = overFloor(stream, db, part), highOver = overFloor(high, highDb, part)
  const ofBands = bounded(over), ofHighBands = f32x4.mul(bounded(highOver), f32x4(1, 1, 0, 0))
  const change = sum(f32x4.add(takeOver(stream, ofBands), takeOver(high, ofHighBands))) * f32(1.0 / 6)
  s.change = towards(s.change, change, 0.1)
  s.changeSlow = towards(s.changeSlow, change, 0.02)
  // Of the second four only two are bands: what is written behind them is overwritten by what follows.
  setTenths(0, ofBands)
  setTenths(4, ofHighBands)
  set(6, f32x4.extract_lane(highOver, 2) * f32(0.1))
  setTenths(35, f32x4.sub(v128.load(stream, QUICK_DB), v128.load(stream, USUAL_DB)))
  setTenths(39, f32x4.sub(v128.load(high, QUICK_DB), v128.load(high, USUAL_DB)))
  setTenths(41, v128.load(stream, OVER_MEAN))
  setTenths(45, v128.load(high, OVER_MEAN))
  set(19, change * f32(0.2))
  set(20, s.change * f32(0.2))
  set(21, s.changeSlow * f32(0.2))
  if (++s.framesInPart === PART_FRAMES) {
    s.framesInPart = 0
    s.part = (s.part + 1) % PARTS
    v128.store(stream + <usize>s.part * LEVELS_BYTES, f32x4.splat(f32.MAX_VALUE), LEAST_DB)
    v128.store(high + <usize>s.part * LEVELS_BYTES, f32x4.splat(f32.MAX_VALUE), LEAST_DB)
  }
  return sum(f32x4.add(aboveBias(ofBands), aboveBias(ofHighBands))) * f32(1.0 / 6)
}

// In what follows `at` is the stream, or 16 bytes on for the second four levels.

function levelsOf(power: v128): v128 {
  return f32x4.pmax(decibels(f32x4.add(power, f32x4.splat(1e-3))), f32x4.splat(DB_MIN))
}

/** What is usual is the first frame, or for bands that are above themselves (`begin`) the next number below. */
function beginLevels(at: usize, db: v128, bandsAbove: i32): void {
  v128.store(at, db, SMOOTH_DB)
  v128.store(at, db, QUICK_DB)
  const isAbove = i32x4.ne(v128.and(i32x4.splat(bandsAbove), i32x4(1, 2, 4, 8)), i32x4.splat(0))
  v128.store(at, i32x4.add(db, isAbove), USUAL_DB)
}

function takeLevels(at: usize, db: v128, step: f32): void {
  v128.store(at, towardsFour(v128.load(at, SMOOTH_DB), db, 0.25), SMOOTH_DB)
  v128.store(at, towardsFour(v128.load(at, QUICK_DB), db, 0.4), QUICK_DB)
  const usual = v128.load(at, USUAL_DB)
  const steps = v128.bitselect(f32x4.splat(0.35), f32x4.splat(-0.65), f32x4.gt(db, usual))
  v128.store(at, f32x4.add(usual, f32x4.mul(steps, f32x4.splat(step))), USUAL_DB)
}

/** Levels over the least smoothed ones of the window, to whose part at `part` this frame belongs. */
function overFloor(at: usize, db: v128, part: usize): v128 {
  v128.store(at + part, f32x4.pmin(v128.load(at, SMOOTH_DB), v128.load(at + part, LEAST_DB)), LEAST_DB)
  let floor = v128.load(at, LEAST_DB)
  for (let other = LEVELS_BYTES; other < LEVELS_BYTES * PARTS; other += LEVELS_BYTES) floor = f32x4.pmin(floor, v128.load(at + other, LEAST_DB))
  return f32x4.sub(db, floor)
}

function bounded(over: v128): v128 {
  return f32x4.pmax(f32x4.splat(-6), f32x4.pmin(f32x4.splat(OVER_DB_MAX), over))
}

function aboveBias(over: v128): v128 {
  return f32x4.pmax(f32x4.splat(0), f32x4.sub(over, f32x4.splat(FLOOR_BIAS_DB)))
}

/** Returns by how much they changed. */
function takeOver(at: usize, over: v128): v128 {
  const change = f32x4.abs(f32x4.sub(over, v128.load(at, OVER)))
  v128.store(at, over, OVER)
  v128.store(at, towardsFour(v128.load(at, OVER_MEAN), over, 0.08), OVER_MEAN)
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

function deviation(sum: f64, squares: f64, count: i32): f32 {
  const mean = sum / <f64>count
  const variance = squares / <f64>count - mean * mean
  return variance > 0 ? <f32>sqrt(variance) : 0
}

function noteScores(stream: usize, score: f32, step: f64): void {
  const s = changetype<Stream>(stream)
  const exact = <f64>score
  if (s.frames === 1) s.usualScore = s.higherScore = s.highScore = exact
  s.usualScore += (exact > s.usualScore ? 0.35 : -0.65) * step
  s.higherScore += (exact > s.higherScore ? 0.6 : -0.4) * step
  s.highScore += (exact > s.highScore ? 0.9 : -0.1) * step
  enter(stream + SCORES, score)
  enter(stream + VOICED_SCORES, pitch * score)
  const rise = score - s.score
  s.score = towards(s.score, score, 0.2)
  s.scoreQuick = towards(s.scoreQuick, score, 0.4)
  s.scoreSlow = towards(s.scoreSlow, score, 0.02)
  s.voiced = towards(s.voiced, pitch * score, 0.3)
  const held = s.hold - f32(1.0 / 15)
  s.hold = exact > (s.usualScore + s.highScore) * 0.5 ? 1 : held > 0 ? held : 0
  set(24, newest5(stream + SCORES) * f32(0.1))
  set(25, newest10(stream + SCORES) * f32(0.1))
  set(26, s.score * f32(0.1))
  set(27, s.scoreSlow * f32(0.1))
  set(28, rise * f32(0.1))
  set(29, <f32>(exact - s.usualScore) * f32(0.1))
  set(30, <f32>(s.scoreQuick - s.higherScore) * f32(0.1))
  set(31, <f32>(s.highScore - s.usualScore) * f32(0.1))
  set(32, s.hold)
  set(33, s.voiced * f32(0.1))
  set(34, newest10(stream + VOICED_SCORES) * f32(0.1))
}

/** Twelve values, the newest first: all make room for one. */
function enter(values: usize, value: f32): void {
  const a = v128.load(values), b = v128.load(values, 16), c = v128.load(values, 32)
  v128.store(values, v128.shuffle<f32>(f32x4.splat(value), a, 0, 4, 5, 6))
  v128.store(values, v128.shuffle<f32>(a, b, 3, 4, 5, 6), 16)
  v128.store(values, v128.shuffle<f32>(b, c, 3, 4, 5, 6), 32)
}

function newest5(values: usize): f32 {
  return largest(f32x4.pmax(v128.load(values), v128.load_splat<f32>(values + 16)))
}

function newest10(values: usize): f32 {
  return largest(f32x4.pmax(f32x4.pmax(v128.load(values), v128.load(values, 16)), v128.load64_splat(values + 32)))
}
