import type { TransferListItem } from 'node:worker_threads'
import { Piscina } from 'piscina'
import type { CallEnd, CallStart } from './call-messages.js'
import { freeShardSeat, seatedWorkers } from './shard-seats.js'
import type { SeatedWorker, ShardSeats } from './shard-seats.js'
import type { WorkerVerdict } from './worker-watch.js'
import { WorkerWatch } from './worker-watch.js'

export type PoolOptions = NonNullable<ConstructorParameters<typeof Piscina>[0]>

/** A worker that is gone: what it said last, and why it was ended, where we did that. */
export interface DeadWorker extends SeatedWorker {
  readonly verdict: WorkerVerdict | null
}

/** A piscina pool of media workers, with their seats: knows which of them are gone, and ends those that its watch condemns. */
export class MediaPool {
  readonly seats: ShardSeats
  readonly #pool: Piscina<CallStart | null, CallEnd | null>
  readonly #watch: WorkerWatch
  readonly #verdicts = new Map<number, WorkerVerdict>()

  /** @param memoryBytes  bound of one worker's memory outside of its heap */
  constructor(options: PoolOptions, seats: ShardSeats, memoryBytes: number) {
    this.seats = seats
    this.#pool = new Piscina<CallStart | null, CallEnd | null>(options)
    this.#watch = new WorkerWatch(memoryBytes)
  }

  /** The threads that are alive. */
  get threads(): Piscina['threads'] {
    return this.#pool.threads
  }

  /** @param fault  told of an error of a worker that carries nothing; those of others reject their tasks */
  onFault(fault: (thrown: unknown) => void): void {
    this.#pool.on('error', fault)
  }

  /** @param gone  told after a worker has left the pool, whatever the reason, and after its tasks were rejected */
  onGone(gone: () => void): void {
    this.#pool.on('workerDestroy', () => setImmediate(gone))
  }

  /** Starts a task on the least loaded worker. */
  run(start: CallStart | null, transfer: readonly TransferListItem[]): Promise<CallEnd | null> {
    return this.#pool.run(start, { transferList: [...transfer] })
  }

  /** Ends the workers that the watch condemns; piscina rejects their tasks and starts others. To be called every `WORKER_WATCH_MS`. */
  watch(nowMs: number, rssBytes: number): void {
    const signs = seatedWorkers(this.seats).map(({ thread, pulse }) => (
      { thread, beatAtMs: pulse.beatAtMs, bufferBytes: pulse.bufferBytes, running: pulse.running }))
    for (const verdict of this.#watch.look(nowMs, rssBytes, signs)) {
      const worker = this.#pool.threads.find(({ threadId }) => threadId === verdict.thread)
      if (worker === undefined) continue
      this.#verdicts.set(verdict.thread, verdict)
      void worker.terminate()
    }
  }

  /** The workers that are gone since it was asked last. `free` their seats once they have been looked at. */
  dead(): DeadWorker[] {
    const alive = new Set(this.#pool.threads.map(({ threadId }) => threadId))
    return seatedWorkers(this.seats)
      .filter(({ thread }) => !alive.has(thread))
      .map((seated) => ({ ...seated, verdict: this.#verdicts.get(seated.thread) ?? null }))
  }

  free(worker: DeadWorker): void {
    this.#verdicts.delete(worker.thread)
    freeShardSeat(this.seats, worker)
  }

  destroy(): Promise<void> {
    return this.#pool.destroy()
  }
}
