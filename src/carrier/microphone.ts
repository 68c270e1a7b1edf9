import { msToSamples } from '../core/units.js'
import { peakOf } from '../media/pcm.js'
import { UtterancePlayer } from './caller-leg.js'
import type { Utterance } from './caller-leg.js'
import { clamp } from './line.js'
import { SampleBytes } from './playout-queue.js'

/**
 * Maximum duration in ms of a microphone's sound that waits to be played. It is enough for a blocked thread, whose
 * missed ticks run later. Longer sound is cut to the lead.
 */
const HELD_MS_MAX = 1200
const LEAD_STEP_MS = 20
/** Time in ms without a gap after which the lead shrinks by one step. */
const LEAD_SHRINKS_AFTER_MS = 10_000
/**
 * Maximum gap in ms that counts as late sound. After a longer gap the lead returns to its earlier value, because the
 * phone sent no audio during the gap (silence, a DTMF digit).
 */
const LATE_MS_MAX = 160
/**
 * Number of frames over which the minimum of the waiting sound is taken: one second. Sound above the lead that waits
 * for this whole second only adds delay.
 */
const WATCHED_FRAMES = 50
/** Maximum level of a quiet frame. A frame is also quiet up to an eighth of the loudest sample of the last seconds. */
const QUIET_LEVEL = 64
const QUIET_SHARE = 1 / 8
/**
 * Surplus of waiting sound in ms. Above it, one of `FORCED_EVERY` frames is skipped even if it is loud, because some
 * lines are never quiet.
 */
const SURPLUS_MS_MAX = 400
const FORCED_EVERY = 10
/** Factor by which the loudest sample of the last seconds decays in each frame. */
const LOUDEST_DECAY = 0.995

interface MicrophoneLead {
  /** Duration of sound that is held before playing starts, in milliseconds. */
  readonly leadMs: number
  /** Maximum lead. The lead grows by 20 ms whenever sound is late, and shrinks again after 10 s without a gap. */
  readonly leadMsMax: number
}

/**
 * A remote microphone as a voice of the line. Its samples arrive in bursts, and its clock differs from the carrier's
 * clock. So some samples are held back before they are played. Playing starts with the lead and stops when the buffer
 * is empty. Samples that waited because of a stall are skipped in quiet frames, so that they do not delay the rest of
 * the call.
 */
export class Microphone extends UtterancePlayer {
  /** Number of samples that were not played: quiet samples above the lead, and all samples above 1200 ms. */
  samplesDropped = 0
  readonly #rateHz: number
  readonly #lead: MicrophoneLead
  readonly #held: Int16Array
  readonly #bytes = new SampleBytes()
  #heldSamples = 0
  #leadMs: number
  #gapAtMs = 0
  #playing = false
  /** The lead before the current gap; null outside a gap. */
  #leadBeforeGapMs: number | null = null
  #watchedFrames = 0
  #leastHeld = Infinity
  #surplus = 0
  #loudest = 0

  constructor(sampleRateHz: number, lead: MicrophoneLead) {
    super(sampleRateHz)
    this.#rateHz = sampleRateHz
    this.#lead = lead
    this.#leadMs = lead.leadMs
    this.#held = new Int16Array(msToSamples(HELD_MS_MAX, sampleRateHz))
  }

  /** Adds s16le in pieces of any size. */
  write(bytes: Uint8Array): void {
    this.#bytes.take(bytes, (sample) => {
      if (this.#heldSamples === this.#held.length) this.#drop(this.#heldSamples - this.#leadSamples)
      this.#held[this.#heldSamples++] = sample
    })
    if (this.#heldSamples >= this.#leadSamples) this.#playing = true
  }

  override read(out: Int16Array, startMs: number): Utterance | null {
    const ended = super.read(out, startMs)
    if (!this.#playing) {
      if (startMs - this.#gapAtMs > LATE_MS_MAX) this.#leadMs = this.#leadBeforeGapMs ?? this.#leadMs
      return ended
    }
    this.#leadBeforeGapMs = null
    this.#catchUp(out.length)
    const samples = Math.min(out.length, this.#heldSamples)
    for (let i = 0; i < samples; i++) out[i] = clamp((out[i] as number) + (this.#held[i] as number))
    this.#shift(samples)
    if (samples < out.length) this.#gap(startMs)
    else if (startMs - this.#gapAtMs > LEAD_SHRINKS_AFTER_MS) {
      this.#gapAtMs = startMs
      this.#leadMs = Math.max(this.#lead.leadMs, this.#leadMs - LEAD_STEP_MS)
    }
    return ended
  }

  get #leadSamples(): number {
    return msToSamples(this.#leadMs, this.#rateHz)
  }

  /** Skips the next frame if it is quiet and more than the lead has waited for a second. */
  #catchUp(frame: number): void {
    const peak = peakOf(this.#held.subarray(0, Math.min(frame, this.#heldSamples)))
    this.#loudest = Math.max(peak, this.#loudest * LOUDEST_DECAY)
    this.#leastHeld = Math.min(this.#leastHeld, this.#heldSamples)
    if (++this.#watchedFrames >= WATCHED_FRAMES) {
      this.#surplus = this.#leastHeld - this.#leadSamples
      this.#watchedFrames = 0
      this.#leastHeld = Infinity
    }
    const isQuiet = peak <= Math.max(QUIET_LEVEL, this.#loudest * QUIET_SHARE)
    const isForced =
      this.#surplus > msToSamples(SURPLUS_MS_MAX, this.#rateHz) && this.#watchedFrames % FORCED_EVERY === 0
    if (this.#surplus < frame || !(isQuiet || isForced)) return
    this.#drop(frame)
    this.#surplus -= frame
    this.#watchedFrames = 0
    this.#leastHeld = Infinity
  }

  #gap(atMs: number): void {
    this.#playing = false
    this.#leadBeforeGapMs = this.#leadMs
    this.#gapAtMs = atMs
    this.#leadMs = Math.min(this.#lead.leadMsMax, this.#leadMs + LEAD_STEP_MS)
  }

  #drop(samples: number): void {
    this.samplesDropped += samples
    this.#shift(samples)
  }

  #shift(samples: number): void {
    this.#held.copyWithin(0, samples, this.#heldSamples)
    this.#heldSamples -= samples
  }
}
