import { assert } from '../../core/assert.js'
import { AFTER_KILL_SILENCE_MS, FADE_MS, PLAYOUT_LEAD_MS_16K, PLAYOUT_TAIL_MS, TICK_MS } from '../../core/limits.js'
import { FRAME_MS, frameSamples, msToSamples, samplesToMs, type LegRateHz } from '../../core/units.js'
import { fadeIn, fadeOut } from '../pcm.js'

/**
 * Default lead in ms at 8 kHz. The carrier holds back an equal number of samples at both rates, and these last longer
 * at 8 kHz than at 16 kHz.
 */
const PLAYOUT_LEAD_MS_8K = 140
/** Maximum lead in ms that can be set. `PLAYOUT_LEAD_MS_MAX`: maximum lead in ms on a line with bursts. */
const PLAYOUT_LEAD_SET_MS_MAX = 200
const PLAYOUT_LEAD_MS_MAX = 300
/**
 * Duration in ms of a burst that the usual lead bridges. It is the lead less the carrier's hold-back, less one frame.
 */
const BRIDGED_BURST_MS = 40
/**
 * Number of samples that the carrier holds back before it begins to play. `CARRIER_HOLDS_SAMPLES`: number of samples
 * that it holds back later (docs/PROTOCOL.md). So the carrier runs dry before it has played all sent audio.
 */
const CARRIER_HOLDS_FIRST_SAMPLES = 1280
const CARRIER_HOLDS_SAMPLES = 640
/**
 * Time in ms before the carrier runs dry, up to which speech must arrive. A margin is needed, because the next tick may
 * be late.
 */
const DRY_AHEAD_MS = 2 * TICK_MS
/** Time in ms from an underrun until zeros are sent. The zeros make the carrier play the audio that it holds back. */
const PLAYOUT_DRY_TAIL_MS = 200

const ROUNDING_MS = 0.01

/**
 * Number of frames per message when the carrier plays. It halves the number of messages. At 16 kHz such a message has
 * the size of the carrier's hold-back, so its audio is not played later than in single frames.
 */
const MESSAGE_FRAMES = 2
/** Minimum lead in ms for messages of `MESSAGE_FRAMES`. */
const MESSAGES_LEAD_MS_MIN = 2 * MESSAGE_FRAMES * FRAME_MS

/**
 * Gain of the background during speech: -15 dB, so that words are clear (Torcoli et al., J. Audio Eng. Soc. 67(12),
 * 2019: 10 LU for music, 15 LU for other sounds).
 */
const DUCKED_GAIN = 10 ** (-15 / 20)
const DUCKED_BY = 1 - DUCKED_GAIN
/**
 * Time in ms in which the background falls to its level during speech. `UNDUCK_MS`: time in ms in which it rises again,
 * as in Audacity's Auto Duck. The fall is faster, because speech begins at once.
 */
const DUCK_MS = 100
const UNDUCK_MS = 500
/**
 * Gain of speech while a caller's sound may be a backchannel: -12 dB. `UNDER_CALLER_MS`: time in ms in which the gain
 * changes.
 */
const UNDER_CALLER_GAIN = 10 ** (-12 / 20)
const UNDER_CALLER_MS = 10
const SAMPLE_MAX = 32_767

/** Source of playout's speech. In the gateway it is a ring in shared memory. Counts are numbers of samples. */
export interface SampleSource {
  available(): number
  /**
   * Copies up to `samples` samples to the start of `out` without removing them from the source.
   * @returns the number of copied samples
   */
  peek(out: Int16Array, samples: number): number
  /** Replaces peeked samples by `samples`, so that later readers find the samples that were sent. */
  replace(samples: Int16Array, count: number): void
  /** Removes samples that were peeked. */
  consume(samples: number): void
}

type PlayoutState = 'idle' | 'playing' | 'dry' | 'tail' | 'pausing' | 'paused' | 'flushed'

/**
 * The playout clock of one call. At each tick it decides the number of samples for the carrier. So the carrier never
 * holds more than the lead, and the played duration is always known.
 *
 * | state   | samples that `pump` sends                         | next state                                       |
 * |---------|---------------------------------------------------|--------------------------------------------------|
 * | idle    | none, or the background                           | speech in the source -> playing                  |
 * | playing | whole frames up to the lead, two or more at once, | speech ended -> tail, or idle with a background; |
 * |         | with the background under the speech              | speech late -> a fade of 5 ms, then dry,         |
 * |         |                                                   | or idle with a background                        |
 * | dry     | none, because the backend is late                 | speech -> playing; 200 ms later -> tail          |
 * | tail    | zeros, so that the carrier plays the end it holds | speech -> playing; tail sent -> idle             |
 * | pausing | 5 ms of fade at once, then zeros as in tail       | zeros sent -> paused                             |
 * | paused  | none                                              | `resume` -> dry after speech, otherwise idle     |
 * | flushed | none, because the carrier would discard them      | 60 ms later -> idle                              |
 *
 * `clear` leads from any state to flushed. Pure: the current time is an argument, and samples are written to the
 * caller's buffer.
 */
export class Playout {
  readonly sampleRateHz: LegRateHz
  /** Maximum delay in ms by which the line's audio was repeatedly late; 0 without bursts. Set before each `pump`. */
  lineBurstMs = 0
  /** Maximum number of samples that `pump` writes: the required size of `out`. */
  readonly outSamplesMax: number
  /**
   * True if the present speech is complete. An empty source then means the end of the speech, not a late backend. Set
   * before each `pump`.
   */
  speechEnded = true
  /**
   * Looped sound that is sent between speech, and softly during speech; null if there is none. Set before each `pump`.
   * The sound fades in and out, and never counts as speech.
   */
  background: Int16Array | null = null
  /** True to send speech 12 dB softer. Set before each `pump`. Audio that the carrier already has does not change. */
  ducked = false
  /** Gain of the speech that was sent last. */
  #voiceGain = 1
  /** Total number of sent samples that contain only the background. */
  backgroundSamples = 0
  /**
   * Present or last background; null before the first. `#loopAt`: position in the background. `#gain`: its gain, 0 to
   * 1.
   */
  #loop: Int16Array | null = null
  #loopAt = 0
  #gain = 0
  /** Total number of speech samples taken from the source, without zeros and fade-outs. */
  sentSamples = 0
  /** Time at which the carrier will have played all sent audio; in the past if no audio is playing. */
  playoutEndMs = -Infinity
  /**
   * Time at which the carrier will have played the last sent speech sample: `playoutEndMs` without the zeros after the
   * speech.
   */
  speechEndMs = -Infinity
  /** Time at which the last speech sample was sent; 0 before the first. */
  lastSentAtMs = 0
  /** Start of the current or last run of speech; null before the first. */
  startedAtMs: number | null = null
  /** Number of times that the carrier ran dry because the speech was late. */
  underruns = 0
  /** Number of pumps that came more than a frame late while there was audio to send. */
  lateTicks = 0
  #state: PlayoutState = 'idle'
  readonly #frame: number
  readonly #fade: number
  readonly #tail: number
  /**
   * Time in ms from which the clock counts samples. `#clockSamples`: number of samples sent since this time. Counting
   * samples avoids the drift that adding times would cause.
   */
  #clockMs = 0
  #clockSamples = 0
  #tailLeft = 0
  #fadeInDue = false
  #fadeOutDue = false
  readonly #usualLeadMs: number
  /**
   * Time at which the carrier will have played all audio that it does not hold back. `#held`: number of samples that
   * the carrier holds back. `#holds`: maximum of this number.
   */
  #carrierEndMs = -Infinity
  #held = 0
  #holds = CARRIER_HOLDS_FIRST_SAMPLES
  /** Last sent speech, before changes of the gain. If no more speech has arrived, a fade-out is made from it. */
  readonly #last: Int16Array
  /** True if `pause` interrupted speech. */
  #brokenOff = false
  /** Time in ms at which the wait in the state `dry` or `flushed` ends. */
  #waitUntilMs = 0
  #lastPumpMs = Infinity

  /** @throws Error if the lead is not within 20 to 200 ms */
  constructor(options: PlayoutOptions) {
    this.sampleRateHz = options.sampleRateHz
    const leadMs = options.leadMs ?? (options.sampleRateHz === 8000 ? PLAYOUT_LEAD_MS_8K : PLAYOUT_LEAD_MS_16K)
    assert(leadMs >= FRAME_MS && leadMs <= PLAYOUT_LEAD_SET_MS_MAX, `lead of ${leadMs} ms is not 20 to 200`)
    this.#usualLeadMs = leadMs
    this.#frame = frameSamples(options.sampleRateHz)
    this.#fade = msToSamples(FADE_MS, options.sampleRateHz)
    this.#tail = msToSamples(PLAYOUT_TAIL_MS, options.sampleRateHz)
    this.#last = new Int16Array(this.#fade)
    this.outSamplesMax = msToSamples(PLAYOUT_LEAD_MS_MAX + FRAME_MS, options.sampleRateHz)
  }

  /**
   * Maximum lead now, in ms: the set lead, or up to 300 on a line with bursts. A longer lead does not delay the stop of
   * a barge-in, because the carrier then discards its audio. But softer speech and a pause are heard later. A message
   * of at least `MESSAGE_FRAMES` fills the lead.
   */
  get leadMs(): number {
    return Math.min(PLAYOUT_LEAD_MS_MAX, this.#usualLeadMs + Math.max(0, this.lineBurstMs - BRIDGED_BURST_MS))
  }

  get state(): PlayoutState {
    return this.#state
  }

  /** True from `pause` until `resume` or `clear`. */
  get paused(): boolean {
    return this.#state === 'pausing' || this.#state === 'paused'
  }

  /** Duration of audio in ms that the carrier has not played yet. */
  aheadMs(nowMs: number): number {
    return Math.max(0, this.playoutEndMs - nowMs)
  }

  /**
   * Time before which `pump` sends no audio, unless the state changes. Infinity if only new speech, the end of speech,
   * `pause`, `resume` or `clear` can change the state.
   */
  get dueMs(): number {
    switch (this.#state) {
      case 'idle':
        return this.background !== null || this.#gain > 0 ? this.#messageFitsAtMs : Infinity
      case 'paused':
        return Infinity
      case 'flushed':
        return this.#waitUntilMs
      case 'dry':
        return -Infinity
      default:
        return this.#fadeOutDue ? -Infinity : this.#messageFitsAtMs
    }
  }

  /**
   * Minimum number of frames in a message. Before the carrier plays, a message may be a single frame, because the
   * carrier waits for frames.
   */
  get #messageFrames(): number {
    const isFirst = this.#holds === CARRIER_HOLDS_FIRST_SAMPLES
    return isFirst || this.leadMs < MESSAGES_LEAD_MS_MIN ? 1 : MESSAGE_FRAMES
  }

  /**
   * Time at which another message fits into the lead. It is slightly early, so that rounding does not delay the message
   * by a tick.
   */
  get #messageFitsAtMs(): number {
    return this.playoutEndMs - this.leadMs + this.#messageFrames * FRAME_MS - ROUNDING_MS
  }

  /** Number of samples that fit into the lead, in whole frames; 0 if no message fits. */
  #freeSamples(nowMs: number): number {
    const frames = Math.floor((nowMs + this.leadMs - this.playoutEndMs) / FRAME_MS)
    return frames < this.#messageFrames ? 0 : frames * this.#frame
  }

  /**
   * Writes the samples that are due. Call this method at every tick from `dueMs`, and send the result at once, as one
   * message.
   * @param out at least `outSamplesMax` samples long
   * @returns the number of samples; 0 if no samples are due
   */
  pump(nowMs: number, source: SampleSource, out: Int16Array): number {
    if (this.#state === 'playing' && nowMs - Math.max(this.#lastPumpMs, this.#messageFitsAtMs) > FRAME_MS)
      this.lateTicks++
    this.#lastPumpMs = nowMs
    if (this.#state === 'flushed' && nowMs >= this.#waitUntilMs) this.#state = 'idle'
    if (this.#state === 'flushed' || this.#state === 'paused') return 0
    const written = this.#write(nowMs, source, out)
    if (written > 0) this.#handOver(nowMs, written)
    return written
  }

  /** Follows the carrier's hold-back for a sent message of `samples`. */
  #handOver(nowMs: number, samples: number): void {
    this.#held += samples
    if (this.#held < this.#holds) return
    this.#carrierEndMs = Math.max(this.#carrierEndMs, nowMs) + samplesToMs(this.#held, this.sampleRateHz)
    this.#held = 0
    this.#holds = CARRIER_HOLDS_SAMPLES
  }

  /**
   * True if the carrier has begun to play the present run of speech. False while the carrier still holds back the
   * beginning of the run.
   */
  get #isHeard(): boolean {
    return this.startedAtMs !== null && this.#carrierEndMs > this.startedAtMs
  }

  #write(nowMs: number, source: SampleSource, out: Int16Array): number {
    // If there is less than a frame of speech, it waits for more, unless the speech has ended.
    const available = source.available()
    const ready = available >= this.#frame || (available > 0 && this.speechEnded)
    if (this.background !== null) this.#loop = this.background
    if (ready && this.#state !== 'playing' && this.#state !== 'pausing') this.#startPlaying()
    if (this.#state === 'idle')
      return this.background === null && this.#gain === 0 ? 0 : this.#sendBackground(nowMs, out)
    // A tick was late. While this clock stopped, the carrier played silence, even in the middle of speech.
    if (this.playoutEndMs < nowMs) {
      this.#fadeInDue ||= this.#state === 'playing' && this.#isHeard && this.#carrierEndMs < nowMs
      this.#restartClock(nowMs)
    }

    let written = this.#fadeOutDue ? this.#sendFadeOut(nowMs, source, out) : 0
    const free = this.#freeSamples(nowMs)
    if (this.#state === 'playing') {
      if (ready) written = this.#sendSpeech(nowMs, source, out, available, free)
      if (this.speechEnded) {
        if (source.available() === 0) this.#startTail()
      } else if (!ready && nowMs >= (this.#isHeard ? this.#carrierEndMs - DRY_AHEAD_MS : this.playoutEndMs))
        written = this.#runDry(nowMs, out)
    } else if (this.#state === 'dry' && (this.speechEnded ? available === 0 : nowMs >= this.#waitUntilMs)) {
      // The carrier still holds back speech that it has not begun to play. It is played now, and fades out at its end.
      if (!this.speechEnded && !this.#isHeard && this.#held > 0) written = this.#fadeLast(out, this.#fade)
      this.#startTail()
    }
    if (this.#state === 'tail' || this.#state === 'pausing') written += this.#sendZeros(out, written, nowMs)
    return written
  }

  /** Stops the speech with a fade-out at the next pump. The source is not read until `resume`. */
  pause(_nowMs: number): void {
    if (this.paused) return
    const isDry = this.#state === 'dry'
    this.#brokenOff = isDry || this.#state === 'playing'
    // If the source ran dry, the speech has been faded out. But the carrier may still hold back its beginning.
    this.#fadeOutDue = this.#state === 'playing' || this.#gain > 0 || (isDry && this.#held > 0)
    if (this.#fadeOutDue) this.#tailLeft = this.#tail
    this.#state = this.#fadeOutDue || this.#state === 'tail' ? 'pausing' : 'paused'
  }

  /** Continues with a fade-in, at the sample at which `pause` stopped the speech. */
  resume(nowMs: number): void {
    if (!this.paused) return
    // If the fade-out was not sent yet, the speech continues without any fade.
    this.#fadeInDue ||= this.#brokenOff && !this.#fadeOutDue
    this.#fadeOutDue = false
    this.#state = this.#brokenOff ? 'dry' : 'idle'
    this.#waitUntilMs = nowMs + PLAYOUT_DRY_TAIL_MS
  }

  /**
   * Records that the carrier was asked to discard its buffer. The code that calls this method empties the source. New
   * audio waits 60 ms, because the carrier would discard it too.
   */
  clear(nowMs: number): void {
    this.#gain = 0
    this.#voiceGain = 1
    this.ducked = false
    this.#fadeOutDue = false
    this.#fadeInDue = false
    this.#restartClock(nowMs)
    // The samples that the carrier holds back stay there.
    this.#carrierEndMs = nowMs
    this.#waitUntilMs = nowMs + AFTER_KILL_SILENCE_MS
    this.#state = 'flushed'
  }

  #startPlaying(): void {
    // A run of speech continues after a late backend or a pause.
    if (this.#state !== 'dry') this.startedAtMs = null
    this.#state = 'playing'
  }

  #sendSpeech(nowMs: number, source: SampleSource, out: Int16Array, available: number, free: number): number {
    let samples = Math.min(free, Math.floor(available / this.#frame) * this.#frame)
    // The last piece of speech is sent even if it is shorter than a frame. The first zeros of the tail fill its frame.
    const last = this.speechEnded && available <= free
    if (last) samples = available
    if (samples === 0) return 0
    source.peek(out, samples)
    if (this.#fadeInDue) fadeIn(out, 0, Math.min(this.#fade, samples))
    this.#fadeInDue = false
    this.sentSamples += samples
    this.lastSentAtMs = nowMs
    this.startedAtMs ??= nowMs
    const whole = last ? Math.ceil(samples / this.#frame) * this.#frame : samples
    out.fill(0, samples, whole)
    const softened = this.#soften(out, samples)
    const mixed = this.background !== null || this.#gain > 0
    if (mixed) this.#mix(out, whole, this.background === null ? 0 : DUCKED_GAIN)
    if (softened || mixed) source.replace(out, samples)
    source.consume(samples)
    // A fade can be needed only at the end of the sent audio.
    if (available - samples < this.#frame) this.#keepLast(out, samples)
    this.#advance(whole)
    this.speechEndMs = this.playoutEndMs - samplesToMs(whole - samples, this.sampleRateHz)
    return whole
  }

  #keepLast(out: Int16Array, samples: number): void {
    const last = this.#last
    if (samples < last.length) last.copyWithin(0, samples)
    const kept = Math.max(0, last.length - samples)
    for (let i = kept; i < last.length; i++) last[i] = out[samples - last.length + i] as number
  }

  /**
   * Sends a fade-out of 5 ms at once, even beyond the lead. It is made from the next speech in the source, or from the
   * last sent speech in reverse. The background fades too.
   */
  #sendFadeOut(nowMs: number, source: SampleSource, out: Int16Array): number {
    this.#fadeOutDue = false
    const breaksOff = this.#brokenOff && this.startedAtMs !== null
    const speech = breaksOff ? source.peek(out, this.#fade) : 0
    if (speech > 0) this.lastSentAtMs = nowMs
    const samples = this.#gain > 0 || breaksOff ? this.#fade : 0
    this.#soften(out, speech)
    if (breaksOff) this.#extend(out, speech)
    else out.fill(0, 0, samples)
    if (this.#gain > 0) this.#mix(out, samples, DUCKED_GAIN)
    fadeOut(out, 0, samples)
    this.#gain = 0
    this.#advance(samples)
    return samples
  }

  #sendZeros(out: Int16Array, at: number, nowMs: number): number {
    const samples = Math.min(
      this.#freeSamples(nowMs),
      Math.max(0, Math.ceil(this.#tailLeft / this.#frame) * this.#frame),
    )
    out.fill(0, at, at + samples)
    this.#tailLeft -= samples
    this.#advance(samples)
    if (this.#tailLeft <= 0) this.#state = this.#state === 'tail' ? 'idle' : 'paused'
    return samples
  }

  /**
   * Sends only the background. If the background has ended, one more frame fades it out, even beyond the lead. Then
   * zeros are sent.
   */
  #sendBackground(nowMs: number, out: Int16Array): number {
    if (this.playoutEndMs < nowMs) this.#restartClock(nowMs)
    const over = this.background === null
    const free = this.#freeSamples(nowMs)
    const samples = over ? this.#frame : free
    out.fill(0, 0, samples)
    this.#mix(out, samples, over ? 0 : 1)
    this.backgroundSamples += samples
    this.#advance(samples)
    if (over) {
      this.#gain = 0
      this.#startTail()
    }
    return samples
  }

  /** Adds the background to the next samples, while its gain moves to `target`. */
  #mix(out: Int16Array, samples: number, target: number): void {
    const loop = this.#loop
    if (loop === null) return
    const up = this.#gain < DUCKED_GAIN ? 1 / this.#fade : DUCKED_BY / msToSamples(UNDUCK_MS, this.sampleRateHz)
    const down = target === 0 ? 1 / (this.#frame - 1) : DUCKED_BY / msToSamples(DUCK_MS, this.sampleRateHz)
    let [at, gain] = [this.#loopAt, this.#gain]
    for (let i = 0; i < samples; i++) {
      gain = gain < target ? Math.min(target, gain + up) : Math.max(target, gain - down)
      const sample = (out[i] as number) + Math.round((loop[at % loop.length] as number) * gain)
      out[i] = sample > SAMPLE_MAX ? SAMPLE_MAX : sample < -SAMPLE_MAX ? -SAMPLE_MAX : sample
      at++
    }
    this.#loopAt = at % loop.length
    this.#gain = gain
  }

  /**
   * Applies the gain that `ducked` requires to the next speech; the gain changes gradually.
   * @returns false if the gain is full and stays full
   */
  #soften(out: Int16Array, samples: number): boolean {
    if (!this.ducked && this.#voiceGain === 1) return false
    const target = this.ducked ? UNDER_CALLER_GAIN : 1
    const step = (1 - UNDER_CALLER_GAIN) / msToSamples(UNDER_CALLER_MS, this.sampleRateHz)
    let gain = this.#voiceGain
    for (let i = 0; i < samples; i++) {
      gain = gain < target ? Math.min(target, gain + step) : Math.max(target, gain - step)
      out[i] = Math.round((out[i] as number) * gain)
    }
    this.#voiceGain = gain
    return true
  }

  /**
   * Handles late speech, at which the carrier runs dry. The last 5 ms are sent again, in reverse and faded out, so the
   * fade joins the end without a click. Zeros after the fade make the carrier play the samples that it holds back.
   */
  #runDry(nowMs: number, out: Int16Array): number {
    this.underruns++
    this.#waitUntilMs = nowMs + PLAYOUT_DRY_TAIL_MS
    this.#gain = 0
    const waits = this.background !== null
    this.#state = waits ? 'idle' : 'dry'
    // The carrier holds back speech that was not heard yet. It needs no fade, because the carrier plays it together
    // with the next speech.
    if (!this.#isHeard) return 0
    const zeros = waits ? 0 : this.#holds - this.#held
    return this.#fadeLast(out, zeros)
  }

  /**
   * Writes the last sent 5 ms, in reverse and faded out. Then writes zeros, up to whole frames of at least `atLeast`
   * samples.
   */
  #fadeLast(out: Int16Array, atLeast: number): number {
    this.#fadeInDue = true
    const samples = Math.ceil(Math.max(this.#fade, atLeast) / this.#frame) * this.#frame
    this.#extend(out, 0)
    fadeOut(out, 0, this.#fade)
    out.fill(0, this.#fade, samples)
    this.#advance(samples)
    return samples
  }

  /** Extends `samples` of speech to 5 ms: the last speech is appended in reverse order. */
  #extend(out: Int16Array, samples: number): void {
    for (let i = samples; i < this.#fade; i++) {
      const at = 2 * samples - 1 - i
      out[i] = (at < 0 ? this.#last[this.#fade + at] : out[at]) as number
    }
  }

  #startTail(): void {
    this.#tailLeft = this.#tail
    // If a background continues or fades, it also makes the carrier play the end of the speech that it holds back.
    this.#state = this.background === null && this.#gain === 0 ? 'tail' : 'idle'
  }

  #restartClock(nowMs: number): void {
    this.#clockMs = nowMs
    this.#clockSamples = 0
    this.playoutEndMs = nowMs
  }

  #advance(samples: number): void {
    this.#clockSamples += samples
    this.playoutEndMs = this.#clockMs + samplesToMs(this.#clockSamples, this.sampleRateHz)
  }
}

interface PlayoutOptions {
  readonly sampleRateHz: LegRateHz
  /** Playout lead on a line without bursts, in ms, 20 to 200. Default: 100 at 16 kHz, 140 at 8 kHz. */
  readonly leadMs?: number
}
