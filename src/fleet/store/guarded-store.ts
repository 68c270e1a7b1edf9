import type { Clock } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import { STORE_DEADLINE_MS, STORE_PATIENCE_MS, STORE_REST_MS } from '../../core/limits.js'
import type { CallStore } from './call-store.js'
import { RelayedStore, runOp } from './relayed-store.js'
import type { StoreArgs, StoreOp, StoreResult } from './relayed-store.js'

/**
 * Outcome of an operation. `ok`: done. `lost-deadline`: the deadline passed. `refused`: the store refused it or is not
 * connected. `skipped`: not tried, because the store rests.
 */
type StoreOutcome = 'ok' | 'lost-deadline' | 'refused' | 'skipped'

type StoreCounters = Record<StoreOp, Record<StoreOutcome, number>>

interface GuardOptions {
  /** Monotonic clock. */
  readonly clock: Clock
  /** Called after each operation that was tried, for a histogram of durations. Must not throw. */
  readonly onOp: (op: StoreOp, durationMs: number) => void
}

/**
 * Guard against a slow store. No operation takes longer than STORE_DEADLINE_MS, so that calls are not delayed. After a
 * timeout the store rests for STORE_REST_MS: operations reject at once without a request. After the rest, a single
 * operation tests the store.
 */
export class GuardedStore extends RelayedStore {
  /** Counts of operations by name and outcome; plain fields, copied at each scrape. */
  readonly counters: StoreCounters = {
    claim: noneYet(),
    save: noneYet(),
    saveAll: noneYet(),
    read: noneYet(),
    attach: noneYet(),
    over: noneYet(),
    callsOf: noneYet(),
    once: noneYet(),
    standing: noneYet(),
    settle: noneYet(),
    swap: noneYet(),
    tally: noneYet(),
    beat: noneYet(),
    leave: noneYet(),
  }
  /** Number of writes to a call that had another owner, or was over. */
  conflicts = 0
  /**
   * The same store with a longer deadline (STORE_PATIENCE_MS), which never rests. It is for operations for which no new
   * caller waits.
   */
  readonly patient: CallStore
  readonly #inner: CallStore
  readonly #options: GuardOptions
  #up = true
  /** End of the store's rest, on the clock; null if the store does not rest. */
  #restsUntilMs: number | null = null
  /** True while one operation tests whether the store answers again after its rest. */
  #trying = false

  constructor(inner: CallStore, options: GuardOptions) {
    super()
    this.#inner = inner
    this.#options = options
    this.patient = new PatientStore(this, (op, args) => this.#timed(op, args, STORE_PATIENCE_MS))
  }

  /** True if the store answered the last request, or was not asked yet. */
  get up(): boolean {
    return this.#up
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  protected async relay<Op extends StoreOp>(op: Op, args: StoreArgs<Op>): Promise<StoreResult<Op>> {
    const rests = this.#restsUntilMs !== null
    if (this.#restsUntilMs !== null) {
      if (this.#trying || this.#options.clock() < this.#restsUntilMs) {
        this.counters[op].skipped++
        throw down(`it did not answer within ${STORE_DEADLINE_MS} ms, and is left alone for ${STORE_REST_MS} ms`)
      }
      this.#trying = true
    }
    return this.#timed(op, args, STORE_DEADLINE_MS).finally(() => {
      if (rests) this.#trying = false
    })
  }

  async #timed<Op extends StoreOp>(op: Op, args: StoreArgs<Op>, withinMs: number): Promise<StoreResult<Op>> {
    const { clock, onOp } = this.#options
    const counters = this.counters[op]
    const startMs = clock()
    let timer: NodeJS.Timeout | undefined
    let late = false
    try {
      // The timer is set before the operation starts. So this deadline passes before an equal deadline inside the
      // operation.
      const deadline = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => {
          late = true
          reject(down(`it did not answer within ${withinMs} ms`))
        }, withinMs)
      })
      const result = await Promise.race([runOp(this.#inner, op, args), deadline])
      counters.ok++
      this.conflicts += [result].flat().filter((each) => each === 'lost').length
      // An answer that is in time only for a patient operation does not show that the store is up for other operations.
      if (clock() - startMs <= STORE_DEADLINE_MS) this.#answered(true)
      return result
    } catch (thrown) {
      if (late) {
        counters['lost-deadline']++
        this.#up = false
        this.#restsUntilMs = clock() + STORE_REST_MS
      } else {
        counters.refused++
        this.#answered(thrown instanceof GatewayError && thrown.code === 'STORE_REFUSED')
      }
      throw thrown
    } finally {
      clearTimeout(timer)
      onOp(op, clock() - startMs)
    }
  }

  /**
   * Notes an answer that came in time. `up` is true even if the store refused an entry, because it has read the entry.
   */
  #answered(up: boolean): void {
    this.#up = up
    this.#restsUntilMs = null
  }
}

type Relay = <Op extends StoreOp>(op: Op, args: StoreArgs<Op>) => Promise<StoreResult<Op>>

class PatientStore extends RelayedStore {
  readonly #guard: GuardedStore
  readonly #relay: Relay

  constructor(guard: GuardedStore, relay: Relay) {
    super()
    this.#guard = guard
    this.#relay = relay
  }

  close(): Promise<void> {
    return this.#guard.close()
  }

  protected relay<Op extends StoreOp>(op: Op, args: StoreArgs<Op>): Promise<StoreResult<Op>> {
    return this.#relay(op, args)
  }
}

function noneYet(): Record<StoreOutcome, number> {
  return { ok: 0, 'lost-deadline': 0, refused: 0, skipped: 0 }
}

function down(why: string): GatewayError {
  return new GatewayError('STORE_DOWN', `the call store is down: ${why}`, { retryable: true })
}
