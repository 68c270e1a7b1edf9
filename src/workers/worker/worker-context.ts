import type { Clock, WallClock } from '../../core/clock.js'
import type { TurnBank } from '../../call/turns/end-of-turn.js'
import type { ResamplerBank } from '../../media/resample/resampler.js'
import type { VadBank } from '../../media/vad/vad.js'
import type { FrameHistogram } from '../../telemetry/frame-histogram.js'
import type { SlowestFrame } from '../../telemetry/slowest-frame.js'

/** Context that the calls of one media worker share. */
export interface WorkerContext {
  readonly clock: Clock
  /** Calendar time. @defaultValue that of the machine */
  readonly wallClock?: WallClock
  readonly resamplers: ResamplerBank
  readonly vads: VadBank
  /** Decides when the caller has finished, in place of what the agent's file says (`turn`). */
  readonly turns?: TurnBank
  /** From the carrier's socket to the backend, for each frame. */
  readonly latencyIn: FrameHistogram
  /** The slowest of those frames, and its call. */
  readonly slowestIn?: SlowestFrame
  /** From the backend's first sample to the carrier's socket, for each item. */
  readonly latencyOut: FrameHistogram
}

/** Calendar time now. */
export function wallMsOf({ wallClock = Date.now }: Pick<WorkerContext, 'wallClock'>): number {
  return wallClock()
}
