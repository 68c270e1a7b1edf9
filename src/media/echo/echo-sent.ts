import { FRAME_MS, type LegRateHz } from '../../core/units.js'
import { energyOf } from '../pcm.js'

/** The matcher works at 8 kHz whatever the leg's rate. */
export const PER_MS = 8
export const NARROW_FRAME = FRAME_MS * PER_MS
export const HALF_BAND_HISTORY = 6
// -66 dBFS, on either side.
export const SILENT_ENERGY = 16 * 16

/**
 * What we sent in the last 2 s, on the time axis on which the carrier plays it. It comes in runs: within one the carrier's
 * delay is one number of samples.
 */
export class SentSpeech {
  /** Samples of the leg in one at 8 kHz. */
  readonly step: 1 | 2
  /** Beginning of the newest run, end of all that was sent and of the last of it that made a sound: samples of the leg. */
  runStart = -Infinity
  soundEnd = -Infinity
  #end = -Infinity
  readonly #sampleRateHz: LegRateHz
  /** Made when first needed. */
  #samples: Int16Array | null = null

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#sampleRateHz = options.sampleRateHz
    this.step = options.sampleRateHz === 16000 ? 2 : 1
  }

  /** 20 ms that are played from about `playedAtMs` on. @returns true when a new run begins with them */
  add(frame: Int16Array, playedAtMs: number): boolean {
    const samples = this.#samples ??= new Int16Array(SENT_SAMPLES)
    const at = Math.round((playedAtMs * this.#sampleRateHz) / 1000)
    const begins = Math.abs(at - this.#end) > RUN_JUMP * this.step
    if (begins) {
      // Before the end of the last run: that one was cut off, and its rest was never played.
      for (let i = Math.max(this.#end, at - SENT_SAMPLES); i < at; i++) samples[indexOf(i)] = 0
      this.runStart = at
      this.#end = at
      this.soundEnd = Math.min(this.soundEnd, at)
    }
    for (let i = 0; i < frame.length; i++) samples[indexOf(this.#end + i)] = frame[i] as number
    this.#end += frame.length
    if (energyOf(frame) > SILENT_ENERGY * frame.length) this.soundEnd = this.#end
    return begins
  }

  /** `length` samples at the leg's rate from `from` on; zeros where nothing was sent or is not known any more. */
  copy(from: number, length: number, out: Float32Array): void {
    const samples = this.#samples
    const known = samples === null ? 0 : Math.max(0, Math.min(length, this.#end - from))
    const forgotten = Math.max(0, Math.min(known, this.#end - SENT_SAMPLES - from))
    const first = indexOf(from)
    for (let i = 0; i < forgotten; i++) out[i] = 0
    if (samples !== null) for (let i = forgotten; i < known; i++) out[i] = samples[(first + i) & (SENT_SAMPLES - 1)] as number
    for (let i = known; i < length; i++) out[i] = 0
  }

  /** The same at 8 kHz. @param out room for twice as many samples and `HALF_BAND_HISTORY` */
  copyNarrow(from: number, length: number, out: Float32Array): void {
    if (this.step === 1) return this.copy(from, length, out)
    this.copy(2 * from - HALF_BAND_HISTORY, 2 * length + HALF_BAND_HISTORY, out)
    halve(out, out, length)
  }
}

/** A frame of the leg at 8 kHz. @param history the last samples of the frame before, kept */
export function narrow(frame: Int16Array, step: 1 | 2, history: Float32Array, out: Float32Array): void {
  if (step === 1) {
    out.set(frame)
    return
  }
  wholeFrame.set(history)
  wholeFrame.set(frame, HALF_BAND_HISTORY)
  halve(wholeFrame, out, NARROW_FRAME)
  history.set(wholeFrame.subarray(frame.length, frame.length + HALF_BAND_HISTORY))
}

/** Every other sample through a half-band filter; `out` may be the input. */
function halve(samples: Float32Array, out: Float32Array, length: number): void {
  for (let i = 0; i < length; i++) {
    const at = 2 * i
    out[i] = (16 * (samples[at + 3] as number) + 9 * ((samples[at + 2] as number) + (samples[at + 4] as number))
      - (samples[at] as number) - (samples[at + 6] as number)) / 32
  }
}

function indexOf(position: number): number {
  return position & (SENT_SAMPLES - 1)
}

// 2 s at 16 kHz.
const SENT_SAMPLES = 32_768
const RUN_JUMP = 1 * PER_MS

// Scratch of all calls of a thread.
const wholeFrame = new Float32Array(2 * NARROW_FRAME + HALF_BAND_HISTORY)
