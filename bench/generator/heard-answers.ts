import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import type { LegRateHz } from '../../src/core/units.js'
import { recordMs } from '../kit/histogram.js'
import { ANSWER_MS, END_OF_TURN_MS, THINK_MS } from './conversation.js'
import { type AudioCounts, GAP_MS, POOR_SNR_DB, SNRS_KEPT } from './received-audio.js'

/** Pause in ms after which further audio counts as another answer. */
const PAUSE_MS = 400
/** Time in ms from the end of a turn in which its answer must begin. Otherwise the answer counts as missing. */
const ANSWER_WITHIN_MS = END_OF_TURN_MS + THINK_MS + 1000
/**
 * Maximum number of samples by which an answer may be shifted against the expected audio. Filters and the start of
 * playout cause this shift.
 */
const LAG_MAX = 400
/** Index of the frame at which the shift is measured. It is in the middle of words. */
const LAG_FROM_FRAME = 20
const LAG_FRAMES = 4
/** Power of a frame below which the frame is too soft to be judged, because samples are whole numbers. */
const AUDIBLE_POWER = 100 * 100

/** Judges the answers on one call. Compares each answer with the model's answer, sample by sample. */
export class HeardAnswers {
  readonly #expected: Int16Array
  readonly #counts: AudioCounts
  readonly #dueMs: number | null
  readonly #frame: number
  readonly #answer: Int16Array
  #got = 0
  #beganMs = NaN
  #playEndMs = NaN
  #turnEndedMs = NaN
  #lag = 0

  /**
   * @param expected  samples of an answer without losses
   * @param dueMs  time in ms from the end of a turn to its answer, without transmission delay. If it is null because
   * this time is unknown, the whole wait is reported
   */
  constructor(
    rateHz: LegRateHz,
    expected: Int16Array,
    counts: AudioCounts,
    dueMs: number | null = END_OF_TURN_MS + THINK_MS,
  ) {
    this.#dueMs = dueMs
    this.#expected = expected
    this.#counts = counts
    this.#frame = frameSamples(rateHz)
    this.#answer = new Int16Array(expected.length + 50 * this.#frame)
  }

  /** Called when the last frame of a turn is sent, with its due time `dueMs`. The answer to the turn follows. */
  turnEnds(dueMs: number): void {
    this.#settle()
    this.#unanswered(dueMs)
    this.#turnEndedMs = dueMs
  }

  audio(samples: Int16Array, count: number, arrivalMs: number): void {
    if (this.#got > 0 && arrivalMs - this.#playEndMs > PAUSE_MS) this.#settle()
    const counts = this.#counts
    if (this.#got === 0) {
      this.#beganMs = arrivalMs
      if (this.#inWindow(arrivalMs) && !Number.isNaN(this.#turnEndedMs)) {
        const waitedMs = Math.max(0, arrivalMs - this.#turnEndedMs - (this.#dueMs ?? 0))
        if (this.#dueMs !== null) recordMs(counts.added, waitedMs)
        recordMs(counts.whole, waitedMs)
      }
      this.#turnEndedMs = NaN
      this.#playEndMs = arrivalMs
    }
    const gapMs = arrivalMs - this.#playEndMs
    if (gapMs >= 1 && this.#inWindow(arrivalMs)) {
      recordMs(counts.gaps, gapMs)
      if (gapMs > GAP_MS) counts.gapsUnasked++
    }
    this.#playEndMs = Math.max(this.#playEndMs, arrivalMs) + (count / this.#frame) * FRAME_MS
    const taken = Math.min(count, this.#answer.length - this.#got)
    this.#answer.set(samples.subarray(0, taken), this.#got)
    this.#got += taken
    if (this.#inWindow(arrivalMs)) counts.framesReceived += count / this.#frame
  }

  /** Called when sending has ended. An answer that is not complete is left out. */
  finish(nowMs: number): void {
    if (this.#got >= this.#expected.length - this.#frame) this.#settle()
    this.#unanswered(nowMs)
  }

  /** Counts all frames of a turn's answer as lost, if the answer never came. */
  #unanswered(nowMs: number): void {
    const counts = this.#counts
    if (this.#turnEndedMs >= counts.windowStartMs && nowMs - this.#turnEndedMs > ANSWER_WITHIN_MS)
      counts.framesLost += ANSWER_MS / FRAME_MS
    this.#turnEndedMs = NaN
  }

  #settle(): void {
    const got = this.#got
    this.#got = 0
    if (got === 0 || !this.#inWindow(this.#beganMs)) return
    const counts = this.#counts
    // After its last word, a gateway may send silence. The filters also end a little later than the word.
    const later = audibleEnd(this.#answer, got) - audibleEnd(this.#expected, this.#expected.length)
    const frames = Math.round(later / this.#frame)
    if (frames > 0) counts.framesAdded += frames
    else counts.framesLost -= frames
    if (this.#snrDb(LAG_FROM_FRAME, LAG_FRAMES) < POOR_SNR_DB) this.#findLag()
    let poor = 0
    for (let frame = 2; frame < ANSWER_MS / FRAME_MS - 2; frame++) {
      if (power(this.#expected, frame * this.#frame, this.#frame) < AUDIBLE_POWER) continue
      const snrDb = this.#snrDb(frame, 1)
      if (snrDb < POOR_SNR_DB) poor++
      if (counts.snrsDb.length < SNRS_KEPT) counts.snrsDb.push(snrDb)
    }
    counts.blocksPoor += poor
    // A correct answer is counted as one marker.
    if (poor === 0) counts.markersSeen++
  }

  #findLag(): void {
    let best = -Infinity
    let bestLag = 0
    for (this.#lag = -LAG_MAX; this.#lag <= LAG_MAX; this.#lag++) {
      const snrDb = this.#snrDb(LAG_FROM_FRAME, LAG_FRAMES)
      if (snrDb <= best) continue
      best = snrDb
      bestLag = this.#lag
    }
    this.#lag = bestLag
  }

  /** Ratio in dB between the expected signal in these frames and its difference from the received signal. */
  #snrDb(fromFrame: number, frames: number): number {
    const from = fromFrame * this.#frame
    const count = frames * this.#frame
    let error = 0
    for (let i = from; i < from + count; i++) {
      const difference = (this.#answer[i + this.#lag] as number) - (this.#expected[i] as number)
      error += difference * difference
    }
    return Math.min(96, 10 * Math.log10((power(this.#expected, from, count) * count) / Math.max(error, 1e-9)))
  }

  #inWindow(ms: number): boolean {
    return ms >= this.#counts.windowStartMs && ms < this.#counts.windowEndMs
  }
}

/** Index after the last audible sample among the first `count` samples. */
function audibleEnd(pcm: Int16Array, count: number): number {
  return pcm.subarray(0, count).findLastIndex((sample) => sample * sample > AUDIBLE_POWER) + 1
}

function power(pcm: Int16Array, from: number, count: number): number {
  let sum = 0
  for (let i = from; i < from + count; i++) sum += (pcm[i] as number) ** 2
  return sum / count
}
