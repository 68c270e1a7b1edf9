import type { Clock } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { STORE_DEADLINE_MS, STORE_REST_MS } from '../core/limits.js'
import type { CallStore } from './call-store.js'
import { RelayedStore, runOp } from './relayed-store.js'
import type { StoreArgs, StoreOp, StoreResult } from './relayed-store.js'

/**
 * How an operation ended: done; its deadline passed; the store refused it or is not connected; not tried, because the
 * store rests.
 */
type StoreOutcome = 'ok' | 'lost-deadline' | 'refused' | 'skipped'

type StoreCounters = Record<StoreOp, Record<StoreOutcome, number>>

interface GuardOptions {
  /** Monotonic. */
  readonly clock: Clock
  /** After each operation that was tried, for a histogram of durations. Must not throw. */
  readonly onOp: (op: StoreOp, durationMs: number) => void
}

/**
 * Keeps a store from delaying calls: no operation takes longer than STORE_DEADLINE_MS. After one that did, the store
 * rests for STORE_REST_MS: operations reject at once. Then one is tried, and when it is answered, the rest are too.
 */
export class GuardedStore extends RelayedStore {
  /** Operations by name and outcome; plain fields, copied at each scrape. */
  readonly counters: StoreCounters = {
    claim: noneYet(),
    save: noneYet(),
    saveAll: noneYet(),
    read: noneYet(),
    attach: noneYet(),
    over: noneYet(),
    callsOf: noneYet(),
    once: noneYet(),
    settle: noneYet(),
    beat: noneYet(),
    leave: noneYet(),
  }
  /** Writes to a call that had another owner by then, or was over. */
  conflicts = 0
  readonly #inner: CallStore
  readonly #options: GuardOptions
  #up = true
  /** Null: it does not rest. */
  #restsUntilMs: number | null = null
  /** True: the rest is over, and one operation finds out whether the store answers again. */
  #trying = false

  constructor(inner: CallStore, options: GuardOptions) {
    super()
    this.#inner = inner
    this.#options = options
  }

  /** Whether the store answered when it was last asked; true before the first time. */
  get up(): boolean {
    return this.#up
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  protected async relay<Op extends StoreOp>(op: Op, args: StoreArgs<Op>): Promise<StoreResult<Op>> {
    const { clock, onOp } = this.#options
    const counters = this.counters[op]
    const startMs = clock()
    const rested = this.#restsUntilMs !== null
    if (this.#restsUntilMs !== null) {
      if (this.#trying || startMs < this.#restsUntilMs) {
        counters.skipped++
        throw down(`it did not answer within ${STORE_DEADLINE_MS} ms, and is left alone for ${STORE_REST_MS} ms`)
      }
      this.#trying = true
    }
    let timer: NodeJS.Timeout | undefined
    let late = false
    try {
      // The timer is set before the operation begins, and so fires before a deadline of the same length inside.
      const deadline = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => {
          late = true
          reject(down(`it did not answer within ${STORE_DEADLINE_MS} ms`))
        }, STORE_DEADLINE_MS)
      })
      const result = await Promise.race([runOp(this.#inner, op, args), deadline])
      counters.ok++
      this.conflicts += [result].flat().filter((each) => each === 'lost').length
      this.#answered(true)
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
      if (rested) this.#trying = false
      onOp(op, clock() - startMs)
    }
  }

  /** It answered within the deadline. What it refuses for good reasons, it has read. */
  #answered(up: boolean): void {
    this.#up = up
    this.#restsUntilMs = null
  }
}

function noneYet(): Record<StoreOutcome, number> {
  return { ok: 0, 'lost-deadline': 0, refused: 0, skipped: 0 }
}

function down(why: string): GatewayError {
  return new GatewayError('STORE_DOWN', `the call store is down: ${why}`, { retryable: true })
}
