import { JITTER_SLOTS } from '../../core/limits.js'
import { smallArray } from '../../core/small-arrays.js'
import { FRAME_MS, frameSamples, type LegRateHz } from '../../core/units.js'

/**
 * Maximum number of caller frames in the jitter buffer. The carrier itself buffers 2 s; this limit is one second more.
 */
export const JITTER_FRAMES_MAX = 150
/** Maximum lateness in ms that the jitter buffer learns. A later frame counts as a stall. */
const JITTER_DEPTH_MS_MAX = 160

type JitterState = 'empty' | 'steady' | 'catching-up' | 'stalled'

/**
 * Turns the carrier's bursts and stalls back into a steady clock of 20 ms frames.
 *
 * The transport is TCP, so frames are never lost or reordered, only late. A frame's due time is its earliest possible
 * arrival plus a learnt depth. The fastest frames of the last four seconds give the earliest arrival (`baseline`). The
 * depth is the lateness of 95 % of the frames. On a clean line the depth is 0 and a frame leaves on arrival. The
 * baseline follows the arrivals, so a fast or slow carrier clock neither fills nor starves the buffer.
 *
 * | state       | meaning                                                | leaves by                                     |
 * |-------------|--------------------------------------------------------|-----------------------------------------------|
 * | empty       | no frame has come yet                                  | first frame -> steady                         |
 * | steady      | frames leave when they are due                         | a frame is 20 ms overdue -> stalled;          |
 * |             |                                                        | more waits than the depth -> catching-up      |
 * | stalled     | one faded frame was made up if the caller was talking,  | a frame comes -> steady or catching-up        |
 * |             | then none                                              |                                               |
 * | catching-up | frames leave at twice real time, silence is skipped    | no more waits than the depth -> steady        |
 *
 * Speech is dropped only if more than `JITTER_FRAMES_MAX` frames wait. The buffer does not allocate, except for a ring
 * that grows in a burst and shrinks afterwards.
 */
export class JitterBuffer {
  framesIn = 0
  framesOut = 0
  /** Number of silent frames skipped to reduce the delay. */
  framesSkipped = 0
  /** Number of frames that were lost because more than `JITTER_FRAMES_MAX` waited. */
  framesDropped = 0
  framesConcealed = 0
  /** Number of times that a frame was overdue by more than one frame. */
  stalls = 0
  /** Learnt depth in milliseconds. */
  depthMs = 0
  /** The last pulled frame, 20 ms, as a view of the ring; valid until the next `place` or `pull`. */
  frame: Int16Array
  /** Tags that `push` got with the last pulled frame. */
  tags = 0
  #state: JitterState = 'empty'
  readonly #samples: number
  /** Ring for a line without bursts. */
  readonly #steadyRing: JitterRing
  #ring: JitterRing
  #head = 0
  #waiting = 0
  /** Number of consecutive quiet frames before and at the head. They may be delivered or skipped. */
  #quietRun = 0
  #calmFrames = 0
  /**
   * All times of the clock. They are in one array, because V8 allocates a heap object for each field with a fraction.
   */
  readonly #clock = smallArray(Float64Array, CLOCK_VALUES)
  #bucket = 0
  #lateRun = 0
  /** Slot of the last pulled frame. */
  #lastSlot = 0
  #lastWasQuiet = true
  /** Memory for a concealed frame; null until one is needed. */
  #madeUp: Int16Array | null = null

  /** @param slots  memory of `JITTER_SLOTS` frames; by default the buffer allocates its own */
  constructor({
    sampleRateHz,
    slots,
  }: {
    readonly sampleRateHz: LegRateHz
    readonly slots?: readonly Int16Array[] | undefined
  }) {
    this.#samples = frameSamples(sampleRateHz)
    this.#steadyRing = ringOf(slots ?? slotsOf(JITTER_SLOTS, this.#samples))
    this.#ring = this.#steadyRing
    this.frame = this.#ring.slots[0] as Int16Array
    const clock = this.#clock
    clock[NEXT_RELEASE_MS] = -Infinity
    clock[BASELINE_MS] = Infinity
    clock[LAST_ARRIVAL_MS] = -Infinity
    clock.fill(Infinity, BUCKET_MIN_MS, BUCKET_MIN_MS + BASELINE_BUCKETS)
    clock[LATENESS] = PRIOR_FRAMES
    clock[LATENESS_TOTAL] = PRIOR_FRAMES
  }

  /** Media time at the end of the last pulled frame. */
  get mediaMs(): number {
    return this.#clock[MEDIA_MS] as number
  }

  /** Arrival time that `push` got with the last pulled frame. */
  get arrivalMs(): number {
    return this.#clock[ARRIVAL_MS] as number
  }

  /** Estimated arrival time without jitter. It is the time at which the carrier captured the frame, plus a constant. */
  get capturedAtMs(): number {
    return this.mediaMs - FRAME_MS + (this.#clock[BASELINE_MS] as number)
  }

  get levelDbfs(): number {
    return this.#clock[LEVEL_DBFS] as number
  }

  get state(): JitterState {
    return this.#state
  }

  /** Number of waiting frames. */
  get waiting(): number {
    return this.#waiting
  }

  /** True if a waiting frame is louder than this level. */
  waitsAbove(levelDbfs: number): boolean {
    const { facts } = this.#ring
    for (let i = 0; i < this.#waiting; i++)
      if ((facts[((this.#head + i) % this.capacity) * FACTS + FACT_LEVEL_DBFS] as number) > levelDbfs) return true
    return false
  }

  /** Lateness in ms of the last pushed frame, relative to the earliest frame of the last four seconds. */
  get latenessMs(): number {
    return this.#clock[LATENESS_MS] as number
  }

  /** Arrival time of the next frame without jitter; Infinity before the first frame. */
  get expectedArrivalMs(): number {
    return this.framesIn * FRAME_MS + (this.#clock[BASELINE_MS] as number)
  }

  /** Number of frames that the memory can hold now. */
  get capacity(): number {
    return this.#ring.slots.length
  }

  /**
   * @returns the memory for the next frame, 20 ms. Write the frame there, then call `push`. The buffer changes only
   * with `push`
   */
  place(): Int16Array {
    // The ring can have one frame more than the limit, because `push` drops the oldest frame, not this method.
    if (this.#waiting === this.capacity) this.#resize(Math.min(JITTER_FRAMES_MAX + 1, 2 * this.capacity))
    return this.#ring.slots[this.#nextSlot] as Int16Array
  }

  /**
   * Adds the frame written to `place()`.
   * @param quiet  true if the frame contains no speech and may be skipped
   * @param levelDbfs  level of the frame, which is stored with it. `tags` are stored too (0 to 255)
   */
  push(arrivalMs: number, quiet: boolean, levelDbfs = 0, tags = 0): void {
    this.#learn(this.framesIn, arrivalMs)
    const at = this.#nextSlot * FACTS
    if (this.#waiting === JITTER_FRAMES_MAX) {
      this.#dropHead()
      this.framesDropped++
    }
    const { facts } = this.#ring
    facts[at + FACT_ARRIVAL_MS] = arrivalMs
    facts[at + FACT_LEVEL_DBFS] = levelDbfs
    facts[at + FACT_TAGS] = tags
    facts[at + FACT_QUIET] = quiet ? 1 : 0
    this.#waiting++
    this.framesIn++
  }

  /**
   * Time of the next due frame, unless a frame is pushed earlier; Infinity if only `push` can make a frame due. Before
   * this time `pull` returns 'none' and changes nothing.
   */
  get dueMs(): number {
    if (this.#waiting === 0) {
      return this.#state === 'empty' || this.#state === 'stalled' ? Infinity : this.#dueMs() + OVERDUE_MS
    }
    const behind = this.#waiting * FRAME_MS > this.depthMs + FRAME_MS
    const releaseMs = this.#clock[NEXT_RELEASE_MS] as number
    return behind ? releaseMs : Math.max(releaseMs, this.#dueMs())
  }

  /**
   * Copies the next due frame to `frame`. Call it until it returns 'none': after a late tick, several frames are due.
   * @param readMs  time up to which the socket was read
   */
  pull(nowMs: number, readMs = nowMs): 'frame' | 'concealed' | 'none' {
    if (this.#waiting === 0) return this.#pullFromEmpty(readMs)
    const releaseMs = this.#clock[NEXT_RELEASE_MS] as number
    if (nowMs < releaseMs) return 'none'
    const enoughMs = this.depthMs + FRAME_MS
    this.#skipSilence(enoughMs)
    const behind = this.#waiting * FRAME_MS > enoughMs
    if (!behind && nowMs < this.#dueMs()) return 'none'
    this.#state = behind ? 'catching-up' : 'steady'
    // Frames leave at most at twice real time. One missed tick may be made up for.
    this.#clock[NEXT_RELEASE_MS] = Math.max(releaseMs + RELEASE_MS, nowMs - RELEASE_MS)
    this.#take()
    return 'frame'
  }

  get #nextSlot(): number {
    return (this.#head + this.#waiting) % this.capacity
  }

  #pullFromEmpty(readMs: number): 'concealed' | 'none' {
    if (this.#state === 'empty' || this.#state === 'stalled') return 'none'
    if (readMs < this.#dueMs() + OVERDUE_MS) return 'none'
    this.#state = 'stalled'
    this.stalls++
    if (this.#lastWasQuiet) return 'none'
    this.#madeUp ??= new Int16Array(this.#samples)
    concealFrame(this.#ring.slots[this.#lastSlot] as Int16Array, this.#madeUp)
    this.frame = this.#madeUp
    this.framesConcealed++
    this.#lastWasQuiet = true
    this.tags = 0
    return 'concealed'
  }

  /** Due time of the frame at the head. Without a waiting frame, due time of the next frame to arrive. */
  #dueMs(): number {
    return (this.framesIn - this.#waiting) * FRAME_MS + (this.#clock[BASELINE_MS] as number) + this.depthMs
  }

  #take(): void {
    const ring = this.#ring
    // The frame is not copied, because only a later `push` overwrites its slot.
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
    if (this.#calmFrames >= RING_SHRINK_AFTER && ring !== this.#steadyRing) this.#resize(JITTER_SLOTS)
  }

  /**
   * Skips silence while more than `enoughMs` of audio waits. The first 60 ms of a pause are kept, because they belong
   * to speech.
   */
  #skipSilence(enoughMs: number): void {
    while (
      this.#waiting * FRAME_MS > enoughMs &&
      this.#waiting > 1 &&
      this.#headIsQuiet &&
      this.#quietRun >= QUIET_KEPT_FRAMES
    ) {
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
    // On a clean line only one slot is used, which stays in the CPU cache.
    this.#head = this.#waiting === 0 ? 0 : (this.#head + 1) % this.capacity
  }

  #learn(index: number, arrivalMs: number): void {
    const clock = this.#clock
    const offsetMs = arrivalMs - index * FRAME_MS
    if (index % BASELINE_BUCKET_FRAMES === 0) this.#rollBucket()
    const bucket = BUCKET_MIN_MS + this.#bucket
    if (offsetMs < (clock[bucket] as number)) clock[bucket] = offsetMs
    if (offsetMs < (clock[BASELINE_MS] as number)) clock[BASELINE_MS] = offsetMs
    const latenessMs = offsetMs - (clock[BASELINE_MS] as number)
    clock[LATENESS_MS] = latenessMs

    if (latenessMs > JITTER_DEPTH_MS_MAX) {
      // A stall does not increase the depth. If frames stay late, the carrier has lost audio, and the old baseline will
      // not return.
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

  /**
   * Learns the depth. It grows at once but shrinks rarely, because each change moves the time at which frames leave.
   */
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

  /** Moves all frames to a larger or smaller ring. */
  #resize(capacity: number): void {
    const old = this.#ring
    const ring = capacity === JITTER_SLOTS ? this.#steadyRing : ringOf(slotsOf(capacity, this.#samples))
    for (let i = 0; i < this.#waiting; i++) copyFrame(old, (this.#head + i) % this.capacity, ring, i)
    // The last delivered frame may be needed to conceal a gap. It goes to the last slot, which is unused because fewer
    // than `capacity` frames wait.
    copyFrame(old, this.#lastSlot, ring, capacity - 1)
    this.#ring = ring
    this.#lastSlot = capacity - 1
    this.#head = 0
    this.#calmFrames = 0
  }
}

// Maximum number of waiting frames at which a line counts as calm. After `RING_SHRINK_AFTER` calm frames (one second),
// the memory of a burst, up to 115 KB, is released.
const RING_CALM_FRAMES = 4
const RING_SHRINK_AFTER = 50
// Number of half seconds that the baseline covers: four seconds. This is longer than bursts and their pauses. In this
// time, a drift of 200 ppm moves the baseline by less than 1 ms.
const BASELINE_BUCKETS = 8
const BASELINE_BUCKET_FRAMES = 25
// Number of consecutive late frames after which audio counts as lost: half a second.
const LOST_AUDIO_FRAMES = 25
const DEPTH_BIN_MS = 10
const DEPTH_BINS = JITTER_DEPTH_MS_MAX / DEPTH_BIN_MS + 1
// Factor by which older frames count less, for each frame: about 4 s of memory. `LATE_SHARE`: share of frames that may
// be later than the depth, as in NetEq.
const FORGET = 0.995
const LATE_SHARE = 0.05
// Number of imaginary punctual frames at the start, because a new line counts as clean. Without them, the fifth frame
// alone could set the depth.
const PRIOR_FRAMES = 20
const OVERDUE_MS = FRAME_MS
const RELEASE_MS = FRAME_MS / 2
const QUIET_KEPT_FRAMES = 3

// Indexes in #clock. `BASELINE_MS`: offset of the fastest path, on which frame n would arrive at n x 20 ms + this
// offset.
const BASELINE_MS = 0
const NEXT_RELEASE_MS = 1
const LAST_ARRIVAL_MS = 2
const MEDIA_MS = 3
const ARRIVAL_MS = 4
const LEVEL_DBFS = 5
/** Number of frames that `LATENESS` counts, after decay. */
const LATENESS_TOTAL = 6
const LATENESS_MS = 7
/** Minimum offset in each of the last `BASELINE_BUCKETS` half seconds. */
const BUCKET_MIN_MS = 8
/** Number of frames for each lateness, in `DEPTH_BINS` bins. */
const LATENESS = BUCKET_MIN_MS + BASELINE_BUCKETS
const CLOCK_VALUES = LATENESS + DEPTH_BINS

/** Memory of a jitter buffer: frames of s16 mono, and facts about each frame. */
interface JitterRing {
  readonly slots: readonly Int16Array[]
  /**
   * Numbers of all frames, `FACTS` for each frame, in one array. Four arrays would cost eight more cache misses per
   * frame.
   */
  readonly facts: Float64Array
}

/**
 * Indexes of a frame's numbers: arrival of its last byte, level, the caller's tags, and 1 if the frame contains no
 * speech.
 */
const FACT_ARRIVAL_MS = 0
const FACT_LEVEL_DBFS = 1
const FACT_TAGS = 2
const FACT_QUIET = 3
const FACTS = 4

function ringOf(slots: readonly Int16Array[]): JitterRing {
  return { slots, facts: smallArray(Float64Array, slots.length * FACTS) }
}

/** @returns frames that share one piece of memory */
function slotsOf(count: number, samples: number): readonly Int16Array[] {
  const frames = new Int16Array(count * samples)
  return Array.from({ length: count }, (_, slot) => frames.subarray(slot * samples, (slot + 1) * samples))
}

function copyFrame(from: JitterRing, slot: number, to: JitterRing, toSlot: number): void {
  ;(to.slots[toSlot] as Int16Array).set(from.slots[slot] as Int16Array)
  to.facts.set(from.facts.subarray(slot * FACTS, (slot + 1) * FACTS), toSlot * FACTS)
}

/**
 * Bridges 20 ms of missing audio: repeats the last pitch period and fades to silence.
 * @see ITU-T G.711 appendix I; only the first and simplest step of the appendix is used here
 * @param samples  the previous frame; read only
 * @param out  20 ms, overwritten
 */
function concealFrame(samples: Int16Array, out: Int16Array): void {
  const end = samples.length
  const period = pitchPeriod(samples, end, out.length)
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.round((samples[end - period + (i % period)] as number) * (1 - i / out.length))
  }
}

/** @returns the lag, 2.5 to 12.5 ms, at which the 20 ms before `end` are most similar to the samples before them */
function pitchPeriod(samples: Int16Array, end: number, length: number): number {
  const window = Math.floor(length * 0.375)
  let best = Math.floor(length / 8)
  let bestLikeness = 0
  for (let lag = Math.floor(length / 8); lag <= Math.floor(length * 0.625); lag++) {
    let product = 0
    let energy = 1
    for (let i = end - window; i < end; i++) {
      const then = samples[i - lag] as number
      product += (samples[i] as number) * then
      energy += then * then
    }
    const likeness = product > 0 ? (product * product) / energy : 0
    // At a multiple of the period the samples are as similar as at the period itself. So the shortest lag is chosen,
    // unless a longer lag is clearly better.
    if (likeness > bestLikeness * 1.05) {
      best = lag
      bestLikeness = likeness
    }
  }
  return best
}
