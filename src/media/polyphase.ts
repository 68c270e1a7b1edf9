import type { SampleRateHz } from '../core/units.js'

/** The polyphase rows of one ratio: plain data, can be posted to a worker. */
export interface PolyphaseRows {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  /** outRateHz / gcd */
  readonly upBy: number
  /** inRateHz / gcd */
  readonly downBy: number
  /** Taps of each row, a multiple of 8. */
  readonly tapsPerRow: number
  /** `upBy` rows of `tapsPerRow`, oldest input sample first. */
  readonly coefficients: Float32Array
  /** Delay of the output against the input, in input samples. */
  readonly delaySamples: number
  /** Samples of history that the filter needs. */
  readonly historySamples: number
}

/** What is used of a libsamplerate-js converter. */
export interface SincConverter {
  full(input: Float32Array): Float32Array
  destroy(): void
}

/** Makes a mono SINC_MEDIUM converter. */
export type CreateConverter = (inRateHz: number, outRateHz: number) => Promise<SincConverter>

/** Rows for the given pairs of rates (every pair of 8, 16 and 24 kHz when left out). */
export declare function derivePolyphaseRows(
  create: CreateConverter,
  pairs?: readonly (readonly [SampleRateHz, SampleRateHz])[],
): Promise<readonly PolyphaseRows[]>
