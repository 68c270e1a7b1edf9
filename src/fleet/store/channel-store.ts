import { GatewayError, messageOf } from '../../core/errors.js'
import { STORE_DEADLINE_MS } from '../../core/limits.js'
import type { CallStore } from './call-store.js'
import { RelayedStore, runOp } from './relayed-store.js'
import type { StoreArgs, StoreOp, StoreResult } from './relayed-store.js'

/** Maximum number of operations of one process that wait for the supervisor's store. */
export const STORE_WAITING_MAX = 1000

/** Request of a process of `--processes` to its supervisor. */
export interface StoreRequest {
  readonly type: 'store'
  readonly id: number
  readonly op: StoreOp
  readonly args: readonly unknown[]
}

/** The supervisor's answer. */
export type StoreReply =
  | { readonly type: 'stored'; readonly id: number; readonly value: unknown }
  | { readonly type: 'stored'; readonly id: number; readonly refused: string }

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: GatewayError) => void
  readonly timer: NodeJS.Timeout
}

/**
 * Client, in one process, for the store in the supervisor's memory. Operations go over the channel of `fork`. With
 * `serialization: 'advanced'` this channel can carry bytes. The supervisor and its processes run the same build, and
 * trust each other.
 */
export class ChannelStore extends RelayedStore {
  readonly #send: (request: StoreRequest) => void
  readonly #deadlineMs: number
  readonly #waiting = new Map<number, Waiting>()
  #lastId = 0
  #closed = false

  /**
   * @param send  must not throw. Requests are lost if the supervisor is gone
   * @param deadlineMs  deadline of an operation in ms; longer in tests on a busy machine
   */
  constructor(send: (request: StoreRequest) => void, deadlineMs = STORE_DEADLINE_MS) {
    super()
    this.#send = send
    this.#deadlineMs = deadlineMs
  }

  received(reply: StoreReply): void {
    const waiting = this.#take(reply.id)
    if (waiting === null) return // no operation waits, because its deadline has passed
    if ('refused' in reply) waiting.reject(new GatewayError('STORE_REFUSED', reply.refused))
    else waiting.resolve(reply.value)
  }

  /** Rejects all waiting operations, because the supervisor and its store are gone. Idempotent. */
  closed(): void {
    this.#closed = true
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(down('its supervisor is gone'))
  }

  close(): Promise<void> {
    this.closed()
    return Promise.resolve()
  }

  protected relay<Op extends StoreOp>(op: Op, args: StoreArgs<Op>): Promise<StoreResult<Op>> {
    if (this.#closed) return Promise.reject(down('its supervisor is gone'))
    if (this.#waiting.size >= STORE_WAITING_MAX)
      return Promise.reject(down(`${STORE_WAITING_MAX} operations wait for its answer`))
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#take(id)?.reject(down(`it did not answer within ${this.#deadlineMs} ms`))
      }, this.#deadlineMs)
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject, timer })
      this.#send({ type: 'store', id, op, args })
    })
  }

  #take(id: number): Waiting | null {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return null
    clearTimeout(waiting.timer)
    this.#waiting.delete(id)
    return waiting
  }
}

/** Runs an operation of a process on the supervisor's store, a `MemoryStore`. Never rejects. */
export async function serveStore(store: CallStore, { id, op, args }: StoreRequest): Promise<StoreReply> {
  try {
    return { type: 'stored', id, value: await runOp(store, op, args as StoreArgs<typeof op>) }
  } catch (thrown) {
    return { type: 'stored', id, refused: messageOf(thrown) }
  }
}

function down(why: string): GatewayError {
  return new GatewayError('STORE_DOWN', `the call store, in the supervisor's memory, is down: ${why}`, {
    retryable: true,
  })
}
