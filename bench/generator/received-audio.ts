import { PLAYOUT_LEAD_MS_16K } from '../../src/core/limits.js'
import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import type { LegRateHz } from '../../src/core/units.js'
import { newHistogram, recordMs } from '../kit/histogram.js'
import { FOLLOWING_MESSAGE_MS_MAX } from '../protocol.js'
import type { Histogram } from '../kit/histogram.js'
import { MARKER_EVERY_FRAMES, TONE_PEAK, hear, sineTable, talkFrame, toneSnrDb } from './signal.js'
import type { Heard, SineTable } from './signal.js'

/** Counts and latencies of all calls of a generator. */
export interface AudioCounts {
  /** Times of the machine clock between which frames count; Infinity while there is no window. */
  windowStartMs: number
  windowEndMs: number
  framesReceived: number
  /** Sent and never heard, and heard and never sent, in the window. */
  framesLost: number
  framesAdded: number
  markersSeen: number
  gapsUnasked: number
  blocksPoor: number
  readonly snrsDb: number[]
  readonly added: Histogram
  readonly whole: Histogram
  readonly gaps: Histogram
  readonly stops: Histogram
  readonly held: Histogram
  readonly bargeIns: { tried: number; stopped: number; cleared: number; resumed: number }
}

export function newAudioCounts(): AudioCounts {
  return {
    windowStartMs: Infinity,
    windowEndMs: Infinity,
    framesReceived: 0,
    framesLost: 0,
    framesAdded: 0,
    markersSeen: 0,
    gapsUnasked: 0,
    blocksPoor: 0,
    snrsDb: [],
    added: newHistogram(),
    whole: newHistogram(),
    gaps: newHistogram(),
    stops: newHistogram(),
    held: newHistogram(),
    bargeIns: { tried: 0, stopped: 0, cleared: 0, resumed: 0 },
  }
}

export interface ReceivedAudioOptions {
  readonly rateHz: LegRateHz
  /** Sent frames carry their number (`SEQUENCE_AT`), and come back bit by bit. */
  readonly sequence: boolean
  /** Interruptions and late frames are part of the schedule: frames do not come back one for one. */
  readonly interrupted: boolean
  /** Null where the number of frames in a message follows the call. */
  readonly messageFrames: number | null
}

/** A stop in the agent's speech longer than this is heard as a gap. */
export const GAP_MS = 40
/** Share of a frame at which its number lies, and at which it is listened to; see `block`. */
const SEQUENCE_AT = 0.5
const LISTEN_AT = 0.75
/** Frames that come within this time of each other were sent together. */
const TOGETHER_MS = 2
/** A gateway that sends ahead of time, at each tick of 5 ms, holds a frame back while the caller has this much to play. */
const PACED_FROM_MS = PLAYOUT_LEAD_MS_16K - FRAME_MS - 5 - TOGETHER_MS
const FOLLOWING_FRAMES_MAX = FOLLOWING_MESSAGE_MS_MAX / FRAME_MS
/** A second of memory, and the fewest frames that tell which of them was the last of a message. */
const PHASE_MEMORY = 0.94
const PHASE_FRAMES_MIN = 12
const SNR_EVERY_FRAMES = 5
export const SNRS_KEPT = 20_000
/** Poor: worse than any telephone codec. */
export const POOR_SNR_DB = 30
/** The agent was silent and speaks again: shorter than the stand-in backend thinks. */
const TURN_SILENCE_MS = 300
/** An interruption that has not stopped the agent after this has failed. */
const STOP_WITHIN_MS = 1500

/**
 * Listens to what comes back on one call. Samples are cut into frames as they were sent: the first that is not
 * silent answers the first that was sent, and from there on count, numbers and markers must agree.
 *
 * A frame has arrived when its middle sample has: filters that hold a few samples back do not count as a frame late.
 */
export class ReceivedAudio {
  framesHeard = 0
  /** Due time of the first frame that was sent, and when it would be answered if the way took no time. */
  startMs = NaN
  readonly #counts: AudioCounts
  readonly #options: ReceivedAudioOptions
  readonly #frame: number
  readonly #block: Int16Array
  readonly #tone: Int16Array
  readonly #sines: SineTable
  readonly #talker: number | null
  readonly #echoes: boolean
  readonly #twoCosines: number
  /** Where the line has an echo: the best block since the last marker. */
  #bestSnrDb = -Infinity
  #filled = 0
  #blockArrivalMs = 0
  /** How far numbers of sent frames have run ahead of the count of heard ones. */
  #slip = 0
  /** Frames of the message that comes in, when the last of them came, and how long its last one took. */
  #together = 0
  #togetherMs = -Infinity
  #togetherWholeMs = 0
  /** More frames of that message, which come later because the carrier had no room. */
  #heldBack = 0
  /** Audio that the caller had to play when the last frame came. */
  #leftMs = 0
  /** End of the audio that the caller has to play. */
  #playEndMs = NaN
  /** The schedule explains that nothing comes: an interruption, or the end. */
  #excused = false
  #excusedUntilMs = -Infinity
  #lastContentMs = -Infinity
  #inMarker = false
  #interruptedAtMs = NaN
  /** Waiting by place in a message, to learn which frame is its last. */
  readonly #phaseSumMs: Float64Array
  readonly #phaseCount: Float64Array
  #lastPhase = -1

  /**
   * @param talker  the caller's number where it talks by schedule (`talkFrame`); null where it does not
   * @param echoes  the line has an echo: it puts the marker before last, 20 dB softer, into some frames of the tone
   */
  constructor(
    options: ReceivedAudioOptions,
    counts: AudioCounts,
    tone: Int16Array,
    talker: number | null = null,
    echoes = false,
  ) {
    this.#talker = talker
    this.#echoes = echoes
    this.#options = options
    this.#counts = counts
    this.#frame = frameSamples(options.rateHz)
    this.#block = new Int16Array(this.#frame)
    this.#tone = tone
    this.#sines = sineTable(options.rateHz)
    this.#twoCosines = 2 * (this.#sines.cos[1] as number)
    this.#phaseSumMs = new Float64Array(options.messageFrames ?? 0)
    this.#phaseCount = new Float64Array(options.messageFrames ?? 0)
  }

  /** Samples of one message; only read during the call. */
  audio(samples: Int16Array, count: number, arrivalMs: number): void {
    if (this.#options.interrupted) this.#watchSpeech(samples, count, arrivalMs)
    const middle = this.#frame / 2
    let at = 0
    while (at < count) {
      const take = Math.min(this.#frame - this.#filled, count - at)
      for (let i = 0; i < take; i++) this.#block[this.#filled + i] = samples[at + i] as number
      if (this.#filled < middle && this.#filled + take >= middle) this.#blockArrivalMs = arrivalMs
      this.#filled += take
      at += take
      if (this.#filled < this.#frame) return
      this.#filled = 0
      this.#heard(this.#blockArrivalMs)
    }
  }

  /** The carrier got the command to throw away its buffer. */
  cleared(nowMs: number): void {
    if (Number.isNaN(this.#interruptedAtMs)) return
    this.#counts.bargeIns.cleared++
    recordMs(this.#counts.held, Math.max(0, this.#playEndMs - nowMs))
    this.#playEndMs = nowMs
  }

  /** The caller begins to speak over the agent; `spokenMs` is the time of the first voiced sample. */
  interrupts(spokenMs: number): void {
    this.#settleInterruption(spokenMs)
    this.#excused = true
    // Nothing to stop when the agent has not been heard just now.
    if (spokenMs - this.#lastContentMs > 100 || spokenMs < this.#counts.windowStartMs) return
    this.#counts.bargeIns.tried++
    this.#interruptedAtMs = spokenMs
  }

  /** Until then gaps are the line's own: it held frames back, or what comes back is the caller's own speech. */
  excuse(untilMs: number): void {
    this.#excusedUntilMs = Math.max(this.#excusedUntilMs, untilMs)
  }

  /** Nothing more is sent: what stops now stops by schedule. */
  finish(nowMs: number): void {
    // An interruption that had no time to work is neither a success nor a failure.
    if (nowMs - this.#interruptedAtMs < STOP_WITHIN_MS && nowMs - this.#lastContentMs <= GAP_MS) {
      this.#counts.bargeIns.tried--
      this.#interruptedAtMs = NaN
    }
    this.#settleInterruption(nowMs)
    this.#excused = true
  }

  /** Frames up to the last that came, lost ones included, and the one that is more than half here. */
  get framesReached(): number {
    return this.framesHeard + this.#slip + (this.#filled >= this.#frame / 2 && this.framesHeard > 0 ? 1 : 0)
  }

  #heard(arrivalMs: number): void {
    const { rateHz, interrupted } = this.#options
    const heard = this.#mayTalk(arrivalMs) ? 'other' : hear(this.#block, this.#frame * LISTEN_AT, rateHz)
    if (heard === 'silence') return
    this.#playing(arrivalMs)
    if (interrupted) this.#freely(heard === 'marker', arrivalMs)
    else this.#inOrder(heard, arrivalMs)
    this.framesHeard++
    if (this.#inWindow(arrivalMs)) this.#counts.framesReceived++
  }

  /**
   * The audio that comes back now may be the caller's own speech. It holds no markers, and its quality cannot be measured; frames
   * lost in it are found at the next marker.
   */
  #mayTalk(arrivalMs: number): boolean {
    if (this.#talker === null) return false
    const sent = Math.floor((arrivalMs - this.startMs) / FRAME_MS)
    for (let back = -1; back <= MARKER_EVERY_FRAMES; back++) {
      if (talkFrame(sent - back, this.#talker) >= 0) return true
    }
    return false
  }

  /** How much audio the caller has left to play, and whether it ran out. */
  #playing(arrivalMs: number): void {
    const gapMs = arrivalMs - this.#playEndMs
    this.#leftMs = -gapMs
    if (gapMs >= 1 && !this.#excused && arrivalMs > this.#excusedUntilMs && this.#inWindow(arrivalMs)) {
      recordMs(this.#counts.gaps, gapMs)
      if (gapMs > GAP_MS) this.#counts.gapsUnasked++
    }
    if (Number.isNaN(this.#interruptedAtMs)) this.#excused = false
    this.#playEndMs = (gapMs > 0 || Number.isNaN(gapMs) ? arrivalMs : this.#playEndMs) + FRAME_MS
  }

  #inOrder(heard: Heard, arrivalMs: number): void {
    if (heard === 'marker') {
      this.#counts.markersSeen++
      this.#settleQuality()
    }
    if (this.#options.sequence) this.#slipTo(this.#takeSequence(), arrivalMs)
    else if (heard === 'marker') this.#slipToMarker(arrivalMs)
    const index = this.framesHeard + this.#slip
    this.#latency(index, arrivalMs)
    const sinceMarker = index % MARKER_EVERY_FRAMES
    const measurable = sinceMarker > 2 && sinceMarker < MARKER_EVERY_FRAMES - 2 && sinceMarker % SNR_EVERY_FRAMES === 0
    if (measurable && !this.#mayTalk(arrivalMs)) this.#quality(arrivalMs)
  }

  /** A marker that is not where the count of frames wants it: frames were lost, or something was put in. */
  #slipToMarker(arrivalMs: number): void {
    // The last marker that was due: nothing comes back half a second late and is still a call.
    const dueFrames = Math.floor((arrivalMs - this.startMs) / FRAME_MS)
    const index = dueFrames - ((dueFrames + 1) % MARKER_EVERY_FRAMES)
    // A marker that was made up twice is heard twice.
    if (index >= 0) this.#slipTo(index, arrivalMs)
  }

  /** The frame that was heard is number `index` of those that were sent. */
  #slipTo(index: number, arrivalMs: number): void {
    const frames = index - this.framesHeard - this.#slip
    if (frames === 0) return
    this.#slip += frames
    if (!this.#inWindow(arrivalMs)) return
    if (frames > 0) this.#counts.framesLost += frames
    else this.#counts.framesAdded -= frames
  }

  #latency(index: number, arrivalMs: number): void {
    const dueMs = this.startMs + index * FRAME_MS
    const wholeMs = arrivalMs - dueMs
    const { messageFrames } = this.#options
    if (messageFrames === null) return this.#followingLatency(dueMs, wholeMs, arrivalMs)
    // Messages are filled with the frames that were not given up on the way.
    const phase = this.framesHeard % messageFrames
    if (dueMs < this.#counts.windowStartMs) {
      // Forgets slowly: what came before a stall says nothing of now.
      this.#phaseSumMs[phase] = (this.#phaseSumMs[phase] as number) * PHASE_MEMORY + wholeMs
      this.#phaseCount[phase] = (this.#phaseCount[phase] as number) * PHASE_MEMORY + 1
      return
    }
    if (dueMs >= this.#counts.windowEndMs) return
    if (this.#lastPhase < 0) this.#lastPhase = this.#learnLastPhase()
    const waitedMs = FRAME_MS * ((this.#lastPhase - phase + messageFrames) % messageFrames)
    recordMs(this.#counts.whole, wholeMs)
    recordMs(this.#counts.added, Math.max(0, wholeMs - waitedMs))
  }

  /**
   * Where messages follow the call, frames that come together, as many as the longest message has, count as one message:
   * those before the last waited for it. What comes when the carrier has no room for more waited for that; if it had been
   * said when the frames before it came, it was in their message, and they waited for it.
   */
  #followingLatency(dueMs: number, wholeMs: number, arrivalMs: number): void {
    const isHeldBack = this.#leftMs >= PACED_FROM_MS
    const frames = this.#together + this.#heldBack
    const isOfMessage = isHeldBack && this.#together > 0 && dueMs < this.#togetherMs
    if (frames === FOLLOWING_FRAMES_MAX || (arrivalMs - this.#togetherMs >= TOGETHER_MS && !isOfMessage))
      this.#settleMessage()
    if (dueMs < this.#counts.windowStartMs || dueMs >= this.#counts.windowEndMs) return
    recordMs(this.#counts.whole, wholeMs)
    if (isHeldBack) {
      if (this.#together === 0) return
      this.#heldBack++
      this.#togetherWholeMs -= FRAME_MS
      return
    }
    this.#together++
    this.#togetherMs = arrivalMs
    this.#togetherWholeMs = wholeMs
  }

  #settleMessage(): void {
    for (; this.#together > 0; this.#together--) recordMs(this.#counts.added, Math.max(0, this.#togetherWholeMs))
    this.#heldBack = 0
  }

  /** The place in a message whose frames come back soonest is its last: the others waited for it. */
  #learnLastPhase(): number {
    let best = 0
    let bestMs = Infinity
    const messageFrames = this.#phaseCount.length
    for (let phase = 0; phase < messageFrames; phase++) {
      const count = this.#phaseCount[phase] as number
      if (count * messageFrames < PHASE_FRAMES_MIN) continue
      const meanMs = (this.#phaseSumMs[phase] as number) / count
      if (meanMs < bestMs) {
        bestMs = meanMs
        best = phase
      }
    }
    return best
  }

  #takeSequence(): number {
    const at = this.#frame * SEQUENCE_AT
    const low = (this.#block[at] as number) & 0xffff
    const high = (this.#block[at + 1] as number) & 0xffff
    // Restores the samples that the number has overwritten, so that quality is measured by the others: a tone, also one
    // with its own echo, goes on as its last two samples say.
    for (let i = at; i < at + 2; i++) {
      this.#block[i] = this.#echoes
        ? Math.round(this.#twoCosines * (this.#block[i - 1] as number) - (this.#block[i - 2] as number))
        : (this.#tone[i] as number)
    }
    return low + high * 65536
  }

  #quality(arrivalMs: number): void {
    const counts = this.#counts
    if (!this.#inWindow(arrivalMs) || arrivalMs < this.#excusedUntilMs || counts.snrsDb.length >= SNRS_KEPT) return
    const snrDb = toneSnrDb(this.#block, this.#sines)
    if (this.#echoes) {
      this.#bestSnrDb = Math.max(this.#bestSnrDb, snrDb)
      return
    }
    counts.snrsDb.push(snrDb)
    if (snrDb < POOR_SNR_DB) counts.blocksPoor++
  }

  /** An echo of a marker falls into two of the four blocks between two markers at most, so the best tells the way. */
  #settleQuality(): void {
    if (this.#bestSnrDb > -Infinity) this.#counts.snrsDb.push(this.#bestSnrDb)
    this.#bestSnrDb = -Infinity
  }

  /** With interruptions a frame's place is known from the markers alone: the last one sent before it came. */
  #freely(marker: boolean, arrivalMs: number): void {
    // Some sounds of the caller's own speech pass for a marker when they come back.
    if (marker && !this.#inMarker && arrivalMs > this.#excusedUntilMs) {
      this.#counts.markersSeen++
      this.#settleQuality()
      const everyMs = MARKER_EVERY_FRAMES * FRAME_MS
      const sinceFirstMs = arrivalMs - this.startMs - (MARKER_EVERY_FRAMES - 1) * FRAME_MS
      if (sinceFirstMs >= 0 && this.#inWindow(arrivalMs)) recordMs(this.#counts.whole, sinceFirstMs % everyMs)
    } else if (!marker && !this.#inMarker && this.framesHeard % SNR_EVERY_FRAMES === 0) {
      // A block across the end of silence or of a marker is poor by nature; two in a row of pure tone are not.
      if (hear(this.#block, 0, this.#options.rateHz) === 'tone') this.#quality(arrivalMs)
    }
    this.#inMarker = marker
  }

  /** The last sample that is no silence, message by message: a fade of 5 ms is no whole frame. */
  #watchSpeech(samples: Int16Array, count: number, arrivalMs: number): void {
    for (let at = 0; at < count; at += 7) {
      if (Math.abs(samples[at] as number) > TONE_PEAK / 20) {
        if (!Number.isNaN(this.#interruptedAtMs) && arrivalMs - this.#lastContentMs > TURN_SILENCE_MS) {
          // Speech after a silence: the agent has the turn again.
          this.#settleInterruption(arrivalMs)
          this.#counts.bargeIns.resumed++
        }
        this.#lastContentMs = arrivalMs
        return
      }
    }
  }

  #settleInterruption(nowMs: number): void {
    if (Number.isNaN(this.#interruptedAtMs)) return
    const stopMs = this.#lastContentMs - this.#interruptedAtMs
    if (nowMs - this.#lastContentMs > GAP_MS && stopMs < STOP_WITHIN_MS) {
      this.#counts.bargeIns.stopped++
      recordMs(this.#counts.stops, Math.max(0, stopMs))
    }
    this.#interruptedAtMs = NaN
  }

  #inWindow(ms: number): boolean {
    return ms >= this.#counts.windowStartMs && ms < this.#counts.windowEndMs
  }
}

/** Byte of the payload at which a frame's number lies. */
export function sequenceByte(rateHz: LegRateHz): number {
  return frameSamples(rateHz) * SEQUENCE_AT * 2
}
