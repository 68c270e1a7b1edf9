import { smallArray } from '../../core/small-arrays.js'
import {
  AUDIBLE_BANDS_MIN,
  DELAY_MIN,
  DELAYS,
  DELAYS_MOVED,
  HEARD_FRAMES,
  MOVED_FRAMES_MAX,
  REACH_SLOTS_MAX,
  SENT_LOUD_DB,
  SLOTS,
} from './echo-limits.js'
import { echoKernel } from './echo-kernel.js'

/**
 * Verdict about a frame of the caller's side: `echo`, our own speech and nobody else's; `caller`, somebody speaks,
 * perhaps over our echo; `unknown`, no echo was learnt, none can come now, or the sound is too loud for one that was held
 * up.
 */
type Verdict = 'unknown' | 'echo' | 'caller'

/**
 * Decides whether a voice in the caller's audio is the agent's own, returned by a loudspeaker, or the caller's, by the
 * level of 32 bands. No sample needs to match, so a loudspeaker may clip, a room may reflect, a delay may wander and a telephone may level what it hears.
 *
 * The *delay* is found first: for each slot of 10 ms one bit a band says whether it is louder than usual, and the delay
 * at which the bits of both sides agree most, for long enough, is that of the echo (the idea is that of WebRTC's
 * delay_estimator.c). Each run of our speech may come a few slots earlier or later, as the carrier's hold-back begins
 * anew; there it is followed by what rises and falls. So it is after `disturbed`, over as many slots as it may have moved.
 *
 * Then the *coupling* of each band is learnt, how much softer it comes back. What is heard is compared with what was
 * sent, through the coupling, plus the noise of the line. Echo alone is over that now and then and a little; a caller
 * has power in bands and moments where we have none. So what counts is how far a frame is over the expected by more than
 * `OVER_DB`, mean of the audible bands, smoothed over 150 ms. Frames of the caller hardly change what was learnt.
 *
 * While no echo is found it rests four fifths of the time. 16 kB a call, in the memory of echo-kernel/; a frame allocates
 * nothing.
 */
export class LoudspeakerEcho {
  /** By how much the caller's side is over the echo that was expected, dB; see the class. */
  overDb = 0
  /** The frame that was judged last is for the most part echo: it says nothing about the caller's line. */
  dominates = false
  #delay: number | null = null
  /** Kernel memory of this call: levels, and the learnt bands and delays. */
  readonly #block: number
  readonly #wide: 0 | 1
  /** Loudness of what was sent, by slot: 1 for loud. Slots are numbered by time. */
  readonly #sentLoud = smallArray(Uint8Array, SLOTS)
  #newestSlot = -Infinity
  #loudSlot = -Infinity
  #runSlot = -Infinity
  /** Recent frames of the caller's side, for a delay that is found, or found to have moved. */
  #heardFrames = 0
  #agreed = 0
  #agreedFrames = 0
  #framesLeft = SEARCH_FRAMES
  #resting = false
  /** Frames of this run of speech in which the delay was followed; the usual delay of a run; whose run it is. */
  #fittedFrames = 0
  #usualDelay = 0
  #fittedRun = -Infinity
  /** By how many slots the delay may have moved since it was last known, in this run and in the next. */
  #reach = 0
  #reachOfRun = 0
  /** The frame that was heard last, and the one from which on the echo is of what was sent after `disturbed`. */
  #heardSlot = -Infinity
  #echoesSlot = Infinity
  /** Level of the echo above or below the learnt one, in all bands: telephones level what they hear. */
  #gainDb = 0
  #learntFrames = 0
  /** Power of the loudest echo that was expected of late. */
  #loudestEcho = 0
  #caller = false
  /** In a row. */
  #callerFrames = 0
  #released = false

  constructor(options: { readonly sampleRateHz: number }) {
    this.#wide = options.sampleRateHz === 16000 ? 1 : 0
    this.#block = echoKernel.open()
  }

  /** From what was sent to its echo; null while none was found. Exact to a slot of 10 ms. */
  get delayMs(): number | null {
    return this.#delay === null ? null : this.#delay * SLOT_MS
  }

  /** How much softer the echo comes back, dB: mean of the bands. */
  get gainDb(): number {
    return kernel.meanCoupling(this.#block) + this.#gainDb
  }

  /** 20 ms whose sound begins at `startMs` on the clock of `judge`, in order and not before the end of the last. */
  reference(frame: Int16Array, startMs: number): void {
    const slot = Math.round(startMs / SLOT_MS)
    if (slot <= this.#newestSlot || this.#resting) return
    if (slot > this.#loudSlot + RUN_GAP_SLOTS) this.#runSlot = slot
    const gap = slot !== this.#newestSlot + 1
    if (gap) {
      for (let skipped = Math.max(this.#newestSlot + 1, slot - SLOTS); skipped < slot; skipped++) {
        kernel.noteSilence(this.#block, indexOf(skipped))
        this.#sentLoud[indexOf(skipped)] = 0
      }
    }
    echoKernel.takes(frame)
    kernel.takeSent(this.#block, this.#wide, gap)
    this.#write(slot, SLOT)
    this.#write(slot + 1, 2 * SLOT)
    this.#newestSlot = slot + 1
  }

  /**
   * The delay may be another one from now on: audio was lost or held up on its way, or the clock of `judge` was set
   * right.
   * @param ms by how much at most, earlier or later
   */
  disturbed(ms: number): void {
    this.#reach = Math.min(REACH_SLOTS_MAX, Math.max(this.#reach, Math.ceil(ms / SLOT_MS)))
    this.#reachOfRun = this.#reach
    this.#beginRun()
    this.#echoesSlot = this.#heardSlot + (this.#delay ?? 0)
  }

  /**
   * @param frame every frame of the caller's side, in order; on a mixed line after our own speech was taken out of it
   * @param capturedAtMs when the carrier took it, as near as is known: the frame's end. On a mixed line when what its copy
   * ends with was sent
   * @param mayMove whether the delay may become another one unseen; not where the carrier's copy of our speech tells the
   * time
   */
  judge(frame: Int16Array, capturedAtMs: number, mayMove = true): Verdict {
    // A long search without a result repeats only now and then.
    if (this.#resting) {
      this.#framesLeft += REST_EARNS
      this.#resting = this.#framesLeft < SEARCH_AGAIN_FRAMES
      return 'unknown'
    }
    const slot = Math.round(capturedAtMs / SLOT_MS) - 1
    // On a mixed line frames without our speech are not judged. Who spoke before them says nothing about what comes now.
    if (slot > this.#heardSlot + RUN_GAP_SLOTS) this.#forgetCaller()
    this.#heardSlot = slot
    echoKernel.takes(frame)
    kernel.takeHeard(this.#block, this.#wide)
    if (!this.#awaits(slot)) {
      this.#forgetCaller()
      return 'unknown'
    }
    if (this.#delay === null) this.#resting = --this.#framesLeft <= 0
    const power = kernel.levelsOfHeard(this.#block)
    if (kernel.hear(this.#block) > HEARD_LOUD_DB) {
      kernel.remember(this.#block, this.#heardFrames++ % HEARD_FRAMES, slot)
      this.#align(slot)
      if (this.#delay !== null) this.#follow(slot, this.#delay)
    }
    return this.#delay === null ? 'unknown' : this.#compare(slot, this.#delay, power, mayMove)
  }

  /** Releases the memory; the object must not be used afterwards. */
  release(): void {
    if (this.#released) return
    this.#released = true
    echoKernel.close(this.#block)
  }

  /** Notes the window that begins at sample `from` and ends with `slot`. */
  #write(slot: number, from: number): void {
    const power = kernel.levelsOfSent(this.#block, from)
    const loud = kernel.noteSent(this.#block, indexOf(slot), 10 * Math.log10(power) + SPREAD_DB)
    this.#sentLoud[indexOf(slot)] = loud
    if (loud === 1) this.#loudSlot = slot
  }

  /** True if an echo of something loud may come at `slot`. Else the frame says nothing about echoes. */
  #awaits(slot: number): boolean {
    const delays = this.#delay === null ? DELAYS : DELAYS_MOVED
    if (this.#loudSlot <= slot - DELAY_MIN - delays) return false
    for (let delay = DELAY_MIN; delay < DELAY_MIN + delays; delay++)
      if (this.#knows(slot - delay) && this.#sentLoud[indexOf(slot - delay)] === 1) return true
    return false
  }

  #knows(slot: number): boolean {
    return slot <= this.#newestSlot && slot > this.#newestSlot - SLOTS
  }

  /** Looks for the delay at which our speech is in what is heard. */
  #align(slot: number): void {
    const known = this.#delay
    const { NOT_AHEAD } = kernel
    const found = kernel.align(this.#block, indexOf(slot), this.#newestSlot - slot, known ?? NONE)
    const ahead = found >= DELAY_MIN
    const best = ahead ? found : found + NOT_AHEAD.value
    this.#agreedFrames = ahead && Math.abs(best - this.#agreed) <= 3 ? this.#agreedFrames + 1 : 0
    this.#agreed = best
    if (this.#agreedFrames < (known === null ? AGREED_FRAMES : AGREED_FRAMES_KNOWN)) return
    this.#agreedFrames = 0
    this.#delay = this.#usualDelay = best
    this.#beginRun()
    this.#learntFrames = 0
    kernel.unlearn(this.#block)
    this.#gainDb = 0
    if (known === null) this.#recall(best)
  }

  /** Learns the coupling from the frames that revealed the delay: they were echo. Leaves the newest as the current frame. */
  #recall(delay: number): void {
    for (let i = Math.max(0, this.#heardFrames - HEARD_FRAMES); i < this.#heardFrames; i++) {
      const slot = kernel.recall(this.#block, i % HEARD_FRAMES)
      if (this.#expect(slot, delay) < SENT_LOUD_DB) continue
      kernel.compareEcho(this.#block)
      kernel.learn(this.#block, 1, true, this.#gainDb)
    }
  }

  /** Rises and falls tell the delay of a run more exactly than levels. */
  #follow(slot: number, delay: number): void {
    if (this.#fittedRun !== this.#runSlot && slot - delay + FOLLOW_SLOTS >= this.#runSlot) {
      this.#fittedRun = this.#runSlot
      this.#usualDelay = Math.round(this.#usualDelay + (delay - this.#usualDelay) * USUAL_DELAY_LEARN)
      this.#delay = this.#usualDelay
      this.#beginRun()
      // The hold-up of the last run is over in this one.
      this.#reachOfRun = this.#reach
      this.#reach = 0
    }
    // Audio that waited on its way to the caller comes back only now.
    if (slot >= this.#echoesSlot) {
      this.#echoesSlot = Infinity
      this.#reachOfRun = Math.max(this.#reachOfRun, this.#reach)
      this.#beginRun()
    }
    this.#fittedFrames++
    const learn = Math.max(FIT_LEARN, 1 / this.#fittedFrames) * (this.#caller ? CALLER_FITS_SHARE : 1)
    const now = this.#delay as number
    const reach = FOLLOW_SLOTS + this.#reachOfRun
    const first = Math.max(DELAY_MIN, this.#usualDelay - reach)
    const last = Math.min(DELAY_MIN + DELAYS_MOVED - 1, this.#usualDelay + reach)
    const best = kernel.follow(this.#block, indexOf(slot), first, last, now, learn)
    if (this.#fittedFrames < FIT_FRAMES + FIT_FRAMES_A_SLOT * this.#reachOfRun) return
    if (best === kernel.UNSURE.value) return
    this.#delay = best
    this.#reachOfRun = 0
  }

  #beginRun(): void {
    this.#fittedFrames = 0
    kernel.beginRun(this.#block)
  }

  #forgetCaller(): void {
    this.#caller = false
    this.overDb = 0
  }

  /** Compares what is heard, whose power is `heardPower`, with what is expected, and learns from it. */
  #compare(slot: number, delay: number, heardPower: number, mayMove: boolean): Verdict {
    if (this.#expect(slot, delay) < SENT_LOUD_DB) {
      this.dominates = false
      return heardPower > LATE_LOUDER * this.#loudestEcho ? 'unknown' : 'echo'
    }
    kernel.compare(this.#block, this.#gainDb)
    const { found } = echoKernel
    const audible = found[0] as number
    const sum = found[1] as number
    const over = found[2] as number
    const echoPower = found[3] as number
    this.dominates = ECHO_DOMINATES * echoPower > heardPower
    this.#loudestEcho = Math.max(echoPower, LOUDEST_DECAY * this.#loudestEcho)
    this.overDb += (over / Math.max(AUDIBLE_BANDS_MIN, audible) - this.overDb) * OVER_LEARN
    // One or two seconds of learning do not explain all our speech: a caller must stand out more.
    const young = Math.max(0, 1 - this.#learntFrames / YOUNG_FRAMES)
    const learning = young > 0 && !this.#caller
    this.#learntFrames++
    this.#caller = this.overDb > (this.#caller ? CALLER_ENDS_DB : CALLER_BEGINS_DB) + young * YOUNG_DB
    this.#callerFrames = this.#caller ? this.#callerFrames + 1 : 0
    const looks = this.#callerFrames <= MOVED_WITHIN_FRAMES && this.#callerFrames % MOVED_EVERY_FRAMES === 1
    if (mayMove && looks && young === 0) {
      if (this.#hasMoved(slot, delay)) {
        this.#forgetCaller()
        return 'echo'
      }
    }
    // With many delays the expectation is the loudest one: that is no measure of the echo.
    if (this.#reachOfRun > 0 && this.#unsureSlots > 0) return this.#caller ? 'caller' : 'echo'
    const share = this.#caller ? CALLER_LEARN_SHARE : 1
    if (audible >= AUDIBLE_BANDS_MIN && !learning) {
      const step = within(sum / audible, GAIN_STEP_DB_MAX)
      this.#gainDb = within(this.#gainDb + step * (step < 0 ? GAIN_FALL : GAIN_RISE * share), GAIN_DB_MAX)
    }
    kernel.learn(this.#block, share, learning, this.#gainDb)
    return this.#caller ? 'caller' : 'echo'
  }

  /**
   * Audio that waits only on its way to the caller is not seen from here. But then all that is heard fits another delay,
   * and not the known one; a caller fits none. Only every fourth of the first frames of what seems a caller is
   * looked at: a moved echo nearly always shows in the first.
   */
  #hasMoved(slot: number, known: number): boolean {
    const frames = Math.min(MOVED_FRAMES_MAX, this.#callerFrames + MOVED_FRAMES_BEFORE, this.#heardFrames)
    const best = kernel.moved(
      this.#block,
      slot,
      indexOf(slot),
      this.#newestSlot - slot,
      known,
      frames,
      this.#heardFrames,
      this.#unsureSlots,
      this.#gainDb,
    )
    if (best === kernel.UNSURE.value) return false
    this.#reach = Math.max(this.#reach, Math.abs(best - known))
    this.#delay = this.#usualDelay = best
    this.#beginRun()
    return true
  }

  /** Until this run's delay is known, any that a run can have is expected: by how much it may be another one. */
  get #unsureSlots(): number {
    return this.#fittedFrames < FOLLOWED_FRAMES + this.#reachOfRun ? FOLLOW_SLOTS + 1 + this.#reachOfRun : 0
  }

  /** Computes the expected echo in `slot`. @returns the loudest */
  #expect(slot: number, delay: number): number {
    return kernel.expect(this.#block, indexOf(slot), this.#newestSlot - slot, delay, this.#unsureSlots)
  }
}

function within(value: number, most: number): number {
  return value > most ? most : value < -most ? -most : value
}

function indexOf(slot: number): number {
  return slot & (SLOTS - 1)
}

const SLOT_MS = 10
const SLOT = 80
const kernel = echoKernel.exports
// No delay is known.
const NONE = 1000
const HEARD_LOUD_DB = -70
// A loudspeaker that clips puts power into bands in which nothing was sent.
const SPREAD_DB = -40

// --- the delay: chosen by the calls of `bench/echo --tuning`, where it is found 0.7 to 1.5 s after we begin to speak
const AGREED_FRAMES = 12
const AGREED_FRAMES_KNOWN = 36
// Frames with our speech in which an echo is looked for at first, and each time again after a rest.
const SEARCH_FRAMES = 500
const SEARCH_AGAIN_FRAMES = 100
const REST_EARNS = 0.25
const RUN_GAP_SLOTS = 30
const FOLLOW_SLOTS = 5
const FOLLOWED_FRAMES = 20
const FIT_LEARN = 0.02
const FIT_FRAMES = 8
// Among more delays a wrong one fits for longer: chosen by `bench/echo --tuning --disturbed`, against 0 and 1.
const FIT_FRAMES_A_SLOT = 0.5
const CALLER_FITS_SHARE = 0.3
const USUAL_DELAY_LEARN = 0.3

// --- what is expected
const YOUNG_FRAMES = 150
const YOUNG_DB = 3
const CALLER_LEARN_SHARE = 0.1
const GAIN_STEP_DB_MAX = 4
const GAIN_FALL = 0.06
const GAIN_RISE = 0.04
const GAIN_DB_MAX = 15

// --- who it is. Of 128,000 frames of the tuning calls, each alone, this one number tells caller and echo apart as well
// as a logistic regression on eight such numbers does (area under the curve .994 against .995).
const OVER_LEARN = 0.12
// In the tuning calls, 1 % of the echo frames were over 1.0 to 1.3, before the delay of a run was followed.
const CALLER_BEGINS_DB = 2
const CALLER_ENDS_DB = 1
// 6 dB
const ECHO_DOMINATES = 4
// Where our echo can come only if it was held up, a caller is 6 dB louder than the loudest of it, which is forgotten by 5 dB a second.
const LATE_LOUDER = 4
const LOUDEST_DECAY = 0.977

// --- whether the delay has moved: chosen by `bench/echo --tuning --disturbed waits --ms 200`
// Looked at from the first frame that seems to be a caller's, with those before it that made it one.
const MOVED_WITHIN_FRAMES = 32
const MOVED_EVERY_FRAMES = 4
const MOVED_FRAMES_BEFORE = 2
