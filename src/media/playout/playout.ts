import { assert } from '../../core/assert.js'
import { AFTER_KILL_SILENCE_MS, FADE_MS, PLAYOUT_LEAD_MS_16K, PLAYOUT_TAIL_MS } from '../../core/limits.js'
import { FRAME_MS, frameSamples, msToSamples, samplesToMs, type LegRateHz } from '../../core/units.js'
import { fadeIn, fadeOut } from '../pcm.js'

/** The same at 8 kHz, and the most that may be set: the carrier holds back more samples of a slow stream. */
const PLAYOUT_LEAD_MS_8K = 140
const PLAYOUT_LEAD_MS_MAX = 200
/** A source that stays dry this long after an underrun lets the carrier's hold-back out with zeros. */
const PLAYOUT_DRY_TAIL_MS = 200

const ROUNDING_MS = 0.01

/**
 * Gain of the background under speech, -15 dB: by how much softer it should be than the voice at least, so that the words stay clear
 * (Torcoli et al., J. Audio Eng. Soc. 67(12), 2019: 10 LU for music, 15 LU for other sounds).
 */
const DUCKED_GAIN = 10 ** (-15 / 20)
const DUCKED_BY = 1 - DUCKED_GAIN
/**
 * How long the background takes from full level to that of speech, and back. Up as the Auto Duck of Audacity does by default; down
 * sooner, because it cannot begin before the words, which wait for nothing.
 */
const DUCK_MS = 100
const UNDUCK_MS = 500
const SAMPLE_MAX = 32_767

/** Where playout takes its speech from: in the gateway, a ring in shared memory. Counts are samples. */
export interface SampleSource {
  available(): number
  /** Copies up to `samples` samples to the start of `out` without taking them; returns how many. */
  peek(out: Int16Array, samples: number): number
  /** Puts these in the place of as many samples that were peeked, so that who reads them again finds what was sent. */
  replace(samples: Int16Array, count: number): void
  /** Takes samples that were peeked. */
  consume(samples: number): void
}

type PlayoutState = 'idle' | 'playing' | 'dry' | 'tail' | 'pausing' | 'paused' | 'flushed'

/**
 * The playout clock of one call: decides at each tick how many samples the carrier gets, so that it never holds
 * more than the lead, and so that it is always known what the caller has heard.
 *
 * | state    | what `pump` sends                                      | leaves by                                    |
 * |----------|--------------------------------------------------------|----------------------------------------------|
 * | idle     | nothing, or the background                             | speech in the source -> playing              |
 * | playing  | whole frames up to the lead, the background under them | source dry -> idle with a background; without one, speech ended -> tail, else -> dry |
 * | dry      | nothing; the backend is late                           | speech -> playing; 200 ms later -> tail      |
 * | tail     | zeros, so that the carrier's hold-back lets the end out | speech -> playing; tail sent -> idle         |
 * | pausing  | 5 ms of fade at once, then zeros as in tail            | zeros sent -> paused                         |
 * | paused   | nothing                                                | `resume` -> dry, or idle if it was           |
 * | flushed  | nothing: the carrier would throw it away               | 60 ms later -> idle                          |
 *
 * `clear` leads from any state to flushed. Pure: time comes in, samples go into the caller's buffer.
 */
export class Playout {
  readonly sampleRateHz: LegRateHz
  readonly leadMs: number
  /** Samples that `pump` may write at most: the size that `out` must have. */
  readonly outSamplesMax: number
  /**
   * True when nothing more of the current speech will come, so that a dry source is the end of it and not a
   * late backend. Set it before each `pump`.
   */
  speechEnded = true
  /**
   * Looped sound that is sent where there is no speech, and softly under speech; null for none. Set it before each `pump`. It begins
   * and ends with a fade and counts nowhere as speech.
   */
  background: Int16Array | null = null
  /** Samples that were sent with nothing but the background, ever. */
  backgroundSamples = 0
  /** The background that plays or played last, the place in it, and its gain now, 0 to 1. Null: there was none yet. */
  #loop: Int16Array | null = null
  #loopAt = 0
  #gain = 0
  /** Speech samples consumed from the source, ever. Zeros and fade-outs do not count. */
  sentSamples = 0
  /** When everything that was sent will have been played; in the past when nothing plays. */
  playoutEndMs = -Infinity
  /** When the last speech sample that was sent will have been played: `playoutEndMs` without the zeros behind it. */
  speechEndMs = -Infinity
  /** When the last speech sample was handed over; 0 before any. */
  lastSentAtMs = 0
  /** When the run of speech that is playing (or played last) began; null before any. */
  startedAtMs: number | null = null
  /** The carrier ran dry because the speech had not come yet. */
  underruns = 0
  /** Pumps that came more than a frame after they were due, while there was something to send. */
  lateTicks = 0
  #state: PlayoutState = 'idle'
  readonly #frame: number
  readonly #fade: number
  readonly #tail: number
  /** The clock: `#clockSamples` were sent since `#clockMs`. Counted, not summed up, so that it cannot drift. */
  #clockMs = 0
  #clockSamples = 0
  #tailLeft = 0
  #fadeInDue = false
  #fadeOutDue = false
  /** True if the pause broke into speech. */
  #brokenOff = false
  /** End of the wait in `dry` and in `flushed`. */
  #waitUntilMs = 0
  #lastPumpMs = Infinity

  /** @throws Error when the lead is not within 20 to 200 ms */
  constructor(options: PlayoutOptions) {
    this.sampleRateHz = options.sampleRateHz
    this.leadMs = options.leadMs ?? (options.sampleRateHz === 8000 ? PLAYOUT_LEAD_MS_8K : PLAYOUT_LEAD_MS_16K)
    assert(this.leadMs >= FRAME_MS && this.leadMs <= PLAYOUT_LEAD_MS_MAX, `lead of ${this.leadMs} ms is not 20 to 200`)
    this.#frame = frameSamples(options.sampleRateHz)
    this.#fade = msToSamples(FADE_MS, options.sampleRateHz)
    this.#tail = msToSamples(PLAYOUT_TAIL_MS, options.sampleRateHz)
    this.outSamplesMax = msToSamples(this.leadMs + FRAME_MS, options.sampleRateHz)
  }

  get state(): PlayoutState {
    return this.#state
  }

  /** True from `pause` until `resume` or `clear`. */
  get paused(): boolean {
    return this.#state === 'pausing' || this.#state === 'paused'
  }

  /** Audio that the carrier still has to play. */
  aheadMs(nowMs: number): number {
    return Math.max(0, this.playoutEndMs - nowMs)
  }

  /**
   * Before this time `pump` does nothing, whatever comes into the source. Infinity when only new speech, its end,
   * `pause`, `resume` or `clear` changes that.
   */
  get dueMs(): number {
    switch (this.#state) {
      case 'idle':
        return this.background !== null || this.#gain > 0 ? this.#frameFitsAtMs : Infinity
      case 'paused':
        return Infinity
      case 'flushed':
        return this.#waitUntilMs
      case 'dry':
        return -Infinity
      default:
        return this.#fadeOutDue ? -Infinity : this.#frameFitsAtMs
    }
  }

  /** When another frame fits into the lead; a little earlier, so that rounding does not cost a tick. */
  get #frameFitsAtMs(): number {
    return this.playoutEndMs - this.leadMs + FRAME_MS - ROUNDING_MS
  }

  /**
   * Call at every tick, or at those that are not before `dueMs`. What is written is to be sent now, as one binary
   * frame.
   * @param out at least `outSamplesMax` long; the caller owns it
   * @returns samples written, 0 for nothing to send
   */
  pump(nowMs: number, source: SampleSource, out: Int16Array): number {
    if (this.#state === 'playing' && nowMs - Math.max(this.#lastPumpMs, this.#frameFitsAtMs) > FRAME_MS)
      this.lateTicks++
    this.#lastPumpMs = nowMs
    if (this.#state === 'flushed' && nowMs >= this.#waitUntilMs) this.#state = 'idle'
    if (this.#state === 'flushed' || this.#state === 'paused') return 0

    // Less than a frame waits for more, unless the speech has ended.
    const available = source.available()
    const ready = available >= this.#frame || (available > 0 && this.speechEnded)
    if (this.background !== null) this.#loop = this.background
    if (ready && this.#state !== 'playing' && this.#state !== 'pausing') this.#startPlaying()
    if (this.#state === 'idle')
      return this.background === null && this.#gain === 0 ? 0 : this.#sendBackground(nowMs, out)
    // The carrier played silence while this clock stood still.
    if (this.playoutEndMs < nowMs) this.#restartClock(nowMs)

    let written = this.#fadeOutDue ? this.#sendFadeOut(nowMs, source, out) : 0
    const free = Math.max(0, Math.floor((nowMs + this.leadMs - this.playoutEndMs) / FRAME_MS) * this.#frame)
    if (this.#state === 'playing') {
      if (ready) written = this.#sendSpeech(nowMs, source, out, available, free)
      this.#whenDry(nowMs, source)
    } else if (this.#state === 'dry') {
      this.#whenDry(nowMs, source)
    }
    if (this.#state === 'tail' || this.#state === 'pausing') written += this.#sendZeros(out, written, nowMs)
    return written
  }

  /** Falls silent at the next pump with a fade, and takes nothing from the source until `resume`. */
  pause(_nowMs: number): void {
    if (this.paused) return
    this.#brokenOff = this.#state === 'playing' || this.#state === 'dry'
    this.#fadeOutDue = this.#brokenOff || this.#gain > 0
    if (this.#fadeOutDue) this.#tailLeft = this.#tail
    this.#state = this.#fadeOutDue || this.#state === 'tail' ? 'pausing' : 'paused'
  }

  /** Continues at the sample where `pause` stopped, with a fade-in. */
  resume(nowMs: number): void {
    if (!this.paused) return
    // When the fade-out was not sent yet, neither it nor the fade-in is needed.
    this.#fadeInDue ||= this.#brokenOff && !this.#fadeOutDue
    this.#fadeOutDue = false
    this.#state = this.#brokenOff ? 'dry' : 'idle'
    this.#waitUntilMs = nowMs + PLAYOUT_DRY_TAIL_MS
  }

  /**
   * The carrier got the command to throw away its buffer. The caller empties the source; nothing is sent for 60 ms,
   * because the carrier would throw that away too, and then the clock starts again.
   */
  clear(nowMs: number): void {
    this.#gain = 0
    this.#fadeOutDue = false
    this.#fadeInDue = false
    this.#restartClock(nowMs)
    this.#waitUntilMs = nowMs + AFTER_KILL_SILENCE_MS
    this.#state = 'flushed'
  }

  #startPlaying(): void {
    // A late backend or a pause does not split one run into two.
    if (this.#state !== 'dry') this.startedAtMs = null
    this.#state = 'playing'
  }

  #sendSpeech(nowMs: number, source: SampleSource, out: Int16Array, available: number, free: number): number {
    let samples = Math.min(free, Math.floor(available / this.#frame) * this.#frame)
    // The last piece goes out although it is no whole frame, filled up with the first zeros of the tail.
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
    if (this.background !== null || this.#gain > 0) {
      this.#mix(out, whole, this.background === null ? 0 : DUCKED_GAIN)
      source.replace(out, samples)
    }
    source.consume(samples)
    this.#advance(whole)
    this.speechEndMs = this.playoutEndMs - samplesToMs(whole - samples, this.sampleRateHz)
    return whole
  }

  /** Up to 5 ms that stay in the source, and of the background, faded to nothing; sent at once, whatever the lead says. */
  #sendFadeOut(nowMs: number, source: SampleSource, out: Int16Array): number {
    this.#fadeOutDue = false
    const speech = this.#brokenOff ? source.peek(out, this.#fade) : 0
    if (speech > 0) this.lastSentAtMs = nowMs
    const samples = this.#gain > 0 ? this.#fade : speech
    out.fill(0, speech, samples)
    if (this.#gain > 0) this.#mix(out, samples, DUCKED_GAIN)
    fadeOut(out, 0, samples)
    this.#gain = 0
    this.#advance(samples)
    return samples
  }

  #sendZeros(out: Int16Array, at: number, nowMs: number): number {
    const free = Math.floor((nowMs + this.leadMs - this.playoutEndMs) / FRAME_MS) * this.#frame
    const samples = Math.max(0, Math.min(free, Math.ceil(this.#tailLeft / this.#frame) * this.#frame))
    out.fill(0, at, at + samples)
    this.#tailLeft -= samples
    this.#advance(samples)
    if (this.#tailLeft <= 0) this.#state = this.#state === 'tail' ? 'idle' : 'paused'
    return samples
  }

  /** The background alone; once it is over, one more frame that is faded to nothing, whatever the lead says, and then zeros. */
  #sendBackground(nowMs: number, out: Int16Array): number {
    if (this.playoutEndMs < nowMs) this.#restartClock(nowMs)
    const over = this.background === null
    const free = Math.max(0, Math.floor((nowMs + this.leadMs - this.playoutEndMs) / FRAME_MS) * this.#frame)
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

  /** Adds the background to the samples that are sent next, while its gain moves to `target`. */
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

  /** Handles an empty source. */
  #whenDry(nowMs: number, source: SampleSource): void {
    if (this.speechEnded) {
      if (source.available() === 0) this.#startTail()
    } else if (this.#state === 'playing' && this.playoutEndMs <= nowMs) {
      this.underruns++
      this.#fadeInDue = true
      this.#waitUntilMs = nowMs + PLAYOUT_DRY_TAIL_MS
      this.#gain = 0
      this.#state = this.background === null ? 'dry' : 'idle'
    } else if (this.#state === 'dry' && nowMs >= this.#waitUntilMs) {
      this.#startTail()
    }
  }

  #startTail(): void {
    this.#tailLeft = this.#tail
    // The background that goes on, or fades, lets the end out too.
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
  /**
   * The playout lead: how far ahead of real time we may send; by default 100 ms at 16 kHz, 140 ms at 8 kHz, never above
   * 200.
   */
  readonly leadMs?: number
}
