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
 * Verdict about a frame of the caller's side.
 * - `echo`: only the agent's speech.
 * - `caller`: a voice, perhaps over the agent's echo.
 * - `unknown`: no echo is known, or the sound is too loud for an echo.
 */
type Verdict = 'unknown' | 'echo' | 'caller'

/**
 * Decides by the levels of 32 bands whether a voice in the caller's audio is the caller, or the agent returned by a
 * loudspeaker. Samples need not match: a loudspeaker may clip, a room may reflect, a delay may drift, and a telephone
 * may adjust levels.
 *
 * The *delay* is found first. For each slot of 10 ms, one bit per band shows if the band is louder than usual. The
 * echo's delay is the delay at which the bits of both sides agree most, for long enough (idea: WebRTC's
 * delay_estimator.c). Each run of the agent's speech may return a few slots earlier or later, because the carrier's
 * hold-back starts again. Rises and falls of the level are used to follow this change. After `disturbed` the search
 * covers as many slots as the delay may have moved.
 *
 * Then the *coupling* of each band is learnt: the band's gain on the return path. The heard level is compared with the
 * expected level: the sent level times the coupling, plus the line's noise. Echo without a caller exceeds the expected
 * level rarely and slightly. A caller has power in other bands and moments. So the measure is a frame's excess above
 * `OVER_DB`, as the mean of the audible bands, smoothed over 150 ms. The caller's frames hardly change the coupling.
 *
 * Until an echo is found, the search is inactive for four fifths of the time. A call uses 16 kB in the memory of
 * echo-kernel/. A frame allocates no memory.
 */
export class LoudspeakerEcho {
  /** Excess in dB of the caller's side over the expected echo; see the class comment. */
  overDb = 0
  /** True if the last judged frame is mostly echo. Such a frame contains no information about the caller's line. */
  dominates = false
  #delay: number | null = null
  /** Address of this call's block in the kernel's memory, with levels, and the learnt bands and delays. */
  readonly #block: number
  readonly #wide: 0 | 1
  /** 1 for each slot in which the sent audio was loud. Slots are numbered by time. */
  readonly #sentLoud = smallArray(Uint8Array, SLOTS)
  #newestSlot = -Infinity
  #loudSlot = -Infinity
  #runSlot = -Infinity
  /** Number of caller frames stored so far. They serve to find the delay, or its move. */
  #heardFrames = 0
  #agreed = 0
  #agreedFrames = 0
  #framesLeft = SEARCH_FRAMES
  #resting = false
  /**
   * Number of frames of a run that were used to follow the delay. `#fittedRun`: this run. `#usualDelay`: the usual
   * delay of a run.
   */
  #fittedFrames = 0
  #usualDelay = 0
  #fittedRun = -Infinity
  /**
   * Number of slots by which the delay may have moved since it was last known. It applies from the next run on.
   * `#reachOfRun`: the number that applies to this run.
   */
  #reach = 0
  #reachOfRun = 0
  /**
   * Slot of the last heard frame. `#echoesSlot`: first slot whose echo comes from audio that was sent after
   * `disturbed`.
   */
  #heardSlot = -Infinity
  #echoesSlot = Infinity
  /**
   * Present level of the echo in dB relative to the learnt level, for all bands together. It changes because telephones
   * adjust levels.
   */
  #gainDb = 0
  #learntFrames = 0
  /** Power of the loudest echo that was expected recently; it decays from frame to frame. */
  #loudestEcho = 0
  #caller = false
  /** Number of consecutive caller frames. */
  #callerFrames = 0
  #released = false

  constructor(options: { readonly sampleRateHz: number }) {
    this.#wide = options.sampleRateHz === 16000 ? 1 : 0
    this.#block = echoKernel.open()
  }

  /** Delay in ms from sent audio to its echo, exact to a slot of 10 ms; null until an echo is found. */
  get delayMs(): number | null {
    return this.#delay === null ? null : this.#delay * SLOT_MS
  }

  /** Mean gain of the echo in dB, over the bands. */
  get gainDb(): number {
    return kernel.meanCoupling(this.#block) + this.#gainDb
  }

  /** Adds 20 ms whose sound begins at `startMs` on the clock of `judge`, in order and without overlap. */
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
   * Reports that the delay may move from now on: audio was lost or delayed, or the clock of `judge` was corrected.
   * @param ms  maximum move in ms, in either direction
   */
  disturbed(ms: number): void {
    this.#reach = Math.min(REACH_SLOTS_MAX, Math.max(this.#reach, Math.ceil(ms / SLOT_MS)))
    this.#reachOfRun = this.#reach
    this.#beginRun()
    this.#echoesSlot = this.#heardSlot + (this.#delay ?? 0)
  }

  /**
   * Judges a frame.
   *
   * @param frame  frame of the caller's side. All frames must be given, in order. On a mixed line the agent's speech
   * must have been removed
   * @param capturedAtMs  estimated time at which the carrier captured the frame's end; on a mixed line, the time at
   * which the audio was sent whose copy ends with the frame
   * @param mayMove  true if the delay may move without a report; false if the carrier's copy of the agent's speech
   * gives the time
   */
  judge(frame: Int16Array, capturedAtMs: number, mayMove = true): Verdict {
    // After a long search without a result, the search runs only sometimes.
    if (this.#resting) {
      this.#framesLeft += REST_EARNS
      this.#resting = this.#framesLeft < SEARCH_AGAIN_FRAMES
      return 'unknown'
    }
    const slot = Math.round(capturedAtMs / SLOT_MS) - 1
    // On a mixed line, a frame without the agent's speech is not judged. The last verdict may be about another speaker,
    // so it does not apply.
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

  /** Stores the levels of the window that begins at sample `from` and ends with `slot`. */
  #write(slot: number, from: number): void {
    const power = kernel.levelsOfSent(this.#block, from)
    const loud = kernel.noteSent(this.#block, indexOf(slot), 10 * Math.log10(power) + SPREAD_DB)
    this.#sentLoud[indexOf(slot)] = loud
    if (loud === 1) this.#loudSlot = slot
  }

  /**
   * True if an echo of a loud sound may arrive at `slot`. Without such a sound, the frame contains no information about
   * echoes.
   */
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

  /** Searches for the delay of the agent's speech. */
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

  /**
   * Learns the coupling from the frames that were used to find the delay, because these frames were echo. The newest of
   * these frames is the current frame.
   */
  #recall(delay: number): void {
    for (let i = Math.max(0, this.#heardFrames - HEARD_FRAMES); i < this.#heardFrames; i++) {
      const slot = kernel.recall(this.#block, i % HEARD_FRAMES)
      if (this.#expect(slot, delay) < SENT_LOUD_DB) continue
      kernel.compareEcho(this.#block)
      kernel.learn(this.#block, 1, true, this.#gainDb)
    }
  }

  /** Follows the delay of a run by the rises and falls of the level; they are more exact than the levels. */
  #follow(slot: number, delay: number): void {
    if (this.#fittedRun !== this.#runSlot && slot - delay + FOLLOW_SLOTS >= this.#runSlot) {
      this.#fittedRun = this.#runSlot
      this.#usualDelay = Math.round(this.#usualDelay + (delay - this.#usualDelay) * USUAL_DELAY_LEARN)
      this.#delay = this.#usualDelay
      this.#beginRun()
      // The additional delay of the previous run ends with the previous run.
      this.#reachOfRun = this.#reach
      this.#reach = 0
    }
    // From this slot on, the echo is the echo of audio that was delayed on the path to the caller.
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

  /**
   * Compares the heard levels with the expected levels, and learns from the heard levels.
   * @param heardPower  power of the heard levels
   */
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
    // After one or two seconds, not all of the agent's speech is explained yet. Until more is learnt, a caller must
    // exceed the expected level by more.
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
    // If many delays are possible, the expected level is the maximum over these delays. It is then no measure of the
    // echo.
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
   * Finds a moved delay. A delay on the path to the caller is not reported to this class, but all heard sound then
   * matches a new delay. A caller's voice does not match any delay. Only every fourth of a caller's first frames is
   * checked.
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

  /** Number of slots around the delay that are searched for an echo too, until this run's delay is known. */
  get #unsureSlots(): number {
    return this.#fittedFrames < FOLLOWED_FRAMES + this.#reachOfRun ? FOLLOW_SLOTS + 1 + this.#reachOfRun : 0
  }

  /**
   * Computes the expected echo in `slot`.
   * @returns its loudest level
   */
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
// Value of the delay while it is unknown.
const NONE = 1000
const HEARD_LOUD_DB = -70
// Level in dB relative to the sent power that a clipping loudspeaker adds to every band, even if nothing was sent in
// the band.
const SPREAD_DB = -40

// --- the delay: constants chosen with the calls of `bench/echo --tuning`
// In these calls the delay is found 0.7 to 1.5 s after our speech begins.
const AGREED_FRAMES = 12
const AGREED_FRAMES_KNOWN = 36
// Number of frames with the agent's speech in the first search for an echo, and in each search after a rest.
const SEARCH_FRAMES = 500
const SEARCH_AGAIN_FRAMES = 100
const REST_EARNS = 0.25
const RUN_GAP_SLOTS = 30
const FOLLOW_SLOTS = 5
const FOLLOWED_FRAMES = 20
const FIT_LEARN = 0.02
const FIT_FRAMES = 8
// Number of frames that are needed for each possible slot. If more delays are possible, a wrong delay may match for
// longer. Chosen with `bench/echo --tuning --disturbed`; 0 and 1 were compared too.
const FIT_FRAMES_A_SLOT = 0.5
const CALLER_FITS_SHARE = 0.3
const USUAL_DELAY_LEARN = 0.3

// --- the expected level
const YOUNG_FRAMES = 150
const YOUNG_DB = 3
const CALLER_LEARN_SHARE = 0.1
const GAIN_STEP_DB_MAX = 4
const GAIN_FALL = 0.06
const GAIN_RISE = 0.04
const GAIN_DB_MAX = 15

// --- caller or echo
// On 128,000 frames of the tuning calls, `overDb` alone decides as well as logistic regression on eight numbers (area
// under the curve .994 against .995).
const OVER_LEARN = 0.12
// Excess in dB from which a frame counts as the caller's. In the tuning calls, 1 % of the echo frames had an excess of
// 1.0 to 1.3 dB, before the delay of a run was followed.
const CALLER_BEGINS_DB = 2
const CALLER_ENDS_DB = 1
// Power ratio: 6 dB.
const ECHO_DOMINATES = 4
// Power ratio of 6 dB. If only later audio can cause an echo, a caller is 6 dB louder than the loudest recent echo. The
// stored level of this echo decays by 5 dB per second.
const LATE_LOUDER = 4
const LOUDEST_DECAY = 0.977

// --- a moved delay: constants chosen with `bench/echo --tuning --disturbed waits --ms 200`
// A moved delay is searched for from the caller's first frame on; the frames before it are included.
const MOVED_WITHIN_FRAMES = 32
const MOVED_EVERY_FRAMES = 4
const MOVED_FRAMES_BEFORE = 2
