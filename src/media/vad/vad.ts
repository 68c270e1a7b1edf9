import type { LegRateHz } from '../../core/units.js'
import { DtmfDetector } from '../dtmf.js'
import { levelDbfs as rawDbfs } from '../pcm.js'
import { LineLevel } from './line-filter.js'
import { VOICE_DBFS_MIN } from './detection-limits.js'
import { isPureTone } from './pure-tone.js'

/**
 * Voice activity detection of one stream: decides for each 20 ms frame, in order, whether a person speaks. `CallerPath`
 * excludes the agent's speech, digits, tones and silence.
 */
export interface Vad {
  isSpeech(frame: Int16Array): boolean
  /**
   * True if the line has a constant offset or mains hum (`LineLevel`). It is set before each `isSpeech`, because such a
   * line may disturb a detector.
   */
  lineIsFaulty?: boolean
  /**
   * True if the last frame counts as speech, but may be music or noise. Undefined if the detector cannot distinguish
   * them.
   */
  readonly doubtful?: boolean
  /** Clears the state of the stream. */
  reset(): void
  /** Releases the memory; the object must not be used afterwards. */
  release(): void
}

/**
 * Finds voice and DTMF digits in a caller's frames as they leave the jitter buffer. The frames come in order, without
 * the agent's echo and without concealed frames.
 */
export interface FrameDetector {
  /**
   * Memory for `JITTER_SLOTS` frames, in which the jitter buffer stores the frames. Frames in other memory are copied
   * first. Undefined if the detector reads frames from any memory.
   */
  readonly slots?: readonly Int16Array[]
  /**
   * True if the last frame of `detect` contains the caller's voice, and not a digit, tone or silence. Each frame is
   * judged alone, without hang-over.
   */
  readonly voiced: boolean
  /** True if the frame is voiced, but may be music or noise. */
  readonly doubtful: boolean
  /** DTMF digit (0-9, *, #, A-D) recognised in the last frame, once per press; null if there is none. */
  readonly digit: string | null
  /**
   * True if the line had a constant offset or mains hum in the last frame that arrived. Level and voice are then
   * measured without them.
   */
  readonly lineIsFaulty: boolean
  /** @param levelDbfs  level of the frame that the method `levelDbfs` returned when it arrived */
  detect(frame: Int16Array, levelDbfs: number): void
  /**
   * Returns the level of a frame in dBFS. On a faulty line it is the level after `LineLevel`'s filter. Call this method
   * for each frame on arrival, in order, even for frames that `detect` never gets.
   */
  levelDbfs(frame: Int16Array): number
  /** Releases the memory; the object must not be used afterwards. */
  release(): void
}

/** All detectors of one thread. `VoiceBank` is the default; docs/VAD.md shows how to use a neural network instead. */
export interface VadBank {
  open(sampleRateHz: LegRateHz): Vad
  /**
   * Opens a detector of voice, digits and tones, if the bank can find all three together at less cost. If absent,
   * `ComposedDetector` finds digits and tones, and the `Vad` of `open` finds voice.
   */
  openDetector?(sampleRateHz: LegRateHz): FrameDetector
}

/** Combines any `Vad` with the TypeScript detectors of digits and tones. */
export class ComposedDetector implements FrameDetector {
  voiced = false
  doubtful = false
  digit: string | null = null
  readonly #sampleRateHz: LegRateHz
  readonly #vad: Vad
  readonly #dtmf: DtmfDetector
  readonly #level = new LineLevel()

  constructor(options: { readonly sampleRateHz: LegRateHz; readonly vad: Vad }) {
    this.#sampleRateHz = options.sampleRateHz
    this.#vad = options.vad
    this.#dtmf = new DtmfDetector({ sampleRateHz: options.sampleRateHz })
  }

  detect(frame: Int16Array, levelDbfs: number): void {
    // DTMF digits are searched for in the unfiltered line.
    this.digit = this.#dtmf.detect(frame, rawDbfs(frame))
    // The voice detector runs first, because it learns from every frame. A digit or a tone may then overrule it.
    this.#vad.lineIsFaulty = this.lineIsFaulty
    this.voiced =
      this.#vad.isSpeech(frame) &&
      levelDbfs > VOICE_DBFS_MIN &&
      !this.#dtmf.active &&
      !isPureTone(frame, this.#sampleRateHz, this.lineIsFaulty ? levelDbfs : null)
    this.doubtful = this.voiced && this.#vad.doubtful === true
  }

  get lineIsFaulty(): boolean {
    return this.#level.isFaulty
  }

  levelDbfs(frame: Int16Array): number {
    return this.#level.take(frame)
  }

  release(): void {
    this.#vad.release()
  }
}
