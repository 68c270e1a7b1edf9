import type { LegRateHz } from '../../core/units.js'
import { DtmfDetector } from '../dtmf.js'
import { levelDbfs } from '../pcm.js'
import { VOICE_DBFS_MIN } from './detection-limits.js'
import { isPureTone } from './pure-tone.js'

/**
 * Voice activity detection of one stream: decides for each 20 ms frame whether somebody speaks. Frames come in order.
 * DTMF digits, pure tones, echo and silence are decided elsewhere: `CallerPath` asks only about frames without our own
 * speech, and overrules the answer.
 */
export interface Vad {
  isSpeech(frame: Int16Array): boolean
  /** The frame that was asked about last is speech, but may be music or a noise. Undefined where it cannot tell. */
  readonly doubtful?: boolean
  /** Forget the stream so far. */
  reset(): void
  /** Gives the memory back; the object must not be used afterwards. */
  release(): void
}

/**
 * Finds voice and DTMF digits in the frames of one caller as they leave the jitter buffer: frames in order, without our
 * own echo and without concealed ones.
 */
export interface FrameDetector {
  /**
   * Memory for `JITTER_SLOTS` frames of the stream, in which the jitter buffer keeps them: a frame that lies in one of
   * them is read there, any other is copied first. Undefined where the detector reads frames wherever they lie.
   */
  readonly slots?: readonly Int16Array[]
  /** The caller's voice is in the frame that `detect` took last: not a digit, not a tone, not silence. No hang-over. */
  readonly voiced: boolean
  /** It is voiced, but that may be music or a noise. */
  readonly doubtful: boolean
  /** The DTMF digit (0-9, *, #, A-D) that was recognised in that frame; each press once. */
  readonly digit: string | null
  detect(frame: Int16Array, levelDbfs: number): void
  /** `levelDbfs` of pcm.ts for any frame of 20 ms. Does not change the stream. */
  levelDbfs(frame: Int16Array): number
  /** Gives the memory back; the object must not be used afterwards. */
  release(): void
}

/** All detectors of one thread. `VoiceBank` is the default; docs/VAD.md shows how a neural network takes its place. */
export interface VadBank {
  open(sampleRateHz: LegRateHz): Vad
  /**
   * For a bank that finds digits and tones more cheaply along the way. Without it, `ComposedDetector` finds them beside
   * `open`'s `Vad`.
   */
  openDetector?(sampleRateHz: LegRateHz): FrameDetector
}

/** Puts a `FrameDetector` together from any `Vad` and the TypeScript detectors of digits and tones. */
export class ComposedDetector implements FrameDetector {
  voiced = false
  doubtful = false
  digit: string | null = null
  readonly #sampleRateHz: LegRateHz
  readonly #vad: Vad
  readonly #dtmf: DtmfDetector

  constructor(options: { readonly sampleRateHz: LegRateHz; readonly vad: Vad }) {
    this.#sampleRateHz = options.sampleRateHz
    this.#vad = options.vad
    this.#dtmf = new DtmfDetector({ sampleRateHz: options.sampleRateHz })
  }

  detect(frame: Int16Array, levelDbfs: number): void {
    this.digit = this.#dtmf.detect(frame, levelDbfs)
    // The voice detector learns from every frame, so it runs first, even if a digit or a tone overrules it.
    this.voiced =
      this.#vad.isSpeech(frame) &&
      levelDbfs > VOICE_DBFS_MIN &&
      !this.#dtmf.active &&
      !isPureTone(frame, this.#sampleRateHz)
    this.doubtful = this.voiced && this.#vad.doubtful === true
  }

  levelDbfs(frame: Int16Array): number {
    return levelDbfs(frame)
  }

  release(): void {
    this.#vad.release()
  }
}
