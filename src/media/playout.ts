import { FADE_MS, PLAYOUT_LEAD_MS_16K, PLAYOUT_LEAD_MS_8K } from '../core/limits.js'
import type { LegRateHz } from '../core/units.js'

/** Where playout takes its speech from: in the gateway, a ring in shared memory. Counts are samples. */
export interface SampleSource {
  available(): number
  /** Copies up to `samples` samples into `out` without taking them. */
  peek(out: Int16Array, samples: number): number
  /** Takes samples that were peeked. */
  consume(samples: number): void
}

export interface PlayoutOptions {
  readonly sampleRateHz: LegRateHz
  /** How far ahead of the caller's ear we may send; by default 100 ms at 16 kHz, 140 ms at 8 kHz, never above 200. */
  readonly leadMs?: number
}

/** See docs below; published early for the other rooms. */
export declare class Playout {
  readonly sampleRateHz: LegRateHz
  readonly leadMs: number
  /** Samples that `pump` may write at most: the size that `out` must have. */
  readonly outSamplesMax: number
  /**
   * True when nothing more of the current speech will come, so that a dry source is the end of it and not a
   * late backend. Set it before each `pump`.
   */
  speechEnded: boolean
  /** Speech samples consumed from the source, ever. Zeros and fade-outs do not count. */
  sentSamples: number
  /** When everything that was sent will have been played; in the past when nothing plays. */
  playoutEndMs: number
  /** When the last speech sample was handed over; null before any. */
  lastSentAtMs: number | null
  /** When the run of speech that is playing (or played last) began; null before any. */
  startedAtMs: number | null
  underruns: number
  lateTicks: number
  readonly paused: boolean
  constructor(options: PlayoutOptions)
  /** How many samples were written to `out`, to be sent now as one binary frame; 0 for nothing. */
  pump(nowMs: number, source: SampleSource, out: Int16Array): number
  pause(nowMs: number): void
  resume(nowMs: number): void
  clear(nowMs: number): void
  aheadMs(nowMs: number): number
}
