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
  /** Times on the machine clock between which frames are counted; Infinity while there is no window. */
  windowStartMs: number
  windowEndMs: number
  framesReceived: number
  /**
   * `framesLost`: number of frames in the window that were sent but never received. `framesAdded`: number that were
   * received but never sent.
   */
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
  /** True if each frame contains its number (`SEQUENCE_AT`) and comes back unchanged. */
  readonly sequence: boolean
  /**
   * True if interruptions and late frames are part of the schedule. Then a received frame cannot be assigned to each
   * sent frame.
   */
  readonly interrupted: boolean
  /** Number of frames in a message; null if this number changes during the call. */
  readonly messageFrames: number | null
}

/** Pause in ms of the agent's speech above which a caller hears a gap. */
export const GAP_MS = 40
/**
 * Position of a frame's number in the frame, as a share of its length. The second constant is the position at which the
 * frame's kind is recognised; see `block`.
 */
const SEQUENCE_AT = 0.5
const LISTEN_AT = 0.75
/** Maximum difference in ms between the arrival times of frames that count as sent together. */
const TOGETHER_MS = 2
/**
 * Minimum duration in ms of audio that the caller still has to play for a frame to count as delayed by the gateway's
 * pacing. The gateway sends ahead of time, at each tick of 5 ms.
 */
const PACED_FROM_MS = PLAYOUT_LEAD_MS_16K - FRAME_MS - 5 - TOGETHER_MS
const FOLLOWING_FRAMES_MAX = FOLLOWING_MESSAGE_MS_MAX / FRAME_MS
/**
 * Share of the averages that remains after each second. The second constant is the minimum number of frames from which
 * the last position in a message is found.
 */
const PHASE_MEMORY = 0.94
const PHASE_FRAMES_MIN = 12
const SNR_EVERY_FRAMES = 5
export const SNRS_KEPT = 20_000
/** Signal-to-noise ratio in dB below which audio is poor. Every telephone codec is better. */
export const POOR_SNR_DB = 30
/**
 * Silence in ms after which the agent's speech counts as new speech. It is shorter than the thinking time of the
 * stand-in backend.
 */
const TURN_SILENCE_MS = 300
/** Time in ms in which an interruption must stop the agent. Otherwise the interruption has failed. */
const STOP_WITHIN_MS = 1500

/**
 * Judges the audio that comes back on one call. Samples are cut into frames in the same way as they were sent: the
 * first frame that is not silent is the answer to the first sent frame. From then on, count, numbers and markers must
 * match.
 *
 * A frame has arrived when its middle sample has arrived. So a filter that delays a few samples does not make a frame
 * late.
 */
export class ReceivedAudio {
  framesHeard = 0
  /**
   * Due time of the first frame that was sent, and time at which the answer to this frame would come without
   * transmission delay.
   */
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
  /** Highest signal-to-noise ratio of a frame since the last marker, used if the line has an echo. */
  #bestSnrDb = -Infinity
  #filled = 0
  #blockArrivalMs = 0
  /** Difference between the numbers of the sent frames and the count of the received frames. */
  #slip = 0
  /**
   * `#together`: number of frames of the current message. `#togetherMs`: arrival time of the last of these frames.
   * `#togetherWholeMs`: delay of the last frame of the message.
   */
  #together = 0
  #togetherMs = -Infinity
  #togetherWholeMs = 0
  /** Number of further frames of this message. They come later because the carrier's buffer was full. */
  #heldBack = 0
  /** Duration in ms of audio that the caller still had to play when the last frame came. */
  #leftMs = 0
  /** Time in ms at which the caller's audio ends. */
  #playEndMs = NaN
  /** True if the schedule explains missing audio: by an interruption, or by the end of the call. */
  #excused = false
  #excusedUntilMs = -Infinity
  #lastContentMs = -Infinity
  #inMarker = false
  #interruptedAtMs = NaN
  /** Waits of frames, by position in a message. They are used to find which position is the last in a message. */
  readonly #phaseSumMs: Float64Array
  readonly #phaseCount: Float64Array
  #lastPhase = -1

  /**
   * @param talker  the caller's number if the caller talks by the schedule (`talkFrame`); null otherwise
   * @param echoes  true: the line has an echo, which adds the last marker but one, 20 dB softer, to some frames of the
   * tone
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

  /** Judges the samples of one message. They are only read during this call. */
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

  /** Called when the carrier is ordered to discard its buffer. */
  cleared(nowMs: number): void {
    if (Number.isNaN(this.#interruptedAtMs)) return
    this.#counts.bargeIns.cleared++
    recordMs(this.#counts.held, Math.max(0, this.#playEndMs - nowMs))
    this.#playEndMs = nowMs
  }

  /** Called when the caller starts to speak over the agent. `spokenMs` is the time of the first voiced sample. */
  interrupts(spokenMs: number): void {
    this.#settleInterruption(spokenMs)
    this.#excused = true
    // If the agent was not audible just before, there is nothing to stop.
    if (spokenMs - this.#lastContentMs > 100 || spokenMs < this.#counts.windowStartMs) return
    this.#counts.bargeIns.tried++
    this.#interruptedAtMs = spokenMs
  }

  /**
   * Excuses gaps until this time: either the line delayed frames, or the audio that comes back is the caller's own
   * speech.
   */
  excuse(untilMs: number): void {
    this.#excusedUntilMs = Math.max(this.#excusedUntilMs, untilMs)
  }

  /** Called when sending has ended. Audio that stops afterwards stops by schedule. */
  finish(nowMs: number): void {
    // If an interruption did not have enough time to work, it counts neither as a success nor as a failure.
    if (nowMs - this.#interruptedAtMs < STOP_WITHIN_MS && nowMs - this.#lastContentMs <= GAP_MS) {
      this.#counts.bargeIns.tried--
      this.#interruptedAtMs = NaN
    }
    this.#settleInterruption(nowMs)
    this.#excused = true
  }

  /**
   * Number of frames up to the last received frame, including lost frames. A frame counts if more than half of it has
   * arrived.
   */
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
   * True if the audio that comes back now may be the caller's own speech. Speech contains no markers, and its quality
   * cannot be measured. Frames that are lost in it are found at the next marker.
   */
  #mayTalk(arrivalMs: number): boolean {
    if (this.#talker === null) return false
    const sent = Math.floor((arrivalMs - this.startMs) / FRAME_MS)
    for (let back = -1; back <= MARKER_EVERY_FRAMES; back++) {
      if (talkFrame(sent - back, this.#talker) >= 0) return true
    }
    return false
  }

  /** Calculates how much audio the caller still has to play, and records a gap if there was none left. */
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

  /** Compares a marker's position with the count of frames. If they differ, frames were lost or added. */
  #slipToMarker(arrivalMs: number): void {
    // The newest marker that was due. No audio comes back half a second late in a working call.
    const dueFrames = Math.floor((arrivalMs - this.startMs) / FRAME_MS)
    const index = dueFrames - ((dueFrames + 1) % MARKER_EVERY_FRAMES)
    // If a marker was sent twice, it is heard twice.
    if (index >= 0) this.#slipTo(index, arrivalMs)
  }

  /** Sets the number of the frame that was heard to `index`, its number among the sent frames. */
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
    // Messages contain only the frames that were not dropped on the way.
    const phase = this.framesHeard % messageFrames
    if (dueMs < this.#counts.windowStartMs) {
      // Old values are weighted less and less, because values from before a stall say nothing about now.
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
   * Latency if the length of messages changes during the call. Frames that come together count as one message, up to
   * the length of the longest message; the earlier frames of a message waited for its last frame. A frame may come
   * later because the carrier's buffer was full. If this frame was due when the frames before it came, it was in the
   * same message, and these frames waited for it.
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

  /**
   * Finds the last position in a message. Its frames come back with the shortest delay, because all other frames wait
   * for it.
   */
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
    // Restores the samples that the number has overwritten, so that they do not change the measured quality. Each
    // sample of a tone follows from the two samples before it, even if the tone has an echo.
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

  /**
   * Between two markers, four frames are measured. The echo of a marker falls into at most two of them, so the best of
   * the four shows the quality of the path.
   */
  #settleQuality(): void {
    if (this.#bestSnrDb > -Infinity) this.#counts.snrsDb.push(this.#bestSnrDb)
    this.#bestSnrDb = -Infinity
  }

  /**
   * With interruptions, the position of a frame is known only from markers: a received marker is the last marker that
   * was sent before.
   */
  #freely(marker: boolean, arrivalMs: number): void {
    // When the caller's own speech comes back, some of its sounds look like a marker.
    if (marker && !this.#inMarker && arrivalMs > this.#excusedUntilMs) {
      this.#counts.markersSeen++
      this.#settleQuality()
      const everyMs = MARKER_EVERY_FRAMES * FRAME_MS
      const sinceFirstMs = arrivalMs - this.startMs - (MARKER_EVERY_FRAMES - 1) * FRAME_MS
      if (sinceFirstMs >= 0 && this.#inWindow(arrivalMs)) recordMs(this.#counts.whole, sinceFirstMs % everyMs)
    } else if (!marker && !this.#inMarker && this.framesHeard % SNR_EVERY_FRAMES === 0) {
      // A frame at the end of silence or of a marker always looks poor. Two successive frames of pure tone do not.
      if (hear(this.#block, 0, this.#options.rateHz) === 'tone') this.#quality(arrivalMs)
    }
    this.#inMarker = marker
  }

  /**
   * Notes the last sample that is not silent, message by message. Whole frames would be too coarse, because a fade
   * takes 5 ms.
   */
  #watchSpeech(samples: Int16Array, count: number, arrivalMs: number): void {
    for (let at = 0; at < count; at += 7) {
      if (Math.abs(samples[at] as number) > TONE_PEAK / 20) {
        if (!Number.isNaN(this.#interruptedAtMs) && arrivalMs - this.#lastContentMs > TURN_SILENCE_MS) {
          // The agent speaks again after a silence.
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

/** Byte of the payload at which the number of a frame begins. */
export function sequenceByte(rateHz: LegRateHz): number {
  return frameSamples(rateHz) * SEQUENCE_AT * 2
}
