import { JITTER_DEPTH_MS_MAX, JITTER_FRAMES_MAX } from '../core/limits.js'
import { FRAME_MS, frameSamples, type LegRateHz } from '../core/units.js'
import { concealFrame } from './conceal.js'

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
  /** Of that frame: the media time of its end, and what came with it at its `push`. */
  mediaMs = 0
  arrivalMs = 0
  levelDbfs = 0
  tags = 0
  #state: JitterState = 'empty'
  readonly #samples: number
  #ring: Ring
  #head = 0
  #waiting = 0
  /** Quiet frames in a row at the head, given out or given up. */
  #quietRun = 0
  #calmFrames = 0
  #nextReleaseMs = -Infinity
  // The clock: when frame n would have come on the best path is n x 20 ms + #baselineMs.
  #baselineMs = Infinity
  readonly #bucketMinMs = new Float64Array(BASELINE_BUCKETS).fill(Infinity)
  #bucket = 0
  #lastArrivalMs = -Infinity
  #lateRun = 0
  readonly #lateness = new Float64Array(DEPTH_BINS)
  #latenessTotal: number
  /** Where the frame that was pulled last still lies. */
  #lastSlot = 0
  #lastWasQuiet = true
  /** Where a frame is made up; most calls never need one. */
  #madeUp: Int16Array | null = null

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#samples = frameSamples(options.sampleRateHz)
    this.#ring = makeRing(RING_FRAMES_MIN, this.#samples)
    this.frame = this.#ring.slots[0] as Int16Array
    this.#lateness[0] = PRIOR_FRAMES
    this.#latenessTotal = PRIOR_FRAMES
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
    return this.framesIn * FRAME_MS + this.#baselineMs
  }

  /** Bytes of memory that this buffer holds now. */
  get bytes(): number {
    return this.#ring.frames.byteLength + this.#ring.capacity * 14
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
    const slot = (this.#head + this.#waiting) % this.#ring.capacity
    this.#ring.frames.set(frame, slot * this.#samples)
    this.#ring.arrivalMs[slot] = arrivalMs
    this.#ring.levelDbfs[slot] = levelDbfs
    this.#ring.tags[slot] = tags
    this.#ring.quiet[slot] = quiet ? 1 : 0
    this.#waiting++
    this.framesIn++
  }

  /** Until then `pull` gives nothing and changes nothing, unless a frame is pushed; Infinity when only that can help. */
  get dueMs(): number {
    if (this.#waiting === 0) {
      return this.#state === 'empty' || this.#state === 'stalled' ? Infinity : this.#dueMs() + OVERDUE_MS
    }
    const behind = this.#waiting * FRAME_MS > this.depthMs + FRAME_MS
    return behind ? this.#nextReleaseMs : Math.max(this.#nextReleaseMs, this.#dueMs())
  }

  /**
   * The next frame that is due, in `frame`. Call until it gives 'none': after a late tick more than one may be due.
   */
  pull(nowMs: number): 'frame' | 'concealed' | 'none' {
    if (this.#waiting === 0) return this.#pullFromEmpty(nowMs)
    if (nowMs < this.#nextReleaseMs) return 'none'
    const enoughMs = this.depthMs + FRAME_MS
    this.#skipSilence(enoughMs)
    const behind = this.#waiting * FRAME_MS > enoughMs
    if (!behind && nowMs < this.#dueMs()) return 'none'
    this.#state = behind ? 'catching-up' : 'steady'
    // Twice real time at most, with as much credit as one late tick may need.
    this.#nextReleaseMs = Math.max(this.#nextReleaseMs + RELEASE_MS, nowMs - RELEASE_MS)
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
    return (this.framesIn - this.#waiting) * FRAME_MS + this.#baselineMs + this.depthMs
  }

  #take(): void {
    const ring = this.#ring
    // Where it lies: what takes its place has to be pushed first.
    this.frame = ring.slots[this.#head] as Int16Array
    this.#lastSlot = this.#head
    this.mediaMs = (this.framesIn - this.#waiting + 1) * FRAME_MS
    this.arrivalMs = ring.arrivalMs[this.#head] as number
    this.levelDbfs = ring.levelDbfs[this.#head] as number
    this.tags = ring.tags[this.#head] as number
    this.#lastWasQuiet = ring.quiet[this.#head] === 1
    this.#dropHead()
    this.framesOut++
    this.#calmFrames = this.#waiting <= RING_CALM_FRAMES ? this.#calmFrames + 1 : 0
    if (this.#calmFrames >= RING_SHRINK_AFTER && ring.capacity > RING_FRAMES_MIN) this.#resize(RING_FRAMES_MIN)
  }

  /** Gives up silence while more waits than should; a pause of up to 60 ms is part of speech and stays. */
  #skipSilence(enoughMs: number): void {
    while (this.#waiting * FRAME_MS > enoughMs && this.#waiting > 1
      && this.#ring.quiet[this.#head] === 1 && this.#quietRun >= QUIET_KEPT_FRAMES) {
      this.#dropHead()
      this.framesSkipped++
    }
  }

  #dropHead(): void {
    this.#quietRun = this.#ring.quiet[this.#head] === 1 ? this.#quietRun + 1 : 0
    this.#waiting--
    // On a clean line all frames go through one place, which stays in the cache.
    this.#head = this.#waiting === 0 ? 0 : (this.#head + 1) % this.#ring.capacity
  }

  #learn(index: number, arrivalMs: number): void {
    const offsetMs = arrivalMs - index * FRAME_MS
    if (index % BASELINE_BUCKET_FRAMES === 0) this.#rollBucket()
    if (offsetMs < (this.#bucketMinMs[this.#bucket] as number)) this.#bucketMinMs[this.#bucket] = offsetMs
    if (offsetMs < this.#baselineMs) this.#baselineMs = offsetMs
    const latenessMs = offsetMs - this.#baselineMs

    if (latenessMs > JITTER_DEPTH_MS_MAX) {
      // A stall, and no reason for a deeper buffer. But frames that keep coming one by one and all late mean that
      // the carrier has lost audio: the old baseline will not come back.
      this.#lateRun = arrivalMs - this.#lastArrivalMs > FRAME_MS / 2 ? this.#lateRun + 1 : 0
      if (this.#lateRun >= LOST_AUDIO_FRAMES) {
        this.#bucketMinMs.fill(Infinity)
        this.#bucketMinMs[this.#bucket] = offsetMs
        this.#baselineMs = offsetMs
        this.#lateRun = 0
      }
    } else {
      this.#lateRun = 0
      this.#learnDepth(latenessMs, index % BASELINE_BUCKET_FRAMES === 0)
    }
    this.#lastArrivalMs = arrivalMs
  }

  #rollBucket(): void {
    this.#bucket = (this.#bucket + 1) % BASELINE_BUCKETS
    this.#bucketMinMs[this.#bucket] = Infinity
    let min = Infinity
    for (let i = 0; i < BASELINE_BUCKETS; i++) min = Math.min(min, this.#bucketMinMs[i] as number)
    this.#baselineMs = min
  }

  /** Deeper at once, flatter only now and then: each change moves the clock. */
  #learnDepth(latenessMs: number, mayShrink: boolean): void {
    const bins = this.#lateness
    for (let i = 0; i < DEPTH_BINS; i++) bins[i] = (bins[i] as number) * FORGET
    const bin = Math.ceil(Math.max(0, latenessMs - DEPTH_BIN_MS / 2) / DEPTH_BIN_MS)
    bins[bin] = (bins[bin] as number) + 1
    this.#latenessTotal = this.#latenessTotal * FORGET + 1
    let late = 0
    let depth = DEPTH_BINS - 1
    for (; depth > 0; depth--) {
      late += bins[depth] as number
      if (late > this.#latenessTotal * LATE_SHARE) break
    }
    const depthMs = depth * DEPTH_BIN_MS
    if (depthMs > this.depthMs || mayShrink) this.depthMs = depthMs
  }

  #resize(capacity: number): void {
    const old = this.#ring
    const ring = makeRing(capacity, this.#samples)
    for (let i = 0; i < this.#waiting; i++) {
      const from = (this.#head + i) % old.capacity
      ring.frames.set(old.frames.subarray(from * this.#samples, (from + 1) * this.#samples), i * this.#samples)
      ring.arrivalMs[i] = old.arrivalMs[from] as number
      ring.levelDbfs[i] = old.levelDbfs[from] as number
      ring.tags[i] = old.tags[from] as number
      ring.quiet[i] = old.quiet[from] as number
    }
    // One slot is always free after a resize: the frame that a concealment may need goes there.
    const last = this.#lastSlot
    this.#lastSlot = capacity - 1
    ring.frames.set(old.frames.subarray(last * this.#samples, (last + 1) * this.#samples), this.#lastSlot * this.#samples)
    this.#ring = ring
    this.#head = 0
    this.#calmFrames = 0
  }
}

interface Ring {
  readonly capacity: number
  readonly frames: Int16Array
  /** Views of each frame, made once: a copy by `set` takes a seventh of the time of a loop. */
  readonly slots: readonly Int16Array[]
  readonly arrivalMs: Float64Array
  readonly levelDbfs: Float32Array
  readonly tags: Uint8Array
  readonly quiet: Uint8Array
}

function makeRing(capacity: number, samples: number): Ring {
  const frames = new Int16Array(capacity * samples)
  return {
    capacity,
    frames,
    slots: Array.from({ length: capacity }, (_, slot) => frames.subarray(slot * samples, (slot + 1) * samples)),
    arrivalMs: new Float64Array(capacity),
    levelDbfs: new Float32Array(capacity),
    tags: new Uint8Array(capacity),
    quiet: new Uint8Array(capacity),
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
