import { smallArray } from '../../core/small-arrays.js'
import { FRAME_MS, frameSamples } from '../../core/units.js'
import { HALF_BAND_HISTORY, echoKernel } from './echo-kernel.js'
import { dbfsOfEnergy, energyOf } from '../pcm.js'
import { ECHO_DELAY_MS_MAX } from './echo-limits.js'

interface EchoGateOptions {
  /**
   * True for a mono stream with both parties (`both_tracks`). Until the echo is learnt, it may then be as loud as the
   * agent. False: the echo is at most as loud as the echo of a loudspeaker.
   */
  readonly assumeEcho: boolean
}

/**
 * Distinguishes the echo of the agent's speech from the caller, by levels. The class stores the sent levels of the last
 * 2.5 s, in slots of 10 ms. For each delay up to half a second it learns the level difference between the caller's side
 * and the sent audio. It also learns the variance of this difference. The delay with the minimum variance is the echo's
 * delay; the difference is the echo's gain.
 *
 * Until a delay is learnt, each delay has a limit for the echo (`#bounds`). A frame that is softer than the possible
 * echo lowers this limit. So a line without an echo is recognised after half a second of the agent's speech.
 *
 * A frame is echo if it is not louder than the expected echo plus a margin. So a caller who talks over the agent is
 * detected only if the caller is louder than the echo.
 */
export class EchoGate {
  /** Learnt delay in ms; null until an echo is found. */
  delayMs: number | null = null
  gainDb = 0
  framesOfEcho = 0
  readonly #boundDbMax: number
  /** Maximum gain of an echo in dB. Each value is for a range of `BIN_SLOTS` delays. */
  readonly #bounds: Float32Array
  readonly #sent = smallArray(Float32Array, SLOTS).fill(SILENT_DBFS)
  /**
   * Several values, at the indexes `NEWEST_SLOT` and following. They are in an array, because V8 would allocate an
   * object for each fractional number in a field.
   */
  readonly #newest = smallArray(Float64Array, NEWEST_VALUES)
  readonly #meanDb = smallArray(Float32Array, LAGS)
  readonly #variance = smallArray(Float32Array, LAGS).fill(VARIANCE_AT_START)
  #framesLearnt = 0
  /** Number of frames that were louder than the expected echo, minus the number of frames that matched it. */
  #framesOver = 0

  constructor(options: EchoGateOptions) {
    this.#boundDbMax = options.assumeEcho ? 0 : GAIN_DB_EXPECTED
    this.#bounds = smallArray(Float32Array, BINS).fill(this.#boundDbMax)
    this.#newest[NEWEST_SLOT] = this.#newest[SENT_END_MS] = -Infinity
  }

  /**
   * Adds 20 ms that were sent to the carrier. If several frames are sent at once, they are played one after another, so
   * they are stored one after another.
   * @returns the time at which the frame is played
   */
  reference(frame: Int16Array, sentAtMs: number): number {
    const newest = this.#newest
    const endMs = newest[SENT_END_MS] as number
    const startMs = Math.min(Math.max(sentAtMs, endMs), sentAtMs + AHEAD_MS_MAX)
    newest[SENT_END_MS] = startMs + FRAME_MS
    this.referenceAt(frame, startMs)
    return startMs
  }

  /**
   * Adds 20 ms whose sound began at `startMs` on the clock of `isEcho`. They come from the second channel of a stereo
   * stream.
   */
  referenceAt(frame: Int16Array, startMs: number): void {
    const slot = Math.round(startMs / SLOT_MS)
    const half = frame.length / 2
    if (frame.length === WIDE_FRAME) echoKernel.takes(frame)
    powers[0] = telephonePower(frame, 0, half)
    powers[1] = telephonePower(frame, half, frame.length)
    this.#write(slot)
  }

  /** False if no echo of sent audio can come any more. Usually the caller is talking and the agent is silent. */
  awaits(capturedAtMs: number): boolean {
    return slotOf(capturedAtMs) - (this.#newest[NEWEST_SLOT] as number) <= LAGS + 1
  }

  /**
   * @param level  the frame's level in dBFS, from `telephoneDbfs`
   * @param capturedAtMs  estimated time at which the carrier captured the frame's end
   * @param wholeLevel  level of the frame with its sound above 4 kHz
   */
  isEcho(level: number, capturedAtMs: number, wholeLevel = level): boolean {
    if (!this.awaits(capturedAtMs)) return false
    const slot = slotOf(capturedAtMs)
    const heard = Math.max(SILENT_DBFS, level)
    if (!this.#lookBack(slot)) return false
    const echoDbfs = this.delayMs === null ? this.#loudestEcho(heard) : this.#learntEcho(this.delayMs)
    const over = echoDbfs === null || (heard > SILENT_DBFS && heard > echoDbfs + MARGIN_DB)
    // A caller who talks over the agent must not change the learnt echo. Only if the level stays above the echo for a
    // long time is the learnt echo wrong.
    this.#framesOver = this.delayMs !== null && over ? this.#framesOver + 1 : Math.max(0, this.#framesOver - 1)
    if (this.delayMs === null || !over || this.#framesOver > OVER_FRAMES_MAX) this.#learn(heard)
    if (over || wholeLevel <= SILENT_DBFS) return false
    this.framesOfEcho++
    return true
  }

  /**
   * True if a frame is not louder than the echo of the audio of the last 2.5 s. Used if the agent's speech is in the
   * stream at an unknown delay.
   */
  couldBeEcho(level: number, capturedAtMs: number, gainDb: number): boolean {
    if (!this.awaits(capturedAtMs)) return false
    let loudest = SILENT_DBFS
    for (const sent of this.#sent) if (sent > loudest) loudest = sent
    return loudest > SILENT_DBFS && level <= loudest + gainDb + MARGIN_DB
  }

  /**
   * Copies the recently sent levels to `recent`, ordered by lag.
   * @returns true if any level was audible
   */
  #lookBack(slot: number): boolean {
    let sound = false
    for (let i = 0; i < recent.length; i++) {
      const level = this.#level(slot + NEAR_SLOTS - i)
      recent[i] = level
      sound ||= level > SILENT_DBFS
    }
    return sound
  }

  /** @returns the level of the learnt echo; null if no audio was sent */
  #learntEcho(delayMs: number): number | null {
    const at = delayMs / SLOT_MS
    let sent = SILENT_DBFS
    for (let i = at; i <= at + 2 * NEAR_SLOTS; i++) sent = Math.max(sent, recent[i] as number)
    return sent <= SILENT_DBFS ? null : sent + this.gainDb
  }

  /**
   * @returns the maximum possible level of an echo while the echo is not learnt yet; null if no audio was sent.
   *
   * If the heard frame is softer than this level, the bound becomes lower for each delay at which speech was sent
   * without a gap.
   */
  #loudestEcho(heard: number): number | null {
    const bounds = this.#bounds
    let loudest = SILENT_DBFS
    let before = -Infinity
    for (let bin = 0; bin < BINS; bin++) {
      let most = SILENT_DBFS
      let least = 0
      for (let i = bin * BIN_SLOTS; i < bin * BIN_SLOTS + BIN_REACH; i++) {
        const sent = recent[i] as number
        if (sent > most) most = sent
        if (sent < least) least = sent
      }
      const bound = bounds[bin] as number
      if (most > SILENT_DBFS) {
        // The delay of a run of speech may be one bin lower or higher than in the previous run.
        const near = Math.max(before, bound, bounds[bin + 1] ?? -Infinity)
        if (most + near > loudest) loudest = most + near
      }
      before = bound
      if (least <= SILENT_DBFS) continue
      const gainDb = heard - least
      // A bound changes in small steps, because one frame may be lost.
      bounds[bin] =
        gainDb < bound
          ? Math.max(gainDb, bound - BOUND_DOWN_DB, BOUND_DB_MIN)
          : Math.min(this.#boundDbMax, bound + BOUND_UP_DB)
    }
    return loudest <= SILENT_DBFS ? null : loudest
  }

  #learn(heard: number): void {
    let best = 0
    let bestVariance = Infinity
    for (let lag = 0; lag < LAGS; lag++) {
      const sent = recent[lag + NEAR_SLOTS] as number
      if (sent > SILENT_DBFS || heard > SILENT_DBFS) {
        const off = heard - sent - (this.#meanDb[lag] as number)
        // If a caller talks over the agent, the level is far from the mean. Such a level must change the mean slowly.
        const step = off > OFF_DB_MAX ? OFF_DB_MAX : off < -OFF_DB_MAX ? -OFF_DB_MAX : off
        this.#meanDb[lag] = (this.#meanDb[lag] as number) + step * LEARN
        this.#variance[lag] = (this.#variance[lag] as number) * (1 - LEARN) + step * step * LEARN
      }
      const variance = this.#variance[lag] as number
      if (variance < bestVariance) {
        bestVariance = variance
        best = lag
      }
    }
    this.#framesLearnt++
    if (this.#framesLearnt < LEARN_FRAMES_MIN) return
    const gainDb = this.#meanDb[best] as number
    const limit = this.delayMs === null ? DEVIATION_DB_MAX : DEVIATION_DB_KEPT
    if (bestVariance < limit * limit && gainDb > GAIN_DB_MIN && gainDb < GAIN_DB_MAX) {
      this.delayMs = best * SLOT_MS
      this.gainDb = gainDb
    } else if (bestVariance > limit * limit) {
      this.delayMs = null
    }
  }

  #level(slot: number): number {
    const newestSlot = this.#newest[NEWEST_SLOT] as number
    if (slot > newestSlot || slot <= newestSlot - SLOTS) return SILENT_DBFS
    return this.#sent[indexOf(slot)] as number
  }

  /**
   * Stores the levels of two blocks of 10 ms from their `powers`. A slot contains the level of the 20 ms that begin
   * there, because it is compared with frames of 20 ms.
   */
  #write(from: number): void {
    const newest = this.#newest
    const sent = this.#sent
    for (let i = 0; i < powers.length; i++) {
      const slot = from + i
      const newestSlot = newest[NEWEST_SLOT] as number
      if (slot <= newestSlot) continue
      const power = powers[i] as number
      const previous = slot === newestSlot + 1 ? (newest[NEWEST_POWER] as number) : 0
      for (let skipped = Math.max(newestSlot + 1, slot - SLOTS); skipped < slot; skipped++)
        sent[indexOf(skipped)] = SILENT_DBFS
      sent[indexOf(slot - 1)] = slotDbfs(previous + power)
      sent[indexOf(slot)] = slotDbfs(power)
      newest[NEWEST_SLOT] = slot
      newest[NEWEST_POWER] = power
    }
  }
}

/**
 * Level of 20 ms below 4 kHz. The gate compares these levels on both sides, because a telephone line returns almost no
 * sound of an "s" at 16 kHz.
 */
export function telephoneDbfs(frame: Int16Array): number {
  if (frame.length === WIDE_FRAME) echoKernel.takes(frame)
  return dbfsOfEnergy(telephonePower(frame, 0, frame.length), 1)
}

/**
 * Mean square of the samples `from` to `to` below 4 kHz, in a frame of 20 ms. Samples at 16 kHz are in the kernel's
 * memory.
 */
function telephonePower(frame: Int16Array, from: number, to: number): number {
  if (frame.length < WIDE_FRAME) return energyOf(frame, from, to) / (to - from)
  const count = (to - from - HALF_BAND_HISTORY) / 2
  return echoKernel.exports.telephoneEnergy(from, count) / (count * 32 * 32)
}

/** @returns the first slot of the frame that ends at `capturedAtMs` */
function slotOf(capturedAtMs: number): number {
  return Math.round((capturedAtMs - FRAME_MS) / SLOT_MS)
}

function indexOf(slot: number): number {
  return ((slot % SLOTS) + SLOTS) % SLOTS
}

/** @param power  sum of the powers of two slots */
function slotDbfs(power: number): number {
  return Math.max(SILENT_DBFS, dbfsOfEnergy(power, 2))
}

// Indexes in `#newest`. `NEWEST_SLOT`: the newest written slot (slots are numbered by time). `NEWEST_POWER`: its power.
// `SENT_END_MS`: end of the sent frames, if they are played one after another.
const NEWEST_SLOT = 0
const NEWEST_POWER = 1
const SENT_END_MS = 2
const NEWEST_VALUES = 3
const SLOT_MS = 10
const WIDE_FRAME = frameSamples(16000)
// Number of slots: 2.56 s. After a stall of 2 s, a late frame can still be compared with the audio to which it belongs.
const SLOTS = 256
const LAGS = ECHO_DELAY_MS_MAX / SLOT_MS + 1
// Level below which a frame counts as silence, on either side.
const SILENT_DBFS = -60
// Maximum time in ms from sending audio to its playout. It is more than playout's maximum lead.
const AHEAD_MS_MAX = 250
const LEARN = 0.03
const LEARN_FRAMES_MIN = 50
const VARIANCE_AT_START = 150
// Maximum deviation in dB of the level difference at the right delay. An echo follows the agent's level within 4 dB; at
// a wrong delay speech deviates by 8 dB or more.
const DEVIATION_DB_MAX = 4.5
const DEVIATION_DB_KEPT = 7
const OFF_DB_MAX = 20
const GAIN_DB_MIN = -35
const GAIN_DB_MAX = 10
// Gain in dB that is assumed for a loudspeaker and its room until the gain is learnt. A caller is louder.
const GAIN_DB_EXPECTED = -14
const MARGIN_DB = 6
// Number of slots by which a delay may vary. Frames blur the delay, and in each run the carrier begins its hold-back
// and its tick again.
const NEAR_SLOTS = 4
const OVER_FRAMES_MAX = 100
// Number of slots in a bin. The window around a bin is then as wide as the window around a learnt delay.
const BIN_SLOTS = 4
const BIN_REACH = BIN_SLOTS + 2 * NEAR_SLOTS
const BINS = Math.ceil(LAGS / BIN_SLOTS)
const BOUND_DOWN_DB = 3
// Increase of a bound per frame in dB; it is 2.5 dB per second. The increase is slow, because while a caller talks over
// the agent each frame is louder than an echo.
const BOUND_UP_DB = 0.05
// Minimum of a bound in dB. The voice detector would not classify a softer echo as speech.
const BOUND_DB_MIN = -45

// Scratch that all calls of a thread share: the power of each half of a sent frame.
const powers = new Float64Array(2)
// Scratch that all calls of a thread share: sent levels, from `NEAR_SLOTS` after the frame back to the maximum delay.
const recent = new Float32Array((BINS - 1) * BIN_SLOTS + BIN_REACH)
