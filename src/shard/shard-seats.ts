import { FRAME_HISTOGRAM_BYTES } from '../telemetry/frame-histogram.js'
import { SLOWEST_FRAME_BYTES } from '../telemetry/slowest-frame.js'
import type { Environment } from '../agents/loader.js'
import type { BackendSettings } from '../backends/registry.js'
import type { MediaAssets } from './media-assets.js'

/**
 * Where a media worker puts its histograms. A worker takes the first free seat when it starts; the seat of one
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
}

/** What piscina hands to each media worker. */
export interface ShardWorkerData {
  readonly seats: ShardSeats
  readonly assets: MediaAssets
  /** The variables that tool templates may read. */
  readonly env: Environment
  readonly backends: BackendSettings
}

export function makeShardSeats(workers: number): ShardSeats {
  // One more than workers: a successor may start before its predecessor's seat was freed.
  const count = workers + 1
  const histogram = (): SharedArrayBuffer => new SharedArrayBuffer(FRAME_HISTOGRAM_BYTES)
  return {
    owners: new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT),
    seats: Array.from({ length: count }, () => ({
      tickLateness: histogram(), tickBusy: histogram(), latencyIn: histogram(), slowestIn: new SharedArrayBuffer(SLOWEST_FRAME_BYTES), latencyOut: histogram(),
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

/** The main thread's side: the seats of threads that are not alive are free again. */
export function freeShardSeats(seats: ShardSeats, alive: ReadonlySet<number>): void {
  const owners = new Int32Array(seats.owners)
  for (let i = 0; i < owners.length; i++) {
    const owner = Atomics.load(owners, i)
    if (owner !== 0 && !alive.has(owner)) Atomics.store(owners, i, 0)
  }
}
