import type { CallerEnd, CallerEvents, CallingPerson } from './caller-end.js'
import { CallerLeg } from './caller-leg.js'
import type { CallClock } from './caller-leg.js'
import type { CallerVoices } from './caller-voices.js'
import { dtmfTones } from './line.js'
import { Microphone } from './microphone.js'

/** Maximum number of typed sentences that wait to be spoken. */
const SOFTPHONE_TEXTS_MAX = 20
/** Lead in ms: this much sound waits before it is played, because a browser sends the microphone's audio in bursts. */
const MICROPHONE_LEAD_MS = 60

/** Rate of a softphone in Hz, without a phone line. */
const RATE_HZ = 16_000

/**
 * A caller in a browser: the microphone gives the samples, and the sound of the call is sent to the browser. A
 * synthesised voice speaks typed sentences.
 */
export class BrowserCaller implements CallingPerson {
  /** Voice for typed sentences, for the carrier, and for the people that the carrier rings. */
  readonly speech: Pick<CallerVoices, 'speak'>
  readonly #onHeard: (bytes: Uint8Array) => void
  readonly #microphone = new Microphone(RATE_HZ, { leadMs: MICROPHONE_LEAD_MS, leadMsMax: MICROPHONE_LEAD_MS })
  #events: CallerEvents | null = null
  #textsWaiting = 0
  #over = false

  /** @param onHeard  receives 20 ms of s16le at 16 kHz; the memory is valid only until the function returns */
  constructor(speech: Pick<CallerVoices, 'speak'>, onHeard: (bytes: Uint8Array) => void) {
    this.speech = speech
    this.#onHeard = onHeard
  }

  /** Starts the caller's end of the call. Called once. */
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

  /** Adds sound of the microphone: s16le at 16 kHz, any number of bytes. Copies the bytes. */
  audio(bytes: Uint8Array): void {
    if (!this.#over) this.#microphone.write(bytes)
  }

  /** @param keys  DTMF digits 0-9 * # A-D */
  press(keys: string): void {
    if (this.#over) return
    this.#microphone.say({ text: `[keys ${keys}]`, pcm: dtmfTones(keys, RATE_HZ) })
    this.#events?.onDigits?.(keys)
  }

  /** Speaks a sentence; dropped if too many sentences wait. */
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
