import { seededRandom } from './tones.js'

/** Conditions for frames between the carrier's clock and our socket. Times in milliseconds. */
export interface LineConditions {
  readonly seed: number
  /** Time in ms at which the carrier takes the first frame. */
  readonly startMs?: number
  readonly frameMs?: number
  /**
   * Difference between the carrier's clock and ours; positive: the carrier is slow, and its frames come further apart.
   */
  readonly driftPpm?: number
  /** Maximum delay in ms of every frame. */
  readonly jitterMs?: number
  /**
   * Share of the frames with an additional delay up to `lateMs`. TCP keeps the order, so the frames after them wait
   * too.
   */
  readonly lateShare?: number
  readonly lateMs?: number
  /** Number of frames that come at once, when the last of them is complete. */
  readonly burstFrames?: number
  /** Pauses: no frame comes between `atMs` (since the start) and `atMs + ms`; then all of them come at once. */
  readonly stalls?: readonly { readonly atMs: number; readonly ms: number }[]
}

/**
 * Arrival time of each of `frames` frames: never earlier than the previous frame. The same seed gives the same line.
 * @see algesten/str0m's netem, which also emulates a network in code
 */
export function arrivals(frames: number, conditions: LineConditions): Float64Array {
  const random = seededRandom(conditions.seed)
  const startMs = conditions.startMs ?? 0
  const frameMs = (conditions.frameMs ?? 20) * (1 + (conditions.driftPpm ?? 0) / 1e6)
  const burst = conditions.burstFrames ?? 1
  const times = new Float64Array(frames)
  let last = -Infinity
  for (let i = 0; i < frames; i++) {
    // A frame is complete when its last sample has come.
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
