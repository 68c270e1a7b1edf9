/**
 * Detects voice, DTMF digits and tones in a caller's frame (AssemblyScript, ADR 0007). `CallerKernel` of
 * ../voice-detector.ts runs it. A vector has four f32 by default. Addresses are in bytes.
 */
import {
  DOMINANCE_MIN, DTMF_POWER_MIN, EVENNESS_MIN, FAULTY_FRAMES, FAULTY_POWER_MIN, FAULTY_SHARE_MIN, GROUPS, HITS_TO_REPORT, IMPURITY_MAX, LINE_GAIN, LINE_LEAST, LINE_POLE_A1, LINE_POLE_A2, LINE_POLE_B1, LINE_POLE_B2,
  LINE_ZERO_A, LINE_ZERO_B, MISSES_TO_RELEASE, OCTAVE_LEAK, OCTAVE_MAX, ODDS_BEGIN, ODDS_LIMIT, ODDS_ON, OFF_FREQUENCY_MAX, PHASE_BLUR_RAD, PURITY_MIN, REVERSE_TWIST_MAX,
  SECOND_ODDS_DOUBTFUL, SECOND_ODDS_MIN, SQUASH_LIMIT, TONE_LEFT_MIN, TWIST_MAX, VOICE_DBFS_MIN,
} from '../detection-limits'

/**
 * State of one stream between its frames. The whole state is in one block, so that it fills few cache lines: first this
 * class, then the vectors. `begin` initialises a block.
 */
@unmanaged
class Stream {
  // Usual levels, and sums over windows. They have double precision, because many small steps must add up as in the
  // TypeScript version.
  softFifth: f64
  median: f64
  loudTenth: f64
  usualScore: f64
  higherScore: f64
  highScore: f64
  longSum: f64
  longSquares: f64
  shortSum: f64
  shortSquares: f64

  frames: i32
  bandsAbove: i32
  likely: bool
  doubtful: bool
  part: i32
  framesInPart: i32
  lag: i32
  change: f32
  changeSlow: f32
  steady: f32
  steadyPitch: f32
  pitchQuick: f32
  pitchMean: f32
  pitchSlow: f32
  moved: f32
  score: f32
  scoreQuick: f32
  scoreSlow: f32
  voiced: f32
  hold: f32
  newness: f32

  // State of the search for DTMF digits, as in dtmf.ts.
  candidate: i32
  hits: i32
  down: i32
  misses: i32
  olderEnergy: f32
}

/** State of a line's filter (line-filter.ts): the contribution of each section to the next two samples. */
@unmanaged
class Line {
  a: f64
  nextA: f64
  b: f64
  nextB: f64
  begun: bool
  // The fields from here on are used only for the level, as in `LineLevel`.
  faulty: bool
  tookMost: bool
  frames: i32
  least: f64
}

/** Address to which TypeScript copies a frame from outside this memory, s16: 320 or 160 samples. */
export const FRAME = memory.data(320 << 1, 16)
/** Start of the free memory. */
export const FREE: usize = __heap_base

const WAVE = memory.data(320 << 2, 16)

/**
 * Initialises the block at `stream` for a new call. `bandsAbove` is the result of `bandsAboveThemselves` for the call's
 * first frame.
 */
export function begin(stream: usize, bandsAbove: i32): void {
  memory.fill(stream, 0, LEVEL_LINE)
  for (let at: usize = 0; at < LEVELS_BYTES * PARTS; at += 16) v128.store(stream + at, f32x4.splat(f32.MAX_VALUE), LEAST_DB)
  const s = changetype<Stream>(stream)
  s.newness = 1
  s.bandsAbove = bandsAbove
}

/** Initialises the filter of `lineEnergy` for a new call. */
export function beginLine(stream: usize): void {
  memory.fill(stream + LEVEL_LINE, 0, STREAM_BYTES - LEVEL_LINE)
}

/** Means of the samples, each over half a millisecond: `LOW_SAMPLES` values. */
const MEANS = memory.data(40 << 2, 16)

/**
 * Returns the sum of squares of the line's next frame, bit for bit like `LineLevel` in line-filter.ts. On a faulty line
 * it is the sum after the filter, with a negative sign.
 */
export function lineEnergy(stream: usize, frame: usize, wide: bool): f64 {
  const step: f64 = wide ? 8 : 4
  let squares: f64 = 0
  for (let to = MEANS, at = frame; to < MEANS + (LOW_SAMPLES << 2); at += 16) {
    const pairs = i32x4.extadd_pairwise_i16x8_s(v128.load(at))
    const first = i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1)
    const second = i32x4.extract_lane(pairs, 2) + i32x4.extract_lane(pairs, 3)
    if (wide) {
      const sum = <f64>(first + second)
      squares += sum * sum
      store<f32>(to, <f32>(sum / step))
      to += 4
    } else {
      squares += <f64>first * <f64>first
      squares += <f64>second * <f64>second
      store<f32>(to, <f32>(<f64>first / step))
      store<f32>(to, <f32>(<f64>second / step), 4)
      to += 8
    }
  }
  filterLine(stream + LEVEL_LINE, MEANS)
  let filtered: f64 = 0
  for (let at = MEANS; at < MEANS + (LOW_SAMPLES << 2); at += 4) filtered += <f64>load<f32>(at) * <f64>load<f32>(at)
  const whole = energy(frame, wide)
  const taken = squares / step - filtered * step
  const left = min(whole, whole - taken)
  const line = changetype<Line>(stream + LEVEL_LINE)
  const limit = FAULTY_POWER_MIN * <f64>(wide ? 320 : 160)
  const takesMost = taken > FAULTY_SHARE_MIN * left
  if (line.frames === 0) line.faulty = taken > limit && takesMost
  const begins = line.frames % FAULTY_FRAMES === 0
  line.least = begins ? taken : min(line.least, taken)
  line.tookMost = takesMost || (line.tookMost && !begins)
  line.frames++
  if (line.frames % FAULTY_FRAMES === 0) line.faulty = line.faulty ? line.least > limit / 2 : line.least > limit && line.tookMost
  return line.faulty ? -left : whole
}

function isFaulty(stream: usize): bool {
  return changetype<Line>(stream + LEVEL_LINE).faulty
}

/** Runs `LineFilter` of line-filter.ts on 40 samples at 2 kHz, in place. */
function filterLine(state: usize, samples: usize): void {
  const line = changetype<Line>(state)
  const end = samples + (LOW_SAMPLES << 2)
  if (!line.begun) {
    line.begun = true
    let sum: f64 = 0
    for (let at = samples; at < end; at += 4) sum += <f64>load<f32>(at)
    const steady = LINE_GAIN * (sum / <f64>LOW_SAMPLES) + LINE_LEAST
    line.a = -steady
    line.nextA = steady
    line.b = line.nextB = 0
  }
  let a = line.a, nextA = line.nextA, b = line.b, nextB = line.nextB
  for (let at = samples; at < end; at += 4) {
    const x = LINE_GAIN * <f64>load<f32>(at) + LINE_LEAST
    const y = x + a
    a = LINE_ZERO_A * x - LINE_POLE_A1 * y + nextA
    nextA = x - LINE_POLE_A2 * y
    const z = y + b
    b = LINE_ZERO_B * y - LINE_POLE_B1 * z + nextB
    nextB = y - LINE_POLE_B2 * z
    store<f32>(at, <f32>z)
  }
  line.a = a
  line.nextA = nextA
  line.b = b
  line.nextB = nextB
}

/** Exact sum of squares of the frame at `frame`. */
function energy(frame: usize, wide: bool): f64 {
  let sums = i64x2.splat(0)
  for (const end = frame + (wide ? 640 : 320); frame < end; frame += 16) {
    const x = v128.load(frame)
    // The sum of two squares is at most 2^31. This overflows an i32 but fits a u32.
    const squares = i32x4.dot_i16x8_s(x, x)
    sums = i64x2.add(sums, i64x2.add(i64x2.extend_low_i32x4_u(squares), i64x2.extend_high_i32x4_u(squares)))
  }
  return <f64>(i64x2.extract_lane(sums, 0) + i64x2.extract_lane(sums, 1))
}

/** True if the frame at `frame` is speech. */
export function isSpeech(stream: usize, frame: usize, wide: bool): bool {
  toWave(frame, wide)
  return takeVoice(stream, wide)
}

/**
 * Detects voice and digits in the frame at `frame`, whose level after the line's filter is `levelDbfs`.
 *
 * Bit 0: the frame has the caller's voice. Bit 1: the voice is doubtful. Higher bits: 1 + row x 4 + column of the
 * recognised DTMF digit, or 0.
 */
export function detect(stream: usize, frame: usize, wide: bool, levelDbfs: f64): i32 {
  toWave(frame, wide)
  // DTMF digits are searched for in the unfiltered line.
  const digit = takeDigits(stream, WAVE, wide, energy(frame, wide) >= DTMF_POWER_MIN * <f64>(wide ? 320 : 160))
  const speech = takeVoice(stream, wide)
  const voiced = speech && levelDbfs > VOICE_DBFS_MIN && !digitActive && !isPureTone(frame, wide, levelDbfs, isFaulty(stream))
  return (digit + 1) << 2 | (voiced ? changetype<Stream>(stream).doubtful ? 3 : 1 : 0)
}

function takeVoice(stream: usize, wide: bool): bool {
  const s = changetype<Stream>(stream)
  takeFeatures(stream, WAVE, wide)
  const first = firstOdds()
  const second = secondOdds(stream, first)
  s.likely = first > (s.likely ? <f32>ODDS_ON : <f32>ODDS_BEGIN)
  const speaks = s.likely && second > <f32>SECOND_ODDS_MIN
  s.doubtful = speaks && second < <f32>SECOND_ODDS_DOUBTFUL
  return speaks
}

/**
 * Writes the frame at `frame` as f32, divided by the gain of the band splits. The division is exact, because the gain
 * is a power of two.
 */
function toWave(frame: usize, wide: bool): void {
  const scale = f32x4.splat(wide ? f32(1.0 / 8) : f32(1.0 / 4))
  const end = frame + (wide ? 640 : 320)
  let to = WAVE
  for (; frame < end; frame += 16, to += 32) {
    const x = v128.load(frame)
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(x)), scale))
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(x)), scale), 16)
  }
}

// --- state of a stream between its frames --------------------------------------------------------------

/** Number of bytes for levels: six bands, their total, and one unused lane. These are two vectors. */
const LEVELS_BYTES: usize = 32
const PARTS = 5
const LAGS = 24
const LAG_MIN = 5
const LAG_MAX = 28
const HISTORY_SAMPLES = 92
const LOW_SAMPLES = 40
const CORRELATIONS = 5
const CORRELATION_BYTES: usize = 96
const LONG_WINDOW = 64
const SHORT_WINDOW = 16
const BLOCK = 80
const UNITS_BYTES: usize = 32 << 2

// Byte offsets of the vectors in the block.
/** States of the all-passes: six splits, each with (even, odd). */
const SPLITS: usize = (offsetof<Stream>() + 15) & ~15
const SMOOTH_DB: usize = SPLITS + 48
const OVER: usize = SMOOTH_DB + LEVELS_BYTES
const OVER_MEAN: usize = OVER + LEVELS_BYTES
const QUICK_DB: usize = OVER_MEAN + LEVELS_BYTES
const USUAL_DB: usize = QUICK_DB + LEVELS_BYTES
/** Lowest smoothed level in each part of the window of the noise floor. */
const LEAST_DB: usize = USUAL_DB + LEVELS_BYTES
/**
 * Last scores, the newest first. `VOICED_SCORES`: last scores of frames with a pitch. Ten of the twelve values are
 * used.
 */
const SCORES: usize = LEAST_DB + LEVELS_BYTES * PARTS
const VOICED_SCORES: usize = SCORES + 48
/** The signal below 1 kHz, sampled at 2 kHz. The newest sample is last. */
const HISTORY: usize = VOICED_SCORES + 48
const CORRELATION_RING: usize = HISTORY + (HISTORY_SAMPLES << 2)
/** Sum of the correlation's products over the newest 24 samples, by lag. */
const NEWEST_PRODUCTS: usize = CORRELATION_RING + CORRELATION_BYTES * CORRELATIONS
const LEVELS: usize = NEWEST_PRODUCTS + CORRELATION_BYTES
/** Sums of the older block for the eight tones: eight real parts, then eight imaginary parts. */
const OLDER_TONES: usize = LEVELS + (LONG_WINDOW << 2)
const OLDER_BLOCK: usize = OLDER_TONES + 64
/** Units of the second stage. */
const MEMORY: usize = OLDER_BLOCK + (BLOCK << 2)
/** Filter of the stream's low samples. */
const LINE: usize = MEMORY + GROUPS * UNITS_BYTES
/** Second filter, for the level, which is measured when a frame arrives. `begin` does not change it. */
const LEVEL_LINE: usize = (LINE + offsetof<Line>() + 63) & ~63
/** Size of a block, in whole cache lines. */
export const STREAM_BYTES: usize = (LEVEL_LINE + offsetof<Line>() + 63) & ~63

// --- voice: features -------------------------------------------------------------------------------------

/**
 * Computes the features that bench/vad/voice-features.ts explains. The sums are the same as there, but four bands are
 * processed at a time.
 */

/** Inputs of a layer: the 48 features, then the memory of one group of the second stage. */
export const INPUTS = memory.data((48 + 32) << 2, 16)

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

/** Writes the next frame's features to `INPUTS`. */
function takeFeatures(stream: usize, wave: usize, wide: bool): void {
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

/**
 * Writes the level above the floor for each band, and for all bands together. Returns the mean of the bands' values in
 * decibels.
 */
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
  // Only the first two of these four values belong to bands. Later stores overwrite the other two.
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

// In the functions below, `at` is the address of the stream, or of 16 bytes later for the second four levels.

function levelsOf(power: v128): v128 {
  return f32x4.pmax(decibels(f32x4.add(power, f32x4.splat(1e-3))), f32x4.splat(DB_MIN))
}

/**
 * Sets the usual levels to the levels of the first frame. For the bands in `bandsAbove` (see `begin`), it sets the next
 * smaller number.
 */
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

/**
 * Returns the levels above the lowest smoothed levels of the window. `part` is the part of the window to which this
 * frame belongs.
 */
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

/** Stores the levels above the floor. Returns the amount by which each of them has changed since the last frame. */
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
  // Before a window is full, the values that leave it are zero.
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

/** Inserts a value before twelve values and drops the oldest of them. */
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

// --- voice: bands ----------------------------------------------------------------------------------------

/** The band splitter of ../band-splitter.ts. Two or four outputs of each all-pass are computed at a time. */

// Coefficients k of the even and the odd all-pass, in the order of the samples; then 1 - k^2, k^2 and k^4. They are
// stored in memory, because V8 builds a constant vector again at each use.
const K = memory.data<f32>([0.64, 0.17, 0.64, 0.17], 16)
const ONE_LESS_K2 = memory.data<f32>([0.5904, 0.9711, 0.5904, 0.9711], 16)
const K2 = memory.data<f32>([0.4096, 0.0289, 0.4096, 0.0289], 16)
const K4 = memory.data<f32>([0.16777216, 0.00083521, 0.16777216, 0.00083521], 16)
const BEFORE = memory.data<f32>([-0.64, -0.17, 1, 1], 16)

const LOWER = memory.data(160 << 2, 16)
const UPPER = memory.data(80 << 2, 16)
const HIGH = memory.data(40 << 2, 16)
const NEXT = memory.data(40 << 2, 16)
/** Signal above 4 kHz. It is not used, because a telephone line does not carry it. */
const WAVE_ABOVE = memory.data(160 << 2, 16)

/** Power of six bands, per sample; two more lanes are unused. */
const BAND_POWER = memory.data(32, 16)

/**
 * Splits a band into its two halves. The results are twice as large as in the TypeScript version. The code that calls
 * this function corrects them.
 *
 * An all-pass is y(n) = k x(n) + s with s = x(n-1) - k y(n-1), so each output waits for the previous output. If the
 * formula is inserted into itself repeatedly, an output depends only on the output four samples earlier: y(n) = u(n) +
 * k^2 u(n-2) + k^4 y(n-4), where u(n) = k (x(n) - x(n-2)) + (1 - k^2) x(n-1).
 *
 * A vector of samples holds two of the even and two of the odd all-pass, alternating. So x(n-2) and u(n-2) are in the
 * previous vector, and y(n-4) is in the vector before it. The state s replaces all earlier samples: x(-1) = s and x(-2)
 * = -k s give equal outputs.
 * @param outputs  outputs of each half, a multiple of 4
 * @param state  s of the two all-passes
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

/**
 * Does the lowest split, from 20 samples to two halves of 10, two samples at a time. Writes the power of each half,
 * with the scale of `halve`.
 */
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
 * @param wave  320 or 160 samples. They must be divided before by the gain of two or three splits
 */
function split(stream: usize, wave: usize, wide: bool): void {
  const states = stream + SPLITS
  if (wide) {
    halve(wave, 160, states + 40, LOWER, WAVE_ABOVE)
    wave = LOWER
  }
  const low = stream + HISTORY + ((HISTORY_SAMPLES - LOW_SAMPLES) << 2)
  halve(wave, 80, states, LOWER, UPPER)
  halve(UPPER, 40, states + 16, HIGH, NEXT)
  // The upper half of a band is mirrored, so its low part contains the highest frequencies.
  store<f32>(BAND_POWER, energyOf(HIGH, 40) * f32(1.0 / 40), 20)
  store<f32>(BAND_POWER, energyOf(NEXT, 40) * f32(1.0 / 40), 16)
  halve(LOWER, 40, states + 8, low, NEXT)
  if (isFaulty(stream)) filterLine(stream + LINE, low)
  else changetype<Line>(stream + LINE).begun = false
  store<f32>(BAND_POWER, energyOf(NEXT, 40) * f32(1.0 / 40), 12)
  halve(low, 20, states + 24, LOWER, UPPER)
  store<f32>(BAND_POWER, energyOf(UPPER, 20) * f32(1.0 / (4 * 20)), 8)
  halveLast(LOWER, states + 32, BAND_POWER)
  store<f32>(BAND_POWER, load<f32>(BAND_POWER) * f32(1.0 / (16 * 10)))
  store<f32>(BAND_POWER, load<f32>(BAND_POWER, 4) * f32(1.0 / (16 * 10)), 4)
}

// --- voice: pitch ----------------------------------------------------------------------------------------

/** Pitch: the autocorrelation of the history, and its similarity to earlier autocorrelations. */

// Coefficients of this frame; the coefficient of the longest lag comes first. One value before them and one after them
// limit the search for peaks.
const PADDED = memory.data(16 + 96 + 16, 16)
const CORRELATION: usize = PADDED + 16
// Energy of the samples in each window that come after the samples shared by all windows.
const BEHIND = memory.data(96, 16)

let pitch: f32 = 0
let pitchLag: i32 = 0
let likeLast: f32 = 0
let likeBefore: f32 = 0

/**
 * Correlates the last 64 samples with the samples 5 to 28 earlier. The sum of the first 24 products is known from an
 * earlier frame. The sum of the newest 24 products is stored for a later frame.
 */
function correlate(history: usize, newestProducts: usize): void {
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0
  let from = history + ((HISTORY_SAMPLES - 24) << 2)
  let end = history + (HISTORY_SAMPLES << 2)
  for (let part = 0; part < 2; part++) {
    // Each vector contains four lags; each sample is loaded once for all lags.
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

/** Replaces the value at `at` by `value`, and returns the sum of both. */
function exchanged(at: usize, value: v128): v128 {
  const other = v128.load(at)
  v128.store(at, value)
  return f32x4.add(value, other)
}

/**
 * Divides the correlations by the lengths of their factors. All 24 windows share the samples 24 to 63; the sum over the
 * other samples follows from window to window. This costs a tenth of the time of separate sums, and is equally exact.
 */
function normalize(history: usize): void {
  let behind = f32x4.splat(0)
  for (let lag: usize = 0; lag < CORRELATION_BYTES; lag += 16) {
    const x = v128.load(history + (64 << 2) + lag)
    const further = f32x4.add(sumsFromLeft(f32x4.mul(x, x)), v128.shuffle<f32>(behind, behind, 3, 3, 3, 3))
    // These samples are not part of the first window.
    v128.store(BEHIND + lag, v128.shuffle<f32>(behind, further, 3, 4, 5, 6))
    behind = further
  }
  // One is added to both factors, so that silence does not cause a division by zero.
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
 * Sets `pitch` (0 to 1) and `pitchLag` by the highest peak. If peaks are equally high, the peak with the longest lag
 * counts. Both values are 0 if no peak is above 0.
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

/** Returns four coefficients. If a coefficient is lower than a neighbour, -1 replaces it. */
function peaksAt(at: usize): v128 {
  const here = v128.load(at)
  const isPeak = v128.and(f32x4.ge(here, v128.load(at - 4)), f32x4.ge(here, v128.load(at + 4)))
  return v128.bitselect(here, f32x4.splat(-1), isPeak)
}

/**
 * Finds the pitch. Also finds the similarity of this frame's correlation to the correlation of the last frame, and to
 * the correlation of the frame four frames ago.
 */
function takePitch(stream: usize): void {
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

// --- voice: the model ------------------------------------------------------------------------------------

/**
 * The models, in the order of ../voice-model.f32. The first model consists of a layer of 48 inputs, 32 output weights
 * and a bias. The second model has two groups, each with two layers of 80 inputs and 32 output weights; then comes its
 * bias. A layer consists of 32 biases, followed by each input's weights for all units.
 */
export const MODEL = memory.data(((32 + 48 * 32 + 32 + 1) << 2) + 12, 16)
export const SECOND_MODEL = memory.data(((GROUPS * (2 * (32 + 80 * 32) + 32) + 1) << 2) + 12, 16)

/** Sums of the units of a layer. */
const SUMS = memory.data(32 << 2, 16)
const MORE_SUMS = memory.data(32 << 2, 16)

/**
 * Computes the sums of the layer at `model` over the first `inputs` values of `INPUTS`, and writes them to `to`.
 * Returns the end of the layer.
 */
function sumsOf(model: usize, inputs: usize, to: usize): usize {
  let u0 = v128.load(model), u1 = v128.load(model, 16), u2 = v128.load(model, 32), u3 = v128.load(model, 48)
  let u4 = v128.load(model, 64), u5 = v128.load(model, 80), u6 = v128.load(model, 96), u7 = v128.load(model, 112)
  model += UNITS_BYTES
  for (let input = INPUTS; input < INPUTS + (inputs << 2); input += 4, model += UNITS_BYTES) {
    const x = v128.load_splat<f32>(input)
    u0 = f32x4.add(u0, f32x4.mul(x, v128.load(model)))
    u1 = f32x4.add(u1, f32x4.mul(x, v128.load(model, 16)))
    u2 = f32x4.add(u2, f32x4.mul(x, v128.load(model, 32)))
    u3 = f32x4.add(u3, f32x4.mul(x, v128.load(model, 48)))
    u4 = f32x4.add(u4, f32x4.mul(x, v128.load(model, 64)))
    u5 = f32x4.add(u5, f32x4.mul(x, v128.load(model, 80)))
    u6 = f32x4.add(u6, f32x4.mul(x, v128.load(model, 96)))
    u7 = f32x4.add(u7, f32x4.mul(x, v128.load(model, 112)))
  }
  v128.store(to, u0)
  v128.store(to, u1, 16)
  v128.store(to, u2, 32)
  v128.store(to, u3, 48)
  v128.store(to, u4, 64)
  v128.store(to, u5, 80)
  v128.store(to, u6, 96)
  v128.store(to, u7, 112)
  return model
}

/** Returns the log odds that the frame is speech, from the frame's features alone. */
function firstOdds(): f32 {
  const weights = sumsOf(MODEL, 48, SUMS)
  let total = f32x4.splat(0)
  for (let at: usize = 0; at < UNITS_BYTES; at += 16) {
    total = f32x4.add(total, f32x4.mul(f32x4.pmax(f32x4.splat(0), v128.load(SUMS + at)), v128.load(weights + at)))
  }
  return load<f32>(weights + UNITS_BYTES) + sum(total)
}

/**
 * Returns the log odds that the frame is speech, from the whole stream so far. Updates the stream's memory by one
 * frame.
 */
function secondOdds(stream: usize, odds: f32): f32 {
  set(47, max(-<f32>ODDS_LIMIT, min(<f32>ODDS_LIMIT, odds)))
  const half = f32x4.splat(0.5)
  let total = f32x4.splat(0)
  let units = stream + MEMORY, model = SECOND_MODEL
  for (let group = 0; group < GROUPS; group++) {
    copy(INPUTS + (48 << 2), units, UNITS_BYTES)
    model = sumsOf(sumsOf(model, 80, SUMS), 80, MORE_SUMS)
    for (let at: usize = 0; at < UNITS_BYTES; at += 16, units += 16, model += 16) {
      const share = f32x4.add(half, f32x4.mul(half, squashed(f32x4.mul(half, v128.load(SUMS + at)))))
      const before = v128.load(units)
      const now = f32x4.add(before, f32x4.mul(share, f32x4.sub(squashed(v128.load(MORE_SUMS + at)), before)))
      v128.store(units, now)
      total = f32x4.add(total, f32x4.mul(now, v128.load(model)))
    }
  }
  return load<f32>(model) + sum(total)
}

/** As in bench/vad/voice-features.ts. */
function squashed(x: v128): v128 {
  const limit = f32x4.splat(<f32>SQUASH_LIMIT)
  const bounded = f32x4.pmax(f32x4.neg(limit), f32x4.pmin(limit, x))
  const square = f32x4.mul(bounded, bounded), base = f32x4.splat(27)
  return f32x4.div(f32x4.mul(bounded, f32x4.add(base, square)), f32x4.add(base, f32x4.mul(f32x4.splat(9), square)))
}

// --- DTMF digits -----------------------------------------------------------------------------------------

/**
 * Detects DTMF digits, with the same decisions as ../../dtmf.ts. In that file each tone has a Goertzel filter, which
 * waits for its own result at every sample. Here the sums of all tones and of both blocks are computed together. The
 * phase is counted from the middle of the block, so the cosine is even and the sine is odd. So two samples at equal
 * distance from the middle need only one product.
 */

const HALF = BLOCK / 2
const WINDOW = 2 * BLOCK
const RATE_HZ = 8000

/**
 * Cosines and sines of the eight tones at each sample position before the middle of the block. The outermost position
 * comes first.
 */
export const TONE_TABLE = memory.data(40 * 64, 16)
/** Phase change of each tone over one block: eight cosines, then eight sines. */
export const TONE_TURNS = memory.data(64, 16)
/** Frequencies of the tones, f64. */
export const TONE_HZ = memory.data(64, 16)

// Frame that was halved from 16 to 8 kHz.
const NARROW = memory.data(160 << 2, 16)
// Sums and differences of the samples at equal distance from the middle of the block, for the first block, then for the
// second block.
const FOLDED = memory.data(160 << 2, 16)
const FOLDED_BLOCK: usize = BLOCK << 2
const FOLDED_DIFFERENCES: usize = HALF << 2
const FIRST_TONES = memory.data(64, 16)
const SECOND_TONES = memory.data(64, 16)
const POWERS = memory.data(32, 16)

/**
 * Returns the digit that is recognised in this frame as row x 4 + column, once per press; otherwise -1. Sets
 * `digitActive`.
 */
function takeDigits(stream: usize, wave: usize, wide: bool, isLoud: bool): i32 {
  const s = changetype<Stream>(stream)
  digitActive = false
  if (!isLoud) {
    // Both blocks count as blocks without a digit. The energy is set to zero, so that the next window fails the test of
    // evenness.
    s.olderEnergy = 0
    follow(s, -1)
    return follow(s, -1)
  }
  const first = wide ? halved(wave) : wave
  const second = first + (BLOCK << 2)
  fold(first, FOLDED)
  fold(second, FOLDED + FOLDED_BLOCK)
  sumTones()
  const energy = energyOf(first, BLOCK)
  const nextEnergy = energyOf(second, BLOCK)
  const heard = classify(stream + OLDER_TONES, FIRST_TONES, s.olderEnergy, energy, stream + OLDER_BLOCK, first)
  const heardNext = classify(FIRST_TONES, SECOND_TONES, energy, nextEnergy, first, second)
  s.olderEnergy = nextEnergy
  copy(stream + OLDER_TONES, SECOND_TONES, 64)
  copy(stream + OLDER_BLOCK, second, BLOCK << 2)
  const digit = follow(s, heard)
  const nextDigit = follow(s, heardNext)
  digitActive = heard >= 0 || heardNext >= 0 || s.down > 0
  return nextDigit >= 0 ? nextDigit : digit
}

/** True if the last frame contains a digit, or a sound that may become a digit. */
let digitActive: bool = false

/** Adds the two samples of each pair. This weakens 4 kHz and above so much that no digit is found there. */
function halved(wave: usize): usize {
  for (let to = NARROW; to < NARROW + (160 << 2); to += 16, wave += 32) {
    const a = v128.load(wave), b = v128.load(wave, 16)
    v128.store(to, f32x4.add(v128.shuffle<f32>(a, b, 0, 2, 4, 6), v128.shuffle<f32>(a, b, 1, 3, 5, 7)))
  }
  return NARROW
}

function fold(block: usize, to: usize): void {
  let from = block + FOLDED_BLOCK
  for (const end = block + FOLDED_DIFFERENCES; block < end; block += 16, to += 16) {
    from -= 16
    const later = v128.load(from)
    const mirrored = v128.shuffle<f32>(later, later, 3, 2, 1, 0)
    const here = v128.load(block)
    v128.store(to, f32x4.add(here, mirrored))
    v128.store(to, f32x4.sub(here, mirrored), FOLDED_DIFFERENCES)
  }
}

/** Computes the real parts of the eight tones of both blocks, then the imaginary parts. */
function sumTones(): void {
  const zero = f32x4.splat(0)
  let rowRe = zero, columnRe = zero, rowIm = zero, columnIm = zero
  let nextRowRe = zero, nextColumnRe = zero, nextRowIm = zero, nextColumnIm = zero
  let table = TONE_TABLE
  for (let at = FOLDED; at < FOLDED + FOLDED_DIFFERENCES; at += 4, table += 64) {
    const rowCos = v128.load(table), columnCos = v128.load(table, 16)
    const rowSin = v128.load(table, 32), columnSin = v128.load(table, 48)
    const sum = v128.load_splat<f32>(at), difference = v128.load_splat<f32>(at, FOLDED_DIFFERENCES)
    rowRe = f32x4.add(rowRe, f32x4.mul(sum, rowCos))
    columnRe = f32x4.add(columnRe, f32x4.mul(sum, columnCos))
    rowIm = f32x4.add(rowIm, f32x4.mul(difference, rowSin))
    columnIm = f32x4.add(columnIm, f32x4.mul(difference, columnSin))
    const nextSum = v128.load_splat<f32>(at, FOLDED_BLOCK), nextDifference = v128.load_splat<f32>(at, FOLDED_BLOCK + FOLDED_DIFFERENCES)
    nextRowRe = f32x4.add(nextRowRe, f32x4.mul(nextSum, rowCos))
    nextColumnRe = f32x4.add(nextColumnRe, f32x4.mul(nextSum, columnCos))
    nextRowIm = f32x4.add(nextRowIm, f32x4.mul(nextDifference, rowSin))
    nextColumnIm = f32x4.add(nextColumnIm, f32x4.mul(nextDifference, columnSin))
  }
  v128.store(FIRST_TONES, rowRe)
  v128.store(FIRST_TONES, columnRe, 16)
  v128.store(FIRST_TONES, rowIm, 32)
  v128.store(FIRST_TONES, columnIm, 48)
  v128.store(SECOND_TONES, nextRowRe)
  v128.store(SECOND_TONES, nextColumnRe, 16)
  v128.store(SECOND_TONES, nextRowIm, 32)
  v128.store(SECOND_TONES, nextColumnIm, 48)
}

/** Returns the digit in a window of two blocks as row x 4 + column; -1 for none. */
function classify(older: usize, newer: usize, olderEnergy: f32, energy: f32, olderBlock: usize, newerBlock: usize): i32 {
  const total = <f64>energy + <f64>olderEnergy
  if (total === 0 || min(energy, olderEnergy) < EVENNESS_MIN * max(energy, olderEnergy)) return -1
  const row = strongest(older, newer, 0)
  if (row < 0) return -1
  const column = strongest(older, newer, 4)
  if (column < 0) return -1
  const rowPower = tonePower(older, newer, row)
  const columnPower = tonePower(older, newer, column)
  if ((rowPower + columnPower) * (2.0 / WINDOW) < PURITY_MIN * total) return -1
  if (columnPower > rowPower * TWIST_MAX || rowPower > columnPower * REVERSE_TWIST_MAX) return -1
  if (octavePower(olderBlock, newerBlock, row) > OCTAVE_MAX * rowPower + OCTAVE_LEAK * columnPower) return -1
  if (octavePower(olderBlock, newerBlock, column) > OCTAVE_MAX * columnPower) return -1
  return row * 4 + column - 4
}

/** Returns the strongest of the four tones from `first` on; -1 if another tone is nearly as strong. */
function strongest(older: usize, newer: usize, first: usize): i32 {
  const at = first << 2
  const turnRe = v128.load(TONE_TURNS + at), turnIm = v128.load(TONE_TURNS + at, 32)
  const oldRe = v128.load(older + at), oldIm = v128.load(older + at, 32)
  const re = f32x4.add(f32x4.sub(f32x4.mul(oldRe, turnRe), f32x4.mul(oldIm, turnIm)), v128.load(newer + at))
  const im = f32x4.add(f32x4.add(f32x4.mul(oldRe, turnIm), f32x4.mul(oldIm, turnRe)), v128.load(newer + at, 32))
  const power = f32x4.add(f32x4.mul(re, re), f32x4.mul(im, im))
  v128.store(POWERS + at, power)
  const strong = i32x4.bitmask(f32x4.gt(power, f32x4.splat(largest(power) * <f32>(1 / DOMINANCE_MIN))))
  return popcnt(strong) === 1 ? <i32>first + ctz(strong) : -1
}

/**
 * Returns the power of a tone. Its frequency may differ slightly from the frequency of its filter; 0 if the difference
 * is too large.
 */
function tonePower(older: usize, newer: usize, tone: i32): f64 {
  const at = <usize>tone << 2
  const turnRe = <f64>load<f32>(TONE_TURNS + at), turnIm = <f64>load<f32>(TONE_TURNS + at, 32)
  const oldRe = <f64>load<f32>(older + at), oldIm = <f64>load<f32>(older + at, 32)
  const re = oldRe * turnRe - oldIm * turnIm
  const im = oldRe * turnIm + oldIm * turnRe
  const newRe = <f64>load<f32>(newer + at), newIm = <f64>load<f32>(newer + at, 32)
  const phase = Math.abs(Math.atan2(newIm * re - newRe * im, newRe * re + newIm * im))
  const allowed = (2 * Math.PI * OFF_FREQUENCY_MAX * hertz(tone) * BLOCK) / RATE_HZ + PHASE_BLUR_RAD
  if (phase > allowed) return 0
  // `phase` is half of the angle by which the tone turns during the window, relative to its filter. The filter's sum is
  // then a sinc of `phase`.
  const loss = phase < 0.01 ? 1 : Math.sin(phase) / phase
  return <f64>load<f32>(POWERS + at) / (loss * loss)
}

function hertz(tone: i32): f64 {
  return load<f64>(TONE_HZ + (<usize>tone << 3))
}

/** Applies a Goertzel filter to the window. It runs only if the window may contain a digit. */
function octavePower(olderBlock: usize, newerBlock: usize, tone: i32): f64 {
  const c = 2 * Math.cos((2 * Math.PI * 2 * hertz(tone)) / RATE_HZ)
  let a: f64 = 0, b: f64 = 0
  for (let block = 0; block < 2; block++) {
    let at = block === 0 ? olderBlock : newerBlock
    for (const end = at + (BLOCK << 2); at < end; at += 4) {
      const n = <f64>load<f32>(at) + c * a - b
      b = a
      a = n
    }
  }
  return a * a + b * b - c * a * b
}

function follow(s: Stream, heard: i32): i32 {
  if (heard < 0 || heard !== s.candidate) {
    s.candidate = heard
    s.hits = 0
  }
  s.misses = heard >= 0 && heard === s.down - 1 ? 0 : s.misses + 1
  if (s.misses >= MISSES_TO_RELEASE) s.down = 0
  if (heard < 0 || ++s.hits < HITS_TO_REPORT || heard === s.down - 1) return -1
  s.down = heard + 1
  s.misses = 0
  return heard
}

/** Whole vectors are copied, because memory.copy would cost more. */
function copy(to: usize, from: usize, bytes: usize): void {
  for (const end = from + bytes; from < end; from += 16, to += 16) v128.store(to, v128.load(from))
}

// --- pure tones ------------------------------------------------------------------------------------------

/**
 * Detects pure tones, bit for bit like ../pure-tone.ts. All sums are sums of whole numbers, which a double represents
 * exactly.
 */

const SAMPLES: usize = 160
// Long step of ../pure-tone.ts, in samples at 8 kHz. `SHORT_STEP`: short step.
const LONG_STEP: usize = 7
const SHORT_STEP: usize = 3

// The frame as f64; at 16 kHz only every second sample.
const SPREAD = memory.data(160 << 3, 16)

function isPureTone(frame: usize, wide: bool, levelDbfs: f64, faulty: bool): bool {
  const step: usize = wide ? 16 : 8
  for (let to = SPREAD; to < SPREAD + (SAMPLES << 3); to += 32, frame += step) {
    // Four samples are loaded. At 16 kHz they are the lower halves of four 32-bit numbers.
    const four = wide ? i32x4.shr_s(i32x4.shl(v128.load(frame), 16), 16) : v128.load16x4_s(frame)
    v128.store(to, f64x2.convert_low_i32x4_s(four))
    v128.store(to, f64x2.convert_low_i32x4_s(v128.shuffle<i64>(four, four, 1, 0)), 16)
  }
  return !(faulty && isHum(levelDbfs)) && impurity(LONG_STEP, faulty) < IMPURITY_MAX && impurity(SHORT_STEP, faulty) < IMPURITY_MAX
}

/** True if the line's filter has removed most of the frame. The constant offset of the frame is not counted. */
function isHum(levelDbfs: f64): bool {
  let sums = f64x2.splat(0), squares = sums
  for (let at = SPREAD; at < SPREAD + (SAMPLES << 3); at += 16) {
    const x = v128.load(at)
    sums = f64x2.add(sums, x)
    squares = f64x2.add(squares, f64x2.mul(x, x))
  }
  const mean = sumOfTwo(sums) / <f64>SAMPLES
  return 1073741824.0 * Math.pow(10, levelDbfs / 10) < TONE_LEFT_MIN * (sumOfTwo(squares) / <f64>SAMPLES - mean * mean)
}

/** Returns the share of the power that two sines cannot explain; see ../pure-tone.ts. */
function impurity(step: usize, centred: bool): f64 {
  const d = step << 3
  let pp = f64x2.splat(0), qq = pp, rr = pp, pq = pp, pr = pp, qr = pp, ps = pp, qs = pp, rs = pp
  const end = SPREAD + ((SAMPLES - 4 * step) << 3)
  for (let at = SPREAD; at < end; at += 16) {
    const p = f64x2.add(v128.load(at + 4 * d), v128.load(at))
    const q = f64x2.add(v128.load(at + 3 * d), v128.load(at + d))
    const r = v128.load(at + 2 * d)
    pp = f64x2.add(pp, f64x2.mul(p, p))
    qq = f64x2.add(qq, f64x2.mul(q, q))
    rr = f64x2.add(rr, f64x2.mul(r, r))
    pq = f64x2.add(pq, f64x2.mul(p, q))
    pr = f64x2.add(pr, f64x2.mul(p, r))
    qr = f64x2.add(qr, f64x2.mul(q, r))
    ps = f64x2.add(ps, p)
    qs = f64x2.add(qs, q)
    rs = f64x2.add(rs, r)
  }
  if (!centred) return impurityOf(sumOfTwo(pp), sumOfTwo(qq), sumOfTwo(rr), sumOfTwo(pq), sumOfTwo(pr), sumOfTwo(qr))
  const count = <f64>(SAMPLES - 4 * step)
  const p1 = sumOfTwo(ps), q1 = sumOfTwo(qs), r1 = sumOfTwo(rs)
  return impurityOf(
    sumOfTwo(pp) - p1 * p1 / count, sumOfTwo(qq) - q1 * q1 / count, sumOfTwo(rr) - r1 * r1 / count,
    sumOfTwo(pq) - p1 * q1 / count, sumOfTwo(pr) - p1 * r1 / count, sumOfTwo(qr) - q1 * r1 / count)
}

function impurityOf(pp: f64, qq: f64, rr: f64, pq: f64, pr: f64, qr: f64): f64 {
  if (rr <= 0) return 1
  const determinant = qq * rr - qr * qr
  let a = 0.0
  let b = -pr / rr
  // If there is only one tone, q and r are proportional. Then b alone explains the tone.
  if (determinant > 1e-6 * qq * rr) {
    a = (qr * pr - rr * pq) / determinant
    b = (qr * pq - qq * pr) / determinant
  }
  return max(0, pp + a * pq + b * pr) / (rr * (2 + 2 * a * a + b * b))
}

function sumOfTwo(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1)
}

// --- vectors of four f32 ---------------------------------------------------------------------------------

function sum(v: v128): f32 {
  const pairs = f32x4.add(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1))
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1)
}

function largest(v: v128): f32 {
  const pairs = f32x4.pmax(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1))
  return f32x4.extract_lane(f32x4.pmax(pairs, v128.shuffle<f32>(pairs, pairs, 1, 0, 3, 2)), 0)
}

/** Adds to each lane all lanes to its left. */
function sumsFromLeft(v: v128): v128 {
  const zero = f32x4.splat(0)
  const pairs = f32x4.add(v, v128.shuffle<f32>(zero, v, 0, 4, 5, 6))
  return f32x4.add(pairs, v128.shuffle<f32>(zero, pairs, 0, 1, 4, 5))
}

/** Adds to each lane all lanes to its right. */
function sumsFromRight(v: v128): v128 {
  const zero = f32x4.splat(0)
  const pairs = f32x4.add(v, v128.shuffle<f32>(v, zero, 1, 2, 3, 4))
  return f32x4.add(pairs, v128.shuffle<f32>(pairs, zero, 2, 3, 4, 5))
}

/** Sum of squares of `samples`, a multiple of 4. */
function energyOf(from: usize, samples: i32): f32 {
  let sums = f32x4.splat(0)
  const end = from + (<usize>samples << 2)
  for (; from < end; from += 16) {
    const x = v128.load(from)
    sums = f32x4.add(sums, f32x4.mul(x, x))
  }
  return sum(sums)
}

/**
 * Moves a mean towards the value by a share of the difference. A tiny number is added, because calculations with
 * denormal numbers are slow.
 */
function towards(mean: f32, value: f32, share: f32): f32 {
  return mean + (value - mean) * share + f32(1e-25)
}

/** Moves four means like `towards`. */
function towardsFour(mean: v128, value: v128, share: f32): v128 {
  return f32x4.add(f32x4.add(mean, f32x4.mul(f32x4.sub(value, mean), f32x4.splat(share))), f32x4.splat(1e-25))
}

/**
 * 10 log10(x), x > 0. With x = m 2^e and m from sqrt(1/2) to sqrt(2): ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| <
 * 0.1716. Four terms of its series leave less than 2 s^9 / 9 (1 - s^2) = 3e-8, or 1.3e-7 dB, which is below the precision
 * of f32.
 */
function decibels(x: v128): v128 {
  // Difference from the bits of sqrt(1/2), because from this value on the next exponent is used.
  const bits = i32x4.sub(x, i32x4.splat(0x3f3504f3))
  const exponent = i32x4.shr_s(bits, 23)
  const m = i32x4.sub(x, i32x4.shl(exponent, 23))
  const one = f32x4.splat(1)
  const s = f32x4.div(f32x4.sub(m, one), f32x4.add(m, one))
  const s2 = f32x4.mul(s, s)
  const series = f32x4.add(one, f32x4.mul(s2, f32x4.add(f32x4.splat(1.0 / 3), f32x4.mul(s2,
    f32x4.add(f32x4.splat(1.0 / 5), f32x4.mul(s2, f32x4.splat(1.0 / 7)))))))
  // 20 / ln 10 and 10 log10 2
  return f32x4.add(f32x4.mul(f32x4.mul(s, f32x4.splat(8.685889638065037)), series),
    f32x4.mul(f32x4.convert_i32x4_s(exponent), f32x4.splat(3.010299956639812)))
}
