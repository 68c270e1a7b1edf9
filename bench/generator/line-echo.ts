import { FRAME_MS, frameSamples, msToSamples } from '../../src/core/units.js'
import type { LegRateHz } from '../../src/core/units.js'

/**
 * Gain of the line's echo of our speech: 20 dB softer. The second constant is the delay in ms of the echo after the
 * speech was played.
 */
const ECHO_GAIN = 0.1
const ECHO_DELAY_MS = 180
/** Maximum duration in ms of audio that a server may send ahead of time. Further audio is not played. */
const AHEAD_MS_MAX = 500

/** True if caller number `caller` has an echo. The `percent` of callers that have an echo are spread evenly. */
export function hasLineEcho(caller: number, percent: number): boolean {
  return Math.floor(((caller + 1) * percent) / 100) > Math.floor((caller * percent) / 100)
}

/**
 * Far end of a call whose line has an echo. It plays received audio in real time, and adds the echo to the caller's
 * frames. On a mixed line, the carrier also adds the played audio, unchanged.
 */
export class LineEcho {
  readonly #frame: number
  readonly #delay: number
  readonly #gain: number
  readonly #isMixed: boolean
  /** Samples in order of time: samples that were played, samples that will be played, and silence in gaps. */
  readonly #line: Int16Array
  readonly #back: Int16Array
  #written = 0
  #played = 0

  /** @param isMixed  true: the carrier mixes the played audio into the caller's audio */
  constructor(rateHz: LegRateHz, echoes = true, isMixed = false) {
    this.#frame = frameSamples(rateHz)
    this.#gain = echoes ? ECHO_GAIN : 0
    this.#isMixed = isMixed
    this.#delay = msToSamples(ECHO_DELAY_MS, rateHz)
    this.#line = new Int16Array(msToSamples(ECHO_DELAY_MS + FRAME_MS + AHEAD_MS_MAX, rateHz))
    this.#back = new Int16Array(this.#frame)
  }

  /** Accepts audio for the caller. */
  heard(samples: Int16Array, count: number): void {
    const room = this.#line.length - this.#delay - this.#frame - (this.#written - this.#played)
    for (let i = 0; i < Math.min(count, room); i++) this.#put(samples[i] as number)
  }

  /** Discards audio that has not been played yet. */
  cleared(): void {
    this.#written = this.#played
  }

  /**
   * Plays a frame.
   * @returns the echo of earlier frames in this frame's time; valid until the next call
   */
  play(): Int16Array {
    const line = this.#line
    while (this.#written < this.#played + this.#frame) this.#put(0)
    this.#played += this.#frame
    const from = this.#played - this.#frame
    for (let i = 0; i < this.#frame; i++) {
      const at = from - this.#delay + i
      const echo = at < 0 ? 0 : Math.round(this.#gain * (line[at % line.length] as number))
      this.#back[i] = echo + (this.#isMixed ? (line[(from + i) % line.length] as number) : 0)
    }
    return this.#back
  }

  #put(sample: number): void {
    this.#line[this.#written++ % this.#line.length] = sample
  }
}
