import type { PolyphaseRows } from './polyphase.js'
import type { SampleRateHz } from '../core/units.js'

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
  /** The most samples that `process` writes for `inputSamples` samples. */
  outputSamplesMax(inputSamples: number): number
  /** @returns samples written to `output`; any chunk length gives the same samples as the whole would. */
  process(input: Int16Array, output: Int16Array, inputSamples?: number): number
  /** Forget the past: the next sample is the first of a new stream. */
  reset(): void
  /** Gives the slot back; the object must not be used afterwards. */
  release(): void
}

/** All resamplers of one thread; one WebAssembly memory for all its streams. */
export declare class ResamplerBank {
  /** Streams that are open now, and how many slots exist. */
  readonly openStreams: number
  constructor(options: ResamplerBankOptions)
  /** Same rate in and out gives a stream that copies. */
  open(inRateHz: SampleRateHz, outRateHz: SampleRateHz): StreamResampler
}
