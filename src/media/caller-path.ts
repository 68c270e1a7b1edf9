import type { LegRateHz } from '../core/units.js'
import type { VadBank } from './vad.js'

export interface CallerPathOptions {
  readonly sampleRateHz: LegRateHz
  /** What the carrier was asked to fork. */
  readonly track: 'inbound_track' | 'outbound_track' | 'both_tracks'
  readonly vadBank: VadBank
}

/** Plain counters of one call's caller side, copied at scrape. */
export interface CallerPathStats {
  bytesIn: number
  framesIn: number
  framesOut: number
  /** Silent frames given up to catch up. */
  framesSkipped: number
  /** Frames lost because a bound was hit. */
  framesDropped: number
  framesConcealed: number
  stalls: number
  /** The learnt depth of the jitter buffer now. */
  depthMs: number
  channels: 0 | 1 | 2
}

/**
 * One call's caller side. `push` when bytes come; at each tick `while (path.pull(nowMs)) { use its fields }`.
 * Or stage by stage over all calls: `take` on each, then `detect` on those that took one.
 */
export declare class CallerPath {
  readonly sampleRateHz: LegRateHz
  /** The frame that was pulled last: 20 ms of the caller, mono, at the leg's rate. Overwritten by the next pull. */
  readonly frame: Int16Array
  /** Raw decision for this frame: speech of the caller; not echo, not a key, not a tone. No hang-over. */
  voiced: boolean
  levelDbfs: number
  /** A key that was recognised in this frame; each press once. */
  digit: string | null
  /** This frame was made up to bridge a stall. */
  concealed: boolean
  /** This frame is our own speech coming back. */
  echo: boolean
  /** Media time of the frame's end: samples received before it x 1000 / rate. */
  mediaMs: number
  /** When its last byte arrived. */
  arrivalMs: number
  readonly stats: CallerPathStats
  constructor(options: CallerPathOptions)
  /** Bytes of one binary frame from the carrier, any number; copied before return. */
  push(bytes: Uint8Array, arrivalMs: number): void
  /** `take` and `detect` in one. False: no frame is due. */
  pull(nowMs: number): boolean
  /** First stage: the next frame that is due, with level, times and echo. */
  take(nowMs: number): boolean
  /** Second stage: voice and keys of the frame that was taken. */
  detect(): void
  /** 20 ms that were sent to the caller, so that they are known when they come back. */
  playedReference(frame: Int16Array, sentAtMs: number): void
  release(): void
}
