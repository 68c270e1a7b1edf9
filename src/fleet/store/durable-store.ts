import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError } from '../../core/errors.js'
import { STORE_PATIENCE_MS } from '../../core/limits.js'
import type { SealedChange, StoredValue } from '../../telemetry/archive/archive-messages.js'
import type { CallStore } from './call-store.js'
import { RelayedStore, runOp } from './relayed-store.js'
import type { StoreArgs, StoreOp, StoreResult } from './relayed-store.js'

/** A disk that has not taken states within this is one that does not: the store's own deadline would be about all of it. */
const DISK_WITHIN_MS = STORE_PATIENCE_MS / 2

/** Where the states of live calls, and what was written once, survive the process. No method throws. */
export interface StatesOnDisk {
  /** Resolves when they are written; false: too much waits for the disk, or it does not take them. */
  keep(changes: readonly SealedChange[]): Promise<boolean>
  gone(callSid: string): void
  value(value: StoredValue): void
}

/**
 * A store whose memory dies with the process: what its owner saves of a call goes to the disk too, from where the next
 * start gives it to its own store; and so do intents of tools, so that none runs again because the process has died.
 */
export class DurableStore extends RelayedStore {
  readonly #inner: CallStore
  readonly #disk: StatesOnDisk

  constructor(inner: CallStore, disk: StatesOnDisk) {
    super()
    this.#inner = inner
    this.#disk = disk
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  override saveAll = async (...args: StoreArgs<'saveAll'>): Promise<StoreResult<'saveAll'>> => {
    const answers = await this.#inner.saveAll(...args)
    const taken = args[0].filter((_, i) => answers[i] === 'ok')
    if (taken.length === 0) return answers
    const kept = this.#disk.keep(taken.map(({ key, change }) => ({ callSid: key, ...change })))
    // The keeper then writes all of these calls again.
    if (!(await Promise.race([kept, sleep(DISK_WITHIN_MS, false, { ref: false })])))
      throw new GatewayError('STORE_REFUSED', 'the disk does not take the states of calls')
    return answers
  }

  override over = async (...args: StoreArgs<'over'>): Promise<StoreResult<'over'>> => {
    const answer = await this.#inner.over(...args)
    if (answer === 'ok') this.#disk.gone(args[0])
    return answer
  }

  override once = async (...args: StoreArgs<'once'>): Promise<StoreResult<'once'>> => {
    const standing = await this.#inner.once(...args)
    if (standing === null) this.#value(...args)
    return standing
  }

  override settle = async (...args: StoreArgs<'settle'>): Promise<void> => {
    await this.#inner.settle(...args)
    this.#value(...args)
  }

  override swap = async (...args: StoreArgs<'swap'>): Promise<StoreResult<'swap'>> => {
    const [key, expected, value, ttlMs] = args
    const standing = await this.#inner.swap(...args)
    if (standing === expected) this.#value(key, value, ttlMs)
    return standing
  }

  #value(key: string, value: string, ttlMs: number): void {
    this.#disk.value({ key, value, untilMs: Date.now() + ttlMs })
  }

  protected relay<Op extends StoreOp>(op: Op, args: StoreArgs<Op>): Promise<StoreResult<Op>> {
    return runOp(this.#inner, op, args)
  }
}
