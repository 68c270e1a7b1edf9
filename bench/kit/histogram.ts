import * as hdr from 'hdr-histogram-js'
import type { Histogram } from 'hdr-histogram-js'

export type { Histogram } from 'hdr-histogram-js'

/** Highest value that is distinguished: one minute. */
const HIGHEST_US = 60_000_000

/** Creates a histogram in µs with three significant digits. */
export function newHistogram(): Histogram {
  return hdr.build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: HIGHEST_US,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  })
}

/** Records a value in ms. A value below 1 µs counts as 1 µs, a value above a minute as a minute. */
export function recordMs(histogram: Histogram, ms: number): void {
  const us = Math.round(ms * 1000)
  histogram.recordValue(us < 1 ? 1 : us > HIGHEST_US ? HIGHEST_US : us)
}

export function encode(histogram: Histogram): string {
  return hdr.encodeIntoCompressedBase64(histogram)
}

export function decode(text: string): Histogram {
  return hdr.decodeFromCompressedBase64(text, 'packed', false)
}

/** Adds up the histograms in `texts`. */
export function merge(texts: readonly string[]): Histogram {
  const all = newHistogram()
  for (const text of texts) all.add(decode(text))
  return all
}

/** Values in ms at the percentiles that reports show; null for an empty histogram. */
export interface Percentiles {
  readonly count: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** Percentiles of single values, which may be negative; null if there are no values. */
export function percentilesOf(valuesMs: readonly number[]): Percentiles | null {
  if (valuesMs.length === 0) return null
  const sorted = valuesMs.toSorted((a, b) => a - b)
  const at = (percent: number): number => sorted[Math.ceil((percent * sorted.length) / 100) - 1] as number
  return { count: sorted.length, p50: at(50), p95: at(95), p99: at(99), p999: at(99.9), max: at(100) }
}

export function percentilesMs(histogram: Histogram): Percentiles | null {
  if (histogram.totalCount === 0) return null
  const at = (percent: number): number => histogram.getValueAtPercentile(percent) / 1000
  return {
    count: histogram.totalCount,
    p50: at(50),
    p95: at(95),
    p99: at(99),
    p999: at(99.9),
    max: histogram.maxValue / 1000,
  }
}
