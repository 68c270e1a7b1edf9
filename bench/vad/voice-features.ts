import { assert } from '../../src/core/assert.js'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { BANDS, BandSplitter, decibels, LOW_SAMPLES } from '../../src/media/vad/band-splitter.js'
import {
  GROUPS,
  ODDS_BEGIN,
  ODDS_LIMIT,
  ODDS_ON,
  SECOND_ODDS_DOUBTFUL,
  SECOND_ODDS_MIN,
  SQUASH_LIMIT,
} from '../../src/media/vad/detection-limits.js'
import type { Vad } from '../../src/media/vad/vad.js'

/** Number of samples, at 2 kHz, in the autocorrelation. Its lags, 5 to 28, are pitches of 400 to 71 Hz. */
const WINDOW = 64
export const LAG_MIN = 5
const LAG_MAX = 28
export const LAGS = LAG_MAX - LAG_MIN + 1
const HISTORY_SAMPLES = WINDOW + LAG_MAX

/** INPUTS: number of features of a frame. UNITS: number of units that weigh the features. */
export const INPUTS = 48
export const UNITS = 32
/**
 * Number of inputs of a unit in the second stage. Such a unit also weighs the units' values in the last frame, which
 * are their memory.
 */
export const MEMORY_INPUTS = INPUTS + UNITS
/** Number of values in the memory of a stream: the units of all groups. */
export const MEMORY_UNITS = GROUPS * UNITS

/** Number of model numbers of a layer of units: a bias for each unit, and a weight for each input and unit. */
export const layerNumbers = (inputs: number): number => UNITS + inputs * UNITS
/** Number of model numbers of the first stage: a layer, the weights of the output, and the output's bias. */
export const FIRST_NUMBERS = layerNumbers(INPUTS) + UNITS + 1
/**
 * Number of model numbers of a group: a layer for the share that each unit takes over, a layer for the new value, and
 * the weights of the output.
 */
export const GROUP_NUMBERS = 2 * layerNumbers(MEMORY_INPUTS) + UNITS
/** Number of model numbers of the second stage: its groups, and the bias of the sum of their outputs. */
export const SECOND_NUMBERS = GROUPS * GROUP_NUMBERS + 1

/**
 * Features of a frame that distinguish a caller from the surroundings, as numbers near 0 to 4. They do not depend on the
 * loudness of the line: levels are relative to the floor of their band (the lowest smoothed level of the last 3 s) or to
 * the usual level.
 *
 * | inputs | meaning                                                                                       |
 * |--------|-----------------------------------------------------------------------------------------------|
 * | 0-5    | level of each band over its floor                                                             |
 * | 6-9    | level over its floor, over its median and over its loud tenth; loud tenth over the soft fifth |
 * | 10-13  | pitch: highest peak of the correlation below 1 kHz, now and over 60 ms, 160 ms and 1 s        |
 * | 14-18  | similarity of the correlation to 20 and 80 ms earlier, and its duration; change of the pitch  |
 * | 19-23  | speed of change of the bands; deviation of the level in 320 ms and in 1.3 s                   |
 * | 24-32  | score (all bands over their floors): its newest peaks, its means, its rank among usual scores |
 * | 33, 34 | mean and newest peak of the score, weighted by the pitch                                      |
 * | 35-46  | each band over its usual level, and its mean over the floor                                   |
 * | 47     | newness of the call                                                                           |
 *
 * Music and machines have steady pitches. Many people at once have no pitch. A caller changes in all of these features.
 *
 * The units' numbers are derived with this class. Calls use its twin, src/media/vad/caller-kernel/.
 */
export class VoiceFeatures {
  readonly #kernel: JsVoiceKernel
  readonly #splitter: BandSplitter
  readonly #history = new Float32Array(HISTORY_SAMPLES)
  /**
   * Lowest smoothed level of each band and of all bands together, for each part of the window. The newest part is not
   * complete.
   */
  readonly #leastDb = new Float32Array(LEVELS * PARTS).fill(Infinity)
  readonly #smoothDb = new Float32Array(LEVELS)
  #part = 0
  #framesInPart = 0
  #frames = 0
  readonly #over = new Float32Array(BANDS)
  readonly #overMean = new Float32Array(BANDS)
  readonly #quickDb = new Float32Array(BANDS)
  /**
   * Usual level of each band: a quantile that is learned in steps, up for a louder frame and down for a softer frame.
   */
  readonly #usualDb = new Float32Array(BANDS)
  #levelDb = 0
  #softFifth = 0
  #median = 0
  #loudTenth = 0
  #usualScore = 0
  #higherScore = 0
  #highScore = 0
  /** The newest correlations, each scaled to length 1. */
  readonly #correlations = Array.from({ length: CORRELATIONS }, () => new Float32Array(LAGS))
  #steady = 0
  #steadyPitch = 0
  #pitchQuick = 0
  #pitchMean = 0
  #pitchSlow = 0
  #lag = 0
  #moved = 0
  #change = 0
  #changeSlow = 0
  readonly #levels = new Float32Array(LONG_WINDOW)
  readonly #long = new RunningDeviation()
  readonly #short = new RunningDeviation()
  readonly #scores = new Float32Array(PEAK_FRAMES)
  readonly #voicedScores = new Float32Array(PEAK_FRAMES)
  #score = 0
  #scoreQuick = 0
  #scoreSlow = 0
  #hold = 0
  #voiced = 0

  constructor(options: { readonly sampleRateHz: LegRateHz; readonly kernel: JsVoiceKernel }) {
    this.#kernel = options.kernel
    this.#splitter = new BandSplitter(options)
  }

  /**
   * Writes the features of the next frame to `inputs` of the kernel.
   * @param filters  true if the line is faulty (`LineFilter`)
   */
  take(frame: Int16Array, filters = false): void {
    this.#frames++
    this.#splitter.take(frame, bandPower, low, filters)
    const score = this.#bands()
    const pitch = this.#pitch()
    this.#level()
    this.#summary(score, pitch)
    this.#kernel.inputs[47] = Math.exp(-this.#frames / 50)
  }

  /**
   * Calculates each band's level over its floor.
   * @returns the average level over the floor in dB
   */
  #bands(): number {
    const { inputs } = this.#kernel
    const step = this.#step()
    const at = this.#part * LEVELS
    let score = 0
    let change = 0
    let power = 0
    for (let band = 0; band < BANDS; band++) {
      power += (bandPower[band] as number) * (BAND_SHARES[band] as number)
      const db = decibels(bandPower[band] as number)
      let over = db - this.#floor(band, at, db)
      over = over > OVER_DB_MAX ? OVER_DB_MAX : over < -6 ? -6 : over
      if (over > FLOOR_BIAS_DB) score += over - FLOOR_BIAS_DB
      change += Math.abs(over - (this.#over[band] as number))
      this.#over[band] = over
      inputs[band] = over / 10
      if (this.#frames === 1) this.#quickDb[band] = this.#usualDb[band] = db
      const quick = (this.#quickDb[band] as number) + (db - (this.#quickDb[band] as number)) * 0.4
      const usual = (this.#usualDb[band] as number) + (db > (this.#usualDb[band] as number) ? 0.35 : -0.65) * step
      const mean = (this.#overMean[band] as number) + (over - (this.#overMean[band] as number)) * 0.08
      this.#quickDb[band] = quick
      this.#usualDb[band] = usual
      this.#overMean[band] = mean
      inputs[35 + band] = (quick - usual) / 10
      inputs[41 + band] = mean / 10
    }
    this.#levelDb = decibels(power)
    inputs[6] = (this.#levelDb - this.#floor(BANDS, at, this.#levelDb)) / 10
    change /= BANDS
    this.#change += (change - this.#change) * 0.1
    this.#changeSlow += (change - this.#changeSlow) * 0.02
    inputs[19] = change / 5
    inputs[20] = this.#change / 5
    inputs[21] = this.#changeSlow / 5
    if (++this.#framesInPart === PART_FRAMES) {
      this.#framesInPart = 0
      this.#part = (this.#part + 1) % PARTS
      this.#leastDb.fill(Infinity, this.#part * LEVELS, (this.#part + 1) * LEVELS)
    }
    return score / BANDS
  }

  #floor(of: number, at: number, db: number): number {
    const least = this.#leastDb
    const before = this.#frames === 1 ? db : (this.#smoothDb[of] as number)
    const smooth = before + (db - before) * 0.25
    this.#smoothDb[of] = smooth
    if (smooth < (least[at + of] as number)) least[at + of] = smooth
    let floor = Infinity
    for (let i = of; i < LEVELS * PARTS; i += LEVELS) if ((least[i] as number) < floor) floor = least[i] as number
    return floor
  }

  /** @returns strength of the pitch, 0 to 1 */
  #pitch(): number {
    const { inputs, correlation } = this.#kernel
    this.#history.copyWithin(0, LOW_SAMPLES)
    this.#history.set(low, HISTORY_SAMPLES - LOW_SAMPLES)
    this.#kernel.history.set(this.#history)
    this.#kernel.correlate()
    let pitch = 0
    let lag = 0
    let square = 1e-6
    for (let i = 0; i < LAGS; i++) {
      const here = correlation[i] as number
      square += here * here
      if (i === 0 || i === LAGS - 1 || here <= pitch) continue
      if (here >= (correlation[i - 1] as number) && here >= (correlation[i + 1] as number)) {
        pitch = here
        lag = LAG_MIN + LAGS - 1 - i
      }
    }
    const newest = this.#correlations[this.#frames % CORRELATIONS] as Float32Array
    const last = this.#correlations[(this.#frames + 4) % CORRELATIONS] as Float32Array
    const fourBefore = this.#correlations[(this.#frames + 1) % CORRELATIONS] as Float32Array
    const scale = 1 / Math.sqrt(square)
    let likeLast = 0
    let likeBefore = 0
    for (let i = 0; i < LAGS; i++) {
      const here = (correlation[i] as number) * scale
      newest[i] = here
      likeLast += here * (last[i] as number)
      likeBefore += here * (fourBefore[i] as number)
    }
    this.#steady += (likeLast - this.#steady) * 0.04
    this.#steadyPitch += (Math.max(0, likeBefore) * pitch - this.#steadyPitch) * 0.015
    this.#pitchQuick += (pitch - this.#pitchQuick) * 0.3
    this.#pitchMean += (pitch - this.#pitchMean) * 0.12
    this.#pitchSlow += (pitch - this.#pitchSlow) * 0.02
    const moved = pitch > 0.5 && this.#lag > 0 ? Math.min(1, (4 * Math.abs(lag - this.#lag)) / this.#lag) : 0
    this.#lag = pitch > 0.5 ? lag : 0
    this.#moved += (moved - this.#moved) * 0.2
    inputs[10] = pitch
    inputs[11] = this.#pitchQuick
    inputs[12] = this.#pitchMean
    inputs[13] = this.#pitchSlow
    inputs[14] = likeLast
    inputs[15] = likeBefore
    inputs[16] = this.#steady
    inputs[17] = this.#steadyPitch
    inputs[18] = this.#moved
    return pitch
  }

  #level(): void {
    const { inputs } = this.#kernel
    const step = this.#step()
    const db = this.#levelDb
    if (this.#frames === 1) {
      this.#softFifth = this.#median = db
      this.#loudTenth = db + 3
    }
    this.#softFifth += (db > this.#softFifth ? 0.2 : -0.8) * step
    this.#median += (db > this.#median ? 0.5 : -0.5) * step
    this.#loudTenth += (db > this.#loudTenth ? 0.9 : -0.1) * step
    inputs[7] = (db - this.#median) / 10
    inputs[8] = (db - this.#loudTenth) / 10
    inputs[9] = (this.#loudTenth - this.#softFifth) / 10
    const levels = this.#levels
    const slot = this.#frames % LONG_WINDOW
    // Rounded in the same way as in the window, so that exactly the added value is subtracted later.
    const level = Math.fround(db)
    this.#long.move(level, levels[slot] as number, this.#frames > LONG_WINDOW)
    const leaves = levels[(this.#frames + LONG_WINDOW - SHORT_WINDOW) % LONG_WINDOW] as number
    this.#short.move(level, leaves, this.#frames > SHORT_WINDOW)
    levels[slot] = level
    inputs[22] = this.#short.value / 5
    inputs[23] = this.#long.value / 5
  }

  #summary(score: number, pitch: number): void {
    const { inputs } = this.#kernel
    const step = this.#step()
    const slot = this.#frames % PEAK_FRAMES
    if (this.#frames === 1) this.#usualScore = this.#higherScore = this.#highScore = score
    this.#usualScore += (score > this.#usualScore ? 0.35 : -0.65) * step
    this.#higherScore += (score > this.#higherScore ? 0.6 : -0.4) * step
    this.#highScore += (score > this.#highScore ? 0.9 : -0.1) * step
    this.#scores[slot] = score
    this.#voicedScores[slot] = pitch * score
    let peakNow = 0
    let peak = 0
    let voicedPeak = 0
    for (let age = 0; age < PEAK_FRAMES; age++) {
      const i = slot >= age ? slot - age : slot - age + PEAK_FRAMES
      if ((this.#scores[i] as number) > peak) peak = this.#scores[i] as number
      if ((this.#voicedScores[i] as number) > voicedPeak) voicedPeak = this.#voicedScores[i] as number
      if (age === PEAK_FRAMES_NOW - 1) peakNow = peak
    }
    const rise = score - this.#score
    this.#score += (score - this.#score) * 0.2
    this.#scoreQuick += (score - this.#scoreQuick) * 0.4
    this.#scoreSlow += (score - this.#scoreSlow) * 0.02
    this.#voiced += (pitch * score - this.#voiced) * 0.3
    this.#hold = score > (this.#usualScore + this.#highScore) / 2 ? 1 : Math.max(0, this.#hold - 1 / 15)
    inputs[24] = peakNow / 10
    inputs[25] = peak / 10
    inputs[26] = this.#score / 10
    inputs[27] = this.#scoreSlow / 10
    inputs[28] = rise / 10
    inputs[29] = (score - this.#usualScore) / 10
    inputs[30] = (this.#scoreQuick - this.#higherScore) / 10
    inputs[31] = (this.#highScore - this.#usualScore) / 10
    inputs[32] = this.#hold
    inputs[33] = this.#voiced / 10
    inputs[34] = voicedPeak / 10
  }

  /**
   * Step in dB of the usual levels. It is large in the first frames. Later it is smaller, but large enough to follow a
   * line within seconds.
   */
  #step(): number {
    return Math.max(STEP_DB, 3 / (1 + this.#frames / 10))
  }
}

/** Standard deviation in a window, from running sums. */
class RunningDeviation {
  #sum = 0
  #squares = 0
  #count = 0

  move(enters: number, leaves: number, full: boolean): void {
    this.#sum += enters
    this.#squares += enters * enters
    if (full) {
      this.#sum -= leaves
      this.#squares -= leaves * leaves
    } else {
      this.#count++
    }
  }

  get value(): number {
    const mean = this.#sum / this.#count
    return Math.sqrt(Math.max(0, this.#squares / this.#count - mean * mean))
  }
}

// Number of levels: one for each band, and one for all bands together.
const LEVELS = BANDS + 1
const BAND_SHARES = [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 4, 1 / 4]
const OVER_DB_MAX = 45
// Number of dB by which the lowest smoothed level is below its mean.
const FLOOR_BIAS_DB = 2
const PARTS = 5
const PART_FRAMES = 30
const STEP_DB = 0.25
const CORRELATIONS = 5
const SHORT_WINDOW = 16
const LONG_WINDOW = 64
const PEAK_FRAMES = 10
const PEAK_FRAMES_NOW = 5

// Scratch of all streams.
const bandPower = new Float64Array(BANDS)
const low = new Float32Array(LOW_SAMPLES)

/**
 * Calculations of the voice detector. One object may serve many streams, because its arrays keep no data between calls.
 * Its twin is in src/media/vad/caller-kernel/.
 */
export class JsVoiceKernel {
  /** `HISTORY_SAMPLES` samples at 2 kHz, newest last. */
  readonly history = new Float32Array(HISTORY_SAMPLES)
  /** Correlation at each lag, -1 to 1. The longest lag comes first. */
  readonly correlation = new Float32Array(LAGS)
  /**
   * The first `INPUTS` values are features of the frame. The other values are the memory of a group of the second
   * stage.
   */
  readonly inputs = new Float32Array(MEMORY_INPUTS)
  readonly #first: Float32Array
  readonly #second: Float32Array

  /** @param models may be left out if only the features are needed */
  constructor(models: { readonly first?: ArrayLike<number>; readonly second?: ArrayLike<number> } = {}) {
    this.#first = Float32Array.from(models.first ?? new Float32Array(FIRST_NUMBERS))
    this.#second = Float32Array.from(models.second ?? new Float32Array(SECOND_NUMBERS))
  }

  /** `history` to `correlation`. */
  correlate(): void {
    const { history } = this
    let energy = 1
    for (let i = LAG_MAX; i < HISTORY_SAMPLES; i++) energy += (history[i] as number) ** 2
    for (let k = 0; k < LAGS; k++) {
      let sum = 0
      let lagged = 1
      for (let i = 0; i < WINDOW; i++) {
        const earlier = history[i + k] as number
        sum += (history[i + LAG_MAX] as number) * earlier
        lagged += earlier * earlier
      }
      this.correlation[k] = sum / Math.sqrt(energy * lagged)
    }
  }

  /** @returns logarithm of the odds that the frame is speech, by the first stage */
  odds(): number {
    const model = this.#first
    const outAt = layerNumbers(INPUTS)
    let odds = model[outAt + UNITS] as number
    for (let unit = 0; unit < UNITS; unit++) {
      const sum = this.#sum(model, 0, INPUTS, unit)
      if (sum > 0) odds += sum * (model[outAt + unit] as number)
    }
    return odds
  }

  /**
   * Calculates the second stage, whose units have a memory. Each unit calculates a new value and a share, both from the
   * frame and from the memory of its group. It then takes over this share of the new value (a gated recurrent unit
   * without a reset gate). Call it once for each frame.
   * @param odds  odds of the first stage, limited to `ODDS_LIMIT`. They replace the feature for how new the call is
   * @param memory  the stream's `MEMORY_UNITS` values, 0 at its beginning; they are updated for this frame
   * @returns logarithm of the odds that the frame is speech, by all frames so far
   */
  secondOdds(odds: number, memory: Float32Array): number {
    const { inputs } = this
    const model = this.#second
    const layer = layerNumbers(MEMORY_INPUTS)
    inputs[INPUTS - 1] = Math.max(-ODDS_LIMIT, Math.min(ODDS_LIMIT, odds))
    let second = model[SECOND_NUMBERS - 1] as number
    for (let group = 0; group < GROUPS; group++) {
      const at = group * GROUP_NUMBERS
      const units = memory.subarray(group * UNITS, (group + 1) * UNITS)
      inputs.set(units, INPUTS)
      for (let unit = 0; unit < UNITS; unit++) {
        const share = 0.5 + 0.5 * squashed(0.5 * this.#sum(model, at, MEMORY_INPUTS, unit))
        const before = units[unit] as number
        const now = before + share * (squashed(this.#sum(model, at + layer, MEMORY_INPUTS, unit)) - before)
        units[unit] = now
        second += now * (model[at + 2 * layer + unit] as number)
      }
    }
    return second
  }

  #sum(model: Float32Array, at: number, inputs: number, unit: number): number {
    let sum = model[at + unit] as number
    for (let i = 0; i < inputs; i++) sum += (this.inputs[i] as number) * (model[at + UNITS * (i + 1) + unit] as number)
    return sum
  }
}

/**
 * Approximation of the hyperbolic tangent: a fraction that reaches 1 with slope 0 at `SQUASH_LIMIT`, so no exponential
 * is needed.
 */
export function squashed(x: number): number {
  const bounded = Math.max(-SQUASH_LIMIT, Math.min(SQUASH_LIMIT, x))
  const square = bounded * bounded
  return (bounded * (27 + square)) / (27 + 9 * square)
}

/** TypeScript version of the `KernelStream` that calls use. caller-kernel.test.ts compares their decisions. */
export class VoiceStream implements Vad {
  doubtful = false
  lineIsFaulty = false
  readonly #kernel: JsVoiceKernel
  readonly #sampleRateHz: LegRateHz
  #features: VoiceFeatures
  readonly #memory = new Float32Array(MEMORY_UNITS)
  #likely = false
  #released = false

  constructor(kernel: JsVoiceKernel, sampleRateHz: LegRateHz) {
    this.#kernel = kernel
    this.#sampleRateHz = sampleRateHz
    this.#features = new VoiceFeatures({ sampleRateHz, kernel })
  }

  isSpeech(frame: Int16Array): boolean {
    assert(!this.#released, 'VAD used after its release')
    assert(frame.length === frameSamples(this.#sampleRateHz), 'the VAD takes frames of 20 ms')
    this.#features.take(frame, this.lineIsFaulty)
    const odds = this.#kernel.odds()
    const second = this.#kernel.secondOdds(odds, this.#memory)
    this.#likely = odds > (this.#likely ? ODDS_ON : ODDS_BEGIN)
    const speaks = this.#likely && second > SECOND_ODDS_MIN
    this.doubtful = speaks && second < SECOND_ODDS_DOUBTFUL
    return speaks
  }

  reset(): void {
    this.#features = new VoiceFeatures({ sampleRateHz: this.#sampleRateHz, kernel: this.#kernel })
    this.#memory.fill(0)
    this.#likely = this.doubtful = this.lineIsFaulty = false
  }

  release(): void {
    this.#released = true
  }
}
