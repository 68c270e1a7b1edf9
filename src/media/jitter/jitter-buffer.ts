import { JITTER_SLOTS } from '../../core/limits.js'
import { smallArray } from '../../core/small-arrays.js'
import { FRAME_MS, frameSamples, type LegRateHz } from '../../core/units.js'

/** Caller frames that the jitter buffer holds: the carrier's own 2 s and one more. */
export const JITTER_FRAMES_MAX = 150
/** Deepest delay that the jitter buffer learns; what comes later is a stall. */
const JITTER_DEPTH_MS_MAX = 160

type JitterState = 'empty' | 'steady' | 'catching-up' | 'stalled'

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
  /** The frame that was pulled last, 20 ms: where it lies, until the next `place` or `pull`. */
  frame: Int16Array
  /** Tags that came with that frame at its `push`. */
  tags = 0
  #state: JitterState = 'empty'
  readonly #samples: number
  /** The ring of a line without bursts. */
  readonly #steadyRing: JitterRing
  #ring: JitterRing
  #head = 0
  #waiting = 0
  /** Quiet frames in a row at the head, given out or given up. */
  #quietRun = 0
  #calmFrames = 0
  /** All times, in one array: V8 allocates a heap object for each field that holds a fraction. */
  readonly #clock = smallArray(Float64Array, CLOCK_VALUES)
  #bucket = 0
  #lateRun = 0
  /** Where the frame that was pulled last still lies. */
  #lastSlot = 0
  #lastWasQuiet = true
  /** Memory for a concealed frame; most calls never need one. */
  #madeUp: Int16Array | null = null

  /** @param slots  `JITTER_SLOTS` frames of memory for the frames that wait; its own when left out */
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

  /** Media time of the end of the frame that was pulled last. */
  get mediaMs(): number {
    return this.#clock[MEDIA_MS] as number
  }

  /** Arrival time that came with that frame at its `push`. */
  get arrivalMs(): number {
    return this.#clock[ARRIVAL_MS] as number
  }

  /** When it would have arrived without jitter, as far as is known now: when the carrier took it, plus a constant. */
  get capturedAtMs(): number {
    return this.mediaMs - FRAME_MS + (this.#clock[BASELINE_MS] as number)
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

  /** Frames that fit into the memory now. */
  get capacity(): number {
    return this.#ring.slots.length
  }

  /** Where the next frame is to be written, 20 ms: write it there, then `push`. Until then nothing has changed. */
  place(): Int16Array {
    // One more than may wait: the oldest is given up by `push`, not here.
    if (this.#waiting === this.capacity) this.#resize(Math.min(JITTER_FRAMES_MAX + 1, 2 * this.capacity))
    return this.#ring.slots[this.#nextSlot] as Int16Array
  }

  /**
   * Takes the frame that was written to `place()`.
   * @param quiet nobody speaks in it: it may be skipped to catch up
   * @param levelDbfs kept beside the frame, as `tags` (0 to 255) is
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
   * Before this time `pull` gives nothing and changes nothing, unless a frame is pushed; Infinity when only `push`
   * can.
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
   * The next frame that is due, in `frame`. Call until it gives 'none': after a late tick more than one may be due.
   * @param readMs  up to when what had come was read; a frame can only be overdue by then
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
    // Twice real time at most, with as much credit as one late tick may need.
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

  /** When the frame at the head (or the next to come) is due. */
  #dueMs(): number {
    return (this.framesIn - this.#waiting) * FRAME_MS + (this.#clock[BASELINE_MS] as number) + this.depthMs
  }

  #take(): void {
    const ring = this.#ring
    // No copy: a later frame overwrites this place only when it is pushed.
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

  /** Skips silence while more than `enoughMs` waits; a pause of up to 60 ms is part of speech and stays. */
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
    // On a clean line all frames go through one place, which stays in the cache.
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

  /** The depth grows at once and shrinks only now and then, because each change moves the clock. */
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

  /** Moves all frames to the beginning of a larger or smaller ring. */
  #resize(capacity: number): void {
    const old = this.#ring
    const ring = capacity === JITTER_SLOTS ? this.#steadyRing : ringOf(slotsOf(capacity, this.#samples))
    for (let i = 0; i < this.#waiting; i++) copyFrame(old, (this.#head + i) % this.capacity, ring, i)
    // A concealment may need the frame that was given out last. The last slot is free: fewer than `capacity` frames
    // wait.
    copyFrame(old, this.#lastSlot, ring, capacity - 1)
    this.#ring = ring
    this.#lastSlot = capacity - 1
    this.#head = 0
    this.#calmFrames = 0
  }
}

// After a second with almost nothing waiting, the memory of a burst is released: up to 115 KB.
const RING_CALM_FRAMES = 4
const RING_SHRINK_AFTER = 50
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
// A new line counts as clean. Without this prior, the fifth frame alone could set the depth.
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

/** The memory of a jitter buffer: frames of s16 mono, and what came with each. */
interface JitterRing {
  readonly slots: readonly Int16Array[]
  /** `FACTS` numbers for each frame, in one array: four arrays cost a frame eight more cache misses. */
  readonly facts: Float64Array
}

/**
 * Places of a frame's numbers: the arrival of its last byte, its level, the caller's tags, and 1 where nobody speaks in
 * it.
 */
const FACT_ARRIVAL_MS = 0
const FACT_LEVEL_DBFS = 1
const FACT_TAGS = 2
const FACT_QUIET = 3
const FACTS = 4

function ringOf(slots: readonly Int16Array[]): JitterRing {
  return { slots, facts: smallArray(Float64Array, slots.length * FACTS) }
}

/** Frames in one piece of memory. */
function slotsOf(count: number, samples: number): readonly Int16Array[] {
  const frames = new Int16Array(count * samples)
  return Array.from({ length: count }, (_, slot) => frames.subarray(slot * samples, (slot + 1) * samples))
}

function copyFrame(from: JitterRing, slot: number, to: JitterRing, toSlot: number): void {
  ;(to.slots[toSlot] as Int16Array).set(from.slots[slot] as Int16Array)
  to.facts.set(from.facts.subarray(slot * FACTS, (slot + 1) * FACTS), toSlot * FACTS)
}

/**
 * Bridges 20 ms that have not come: the last pitch period of the frame before again and again, fading to silence.
 * @see ITU-T G.711 appendix I, of which this is the first and simplest step
 * @param samples the frame before; read only
 * @param out  20 ms, overwritten
 */
function concealFrame(samples: Int16Array, out: Int16Array): void {
  const end = samples.length
  const period = pitchPeriod(samples, end, out.length)
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.round((samples[end - period + (i % period)] as number) * (1 - i / out.length))
  }
}

/** The lag, 2.5 to 12.5 ms, at which the end of the 20 ms before `end` resembles itself most. */
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
    // A multiple of the period is as alike as the period; the shortest wins unless a longer one is clearly better.
    if (likeness > bestLikeness * 1.05) {
      best = lag
      bestLikeness = likeness
    }
  }
  return best
}
