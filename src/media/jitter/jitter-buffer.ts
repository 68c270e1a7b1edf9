import { JITTER_DEPTH_MS_MAX, JITTER_FRAMES_MAX } from '../../core/limits.js'
import { FRAME_MS, frameSamples, type LegRateHz } from '../../core/units.js'
import { concealFrame } from './conceal.js'
import { FACTS, FACT_ARRIVAL_MS, FACT_LEVEL_DBFS, FACT_QUIET, FACT_TAGS, makeRing, resizedRing, type JitterRing } from './jitter-ring.js'

export type JitterState = 'empty' | 'steady' | 'catching-up' | 'stalled'

/**
 * Turns bursts and stalls of the carrier back into a steady clock of 20 ms frames.
 *
 * The transport is TCP, so nothing is lost or reordered; frames are only late. Each frame is due when the fastest
 * frames of the last four seconds say it could have come (`baseline`), plus a learnt depth: the lateness that 95 % of
 * the frames keep within. On a clean line the depth is 0 and a frame leaves as soon as it came. Because the baseline
 * moves with the arrivals, a carrier clock that runs fast or slow neither fills the buffer nor starves it.
 *
 * | state       | meaning                                                | leaves by                                     |
 * |-------------|--------------------------------------------------------|-----------------------------------------------|
 * | empty       | nothing came yet                                       | first frame -> steady                         |
 * | steady      | frames leave when they are due                         | a frame is 20 ms overdue -> stalled;          |
 * |             |                                                        | more waits than the depth -> catching-up      |
 * | stalled     | one faded frame was made up if the caller was talking,  | a frame comes -> steady or catching-up        |
 * |             | then nothing                                           |                                               |
 * | catching-up | frames leave at twice real time, silence is given up   | no more waits than the depth -> steady        |
 *
 * Speech is never thrown away below the bound of `JITTER_FRAMES_MAX`. Nothing allocates, but for a ring that grows
 * in a burst and shrinks afterwards.
 */
export class JitterBuffer {
  framesIn = 0
  framesOut = 0
  /** Silent frames that were given up to catch up. */
  framesSkipped = 0
  /** Frames lost because more than `JITTER_FRAMES_MAX` waited. */
  framesDropped = 0
  framesConcealed = 0
  /** How often a frame was more than one frame overdue. */
  stalls = 0
  /** The learnt depth. */
  depthMs = 0
  /** The frame that was pulled last, 20 ms: where it lies, until the next `push` or `pull`. */
  frame: Int16Array
  /** What came with that frame at its `push`. */
  tags = 0
  #state: JitterState = 'empty'
  readonly #samples: number
  #ring: JitterRing
  #head = 0
  #waiting = 0
  /** Quiet frames in a row at the head, given out or given up. */
  #quietRun = 0
  #calmFrames = 0
  /** All that is known of time, in one piece of memory: a field that holds a fraction is an object of its own to V8. */
  readonly #clock = new Float64Array(CLOCK_VALUES)
  #bucket = 0
  #lateRun = 0
  /** Where the frame that was pulled last still lies. */
  #lastSlot = 0
  #lastWasQuiet = true
  /** Where a frame is made up; most calls never need one. */
  #madeUp: Int16Array | null = null

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#samples = frameSamples(options.sampleRateHz)
    this.#ring = makeRing(RING_FRAMES_MIN, this.#samples)
    this.frame = this.#ring.slots[0] as Int16Array
    const clock = this.#clock
    clock[NEXT_RELEASE_MS] = -Infinity
    clock[BASELINE_MS] = Infinity
    clock[LAST_ARRIVAL_MS] = -Infinity
    clock.fill(Infinity, BUCKET_MIN_MS, BUCKET_MIN_MS + BASELINE_BUCKETS)
    clock[LATENESS] = PRIOR_FRAMES
    clock[LATENESS_TOTAL] = PRIOR_FRAMES
  }

  /** Media time of the end of the frame that was pulled last. */
  get mediaMs(): number {
    return this.#clock[MEDIA_MS] as number
  }

  /** What came with that frame at its `push`. */
  get arrivalMs(): number {
    return this.#clock[ARRIVAL_MS] as number
  }

  get levelDbfs(): number {
    return this.#clock[LEVEL_DBFS] as number
  }

  get state(): JitterState {
    return this.#state
  }

  /** Frames that wait now. */
  get waiting(): number {
    return this.#waiting
  }

  /** When the next frame would arrive without jitter; Infinity before the first. */
  get expectedArrivalMs(): number {
    return this.framesIn * FRAME_MS + (this.#clock[BASELINE_MS] as number)
  }

  /** Bytes of memory that this buffer holds now. */
  get bytes(): number {
    return this.#ring.frames.byteLength + this.#ring.facts.byteLength
  }

  /**
   * @param frame 20 ms, copied
   * @param quiet nobody speaks in it: it may be given up to catch up
   * @param levelDbfs kept beside the frame, as `tags` (0 to 255) is
   */
  push(frame: Int16Array, arrivalMs: number, quiet: boolean, levelDbfs = 0, tags = 0): void {
    this.#learn(this.framesIn, arrivalMs)
    if (this.#waiting === JITTER_FRAMES_MAX) {
      this.#dropHead()
      this.framesDropped++
    }
    if (this.#waiting === this.#ring.capacity) this.#resize(Math.min(JITTER_FRAMES_MAX, 2 * this.#ring.capacity))
    const { capacity, frames, facts } = this.#ring
    const slot = (this.#head + this.#waiting) % capacity
    frames.set(frame, slot * this.#samples)
    const at = slot * FACTS
    facts[at + FACT_ARRIVAL_MS] = arrivalMs
    facts[at + FACT_LEVEL_DBFS] = levelDbfs
    facts[at + FACT_TAGS] = tags
    facts[at + FACT_QUIET] = quiet ? 1 : 0
    this.#waiting++
    this.framesIn++
  }

  /** Until then `pull` gives nothing and changes nothing, unless a frame is pushed; Infinity when only that can help. */
  get dueMs(): number {
    if (this.#waiting === 0) {
      return this.#state === 'empty' || this.#state === 'stalled' ? Infinity : this.#dueMs() + OVERDUE_MS
    }
    const behind = this.#waiting * FRAME_MS > this.depthMs + FRAME_MS
    const releaseMs = this.#clock[NEXT_RELEASE_MS] as number
    return behind ? releaseMs : Math.max(releaseMs, this.#dueMs())
  }

  /**
   * The next frame that is due, in `frame`. Call until it gives 'none': after a late tick more than one may be due.
   */
  pull(nowMs: number): 'frame' | 'concealed' | 'none' {
    if (this.#waiting === 0) return this.#pullFromEmpty(nowMs)
    const releaseMs = this.#clock[NEXT_RELEASE_MS] as number
    if (nowMs < releaseMs) return 'none'
    const enoughMs = this.depthMs + FRAME_MS
    this.#skipSilence(enoughMs)
    const behind = this.#waiting * FRAME_MS > enoughMs
    if (!behind && nowMs < this.#dueMs()) return 'none'
    this.#state = behind ? 'catching-up' : 'steady'
    // Twice real time at most, with as much credit as one late tick may need.
    this.#clock[NEXT_RELEASE_MS] = Math.max(releaseMs + RELEASE_MS, nowMs - RELEASE_MS)
    this.#take()
    return 'frame'
  }

  #pullFromEmpty(nowMs: number): 'concealed' | 'none' {
    if (this.#state === 'empty' || this.#state === 'stalled') return 'none'
    if (nowMs < this.#dueMs() + OVERDUE_MS) return 'none'
    this.#state = 'stalled'
    this.stalls++
    if (this.#lastWasQuiet) return 'none'
    this.#madeUp ??= new Int16Array(this.#samples)
    concealFrame(this.#ring.frames, this.#lastSlot * this.#samples, this.#madeUp)
    this.frame = this.#madeUp
    this.framesConcealed++
    this.#lastWasQuiet = true
    this.tags = 0
    return 'concealed'
  }

  /** When the frame at the head (or the next to come) is due. */
  #dueMs(): number {
    return (this.framesIn - this.#waiting) * FRAME_MS + (this.#clock[BASELINE_MS] as number) + this.depthMs
  }

  #take(): void {
    const ring = this.#ring
    // Where it lies: what takes its place has to be pushed first.
    this.frame = ring.slots[this.#head] as Int16Array
    this.#lastSlot = this.#head
    const { facts } = ring
    const at = this.#head * FACTS
    const clock = this.#clock
    clock[MEDIA_MS] = (this.framesIn - this.#waiting + 1) * FRAME_MS
    clock[ARRIVAL_MS] = facts[at + FACT_ARRIVAL_MS] as number
    clock[LEVEL_DBFS] = facts[at + FACT_LEVEL_DBFS] as number
    this.tags = facts[at + FACT_TAGS] as number
    this.#lastWasQuiet = facts[at + FACT_QUIET] === 1
    this.#dropHead()
    this.framesOut++
    this.#calmFrames = this.#waiting <= RING_CALM_FRAMES ? this.#calmFrames + 1 : 0
    if (this.#calmFrames >= RING_SHRINK_AFTER && ring.capacity > RING_FRAMES_MIN) this.#resize(RING_FRAMES_MIN)
  }

  /** Gives up silence while more waits than should; a pause of up to 60 ms is part of speech and stays. */
  #skipSilence(enoughMs: number): void {
    while (this.#waiting * FRAME_MS > enoughMs && this.#waiting > 1
      && this.#headIsQuiet && this.#quietRun >= QUIET_KEPT_FRAMES) {
      this.#dropHead()
      this.framesSkipped++
    }
  }

  get #headIsQuiet(): boolean {
    return this.#ring.facts[this.#head * FACTS + FACT_QUIET] === 1
  }

  #dropHead(): void {
    this.#quietRun = this.#headIsQuiet ? this.#quietRun + 1 : 0
    this.#waiting--
    // On a clean line all frames go through one place, which stays in the cache.
    this.#head = this.#waiting === 0 ? 0 : (this.#head + 1) % this.#ring.capacity
  }

  #learn(index: number, arrivalMs: number): void {
    const clock = this.#clock
    const offsetMs = arrivalMs - index * FRAME_MS
    if (index % BASELINE_BUCKET_FRAMES === 0) this.#rollBucket()
    const bucket = BUCKET_MIN_MS + this.#bucket
    if (offsetMs < (clock[bucket] as number)) clock[bucket] = offsetMs
    if (offsetMs < (clock[BASELINE_MS] as number)) clock[BASELINE_MS] = offsetMs
    const latenessMs = offsetMs - (clock[BASELINE_MS] as number)

    if (latenessMs > JITTER_DEPTH_MS_MAX) {
      // A stall, and no reason for a deeper buffer. But frames that keep coming one by one and all late mean that
      // the carrier has lost audio: the old baseline will not come back.
      this.#lateRun = arrivalMs - (clock[LAST_ARRIVAL_MS] as number) > FRAME_MS / 2 ? this.#lateRun + 1 : 0
      if (this.#lateRun >= LOST_AUDIO_FRAMES) {
        clock.fill(Infinity, BUCKET_MIN_MS, BUCKET_MIN_MS + BASELINE_BUCKETS)
        clock[bucket] = offsetMs
        clock[BASELINE_MS] = offsetMs
        this.#lateRun = 0
      }
    } else {
      this.#lateRun = 0
      this.#learnDepth(latenessMs, index % BASELINE_BUCKET_FRAMES === 0)
    }
    clock[LAST_ARRIVAL_MS] = arrivalMs
  }

  #rollBucket(): void {
    const clock = this.#clock
    this.#bucket = (this.#bucket + 1) % BASELINE_BUCKETS
    clock[BUCKET_MIN_MS + this.#bucket] = Infinity
    let min = Infinity
    for (let i = 0; i < BASELINE_BUCKETS; i++) min = Math.min(min, clock[BUCKET_MIN_MS + i] as number)
    clock[BASELINE_MS] = min
  }

  /** Deeper at once, flatter only now and then: each change moves the clock. */
  #learnDepth(latenessMs: number, mayShrink: boolean): void {
    const clock = this.#clock
    for (let i = LATENESS; i < LATENESS + DEPTH_BINS; i++) clock[i] = (clock[i] as number) * FORGET
    const bin = LATENESS + Math.ceil(Math.max(0, latenessMs - DEPTH_BIN_MS / 2) / DEPTH_BIN_MS)
    clock[bin] = (clock[bin] as number) + 1
    const total = (clock[LATENESS_TOTAL] as number) * FORGET + 1
    clock[LATENESS_TOTAL] = total
    let late = 0
    let depth = DEPTH_BINS - 1
    for (; depth > 0; depth--) {
      late += clock[LATENESS + depth] as number
      if (late > total * LATE_SHARE) break
    }
    const depthMs = depth * DEPTH_BIN_MS
    if (depthMs > this.depthMs || mayShrink) this.depthMs = depthMs
  }

  #resize(capacity: number): void {
    this.#ring = resizedRing(this.#ring, capacity, { head: this.#head, waiting: this.#waiting, last: this.#lastSlot })
    this.#lastSlot = capacity - 1
    this.#head = 0
    this.#calmFrames = 0
  }
}

const RING_FRAMES_MIN = 8
// Five seconds with next to nothing waiting give the memory of a burst back.
const RING_CALM_FRAMES = 4
const RING_SHRINK_AFTER = 250
// Eight half seconds: longer than bursts and their pauses, and 200 ppm of drift move it by under 1 ms.
const BASELINE_BUCKETS = 8
const BASELINE_BUCKET_FRAMES = 25
// A steady half second of late frames.
const LOST_AUDIO_FRAMES = 25
const DEPTH_BIN_MS = 10
const DEPTH_BINS = JITTER_DEPTH_MS_MAX / DEPTH_BIN_MS + 1
// 4 s of memory; as NetEq does, 5 % of the frames may come later than the depth allows.
const FORGET = 0.995
const LATE_SHARE = 0.05
// What a line is believed to be before it was seen: clean. Else the fifth frame alone could set the depth.
const PRIOR_FRAMES = 20
const OVERDUE_MS = FRAME_MS
const RELEASE_MS = FRAME_MS / 2
const QUIET_KEPT_FRAMES = 3

// Places in #clock. The clock itself: when frame n would have come on the best path is n x 20 ms + BASELINE_MS.
const BASELINE_MS = 0
const NEXT_RELEASE_MS = 1
const LAST_ARRIVAL_MS = 2
const MEDIA_MS = 3
const ARRIVAL_MS = 4
const LEVEL_DBFS = 5
/** Frames that `LATENESS` counts, less what is forgotten of them. */
const LATENESS_TOTAL = 6
/** The least offset of each half second, `BASELINE_BUCKETS` of them. */
const BUCKET_MIN_MS = 7
/** How many frames were how late, `DEPTH_BINS` bins. */
const LATENESS = BUCKET_MIN_MS + BASELINE_BUCKETS
const CLOCK_VALUES = LATENESS + DEPTH_BINS
