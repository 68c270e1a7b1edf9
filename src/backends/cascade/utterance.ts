import { UNDERSTOOD_SPEECH_MS_MAX } from '../../core/limits.js'
import { msToSamples } from '../../core/units.js'

const BLOCK_MS = 1000

/** The caller's speech while it lasts, and a little of what came before it. */
export class UtteranceBuffer {
  /** Samples that did not fit. */
  dropped = 0
  readonly #preRoll: Int16Array
  readonly #blockSamples: number
  readonly #samplesMax: number
  #preRollAt = 0
  #preRollFilled = 0
  #blocks: Int16Array[] = []
  #samples = 0
  #voiceFrom = 0
  #open = false

  constructor(options: { readonly sampleRateHz: number; readonly preRollMs: number }) {
    this.#preRoll = new Int16Array(msToSamples(options.preRollMs, options.sampleRateHz))
    this.#blockSamples = msToSamples(BLOCK_MS, options.sampleRateHz)
    this.#samplesMax = msToSamples(UNDERSTOOD_SPEECH_MS_MAX, options.sampleRateHz)
  }

  get isOpen(): boolean {
    return this.#open
  }

  push(pcm: Int16Array): void {
    if (this.#open) {
      this.#append(pcm)
      return
    }
    const ring = this.#preRoll
    for (let i = 0; i < pcm.length; i++) {
      ring[this.#preRollAt] = pcm[i] as number
      this.#preRollAt = this.#preRollAt + 1 === ring.length ? 0 : this.#preRollAt + 1
    }
    this.#preRollFilled = Math.min(ring.length, this.#preRollFilled + pcm.length)
  }

  /** Speech begins: what was kept is its beginning. */
  open(): void {
    this.#open = true
    this.#blocks = []
    this.#samples = 0
    const from = (this.#preRollAt - this.#preRollFilled + this.#preRoll.length) % this.#preRoll.length
    const untilEnd = Math.min(this.#preRollFilled, this.#preRoll.length - from)
    this.#append(this.#preRoll.subarray(from, from + untilEnd))
    this.#append(this.#preRoll.subarray(0, this.#preRollFilled - untilEnd))
    this.#voiceFrom = this.#samples
    this.#preRollFilled = 0
  }

  /** Samples so far, what came before `open` included. */
  get samples(): number {
    return this.#samples
  }

  /** A copy of what came since `fromSample`; the utterance goes on. */
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

  /** Speech has ended. @returns all of it, and how much of it came after `open` */
  take(): { readonly pcm: Int16Array; readonly voicedSamples: number } {
    const pcm = new Int16Array(this.#samples)
    for (const [i, block] of this.#blocks.entries()) {
      const at = i * this.#blockSamples
      pcm.set(block.subarray(0, Math.min(block.length, this.#samples - at)), at)
    }
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
