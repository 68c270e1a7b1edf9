import type { Clock } from '../../../core/clock.js'
import { msToSamples, samplesToMs } from '../../../core/units.js'
import type { SampleRateHz } from '../../../core/units.js'
import { hasSound } from '../../../media/pcm.js'
import { Alarm } from '../../../backends/timers.js'

const BLOCK_MS = 10
/** Duration of silence that ends the model's speech, in milliseconds. A pause between two sentences is shorter. */
const TURN_END_MS = 600
/** Duration of silence that ends an interrupted speech, in milliseconds. */
const CUT_END_MS = 200
/**
 * Maximum sound after an interruption, in milliseconds. If the model still speaks after this time, it has probably not
 * noticed the interruption, so the caller hears it again.
 */
const CUT_REST_MS_MAX = 8000
/** Maximum pause inserted between two pieces of speech, in milliseconds. */
const PAUSE_MS_MAX = TURN_END_MS

const silence = new Int16Array(msToSamples(100, 24_000))

interface AgentVoiceListener {
  /** Speech began. */
  began(): void
  /** Samples of the current speech. The memory is valid only until this method returns. */
  speech(pcm: Int16Array): void
  /** The speech ended without an interruption. */
  ended(): void
  /** The remaining sound of an interrupted speech became long enough to count as a new speech; `began` follows. */
  ignored(): void
}

/**
 * Finds speech in the continuous sound of a full-duplex model, which sends zeros while it is silent. Zeros are dropped:
 * they would fill the playout buffer, and a burst of zeros would delay all later speech.
 *
 *     quiet    --sound--> speaking: `began`
 *     speaking --TURN_END_MS of silence, or no message--> quiet: `ended`
 *     speaking --cut()--> cut: the caller interrupted, so the remaining sound is dropped
 *     cut      --CUT_END_MS of silence, or no message--> quiet
 *     cut      --CUT_REST_MS_MAX of sound--> speaking: `ignored`, `began`
 *
 * When speech continues after a pause, the part of the pause that has not passed yet is inserted as silence. If the
 * service sends faster than real time, this silence keeps the rhythm of the speech. If the service sends in real time,
 * the whole pause has passed: no silence is inserted, so the delay does not grow.
 */
export class AgentVoice {
  #state: 'quiet' | 'speaking' | 'cut' = 'quiet'
  readonly #rateHz: SampleRateHz
  readonly #nowMs: Clock
  readonly #listener: AgentVoiceListener
  readonly #blockSamples: number
  #silentMs = 0
  #restMs = 0
  /** Time at which the forwarded speech ends if all of it is played without delay. */
  #playedAtMs = 0
  #heardAtMs = 0
  readonly #messages = new Alarm()

  constructor(rateHz: SampleRateHz, nowMs: Clock, listener: AgentVoiceListener) {
    this.#rateHz = rateHz
    this.#nowMs = nowMs
    this.#listener = listener
    this.#blockSamples = msToSamples(BLOCK_MS, rateHz)
  }

  get speaking(): boolean {
    return this.#state === 'speaking'
  }

  hear(samples: Int16Array): void {
    this.#heardAtMs = this.#nowMs()
    const step = this.#blockSamples
    let from = 0
    let loud = false
    for (let at = 0; at < samples.length; at += step) {
      const end = Math.min(samples.length, at + step)
      const now = hasSound(samples, at, end)
      if (at > 0 && now !== loud) {
        this.#run(samples, from, at, loud)
        from = at
      }
      loud = now
    }
    if (samples.length > from) this.#run(samples, from, samples.length, loud)
  }

  /**
   * Drops the remaining sound of this speech, because the caller interrupted.
   * @returns false if the model is not speaking
   */
  cut(): boolean {
    if (this.#state !== 'speaking') return false
    this.#state = 'cut'
    this.#silentMs = 0
    this.#restMs = 0
    return true
  }

  close(): void {
    this.#messages.clear()
    this.#state = 'quiet'
  }

  #run(samples: Int16Array, from: number, to: number, loud: boolean): void {
    const ms = samplesToMs(to - from, this.#rateHz)
    if (!loud) return this.#silence(ms)
    if (this.#state === 'cut') {
      this.#silentMs = 0
      this.#restMs += ms
      if (this.#restMs < CUT_REST_MS_MAX) return
      this.#state = 'quiet'
      this.#listener.ignored()
    }
    if (this.#state === 'quiet') {
      this.#state = 'speaking'
      this.#silentMs = 0
      this.#playedAtMs = this.#heardAtMs
      if (!this.#messages.isSet) this.#watch(TURN_END_MS)
      this.#listener.began()
    }
    if (this.#silentMs > 0) this.#pause()
    // The listener may call `cut` during its callback.
    if (!this.speaking) return
    this.#playedAtMs = Math.max(this.#playedAtMs, this.#heardAtMs) + ms
    this.#listener.speech(from === 0 && to === samples.length ? samples : samples.subarray(from, to))
  }

  #silence(ms: number): void {
    if (this.#state === 'quiet') return
    this.#silentMs += ms
    if (this.#silentMs >= (this.#state === 'cut' ? CUT_END_MS : TURN_END_MS)) this.#over()
  }

  /** Inserts the remaining part of a pause, because the speech continues. */
  #pause(): void {
    const wantedAtMs = this.#playedAtMs + Math.min(this.#silentMs, PAUSE_MS_MAX)
    this.#silentMs = 0
    this.#playedAtMs = Math.max(this.#playedAtMs, this.#heardAtMs)
    let left = msToSamples(Math.max(0, wantedAtMs - this.#playedAtMs), this.#rateHz)
    while (left > 0 && this.speaking) {
      const samples = Math.min(left, silence.length)
      this.#playedAtMs += samplesToMs(samples, this.#rateHz)
      this.#listener.speech(samples === silence.length ? silence : silence.subarray(0, samples))
      left -= samples
    }
  }

  #over(): void {
    const ended = this.speaking
    this.close()
    if (ended) this.#listener.ended()
  }

  /** Ends a speech whose messages no longer arrive. */
  #watch(inMs: number): void {
    this.#messages.set(inMs, () => {
      const leftMs = this.#heardAtMs + TURN_END_MS - this.#nowMs()
      if (leftMs <= 0) this.#over()
      else this.#watch(leftMs)
    })
  }
}
