import { assert } from '../../core/assert.js'
import { RESAMPLER_STREAMS_MAX } from '../../core/limits.js'
import type { SampleRateHz } from '../../core/units.js'
import { BLOCK_SAMPLES, JsKernel, WasmKernel, type Kernel } from './fir-kernels.js'
import type { PolyphaseRows } from './polyphase.js'

export interface ResamplerBankOptions {
  /** From `derivePolyphaseRows`, one for each pair of rates that streams will need. */
  readonly rows: readonly PolyphaseRows[]
  /** The compiled `fir-kernel.wasm`; null runs the same arithmetic in JavaScript. */
  readonly kernel: WebAssembly.Module | null
}

/** One direction of one call. Samples are mono s16. */
export interface StreamResampler {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  /** How long a sample takes from input to output. */
  readonly delayMs: number
  /** The most samples that `process` writes for `inputSamples` samples. */
  outputSamplesMax(inputSamples: number): number
  /**
   * Chunks may have any length: together they give the same samples as the whole would. 20 ms in give exactly
   * 20 ms out from the first call on.
   * @param output at least `outputSamplesMax(inputSamples)` long; overwritten from its start
   * @param inputSamples how much of `input` counts; all of it when left out
   * @returns samples written to `output`
   */
  process(input: Int16Array, output: Int16Array, inputSamples?: number): number
  /** Forget the past: the next sample is the first of a new stream. */
  reset(): void
  /** Gives the slot back; the object must not be used afterwards. */
  release(): void
}

/**
 * All resamplers of one thread. The rows of a ratio are in memory once; a stream is a history of 0.4 to 1.2 KB in
 * one shared memory, and a free list of such slots, so that calls come and go without allocation.
 */
export class ResamplerBank {
  /** Streams that are open now. */
  openStreams = 0
  readonly #rows: readonly PolyphaseRows[]
  readonly #kernel: Kernel
  readonly #freeSlots: number[][]

  constructor(options: ResamplerBankOptions) {
    this.#rows = options.rows
    this.#freeSlots = options.rows.map(() => [])
    this.#kernel = options.kernel === null ? new JsKernel(options.rows) : new WasmKernel(options.rows, options.kernel)
  }

  /** Bytes of all histories, in use or free. */
  get stateBytes(): number {
    return this.#kernel.stateBytes
  }

  /**
   * A stream with no past. Same rate in and out gives a stream that copies.
   * @throws Error when the bank has no rows for this pair, or too many streams are open: a mistake in this program
   */
  open(inRateHz: SampleRateHz, outRateHz: SampleRateHz): StreamResampler {
    if (inRateHz === outRateHz) return new CopyStream(inRateHz)
    const ratio = this.#rows.findIndex((rows) => rows.inRateHz === inRateHz && rows.outRateHz === outRateHz)
    const rows = this.#rows[ratio]
    assert(rows !== undefined, `no polyphase rows for ${inRateHz} to ${outRateHz} Hz`)
    assert(this.openStreams < RESAMPLER_STREAMS_MAX, 'more resamplers open than a worker may carry calls')
    this.openStreams++
    const free = this.#freeSlots[ratio] as number[]
    const slot = free.pop() ?? this.#kernel.allocate(ratio)
    return new FirStream(rows, this.#kernel, ratio, slot, () => {
      this.openStreams--
      free.push(slot)
    })
  }
}

class FirStream implements StreamResampler {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  readonly delayMs: number
  readonly #upBy: number
  readonly #downBy: number
  readonly #kernel: Kernel
  readonly #ratio: number
  readonly #slot: number
  readonly #giveBack: () => void
  /** Of the next output behind the next input sample, in units of 1 / upBy input samples. */
  #position = 0
  #released = false

  constructor(rows: PolyphaseRows, kernel: Kernel, ratio: number, slot: number, giveBack: () => void) {
    this.inRateHz = rows.inRateHz
    this.outRateHz = rows.outRateHz
    this.delayMs = (rows.delaySamples * 1000) / rows.inRateHz
    this.#upBy = rows.upBy
    this.#downBy = rows.downBy
    this.#kernel = kernel
    this.#ratio = ratio
    this.#slot = slot
    this.#giveBack = giveBack
    kernel.clear(ratio, slot)
  }

  outputSamplesMax(inputSamples: number): number {
    return Math.ceil((inputSamples * this.#upBy) / this.#downBy)
  }

  process(input: Int16Array, output: Int16Array, inputSamples = input.length): number {
    assert(!this.#released, 'resampler used after its release')
    assert(inputSamples <= input.length, 'resampler asked for more samples than its input has')
    assert(output.length >= this.outputSamplesMax(inputSamples), 'resampler output is too short')
    const upBy = this.#upBy
    const downBy = this.#downBy
    let written = 0
    for (let from = 0; from < inputSamples; from += BLOCK_SAMPLES) {
      const samples = Math.min(BLOCK_SAMPLES, inputSamples - from)
      // Outputs whose place lies before the end of this block.
      const outputSamples = Math.ceil((samples * upBy - this.#position) / downBy)
      this.#kernel.run(this.#ratio, this.#slot, this.#position, input, from, samples, output, written, outputSamples)
      this.#position += outputSamples * downBy - samples * upBy
      written += outputSamples
    }
    return written
  }

  reset(): void {
    this.#kernel.clear(this.#ratio, this.#slot)
    this.#position = 0
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#giveBack()
  }
}

class CopyStream implements StreamResampler {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  readonly delayMs = 0

  constructor(rateHz: SampleRateHz) {
    this.inRateHz = rateHz
    this.outRateHz = rateHz
  }

  outputSamplesMax(inputSamples: number): number {
    return inputSamples
  }

  process(input: Int16Array, output: Int16Array, inputSamples = input.length): number {
    if (inputSamples === input.length) output.set(input)
    else for (let i = 0; i < inputSamples; i++) output[i] = input[i] as number
    return inputSamples
  }

  reset(): void { /* a copy has no past */ }

  release(): void { /* nor a slot */ }
}
