import type { SampleRateHz } from '../../core/units.js'
import type { ResamplerBank } from '../../media/resample/resampler.js'
import type { BackendFactory } from '../backend.js'
import type { Circuits } from './circuit-breaker.js'
import type { BackendWatch, BackendCounters } from '../watch.js'
import type { BackendTimers } from './timers.js'

/** One backend of the list. Its name is the one in its capabilities. */
export interface FailoverMember {
  readonly create: BackendFactory
  /**
   * A dialogue that must be begun before it hears anything, also when it takes over: the embedded backend. A model is
   * only asked to go on where the caller waits for words.
   */
  readonly scripted?: boolean
  /** Of this member, because voices have different names everywhere; the session's own when not given, null for the service's. */
  readonly voice?: string | null
}

export interface FailoverOptions {
  /** In the order in which they are tried; one or more. */
  readonly members: readonly FailoverMember[]
  readonly timers: BackendTimers
  /** The worker's; a new call's backend has a circuit of its own when not given. */
  readonly circuits?: Circuits
  /** Needed where a member's rate is not the call's. */
  readonly resamplers?: ResamplerBank
  /** Rate of the caller's audio as it is pushed here, best the leg's own; the members' highest when not given. */
  readonly inputRateHz?: SampleRateHz
  /** Keeps the next one of the list connected, without audio, from the start of the call. */
  readonly standby?: boolean
  /** Caller audio that is kept, 2 s and more. */
  readonly reFeedMs?: number
  readonly connectMs?: number
  /** Silence after a question that counts as a fault. */
  readonly stallMs?: number
  /** How long the caller waits before a `holding` event. */
  readonly holdAfterMs?: number
  readonly failoversMax?: number
  /** Told of sessions, faults and circuits; nobody is when not given. */
  readonly watch?: BackendWatch
}

/** Counters of one call; plain fields. */
export interface FailoverStats {
  failovers: number
  rotations: number
  stalls: number
  /** From the fault to a backend that knows everything, of the last one and the longest; NaN before any. */
  gapMsLast: number
  gapMsMax: number
  /** From the last fault to the first sound of the new backend, NaN before any. */
  soundMsLast: number
  /** Caller audio that was given again, and that was too old to be. */
  reFedSamples: number
  lostSamples: number
  /** Tool calls that were answered with what there was. */
  toolsSpared: number
  /** Audio and events of retired backends. */
  lateDropped: number
  rotationsAbandoned: number
  standbysLost: number
}

/** What the list did on one call. Plain data for the record; null where there is nothing to measure. */
export interface FailoverReport
  extends Readonly<Omit<FailoverStats, 'gapMsLast' | 'gapMsMax' | 'soundMsLast' | 'reFedSamples' | 'lostSamples'>> {
  /** From a fault to a backend that knows everything: the last one, and the longest. */
  readonly gapMsLast: number | null
  readonly gapMsMax: number | null
  /** From the last fault to the first sound of the new backend. */
  readonly soundMsLast: number | null
  /** Caller audio that was given again, and that was too old to be. */
  readonly reFedMs: number
  readonly lostMs: number
  /** What was irregular, by backend. */
  readonly irregular: Readonly<Record<string, BackendCounters>>
}
