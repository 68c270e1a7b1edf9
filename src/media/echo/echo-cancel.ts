import { FRAME_MS } from '../../core/units.js'
import { SILENT_ENERGY, type SentSpeech } from './echo-sent.js'
import { LeastSquares } from './least-squares.js'
import { energyOf } from '../pcm.js'

/** Takes our own speech out of frames in which it lies as it was sent, but for level, filters and codecs. */
export class EchoCanceller {
  readonly #sent: SentSpeech
  readonly #taps: number
  /** Of our own speech in a frame, as the caller's side had it last: a peak that wears off. */
  #ownPower = 0

  constructor(sent: SentSpeech) {
    this.#sent = sent
    this.#taps = sent.step * TAPS_8K
  }

  /**
   * @param frame at the leg's rate, changed in place
   * @param from where in what was sent it begins, in samples of the leg
   * @returns true when there is a caller in what is left: softer than that, it is what filters and codecs made of the hiss in
   * our own speech
   */
  cancel(frame: Int16Array, from: number): boolean {
    const taps = this.#taps
    this.#sent.copy(from - taps / 2, frame.length + taps, copies)
    target.set(frame)
    this.#ownPower *= OWN_DECAY
    if (fit.set(target, copies, frame.length, taps, SILENT_ENERGY)) {
      this.#ownPower = Math.max(this.#ownPower, fit.solve())
      subtract(frame, taps)
    }
    return energyOf(frame) > this.#ownPower * RESIDUE_SHARE
  }
}

/** @param taps a multiple of four */
function subtract(frame: Int16Array, taps: number): void {
  const { weights } = fit
  for (let i = 0; i < frame.length; i++) {
    let left = frame[i] as number
    for (let tap = 0; tap < taps; tap += 4) {
      left -= (weights[tap] as number) * (copies[i + tap] as number) + (weights[tap + 1] as number) * (copies[i + tap + 1] as number)
        + (weights[tap + 2] as number) * (copies[i + tap + 2] as number) + (weights[tap + 3] as number) * (copies[i + tap + 3] as number)
    }
    left = Math.round(left)
    frame[i] = left > 32_767 ? 32_767 : left < -32_768 ? -32_768 : left
  }
}

// More than it takes to find our speech: filters and codecs on the way spread a sample.
const TAPS_8K = 8
// 1 dB in 20 ms.
const OWN_DECAY = 0.8
// -24 dB
const RESIDUE_SHARE = 0.004

// Scratch that all calls of a thread share; nothing in it outlives a call.
const target = new Float32Array(FRAME_MS * 16)
const copies = new Float32Array(FRAME_MS * 16 + 2 * TAPS_8K)
const fit = new LeastSquares(2 * TAPS_8K)
