import type { Clock, WallClock } from '../../core/clock.js'
import type { TurnBank } from '../../call/turns/end-of-turn.js'
import type { ResamplerBank } from '../../media/resample/resampler.js'
import type { VadBank } from '../../media/vad/vad.js'
import type { FrameHistogram } from '../../telemetry/frame-histogram.js'
import type { SlowestFrame } from '../../telemetry/slowest-frame.js'
import type { framesMayWaitUntilMs } from './call-pace.js'
import type { TickTimes } from './tick-times.js'

/** Context that all calls of one media worker share. */
export interface WorkerContext {
  readonly clock: Clock
  /** Times of the worker's last ticks. */
  readonly ticks: TickTimes
  /** Decides how long caller frames may wait. @defaultValue `framesMayWaitUntilMs` */
  readonly pace?: typeof framesMayWaitUntilMs
  /** Calendar time. @defaultValue the machine's calendar time */
  readonly wallClock?: WallClock
  readonly resamplers: ResamplerBank
  readonly vads: VadBank
  /** Decides when the caller's turn has ended. It replaces the setting in the agent's file (`turn`). */
  readonly turns?: TurnBank
  /** Latency from the carrier's socket to the backend, for each frame. */
  readonly latencyIn: FrameHistogram
  /** The slowest frame in `latencyIn`, and the call to which it belongs. */
  readonly slowestIn?: SlowestFrame
  /** Latency from the backend's first sample to the carrier's socket, for each item. */
  readonly latencyOut: FrameHistogram
}

/** Calendar time now. */
export function wallMsOf({ wallClock = Date.now }: Pick<WorkerContext, 'wallClock'>): number {
  return wallClock()
}
