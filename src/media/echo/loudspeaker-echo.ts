import { ECHO_DELAY_MS_MAX } from '../../core/limits.js'
import { smallArray } from '../../core/small-arrays.js'
import { FRAME_MS, frameSamples } from '../../core/units.js'
import { BAND_DB_MIN, BANDS, bandLevels, WINDOW } from './band-levels.js'
import { powerOfDb, sumOfDb } from './decibels.js'
import { HALF_BAND_HISTORY, narrow } from './echo-canceller.js'

/**
 * What a frame of the caller's side is: `echo`, our own speech and nobody else's; `caller`, somebody speaks, perhaps
 * over our echo; `unknown`, no echo was learnt, or none can come now.
 */
type Verdict = 'unknown' | 'echo' | 'caller'

/**
 * Tells our own speech out of the caller's loudspeaker from the caller, by the level of 32 bands. It needs no sample to
 * match, so a loudspeaker may clip, a room may reflect, a delay may wander and a telephone may level what it hears.
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
 * While no echo is found it rests four fifths of the time. 15 kB a call; a frame allocates nothing.
 */
export class LoudspeakerEcho {
  /** By how much the caller's side is over the echo that was expected, dB; see the class. */
  overDb = 0
  /** The frame that was judged last is for the most part echo: it says nothing about the caller's line. */
  dominates = false
  #delay: number | null = null
  readonly #step: 1 | 2
  /** What was sent: levels by slot and band in half decibels over `BAND_DB_MIN`, one bit a band, and whether it is loud. */
  readonly #sent = smallArray(Uint8Array, SLOTS * BANDS)
  readonly #sentBits = smallArray(Uint32Array, SLOTS)
  readonly #sentLoud = smallArray(Uint8Array, SLOTS)
  readonly #sentUsual = smallArray(Float32Array, BANDS).fill(USUAL_DB_AT_START)
  readonly #sentWindow = smallArray(Float32Array, WINDOW + NARROW_FRAME)
  readonly #sentHistory = smallArray(Float32Array, HALF_BAND_HISTORY)
  /** Slots are numbered by time. */
  #newestSlot = -Infinity
  #loudSlot = -Infinity
  #runSlot = -Infinity
  readonly #heardWindow = smallArray(Float32Array, WINDOW)
  readonly #heardHistory = smallArray(Float32Array, HALF_BAND_HISTORY)
  readonly #heardUsual = smallArray(Float32Array, BANDS).fill(USUAL_DB_AT_START)
  readonly #heardBefore = smallArray(Float32Array, BANDS)
  /** What was heard of late, for a delay that is found, or found to have moved: levels, as in `#sent`, and slots. */
  readonly #heard = smallArray(Uint8Array, HEARD_FRAMES * BANDS)
  readonly #heardSlots = smallArray(Float64Array, HEARD_FRAMES)
  #heardFrames = 0
  readonly #noise = smallArray(Float32Array, BANDS).fill(USUAL_DB_AT_START)
  /** Share of equal bits, for each delay. */
  readonly #agreement = smallArray(Float32Array, DELAYS).fill(0.5)
  #agreed = 0
  #agreedFrames = 0
  #framesLeft = SEARCH_FRAMES
  #resting = false
  /** Likeness of rises and falls at each delay, in this run of speech; the usual delay of a run; whose run it is. */
  readonly #fits = smallArray(Float32Array, DELAYS_MOVED)
  #fittedFrames = 0
  #usualDelay = 0
  #fittedRun = -Infinity
  /** By how many slots the delay may have moved since it was last known, in this run and in the next. */
  #reach = 0
  #reachOfRun = 0
  /** The frame that was heard last, and the one from which on the echo is of what was sent after `disturbed`. */
  #heardSlot = -Infinity
  #echoesSlot = Infinity
  /** dB from what was sent to what is heard, by band, and in common: telephones level what they hear. */
  readonly #coupling = smallArray(Float32Array, BANDS)
  readonly #couplingFrames = smallArray(Uint16Array, BANDS)
  readonly #expectedUsual = smallArray(Float32Array, BANDS).fill(USUAL_DB_AT_START)
  #gainDb = 0
  #learntFrames = 0
  #caller = false
  /** In a row. */
  #callerFrames = 0

  constructor(options: { readonly sampleRateHz: number }) {
    this.#step = options.sampleRateHz === 16000 ? 2 : 1
  }

  /** From what was sent to its echo; null while none was found. Exact to a slot of 10 ms. */
  get delayMs(): number | null {
    return this.#delay === null ? null : this.#delay * SLOT_MS
  }

  /** How much softer the echo comes back, dB: mean of the bands. */
  get gainDb(): number {
    let sum = 0
    for (const db of this.#coupling) sum += db
    return sum / BANDS + this.#gainDb
  }

  /** 20 ms whose sound begins at `startMs` on the clock of `judge`, in order and not before the end of the last. */
  reference(frame: Int16Array, startMs: number): void {
    const slot = Math.round(startMs / SLOT_MS)
    if (slot <= this.#newestSlot || this.#resting) return
    const window = this.#sentWindow
    if (slot > this.#loudSlot + RUN_GAP_SLOTS) this.#runSlot = slot
    if (slot !== this.#newestSlot + 1) {
      window.fill(0)
      for (let skipped = Math.max(this.#newestSlot + 1, slot - SLOTS); skipped < slot; skipped++) this.#silence(skipped)
    }
    window.copyWithin(0, NARROW_FRAME)
    narrow(frame, this.#step, this.#sentHistory, narrowFrame)
    window.set(narrowFrame, WINDOW)
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
    // Nothing was found for long: it is looked for again now and then.
    if (this.#resting) {
      this.#framesLeft += REST_EARNS
      this.#resting = this.#framesLeft < SEARCH_AGAIN_FRAMES
      return 'unknown'
    }
    const slot = Math.round(capturedAtMs / SLOT_MS) - 1
    this.#heardSlot = slot
    const window = this.#heardWindow
    window.copyWithin(0, NARROW_FRAME)
    narrow(frame, this.#step, this.#heardHistory, narrowFrame)
    window.set(narrowFrame, WINDOW - NARROW_FRAME)
    if (!this.#awaits(slot)) {
      this.#caller = false
      this.overDb = 0
      return 'unknown'
    }
    if (this.#delay === null) this.#resting = --this.#framesLeft <= 0
    const power = bandLevels(window, 0, levels)
    if (this.#hear() > HEARD_LOUD_DB) {
      this.#remember(slot)
      this.#align(slot, bitsOver(levels, this.#heardUsual, HEARD_USUAL_LEARN))
      if (this.#delay !== null) this.#follow(slot, this.#delay)
    }
    return this.#delay === null ? 'unknown' : this.#compare(slot, this.#delay, power, mayMove)
  }

  #silence(slot: number): void {
    const at = indexOf(slot)
    this.#sent.fill(0, at * BANDS, (at + 1) * BANDS)
    this.#sentBits[at] = 0
    this.#sentLoud[at] = 0
  }

  /** Notes the window that begins at sample `from` and ends with `slot`. */
  #write(slot: number, from: number): void {
    const power = bandLevels(this.#sentWindow, from, levels)
    let loudest = BAND_DB_MIN
    for (let band = 0; band < BANDS; band++) {
      const db = levels[band] as number
      if (db > loudest) loudest = db
    }
    const loud = loudest > SENT_LOUD_DB
    const at = indexOf(slot)
    this.#sentBits[at] = bitsOver(levels, this.#sentUsual, loud ? SENT_USUAL_LEARN : 0)
    this.#sentLoud[at] = loud ? 1 : 0
    if (loud) this.#loudSlot = slot
    const spread = 10 * Math.log10(power) + SPREAD_DB
    for (let band = 0; band < BANDS; band++)
      this.#sent[at * BANDS + band] = halfDecibels(Math.max(levels[band] as number, spread))
  }

  /** Whether an echo of something loud may come at `slot`. Else the frame says nothing about echoes. */
  #awaits(slot: number): boolean {
    const delays = this.#delay === null ? DELAYS : DELAYS_MOVED
    for (let delay = DELAY_MIN; delay < DELAY_MIN + delays; delay++)
      if (this.#knows(slot - delay) && this.#sentLoud[indexOf(slot - delay)] === 1) return true
    return false
  }

  #knows(slot: number): boolean {
    return slot <= this.#newestSlot && slot > this.#newestSlot - SLOTS
  }

  /** Learns the noise of each band, and how it changed. @returns the loudest band's level */
  #hear(): number {
    let loudest = BAND_DB_MIN
    for (let band = 0; band < BANDS; band++) {
      const db = levels[band] as number
      if (db > loudest) loudest = db
      changes[band] = within(db - (this.#heardBefore[band] as number), CHANGE_DB_MAX)
      this.#heardBefore[band] = db
      const over = db - (this.#noise[band] as number)
      this.#noise[band] =
        (this.#noise[band] as number) + (over < 0 ? over * NOISE_FALL_SHARE : Math.min(NOISE_RISE_DB, over * 0.1))
    }
    return loudest
  }

  /** Looks for the delay at which our speech is in what is heard. */
  #align(slot: number, bits: number): void {
    const agreement = this.#agreement
    let best = 0
    for (let i = 0; i < DELAYS; i++) {
      const sent = slot - i - DELAY_MIN
      const same = this.#knows(sent) ? 1 - onesIn(bits ^ (this.#sentBits[indexOf(sent)] as number)) / BANDS : 0.5
      agreement[i] = (agreement[i] as number) + (same - (agreement[i] as number)) * AGREEMENT_LEARN
      if ((agreement[i] as number) > (agreement[best] as number)) best = i
    }
    const most = agreement[best] as number
    const known = this.#delay
    let rival = known === null ? 0 : this.#mostNear(known - DELAY_MIN) + AGREES_OVER_KNOWN
    for (let i = 0; i < DELAYS; i++)
      if (Math.abs(i - best) > NEAR_SLOTS) rival = Math.max(rival, (agreement[i] as number) + AGREES_OVER_OTHERS)
    this.#agreedFrames = most > rival && Math.abs(best - this.#agreed) <= 3 ? this.#agreedFrames + 1 : 0
    this.#agreed = best
    if (this.#agreedFrames < (known === null ? AGREED_FRAMES : AGREED_FRAMES_KNOWN)) return
    this.#agreedFrames = 0
    this.#delay = this.#usualDelay = best + DELAY_MIN
    this.#beginRun()
    this.#learntFrames = 0
    this.#couplingFrames.fill(0)
    this.#gainDb = 0
    if (known === null) this.#recall(best + DELAY_MIN)
  }

  #remember(slot: number): void {
    const at = this.#heardFrames++ % HEARD_FRAMES
    this.#heardSlots[at] = slot
    for (let band = 0; band < BANDS; band++) this.#heard[at * BANDS + band] = halfDecibels(levels[band] as number)
  }

  /** Learns the coupling from the frames that told the delay: they were echo. Leaves the newest in `levels`. */
  #recall(delay: number): void {
    for (let i = Math.max(0, this.#heardFrames - HEARD_FRAMES); i < this.#heardFrames; i++) {
      const at = i % HEARD_FRAMES
      for (let band = 0; band < BANDS; band++)
        levels[band] = (this.#heard[at * BANDS + band] as number) / 2 + BAND_DB_MIN
      if (this.#expect(this.#heardSlots[at] as number, delay) < SENT_LOUD_DB) continue
      for (let band = 0; band < BANDS; band++)
        excesses[band] = (levels[band] as number) - (expected[band] as number) - (this.#coupling[band] as number)
      this.#learn(1, true)
    }
  }

  #mostNear(at: number): number {
    let most = 0
    for (let i = Math.max(0, at - NEAR_SLOTS); i <= Math.min(DELAYS - 1, at + NEAR_SLOTS); i++)
      most = Math.max(most, this.#agreement[i] as number)
    return most
  }

  /** Rises and falls tell the delay of a run more exactly than levels. */
  #follow(slot: number, delay: number): void {
    if (this.#fittedRun !== this.#runSlot && slot - delay + FOLLOW_SLOTS >= this.#runSlot) {
      this.#fittedRun = this.#runSlot
      this.#usualDelay = Math.round(this.#usualDelay + (delay - this.#usualDelay) * USUAL_DELAY_LEARN)
      this.#delay = this.#usualDelay
      this.#beginRun()
      // What held up the last run is over in this one.
      this.#reachOfRun = this.#reach
      this.#reach = 0
    }
    // What waited on its way to the caller comes back only now.
    if (slot >= this.#echoesSlot) {
      this.#echoesSlot = Infinity
      this.#reachOfRun = Math.max(this.#reachOfRun, this.#reach)
      this.#beginRun()
    }
    this.#fittedFrames++
    const learn = Math.max(FIT_LEARN, 1 / this.#fittedFrames) * (this.#caller ? CALLER_FITS_SHARE : 1)
    const now = this.#delay as number
    const fits = this.#fits
    let best = now
    const reach = FOLLOW_SLOTS + this.#reachOfRun
    const last = Math.min(DELAY_MIN + DELAYS_MOVED - 1, this.#usualDelay + reach)
    for (let other = Math.max(DELAY_MIN, this.#usualDelay - reach); other <= last; other++) {
      const at = indexOf(slot - other) * BANDS
      const before = indexOf(slot - other - FRAME_SLOTS) * BANDS
      let fit = 0
      for (let band = 0; band < BANDS; band++) {
        const change = (this.#sent[at + band] as number) - (this.#sent[before + band] as number)
        fit += within(change, 2 * CHANGE_DB_MAX) * (changes[band] as number)
      }
      const i = other - DELAY_MIN
      fits[i] = (fits[i] as number) + (fit - (fits[i] as number)) * learn
      if (fits[i] > (fits[best - DELAY_MIN] as number)) best = other
    }
    if (this.#fittedFrames < FIT_FRAMES + FIT_FRAMES_A_SLOT * this.#reachOfRun) return
    if (best !== now && (fits[best - DELAY_MIN] as number) <= 1.1 * (fits[now - DELAY_MIN] as number)) return
    this.#delay = best
    this.#reachOfRun = 0
  }

  #beginRun(): void {
    this.#fittedFrames = 0
    this.#fits.fill(0)
  }

  /** Compares what is heard, whose power is `heardPower`, with what is expected, and learns from it. */
  #compare(slot: number, delay: number, heardPower: number, mayMove: boolean): Verdict {
    if (this.#expect(slot, delay) < SENT_LOUD_DB) {
      this.dominates = false
      return 'echo'
    }
    let audible = 0
    let over = 0
    let sum = 0
    let echoPower = 0
    for (let band = 0; band < BANDS; band++) {
      const db = levels[band] as number
      const noise = this.#noise[band] as number
      const echoDb = (expected[band] as number) + (this.#coupling[band] as number) + this.#gainDb
      const excess = db - sumOfDb(echoDb, noise)
      excesses[band] = excess
      echoPower += powerOfDb(echoDb)
      if (db < noise + AUDIBLE_DB) continue
      audible++
      sum += excess
      over += beyond(excess)
    }
    this.dominates = ECHO_DOMINATES * echoPower > heardPower
    this.overDb += (over / Math.max(AUDIBLE_BANDS_MIN, audible) - this.overDb) * OVER_LEARN
    // What was learnt in a second or two explains not all that we say: a caller must stand out more.
    const young = Math.max(0, 1 - this.#learntFrames / YOUNG_FRAMES)
    const learning = young > 0 && !this.#caller
    this.#learntFrames++
    this.#caller = this.overDb > (this.#caller ? CALLER_ENDS_DB : CALLER_BEGINS_DB) + young * YOUNG_DB
    this.#callerFrames = this.#caller ? this.#callerFrames + 1 : 0
    const looks = this.#callerFrames <= MOVED_WITHIN_FRAMES && this.#callerFrames % MOVED_EVERY_FRAMES === 1
    if (mayMove && looks && young === 0) {
      if (this.#hasMoved(slot, delay)) {
        this.#caller = false
        this.overDb = 0
        return 'echo'
      }
      this.#expect(slot, delay)
    }
    // Of many delays the loudest is expected: that is no measure of what comes back.
    if (this.#reachOfRun > 0 && this.#unsureSlots > 0) return this.#caller ? 'caller' : 'echo'
    const share = this.#caller ? CALLER_LEARN_SHARE : 1
    if (audible >= AUDIBLE_BANDS_MIN && !learning) {
      const step = within(sum / audible, GAIN_STEP_DB_MAX)
      this.#gainDb = within(this.#gainDb + step * (step < 0 ? GAIN_FALL : GAIN_RISE * share), GAIN_DB_MAX)
    }
    this.#learn(share, learning)
    return this.#caller ? 'caller' : 'echo'
  }

  /**
   * Audio that waits only on its way to the caller is not seen from here. But then all that is heard fits another delay,
   * and not the known one; a caller fits none. Some 0.5 ms, so only every fourth of the first frames of what
   * seems a caller is looked at: a moved echo nearly always shows in the first.
   */
  #hasMoved(slot: number, known: number): boolean {
    const first = Math.max(DELAY_MIN, known - REACH_SLOTS_MAX)
    const last = Math.min(DELAY_MIN + DELAYS_MOVED - 1, known + REACH_SLOTS_MAX)
    const oldest = slot - MOVED_FRAMES_MAX * FRAME_SLOTS - last
    for (let sent = oldest; sent <= slot - first; sent++) {
      this.#expect(sent, 0)
      for (let band = 0; band < BANDS; band++) {
        const echoDb = (expected[band] as number) + (this.#coupling[band] as number) + this.#gainDb
        echoes[(sent - oldest) * BANDS + band] = sumOfDb(echoDb, this.#noise[band] as number)
      }
    }
    const frames = Math.min(MOVED_FRAMES_MAX, this.#callerFrames + MOVED_FRAMES_BEFORE, this.#heardFrames)
    let [best, leastDb, knownDb, bestOverDb] = [known, Infinity, Infinity, Infinity]
    for (let delay = first; delay <= last; delay++) {
      let [off, over, count] = [0, 0, 0]
      for (let k = 1; k <= frames; k++) {
        const at = (this.#heardFrames - k) % HEARD_FRAMES
        const sent = (this.#heardSlots[at] as number) - delay
        if (sent < oldest) break
        for (let band = 0; band < BANDS; band++) {
          const db = (this.#heard[at * BANDS + band] as number) / 2 + BAND_DB_MIN
          const echoDb = echoes[(sent - oldest) * BANDS + band] as number
          if (Math.max(db, echoDb) < (this.#noise[band] as number) + AUDIBLE_DB) continue
          count++
          off += Math.min(OVER_DB_MAX, Math.abs(db - echoDb))
          over += beyond(db - echoDb)
        }
      }
      const offDb = off / Math.max(count, AUDIBLE_BANDS_MIN * frames)
      if (delay === known) knownDb = offDb
      if (offDb >= leastDb) continue
      leastDb = offDb
      best = delay
      bestOverDb = over / Math.max(count, AUDIBLE_BANDS_MIN * frames)
    }
    if (leastDb > MOVED_OFF_DB || leastDb > MOVED_OFF_SHARE * knownDb || bestOverDb > MOVED_OVER_DB) return false
    this.#reach = Math.max(this.#reach, Math.abs(best - known))
    this.#delay = this.#usualDelay = best
    this.#beginRun()
    return true
  }

  /** Until this run's delay is known, any that a run can have is expected: by how much it may be another one. */
  get #unsureSlots(): number {
    return this.#fittedFrames < FOLLOWED_FRAMES + this.#reachOfRun ? FOLLOW_SLOTS + 1 + this.#reachOfRun : 0
  }

  /** Fills `expected` with what was sent: the loudest near the delay, and its decay in the room. @returns the loudest */
  #expect(slot: number, delay: number): number {
    halves.fill(0)
    const either = this.#unsureSlots
    for (let later = -Math.max(either, BEFORE_SLOTS); later <= TAIL_SLOTS + either; later++) {
      if (!this.#knows(slot - delay - later)) continue
      const at = indexOf(slot - delay - later) * BANDS
      const softer = later > either ? 2 * TAIL_DB * (later - either) : 0
      for (let band = 0; band < BANDS; band++) {
        const level = (this.#sent[at + band] as number) - softer
        if (level > (halves[band] as number)) halves[band] = level
      }
    }
    let loudest = BAND_DB_MIN
    for (let band = 0; band < BANDS; band++) {
      const db = (halves[band] as number) / 2 + BAND_DB_MIN
      expected[band] = db
      if (db > loudest) loudest = db
    }
    return loudest
  }

  /** A band tells its coupling while more than usual was sent in it. */
  #learn(share: number, learning: boolean): void {
    for (let band = 0; band < BANDS; band++) {
      const sent = expected[band] as number
      const usual = this.#expectedUsual[band] as number
      this.#expectedUsual[band] = usual + (sent - usual) * EXPECTED_USUAL_LEARN
      if (sent < usual) continue
      const frames = this.#couplingFrames[band] as number
      if (frames === 0) this.#coupling[band] = (levels[band] as number) - sent - this.#gainDb
      else {
        const excess = excesses[band] as number
        const step = learning ? excess : within(excess, COUPLING_STEP_DB_MAX)
        this.#coupling[band] =
          (this.#coupling[band] as number) + Math.max(COUPLING_LEARN, 1 / (frames + 1)) * share * step
      }
      if (frames < COUPLING_FRAMES_MAX) this.#couplingFrames[band] = frames + 1
    }
  }
}

/** One bit a band: louder than usual. @param learn how much of the difference `usual` follows */
function bitsOver(db: Float32Array, usual: Float32Array, learn: number): number {
  let bits = 0
  for (let band = 0; band < BANDS; band++) {
    const over = Math.max(db[band] as number, BITS_DB_MIN) - (usual[band] as number)
    if (over > 0) bits |= 1 << band
    usual[band] = (usual[band] as number) + over * learn
  }
  return bits
}

/** What a band counts that is `excess` dB over what is expected. */
function beyond(excess: number): number {
  return excess > OVER_DB ? Math.min(OVER_DB_MAX, excess) - OVER_DB : 0
}

/** Over `BAND_DB_MIN`, rounded. */
function halfDecibels(db: number): number {
  return (2 * (db - BAND_DB_MIN) + 0.5) | 0
}

function within(value: number, most: number): number {
  return value > most ? most : value < -most ? -most : value
}

function onesIn(bits: number): number {
  let ones = bits - ((bits >>> 1) & 0x55555555)
  ones = (ones & 0x33333333) + ((ones >>> 2) & 0x33333333)
  return Math.imul((ones + (ones >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

function indexOf(slot: number): number {
  return slot & (SLOTS - 1)
}

const SLOT_MS = 10
const SLOT = 80
const FRAME_SLOTS = FRAME_MS / SLOT_MS
const NARROW_FRAME = frameSamples(8000)
// 2.56 s, a power of two: after a stall of 2 s its frames are still compared with what was sent when they were taken.
const SLOTS = 256
// The carrier may hold audio back, so that the echo comes before it is expected.
const DELAY_MIN = -4
const DELAYS = ECHO_DELAY_MS_MAX / SLOT_MS + 6 - DELAY_MIN
// Audio that waits on its way makes the longest delay longer.
const REACH_SLOTS_MAX = 30
const DELAYS_MOVED = DELAYS + REACH_SLOTS_MAX
const USUAL_DB_AT_START = -60
const BITS_DB_MIN = -75
const SENT_LOUD_DB = -55
const HEARD_LOUD_DB = -70
const SENT_USUAL_LEARN = 0.02
const HEARD_USUAL_LEARN = 0.03
// A loudspeaker that clips puts power into bands in which nothing was sent.
const SPREAD_DB = -40

// --- the delay: chosen by the calls of `bench/echo --tuning`, where it is found 0.7 to 1.5 s after we begin to speak
const AGREEMENT_LEARN = 0.04
const NEAR_SLOTS = 6
const AGREES_OVER_OTHERS = 0.07
const AGREES_OVER_KNOWN = 0.05
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
const CHANGE_DB_MAX = 12

// --- what is expected
const BEFORE_SLOTS = 2
const TAIL_SLOTS = 6
const TAIL_DB = 2
const NOISE_FALL_SHARE = 0.2
const NOISE_RISE_DB = 0.04
const EXPECTED_USUAL_LEARN = 0.03
const COUPLING_LEARN = 0.03
const COUPLING_STEP_DB_MAX = 6
const COUPLING_FRAMES_MAX = 1000
const HEARD_FRAMES = 48
const YOUNG_FRAMES = 150
const YOUNG_DB = 3
const CALLER_LEARN_SHARE = 0.1
const GAIN_STEP_DB_MAX = 4
const GAIN_FALL = 0.06
const GAIN_RISE = 0.04
const GAIN_DB_MAX = 15

// --- who it is. Of 128,000 frames of the tuning calls, each alone, this one number tells caller and echo apart as well
// as a logistic regression on eight such numbers does (area under the curve .994 against .995).
const AUDIBLE_DB = 6
const AUDIBLE_BANDS_MIN = 4
const OVER_DB = 8
const OVER_DB_MAX = 28
const OVER_LEARN = 0.12
// Of the tuning calls' frames that are echo 1 % were over 1.0 to 1.3, before the delay of a run was followed.
const CALLER_BEGINS_DB = 2
const CALLER_ENDS_DB = 1
// 6 dB
const ECHO_DOMINATES = 4

// --- whether the delay has moved: chosen by `bench/echo --tuning --disturbed waits --ms 200`
// Looked at from the first frame that seems to be a caller's, with those before it that made it one.
const MOVED_WITHIN_FRAMES = 32
const MOVED_EVERY_FRAMES = 4
const MOVED_FRAMES_BEFORE = 2
const MOVED_FRAMES_MAX = 12
// Mean of the audible bands, over or under what is expected: echo has 2 to 6 at its delay, and 9 to 17 at another one. What
// is over it by more than `OVER_DB` is next to nothing for an echo, and 0.5 to 1.3 where a caller seems to fit.
const MOVED_OFF_DB = 6
const MOVED_OFF_SHARE = 0.6
const MOVED_OVER_DB = 0.5

// Scratch of all calls of a thread; nothing in it outlives a call of a method.
const narrowFrame = new Float32Array(NARROW_FRAME)
const levels = new Float32Array(BANDS)
const changes = new Float32Array(BANDS)
const expected = new Float32Array(BANDS)
/** The same in half decibels over `BAND_DB_MIN`. */
const halves = new Int32Array(BANDS)
const excesses = new Float32Array(BANDS)
/** What is expected of each slot that may have been heard, with the line's noise. */
const echoes = new Float32Array((MOVED_FRAMES_MAX * FRAME_SLOTS + 2 * REACH_SLOTS_MAX + 1) * BANDS)
