import { FRAME_MS, type LegRateHz } from '../core/units.js'
import { decodeMuLaw, encodeMuLaw, peakOf } from '../media/pcm.js'
import { nearlyNormal, seededRandom } from './random.js'
import type { NoiseKind } from './noise.js'

/** Level that every voice of this simulator is brought to before the line. */
export const SPEECH_LEVEL_DBFS = -20

export interface LineOptions {
  /** 8 kHz is a phone line (mu-law); 16 kHz a softphone without one. */
  readonly sampleRateHz: LegRateHz
  /** Noise around the caller, that far below a voice at `SPEECH_LEVEL_DBFS`; null for a silent room. */
  readonly snrDb?: number | null
  /** What the noise is; white when not given. */
  readonly noise?: NoiseKind
  /** One turn of the noise, RMS 1, for kinds other than white; made from voices, so not by the line (`noise.ts`). */
  readonly noiseBed?: Float32Array | null
  /** Frames that are lost between phone and carrier, both ways; null for none. */
  readonly loss?: LineLoss | null
  /** Louder or softer than the usual voice. */
  readonly gainDb?: number
  /** How much of the agent's voice comes back out of the caller's loudspeaker; null for none. */
  readonly echo?: { readonly levelDb: number; readonly delayMs: number } | null
  readonly seed?: number
}

/** Packets lost in bursts: the two-state model of Gilbert. */
export interface LineLoss {
  /** Of all frames, 0 to 0.5. */
  readonly share: number
  /** How many are lost in a row, on average. */
  readonly burstFrames: number
}

/** A hold-up of the network at a set time. */
export interface Stall {
  /** Since the stream opened. */
  readonly atMs: number
  readonly ms: number
}

const ECHO_DELAY_MS_MAX = 1000

export function dbToGain(db: number): number {
  return 10 ** (db / 20)
}

/** One caller's line: both directions, frame by frame. */
export class PhoneLine {
  readonly sampleRateHz: LegRateHz
  readonly #gain: number
  readonly #noiseRms: number
  readonly #random: () => number
  readonly #echoGain: number
  readonly #echo: Int16Array
  #echoAt = 0
  readonly #bed: Float32Array | null
  #bedAt = 0
  readonly #lossUp: FrameLoss | null
  readonly #lossDown: FrameLoss | null

  constructor(options: LineOptions) {
    const frame = (options.sampleRateHz * FRAME_MS) / 1000
    this.sampleRateHz = options.sampleRateHz
    this.#gain = dbToGain(options.gainDb ?? 0)
    this.#noiseRms = typeof options.snrDb === 'number' ? 32_768 * dbToGain(SPEECH_LEVEL_DBFS - options.snrDb) : 0
    this.#random = seededRandom(options.seed ?? 1)
    this.#echoGain = options.echo ? dbToGain(options.echo.levelDb) : 0
    const delayMs = Math.min(ECHO_DELAY_MS_MAX, Math.max(FRAME_MS, options.echo?.delayMs ?? FRAME_MS))
    this.#echo = new Int16Array(Math.round(delayMs / FRAME_MS) * frame)
    this.#bed = options.noiseBed ?? null
    const { loss } = options
    // Numbers of their own, so that noise and losses of one seed are the same with and without the other.
    this.#lossUp = loss == null ? null : new FrameLoss(loss, seededRandom((options.seed ?? 1) ^ 0x5eed))
    this.#lossDown = loss == null ? null : new FrameLoss(loss, seededRandom((options.seed ?? 1) ^ 0xd0c5))
  }

  /** The caller's voice on its way to the carrier: level, echo, noise, codec. In place. */
  up(frame: Int16Array): void {
    for (let i = 0; i < frame.length; i++) {
      let sample = this.#gain * (frame[i] as number)
      if (this.#echoGain > 0) sample += this.#echoGain * (this.#echo[(this.#echoAt + i) % this.#echo.length] as number)
      if (this.#noiseRms > 0) sample += this.#noiseRms * this.#noise()
      frame[i] = Math.max(-32_768, Math.min(32_767, Math.round(sample)))
    }
    if (this.sampleRateHz === 8000) throughPhoneCodec(frame)
    if (this.#lossUp?.next() === true) frame.fill(0)
  }

  /** What the carrier plays on its way to the caller's ear: codec. In place. Call it after `up` of the same 20 ms. */
  down(frame: Int16Array): void {
    if (this.sampleRateHz === 8000) throughPhoneCodec(frame)
    if (this.#lossDown?.next() === true) frame.fill(0)
    this.#echo.set(frame, this.#echoAt)
    this.#echoAt = (this.#echoAt + frame.length) % this.#echo.length
  }

  #noise(): number {
    const bed = this.#bed
    if (bed === null) return nearlyNormal(this.#random)
    this.#bedAt = (this.#bedAt + 1) % bed.length
    return bed[this.#bedAt] as number
  }
}

/** Which frames get lost. */
class FrameLoss {
  readonly #enter: number
  readonly #leave: number
  readonly #random: () => number
  #lost = false

  constructor(loss: LineLoss, random: () => number) {
    this.#leave = 1 / loss.burstFrames
    this.#enter = Math.min(1, (loss.share * this.#leave) / (1 - loss.share))
    this.#random = random
  }

  next(): boolean {
    this.#lost = this.#lost ? this.#random() >= this.#leave : this.#random() < this.#enter
    return this.#lost
  }
}

/** Takes `frame` through the 8 bits of a phone line (G.711 mu-law), in place. */
export function throughPhoneCodec(frame: Int16Array): void {
  const bytes = new Uint8Array(frame.length)
  encodeMuLaw(frame, bytes)
  decodeMuLaw(bytes, frame)
}

/** RMS of a piece of audio, 0 to 32,768. */
export function rmsOf(pcm: Int16Array): number {
  let sum = 0
  for (const sample of pcm) sum += sample * sample
  return pcm.length === 0 ? 0 : Math.sqrt(sum / pcm.length)
}

/** Brings a voice to `SPEECH_LEVEL_DBFS`, measured where it speaks; never clips. Returns a new array. */
export function atSpeechLevel(pcm: Int16Array, sampleRateHz: number): Int16Array {
  const frame = (sampleRateHz * FRAME_MS) / 1000
  let sum = 0
  let frames = 0
  for (let at = 0; at + frame <= pcm.length; at += frame) {
    const rms = rmsOf(pcm.subarray(at, at + frame))
    if (rms < 200) continue
    sum += rms * rms
    frames++
  }
  if (frames === 0) return pcm.slice()
  const gain = Math.min(32_768 * dbToGain(SPEECH_LEVEL_DBFS) / Math.sqrt(sum / frames), 32_000 / peakOf(pcm))
  return pcm.map((sample) => Math.round(gain * sample))
}
