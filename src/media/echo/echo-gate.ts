import { smallArray } from '../../core/small-arrays.js'
import { FRAME_MS, frameSamples } from '../../core/units.js'
import { HALF_BAND_HISTORY, echoKernel } from './echo-kernel.js'
import { dbfsOfEnergy, energyOf } from '../pcm.js'
import { ECHO_DELAY_MS_MAX } from './echo-limits.js'

interface EchoGateOptions {
  /**
   * Before one was learnt, an echo may be as loud as we are: for a stream that mixes both parties (`both_tracks` in
   * mono), in which our own speech is bound to come back. Otherwise it is at most as loud as a loudspeaker and its room
   * make it.
   */
  readonly assumeEcho: boolean
}

/**
 * Distinguishes the echo of our own speech from the caller, by levels. It remembers the sent audio for 2.5 s, in slots
 * of 10 ms. For each delay up to half a second it learns the level difference between the caller's side and the sent
 * audio, and how steady it is. The delay with the steadiest difference is the echo's delay; the difference is its gain.
 *
 * Until then, each frame that is softer than an echo would be lowers the loudest possible echo for that delay
 * (`#bounds`). So after the first half second of our speech, a line without an echo is recognised.
 *
 * A frame is echo when it is no louder than the echo should be, with a margin. So a caller who talks over the agent is
 * heard as soon as he is louder than the echo. A softer caller cannot be distinguished by level.
 */
export class EchoGate {
  /** The learnt delay; null while no echo was found. */
  delayMs: number | null = null
  gainDb = 0
  framesOfEcho = 0
  readonly #boundDbMax: number
  /** Gain that an echo has at most, dB, for each `BIN_SLOTS` of delay. */
  readonly #bounds: Float32Array
  readonly #sent = smallArray(Float32Array, SLOTS).fill(SILENT_DBFS)
  /** As `NEWEST_SLOT` and what follows it say. In an array, because V8 makes an object for each fraction that a field gets. */
  readonly #newest = smallArray(Float64Array, NEWEST_VALUES)
  readonly #meanDb = smallArray(Float32Array, LAGS)
  readonly #variance = smallArray(Float32Array, LAGS).fill(VARIANCE_AT_START)
  #framesLearnt = 0
  /** Frames louder than the echo that was expected, less those that fitted. */
  #framesOver = 0

  constructor(options: EchoGateOptions) {
    this.#boundDbMax = options.assumeEcho ? 0 : GAIN_DB_EXPECTED
    this.#bounds = smallArray(Float32Array, BINS).fill(this.#boundDbMax)
    this.#newest[NEWEST_SLOT] = this.#newest[SENT_END_MS] = -Infinity
  }

  /**
   * 20 ms that were handed to the carrier. Frames sent at once are played one after the other, and so remembered.
   *
   * @returns when they are played
   */
  reference(frame: Int16Array, sentAtMs: number): number {
    const newest = this.#newest
    const endMs = newest[SENT_END_MS] as number
    const startMs = Math.min(Math.max(sentAtMs, endMs), sentAtMs + AHEAD_MS_MAX)
    newest[SENT_END_MS] = startMs + FRAME_MS
    this.referenceAt(frame, startMs)
    return startMs
  }

  /** 20 ms whose sound began at `startMs` on the clock of `isEcho`: the other channel of a stereo stream. */
  referenceAt(frame: Int16Array, startMs: number): void {
    const slot = Math.round(startMs / SLOT_MS)
    const half = frame.length / 2
    if (frame.length === WIDE_FRAME) echoKernel.takes(frame)
    powers[0] = telephonePower(frame, 0, half)
    powers[1] = telephonePower(frame, half, frame.length)
    this.#write(slot)
  }

  /** False when no echo can come any more: usually the caller talks and we are silent. */
  awaits(capturedAtMs: number): boolean {
    return slotOf(capturedAtMs) - (this.#newest[NEWEST_SLOT] as number) <= LAGS + 1
  }

  /**
   * @param level of the caller's frame, dBFS: its `telephoneDbfs`
   * @param capturedAtMs when the carrier took it, as near as is known: the frame's end
   * @param wholeLevel of the frame with what is above 4 kHz
   */
  isEcho(level: number, capturedAtMs: number, wholeLevel = level): boolean {
    if (!this.awaits(capturedAtMs)) return false
    const slot = slotOf(capturedAtMs)
    const heard = Math.max(SILENT_DBFS, level)
    if (!this.#lookBack(slot)) return false
    const echoDbfs = this.delayMs === null ? this.#loudestEcho(heard) : this.#learntEcho(this.delayMs)
    const over = echoDbfs === null || (heard > SILENT_DBFS && heard > echoDbfs + MARGIN_DB)
    // A caller who talks over the agent must not unlearn the echo. But a level above it for a long time is no echo.
    this.#framesOver = this.delayMs !== null && over ? this.#framesOver + 1 : Math.max(0, this.#framesOver - 1)
    if (this.delayMs === null || !over || this.#framesOver > OVER_FRAMES_MAX) this.#learn(heard)
    if (over || wholeLevel <= SILENT_DBFS) return false
    this.framesOfEcho++
    return true
  }

  /**
   * True if a frame is no louder than an echo of the loudest slot that we sent in the last 2.5 s. For a stream that is
   * known to hold our speech, at a delay that is not known.
   */
  couldBeEcho(level: number, capturedAtMs: number, gainDb: number): boolean {
    if (!this.awaits(capturedAtMs)) return false
    let loudest = SILENT_DBFS
    for (const sent of this.#sent) if (sent > loudest) loudest = sent
    return loudest > SILENT_DBFS && level <= loudest + gainDb + MARGIN_DB
  }

  /** Copies what was sent of late, so that `recent` holds it by lag. @returns whether any of it was audible */
  #lookBack(slot: number): boolean {
    let sound = false
    for (let i = 0; i < recent.length; i++) {
      const level = this.#level(slot + NEAR_SLOTS - i)
      recent[i] = level
      sound ||= level > SILENT_DBFS
    }
    return sound
  }

  /** Level of the echo that was learnt; null where nothing was sent. */
  #learntEcho(delayMs: number): number | null {
    const at = delayMs / SLOT_MS
    let sent = SILENT_DBFS
    for (let i = at; i <= at + 2 * NEAR_SLOTS; i++) sent = Math.max(sent, recent[i] as number)
    return sent <= SILENT_DBFS ? null : sent + this.gainDb
  }

  /**
   * Level of the loudest echo that there can be while none was learnt; null where nothing was sent. A frame that is
   * softer lowers the bounds of those delays at which we spoke all the while, as neither the delay nor the time of a
   * frame is exact.
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
        // Each run of speech may be a bin earlier or later than the last.
        const near = Math.max(before, bound, bounds[bin + 1] ?? -Infinity)
        if (most + near > loudest) loudest = most + near
      }
      before = bound
      if (least <= SILENT_DBFS) continue
      const gainDb = heard - least
      // In small steps: a frame may be lost.
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
        // The level of a caller who talks over the agent is far from the mean and must not change it at once.
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

  /** Notes the `powers` of two times 10 ms. Slots hold the level of the 20 ms that begin with them, to compare frames with. */
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
 * Level of 20 ms below 4 kHz. The gate compares these levels on both sides: of an "s" that we send at 16 kHz, a
 * telephone line returns almost nothing.
 */
export function telephoneDbfs(frame: Int16Array): number {
  if (frame.length === WIDE_FRAME) echoKernel.takes(frame)
  return dbfsOfEnergy(telephonePower(frame, 0, frame.length), 1)
}

/** Mean square of the samples `from` to `to` below 4 kHz, of 20 ms at 8 or 16 kHz; those at 16 kHz are in the kernel. */
function telephonePower(frame: Int16Array, from: number, to: number): number {
  if (frame.length < WIDE_FRAME) return energyOf(frame, from, to) / (to - from)
  const count = (to - from - HALF_BAND_HISTORY) / 2
  return echoKernel.exports.telephoneEnergy(from, count) / (count * 32 * 32)
}

/** Slot with which the frame begins that ends at `capturedAtMs`. */
function slotOf(capturedAtMs: number): number {
  return Math.round((capturedAtMs - FRAME_MS) / SLOT_MS)
}

function indexOf(slot: number): number {
  return ((slot % SLOTS) + SLOTS) % SLOTS
}

/** @param power of two slots, summed */
function slotDbfs(power: number): number {
  return Math.max(SILENT_DBFS, dbfsOfEnergy(power, 2))
}

// Places in `#newest`: the newest slot that was written, slots being numbered by time; its power; the end of what was sent, when
// the frames are laid one after the other.
const NEWEST_SLOT = 0
const NEWEST_POWER = 1
const SENT_END_MS = 2
const NEWEST_VALUES = 3
const SLOT_MS = 10
const WIDE_FRAME = frameSamples(16000)
// 2.56 s: after a stall of 2 s its frames are still compared with what was sent when they were taken.
const SLOTS = 256
const LAGS = ECHO_DELAY_MS_MAX / SLOT_MS + 1
// Quieter than this counts as silence on either side.
const SILENT_DBFS = -60
// More than playout's largest lead.
const AHEAD_MS_MAX = 250
const LEARN = 0.03
const LEARN_FRAMES_MIN = 50
const VARIANCE_AT_START = 150
// An echo follows our level within 4 dB once its delay is right; the wrong delays of speech are off by 8 and more.
const DEVIATION_DB_MAX = 4.5
const DEVIATION_DB_KEPT = 7
const OFF_DB_MAX = 20
const GAIN_DB_MIN = -35
const GAIN_DB_MAX = 10
// Until more is known: what a loudspeaker and its room send back. A caller is louder.
const GAIN_DB_EXPECTED = -14
const MARGIN_DB = 6
// The delay of speech is blurred by a frame, and each run of speech waits anew for the carrier's hold-back and tick.
const NEAR_SLOTS = 4
const OVER_FRAMES_MAX = 100
// The window around a bin is as wide as that around a delay that was learnt.
const BIN_SLOTS = 4
const BIN_REACH = BIN_SLOTS + 2 * NEAR_SLOTS
const BINS = Math.ceil(LAGS / BIN_SLOTS)
const BOUND_DOWN_DB = 3
// While a caller talks over us each frame is louder than an echo: 2.5 dB a second.
const BOUND_UP_DB = 0.05
// Softer than any echo that the voice detector takes for speech.
const BOUND_DB_MIN = -45

// Scratch of all calls of a thread: the power of each half of a frame that was sent.
const powers = new Float64Array(2)
// Scratch of all calls of a thread: what was sent, from `NEAR_SLOTS` after the frame back to the longest delay.
const recent = new Float32Array((BINS - 1) * BIN_SLOTS + BIN_REACH)
