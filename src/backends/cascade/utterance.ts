import { UNDERSTOOD_SPEECH_MS_MAX } from '../../core/limits.js'
import { msToSamples } from '../../core/units.js'
import { PreRoll } from '../pre-roll.js'

const BLOCK_MS = 1000

/** Collects the caller's speech, from shortly before its reported start. */
export class UtteranceBuffer {
  /** Samples beyond the longest utterance. */
  dropped = 0
  readonly #preRoll: PreRoll
  readonly #blockSamples: number
  readonly #samplesMax: number
  #blocks: Int16Array[] = []
  #samples = 0
  #voiceFrom = 0
  #open = false

  constructor(options: { readonly sampleRateHz: number; readonly preRollMs: number }) {
    this.#preRoll = new PreRoll(options.preRollMs, options.sampleRateHz)
    this.#blockSamples = msToSamples(BLOCK_MS, options.sampleRateHz)
    this.#samplesMax = msToSamples(UNDERSTOOD_SPEECH_MS_MAX, options.sampleRateHz)
  }

  get isOpen(): boolean {
    return this.#open
  }

  push(pcm: Int16Array): void {
    if (this.#open) this.#append(pcm)
    else this.#preRoll.push(pcm)
  }

  /** Speech starts; the last `keptMs` of the pre-roll become its beginning. */
  open(keptMs: number): void {
    this.#open = true
    this.#blocks = []
    this.#samples = 0
    this.#append(this.#preRoll.take(keptMs))
    this.#voiceFrom = this.#samples
  }

  /** Samples so far, the pre-roll included. */
  get samples(): number {
    return this.#samples
  }

  /** A copy of the samples from `fromSample` on; the utterance continues. */
  since(fromSample: number): Int16Array {
    const pcm = new Int16Array(Math.max(0, this.#samples - fromSample))
    for (const [i, block] of this.#blocks.entries()) {
      const at = i * this.#blockSamples
      const from = Math.max(0, fromSample - at)
      const until = Math.min(block.length, this.#samples - at)
      if (from < until) pcm.set(block.subarray(from, until), at + from - fromSample)
    }
    return pcm
  }

  /** Speech has ended. @returns the whole utterance, and how many of its samples came after `open` */
  take(): { readonly pcm: Int16Array; readonly voicedSamples: number } {
    const pcm = this.since(0)
    this.clear()
    return { pcm, voicedSamples: pcm.length - this.#voiceFrom }
  }

  clear(): void {
    this.#open = false
    this.#blocks = []
    this.#samples = 0
  }

  #append(pcm: Int16Array): void {
    let from = 0
    while (from < pcm.length) {
      if (this.#samples >= this.#samplesMax) {
        this.dropped += pcm.length - from
        return
      }
      const at = this.#samples % this.#blockSamples
      if (at === 0) this.#blocks.push(new Int16Array(this.#blockSamples))
      const count = Math.min(pcm.length - from, this.#blockSamples - at)
      this.#blocks.at(-1)?.set(pcm.subarray(from, from + count), at)
      this.#samples += count
      from += count
    }
  }
}
