import { UNDERSTOOD_SPEECH_MS_MAX } from '../../core/limits.js'
import { msToSamples } from '../../core/units.js'

const BLOCK_MS = 1000

/**
 * Sound of one turn of the caller, from shortly before the speech began; at most UNDERSTOOD_SPEECH_MS_MAX. It grows
 * while the caller speaks, and is kept until the turn's text has arrived.
 */
export class KeptSound {
  readonly #blockSamples: number
  readonly #samplesMax: number
  readonly #blocks: Int16Array[] = []
  #samples = 0

  constructor(sampleRateHz: number) {
    this.#blockSamples = msToSamples(BLOCK_MS, sampleRateHz)
    this.#samplesMax = msToSamples(UNDERSTOOD_SPEECH_MS_MAX, sampleRateHz)
  }

  get samples(): number {
    return this.#samples
  }

  /** @returns a copy of the samples from index `fromSample` */
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

  /** Adds a copy of the samples. @returns the number of samples that were dropped because they did not fit */
  push(pcm: Int16Array): number {
    let from = 0
    while (from < pcm.length) {
      if (this.#samples >= this.#samplesMax) return pcm.length - from
      const at = this.#samples % this.#blockSamples
      if (at === 0) this.#blocks.push(new Int16Array(this.#blockSamples))
      const count = Math.min(pcm.length - from, this.#blockSamples - at)
      this.#blocks.at(-1)?.set(pcm.subarray(from, from + count), at)
      this.#samples += count
      from += count
    }
    return 0
  }
}

/** Sound of a turn, as a recogniser can read it. */
export type TurnSound = Pick<KeptSound, 'samples' | 'since'>
