import { FRAME_HISTOGRAM_BYTES } from '../telemetry/frame-histogram.js'
import { SLOWEST_FRAME_BYTES } from '../telemetry/slowest-frame.js'
import type { Environment } from '../agents/template.js'
import type { BackendSettings } from '../backends/registry.js'
import type { MediaAssets } from './media-assets.js'
import { WORKER_PULSE_BYTES, WorkerPulse } from './worker-pulse.js'

/**
 * Where a media worker puts its histograms and its pulse. A worker takes the first free seat when it starts; the seat of one
 * that died is freed, and its successor goes on with the same series.
 */
export interface ShardSeats {
  /** One Int32 a seat: the thread that sits there, 0 for nobody. */
  readonly owners: SharedArrayBuffer
  readonly seats: readonly ShardSeat[]
}

export interface ShardSeat {
  readonly tickLateness: SharedArrayBuffer
  readonly tickBusy: SharedArrayBuffer
  readonly latencyIn: SharedArrayBuffer
  /** Whose frame was the slowest on its way in. */
  readonly slowestIn: SharedArrayBuffer
  readonly latencyOut: SharedArrayBuffer
  readonly pulse: SharedArrayBuffer
}

/** What piscina hands to each media worker. */
export interface ShardWorkerData {
  readonly seats: ShardSeats
  readonly assets: MediaAssets
  /** The variables that tool templates may read. */
  readonly env: Environment
  readonly backends: BackendSettings
  /** Bound of the worker's heap, and of what it holds outside of it. */
  readonly memoryMb: number
}

/** What the worker of a seat says, by its thread. */
export interface SeatedWorker {
  readonly thread: number
  readonly pulse: WorkerPulse
}

export function makeShardSeats(workers: number): ShardSeats {
  // One more than workers: a successor may start before its predecessor's seat was freed.
  const count = workers + 1
  const histogram = (): SharedArrayBuffer => new SharedArrayBuffer(FRAME_HISTOGRAM_BYTES)
  return {
    owners: new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT),
    seats: Array.from({ length: count }, () => ({
      tickLateness: histogram(), tickBusy: histogram(), latencyIn: histogram(), slowestIn: new SharedArrayBuffer(SLOWEST_FRAME_BYTES), latencyOut: histogram(),
      pulse: new SharedArrayBuffer(WORKER_PULSE_BYTES),
    })),
  }
}

/** The worker's side. With no seat free (two deaths at once) the last one is shared; counts stay right enough. */
export function claimShardSeat(seats: ShardSeats, threadId: number): ShardSeat {
  const owners = new Int32Array(seats.owners)
  let index = 0
  while (index < owners.length - 1 && Atomics.compareExchange(owners, index, 0, threadId) !== 0) index++
  return seats.seats[index] as ShardSeat
}

/** The main thread's side: who sits where, alive or not. */
export function seatedWorkers(seats: ShardSeats): SeatedWorker[] {
  const owners = new Int32Array(seats.owners)
  return seats.seats.flatMap((seat, index) => {
    const thread = Atomics.load(owners, index)
    return thread === 0 ? [] : [{ thread, pulse: new WorkerPulse(seat.pulse) }]
  })
}

/** The main thread's side: the seat of a thread that is no more is free again. */
export function freeShardSeat(seats: ShardSeats, { thread, pulse }: SeatedWorker): void {
  pulse.clear()
  const owners = new Int32Array(seats.owners)
  const index = owners.indexOf(thread)
  if (index !== -1) Atomics.store(owners, index, 0)
}
