import { msToSamples } from '../core/units.js'
import type { CallerEnd, CallerEvents, CallingPerson } from './caller-end.js'
import { CallerLeg, UtterancePlayer } from './caller-leg.js'
import type { CallClock, Utterance } from './caller-leg.js'
import type { CallerVoices } from './caller-voices.js'
import { clamp, dtmfTones } from './line.js'
import { SampleBytes } from './playout-queue.js'

/** Typed sentences that wait to be spoken. */
const SOFTPHONE_TEXTS_MAX = 20
/**
 * Sound of the microphone, at the carrier's end: it is played once this much is there, and cut to it when there is
 * more than the bound (a browser's clock that runs fast, or a tab that was held up).
 */
const MICROPHONE_LEAD_MS = 60
const MICROPHONE_HELD_MS_MAX = 400

/** A softphone's rate, without a phone line between. */
const RATE_HZ = 16_000

/**
 * Somebody who calls from a browser: the microphone's samples come from there, and what the caller hears goes there.
 * Typed sentences are spoken by a synthesised voice, so that they too are sound on the line.
 */
export class BrowserCaller implements CallingPerson {
  /** Speaks typed sentences, and for the carrier and the people that it rings. */
  readonly speech: Pick<CallerVoices, 'speak'>
  readonly #onHeard: (bytes: Uint8Array) => void
  readonly #microphone = new Microphone(RATE_HZ)
  #events: CallerEvents | null = null
  #textsWaiting = 0
  #over = false

  /** @param onHeard  gets 20 ms of s16le at 16 kHz, valid during the call only */
  constructor(speech: Pick<CallerVoices, 'speak'>, onHeard: (bytes: Uint8Array) => void) {
    this.speech = speech
    this.#onHeard = onHeard
  }

  /** The caller's end of the call, from now on. Once. */
  open(clock: CallClock, events: CallerEvents): CallerEnd {
    this.#events = events
    const leg = new CallerLeg({ sampleRateHz: RATE_HZ, record: false, player: this.#microphone }, clock, {
      onHeard: (frame) => this.#onHeard(new Uint8Array(frame.buffer, frame.byteOffset, frame.byteLength)),
    })
    return {
      leg,
      heard: [],
      facts: () => ({ order: null, status: null, eta: null }),
      end: (nowMs) => {
        this.#over = true
        leg.close(nowMs)
        return Promise.resolve()
      },
    }
  }

  /** Sound of the microphone: s16le at 16 kHz, any number of bytes; copied. */
  audio(bytes: Uint8Array): void {
    if (!this.#over) this.#microphone.write(bytes)
  }

  /** @param keys  of 0-9 * # A-D */
  press(keys: string): void {
    if (this.#over) return
    this.#microphone.say({ text: `[keys ${keys}]`, pcm: dtmfTones(keys, RATE_HZ) })
    this.#events?.onDigits?.(keys)
  }

  /** Speaks a sentence; one too many is dropped. */
  async say(text: string): Promise<void> {
    if (this.#over || this.#textsWaiting >= SOFTPHONE_TEXTS_MAX) return
    this.#textsWaiting++
    try {
      const pcm = await this.speech.speak(text, 'rms', RATE_HZ)
      if (!this.#over) this.#microphone.say({ text, pcm })
      this.#events?.onSaid?.(text)
    } finally {
      this.#textsWaiting--
    }
  }

  hangUp(): void {
    this.#events?.onHungUp('the caller hung up')
  }
}

/**
 * The microphone of a browser as a voice of the line. Its samples come in bursts and by another clock than the
 * carrier's, so a few are kept in hand: playing starts with the lead and stops when nothing is left; what is beyond the
 * bound is skipped.
 */
class Microphone extends UtterancePlayer {
  readonly #leadSamples: number
  readonly #heldSamplesMax: number
  readonly #held: number[] = []
  readonly #bytes = new SampleBytes()
  #playing = false

  constructor(sampleRateHz: number) {
    super(sampleRateHz)
    this.#leadSamples = msToSamples(MICROPHONE_LEAD_MS, sampleRateHz)
    this.#heldSamplesMax = msToSamples(MICROPHONE_HELD_MS_MAX, sampleRateHz)
  }

  write(bytes: Uint8Array): void {
    const held = this.#held
    this.#bytes.take(bytes, (sample) => held.push(sample))
    if (held.length > this.#heldSamplesMax) held.splice(0, held.length - this.#leadSamples)
    if (held.length >= this.#leadSamples) this.#playing = true
  }

  override read(out: Int16Array, startMs: number): Utterance | null {
    const ended = super.read(out, startMs)
    if (!this.#playing) return ended
    for (const [i, sample] of this.#held.splice(0, out.length).entries()) out[i] = clamp((out[i] as number) + sample)
    if (this.#held.length === 0) this.#playing = false
    return ended
  }
}
