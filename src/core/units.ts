/** Possible sample rates of a carrier's leg. */
export type LegRateHz = 8000 | 16000

/** Possible sample rates of audio in the gateway. */
export const SAMPLE_RATES_HZ = [8000, 16000, 24000] as const
export type SampleRateHz = (typeof SAMPLE_RATES_HZ)[number]

export function isSampleRateHz(value: number): value is SampleRateHz {
  return SAMPLE_RATES_HZ.includes(value as SampleRateHz)
}

/** Duration of one audio frame in all parts of the gateway, in milliseconds. */
export const FRAME_MS = 20

/** Number of samples in one 20 ms frame: 160, 320 or 480. */
export function frameSamples(sampleRateHz: SampleRateHz): number {
  return (sampleRateHz * FRAME_MS) / 1000
}

export function samplesToMs(samples: number, sampleRateHz: number): number {
  return (samples * 1000) / sampleRateHz
}

export function msToSamples(ms: number, sampleRateHz: number): number {
  return Math.round((ms * sampleRateHz) / 1000)
}

export const DAY_MS = 86_400_000

/** Number of bytes of one s16le sample. */
export const BYTES_PER_SAMPLE = 2
