import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import type { LegRateHz } from '../../src/core/units.js'
import { recordMs } from '../kit/histogram.js'
import { ANSWER_MS, END_OF_TURN_MS, THINK_MS } from './conversation.js'
import { type AudioCounts, GAP_MS, POOR_SNR_DB, SNRS_KEPT } from './received-audio.js'

/** After a pause of this length the next audio is another answer. */
const PAUSE_MS = 400
/** From the end of a turn an answer has begun by then, or it never comes. */
const ANSWER_WITHIN_MS = END_OF_TURN_MS + THINK_MS + 1000
/** Filters and the start of playout may move an answer by this much, against the audio that is expected. */
const LAG_MAX = 400
/** Where the lag is found: in the middle of words. */
const LAG_FROM_FRAME = 20
const LAG_FRAMES = 4
/** A frame softer than this says nothing of the way: samples are whole numbers. */
const AUDIBLE_POWER = 100 * 100

/** Listens to the answers on one call, and compares them with what the model said, sample by sample. */
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
   * @param expected  what an answer sounds like where nothing is lost
   * @param dueMs  from the end of a turn to its answer, without what the way takes. Null: nobody can say; then the wait is
   * given as a whole
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

  /** The last frame of a turn was due at `dueMs`: its answer follows. */
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

  /** Nothing more is sent: an answer that is not over is left out. */
  finish(nowMs: number): void {
    if (this.#got >= this.#expected.length - this.#frame) this.#settle()
    this.#unanswered(nowMs)
  }

  /** A turn whose answer never came has lost all of its frames. */
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
    // After its last word a gateway may send silence, and the filters end a little later.
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
    // An answer that is right is one marker.
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

  /** dB of what was expected in these frames over what is different. */
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

/** Behind the last audible sample of the first `count`. */
function audibleEnd(pcm: Int16Array, count: number): number {
  return pcm.subarray(0, count).findLastIndex((sample) => sample * sample > AUDIBLE_POWER) + 1
}

function power(pcm: Int16Array, from: number, count: number): number {
  let sum = 0
  for (let i = from; i < from + count; i++) sum += (pcm[i] as number) ** 2
  return sum / count
}
