import { seededRandom } from './tones.js'

/** Conditions for frames between the carrier's clock and our socket. Times in milliseconds. */
export interface LineConditions {
  readonly seed: number
  /** When the carrier takes the first frame. */
  readonly startMs?: number
  readonly frameMs?: number
  /** The carrier's clock against ours; positive: the carrier is slow, and its frames come further apart. */
  readonly driftPpm?: number
  /** Every frame is late by up to this. */
  readonly jitterMs?: number
  /** This share of the frames is late by up to `lateMs` on top. TCP keeps the order: what follows waits too. */
  readonly lateShare?: number
  readonly lateMs?: number
  /** Frames come this many at once, when the last of them is there. */
  readonly burstFrames?: number
  /** Nothing comes between `atMs` (since the start) and `atMs + ms`; then all of it at once. */
  readonly stalls?: readonly { readonly atMs: number; readonly ms: number }[]
}

/**
 * When each of `frames` frames arrives: never before the one before it. Same seed, same line.
 * @see algesten/str0m's netem, which emulates a network without one
 */
export function arrivals(frames: number, conditions: LineConditions): Float64Array {
  const random = seededRandom(conditions.seed)
  const startMs = conditions.startMs ?? 0
  const frameMs = (conditions.frameMs ?? 20) * (1 + (conditions.driftPpm ?? 0) / 1e6)
  const burst = conditions.burstFrames ?? 1
  const times = new Float64Array(frames)
  let last = -Infinity
  for (let i = 0; i < frames; i++) {
    // A frame is there when its last sample is.
    let at = (Math.floor(i / burst) * burst + burst) * frameMs
    at += random() * (conditions.jitterMs ?? 0)
    if (random() < (conditions.lateShare ?? 0)) at += random() * (conditions.lateMs ?? 0)
    for (const stall of conditions.stalls ?? []) {
      if (at >= stall.atMs && at < stall.atMs + stall.ms) at = stall.atMs + stall.ms
    }
    last = Math.max(last, startMs + at)
    times[i] = last
  }
  return times
}
