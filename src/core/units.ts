/** Sample rates a carrier leg may have. */
export type LegRateHz = 8000 | 16000

/** Sample rates that audio has anywhere in the gateway. */
export const SAMPLE_RATES_HZ = [8000, 16000, 24000] as const
export type SampleRateHz = (typeof SAMPLE_RATES_HZ)[number]

export function isSampleRateHz(value: number): value is SampleRateHz {
  return SAMPLE_RATES_HZ.includes(value as SampleRateHz)
}

/** One frame of audio everywhere in the gateway: 20 ms. */
export const FRAME_MS = 20

/** Samples in one 20 ms frame: 160, 320 or 480. */
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

/** Bytes of one s16le sample. */
export const BYTES_PER_SAMPLE = 2
