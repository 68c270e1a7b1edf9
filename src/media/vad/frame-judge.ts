import type { LegRateHz } from '../../core/units.js'
import { DtmfDetector } from '../dtmf.js'
import { VOICE_DBFS_MIN } from './judge-limits.js'
import { levelDbfs } from '../pcm.js'
import { isPureTone } from './tone-guard.js'
import type { FrameJudge, Vad } from './vad.js'

/** The words of one voice detector, whichever, over which keys, tones and silence have the last one. */
export class ComposedJudge implements FrameJudge {
  voiced = false
  digit: string | null = null
  readonly #sampleRateHz: LegRateHz
  readonly #vad: Vad
  readonly #dtmf: DtmfDetector

  constructor(options: { readonly sampleRateHz: LegRateHz, readonly vad: Vad }) {
    this.#sampleRateHz = options.sampleRateHz
    this.#vad = options.vad
    this.#dtmf = new DtmfDetector({ sampleRateHz: options.sampleRateHz })
  }

  judge(frame: Int16Array, levelDbfs: number): void {
    this.digit = this.#dtmf.detect(frame, levelDbfs)
    // Asked first and of each frame: what it hears it learns from, whatever comes of the answer.
    this.voiced = this.#vad.isSpeech(frame) && levelDbfs > VOICE_DBFS_MIN && !this.#dtmf.active
      && !isPureTone(frame, this.#sampleRateHz)
  }

  levelDbfs(frame: Int16Array): number {
    return levelDbfs(frame)
  }

  release(): void {
    this.#vad.release()
  }
}
