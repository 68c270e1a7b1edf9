import type { Clock } from '../../core/clock.js'
import { msToSamples, samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { hasSound } from '../../media/pcm.js'
import { Alarm } from '../timers.js'

const BLOCK_MS = 10
/** The model has stopped speaking when it is silent for this long; a pause between two sentences is shorter. */
const TURN_END_MS = 600
/** After an interruption, silence of this length ends the speech that was interrupted. */
const CUT_END_MS = 200
/**
 * A model that speaks on for this long after an interruption did not take it for one, and the caller hears it again.
 */
const CUT_REST_MS_MAX = 8000
/** The longest pause that is put between two pieces of speech. */
const PAUSE_MS_MAX = TURN_END_MS

const silence = new Int16Array(msToSamples(100, 24_000))

interface AgentVoiceListener {
  /** Speech began. */
  began(): void
  /** Samples of the speech that was begun; the memory is valid only during the call. */
  speech(pcm: Int16Array): void
  /** The speech ended by itself. */
  ended(): void
  /** The rest of an interrupted speech was so long that it counts as a new one; `began` follows. */
  ignored(): void
}

/**
 * Finds speech in the continuous sound of a full-duplex model, which sends zeros while it is silent. Zeros are not
 * passed on: they would fill the playout, and a burst of them would delay all that follows.
 *
 *     quiet    --sound--> speaking                             `began`
 *     speaking --TURN_END_MS of silence, or no message--> quiet    `ended`
 *     speaking --cut()--> cut                                  the caller interrupted: the rest is dropped
 *     cut      --CUT_END_MS of silence, or no message--> quiet
 *     cut      --CUT_REST_MS_MAX of sound--> speaking          `ignored`, `began`
 *
 * A pause within speech is put back when the speech goes on, but only the part of it that has not passed by itself:
 * rhythm is kept when the service sends faster than real time, and no delay grows when it does not.
 */
export class AgentVoice {
  #state: 'quiet' | 'speaking' | 'cut' = 'quiet'
  readonly #rateHz: SampleRateHz
  readonly #nowMs: Clock
  readonly #listener: AgentVoiceListener
  readonly #blockSamples: number
  #silentMs = 0
  #restMs = 0
  /** When all speech that was passed on has been played, if it is played at once. */
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

  /** The caller interrupted: nothing more of this speech is passed on. @returns false when there is none */
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
    // The listener may cut while it takes something.
    if (!this.speaking) return
    this.#playedAtMs = Math.max(this.#playedAtMs, this.#heardAtMs) + ms
    this.#listener.speech(from === 0 && to === samples.length ? samples : samples.subarray(from, to))
  }

  #silence(ms: number): void {
    if (this.#state === 'quiet') return
    this.#silentMs += ms
    if (this.#silentMs >= (this.#state === 'cut' ? CUT_END_MS : TURN_END_MS)) this.#over()
  }

  /** The speech goes on after a pause. */
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

  /** Ends speech whose messages stopped coming. */
  #watch(inMs: number): void {
    this.#messages.set(inMs, () => {
      const leftMs = this.#heardAtMs + TURN_END_MS - this.#nowMs()
      if (leftMs <= 0) this.#over()
      else this.#watch(leftMs)
    })
  }
}
