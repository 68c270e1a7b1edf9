import type { LegRateHz } from '../core/units.js'
import { EnergyGate } from './energy-gate.js'

/**
 * Tells frames that stand out of the noise of the line, band by band: a voice 5 dB below a car is 15 dB above it where
 * its formants are. Six bands up to 4 kHz, made by all-pass pairs that each halve a band. The floor of a band is the
 * least of its smoothed level in the last 3 s; by how many decibels all bands together exceed their floors is the
 * frame's score.
 *
 * How high the score must be is learnt from the line: over steady noise little is enough, as nothing but a voice moves;
 * among other people, or with music, the lower third of the scores says how much moves there by itself, and the level
 * of the whole frame must then exceed its own floor too (`EnergyGate`). About 1.5 us a frame.
 */
export class BandGate {
  readonly #energy = new EnergyGate()
  readonly #splits: readonly HalfSplit[]
  readonly #wide: boolean
  readonly #smoothDb = new Float32Array(BANDS).fill(NaN)
  /** The least smoothed level of each band, for the newest parts of the window; the newest part is still filling. */
  readonly #leastDb = new Float32Array(BANDS * PARTS).fill(Infinity)
  #part = 0
  #framesInPart = 0
  /** Scores of the last ten seconds, older ones with less weight: weights grow instead of old ones shrinking. */
  readonly #scores = new Float64Array(SCORE_BINS)
  #weights = 0
  #weight = 1

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#wide = options.sampleRateHz === 16000
    this.#splits = Array.from({ length: this.#wide ? BANDS : BANDS - 1 }, () => new HalfSplit())
  }

  /** False in the first second: a call that begins with a voice has no floor yet. */
  get settled(): boolean {
    return this.#energy.settled
  }

  /** The noise of the line as a whole. */
  get floorDbfs(): number {
    return this.#energy.floorDbfs
  }

  /**
   * @param feedsFloor false for a frame that says nothing about the line: our own echo
   * @returns true when the frame stands out of the noise
   */
  isOpen(frame: Int16Array, levelDbfs: number, feedsFloor: boolean): boolean {
    this.#split(frame)
    const score = this.#score(feedsFloor)
    if (feedsFloor) this.#remember(score)
    const restless = Math.max(0, this.#usualScore() - RESTLESS_SCORE)
    const marginDb = Math.min(MARGIN_DB_MAX, restless / RESTLESS_PER_DB)
    const loud = this.#energy.isOpen(levelDbfs, feedsFloor, marginDb)
    return levelDbfs > LEVEL_DBFS_MIN && score > SCORE_MIN + RESTLESS_FACTOR * restless && (loud || marginDb === 0)
  }

  /** Writes the power of each band to `bandPower`. */
  #split(frame: Int16Array): void {
    const splits = this.#splits
    const half = frame.length / 2
    for (let i = 0; i < frame.length; i++) input[i] = frame[i] as number
    let length = frame.length
    if (this.#wide) {
      // What is above 4 kHz came through no telephone.
      splits[5]?.take(input, length, low, high)
      length = half
      input.set(low)
    }
    splits[0]?.take(input, length, low, high)
    splits[1]?.take(high, length / 2, higher, input)
    bandPower[5] = powerOf(input, length / 4)
    bandPower[4] = powerOf(higher, length / 4)
    splits[2]?.take(low, length / 2, input, higher)
    bandPower[3] = powerOf(higher, length / 4)
    splits[3]?.take(input, length / 4, low, high)
    bandPower[2] = powerOf(high, length / 8)
    splits[4]?.take(low, length / 8, input, higher)
    bandPower[1] = powerOf(higher, length / 16)
    bandPower[0] = powerOf(input, length / 16)
  }

  #score(feedsFloor: boolean): number {
    const least = this.#leastDb
    let score = 0
    for (let band = 0; band < BANDS; band++) {
      const db = 10 * Math.log10((bandPower[band] as number) + 1e-3)
      if (feedsFloor) {
        const before = this.#smoothDb[band] as number
        const smooth = Number.isNaN(before) ? db : before + (db - before) * SMOOTH
        this.#smoothDb[band] = smooth
        const at = this.#part * BANDS + band
        if (smooth < (least[at] as number)) least[at] = smooth
      }
      let floor = Infinity
      for (let at = band; at < BANDS * PARTS; at += BANDS) if ((least[at] as number) < floor) floor = least[at] as number
      const over = db - Math.max(floor, FLOOR_DB_MIN) - FLOOR_BIAS_DB
      if (over > 0) score += over
    }
    if (feedsFloor && ++this.#framesInPart === PART_FRAMES) {
      this.#framesInPart = 0
      this.#part = (this.#part + 1) % PARTS
      least.fill(Infinity, this.#part * BANDS, (this.#part + 1) * BANDS)
    }
    return score === Infinity ? 0 : score
  }

  #remember(score: number): void {
    const bin = Math.min(SCORE_BINS - 1, Math.floor(score / SCORE_BIN))
    this.#scores[bin] = (this.#scores[bin] as number) + this.#weight
    this.#weights += this.#weight
    this.#weight /= KEEP_SCORE
    if (this.#weight < WEIGHT_MAX) return
    for (let i = 0; i < SCORE_BINS; i++) this.#scores[i] = (this.#scores[i] as number) / this.#weight
    this.#weights /= this.#weight
    this.#weight = 1
  }

  /** What a third of the frames do not exceed: what goes on when the caller is silent. */
  #usualScore(): number {
    const limit = this.#weights * USUAL_SHARE
    let weights = 0
    for (let bin = 0; bin < SCORE_BINS; bin++) {
      weights += this.#scores[bin] as number
      if (weights > limit) return bin * SCORE_BIN
    }
    return 0
  }
}

/** Halves a band: both halves at half the rate. The difference and the sum of two all-passes are its halves. */
class HalfSplit {
  #even = 0
  #odd = 0

  /** @param length of `samples`, even; both halves get half as many, and may not be `samples` */
  take(samples: Float32Array, length: number, lower: Float32Array, upper: Float32Array): void {
    let even = this.#even
    let odd = this.#odd
    for (let i = 0; i < length; i += 2) {
      const a = samples[i] as number
      const b = samples[i + 1] as number
      const passedA = even + ALL_PASS_EVEN * a
      even = a - ALL_PASS_EVEN * passedA
      const passedB = odd + ALL_PASS_ODD * b
      odd = b - ALL_PASS_ODD * passedB
      lower[i >> 1] = (passedA + passedB) / 2
      upper[i >> 1] = (passedA - passedB) / 2
    }
    this.#even = even
    this.#odd = odd
  }
}

function powerOf(samples: Float32Array, length: number): number {
  let sum = 0
  for (let i = 0; i < length; i++) sum += (samples[i] as number) ** 2
  return sum / length
}

const BANDS = 6
// The pair of WebRTC's splitting filter.
const ALL_PASS_EVEN = 0.64
const ALL_PASS_ODD = 0.17
// All figures below were chosen with `bench/vad`: its tables say what they give.
const SMOOTH = 0.25
const PARTS = 5
const PART_FRAMES = 30
// The least of a smoothed level lies that far below its mean.
const FLOOR_BIAS_DB = 2
// Digital silence and the last bit of mu-law are no floor to stand out of.
const FLOOR_DB_MIN = 14
const LEVEL_DBFS_MIN = -60
const SCORE_MIN = 15
const SCORE_BIN = 4
const SCORE_BINS = 40
const KEEP_SCORE = 0.995
const WEIGHT_MAX = 1e6
const USUAL_SHARE = 0.35
const RESTLESS_SCORE = 8
const RESTLESS_FACTOR = 2
const RESTLESS_PER_DB = 3
const MARGIN_DB_MAX = 6

// Scratch of all calls of a thread.
const input = new Float32Array(320)
const low = new Float32Array(160)
const high = new Float32Array(160)
const higher = new Float32Array(80)
const bandPower = new Float64Array(BANDS)
