import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError } from '../../core/errors.js'
import { STORE_PATIENCE_MS } from '../../core/limits.js'
import type { SealedChange, StoredValue } from '../../telemetry/archive/archive-messages.js'
import type { CallStore } from './call-store.js'
import { RelayedStore, runOp } from './relayed-store.js'
import type { StoreArgs, StoreOp, StoreResult } from './relayed-store.js'

/** Maximum time in ms to wait for the disk: half of the store's deadline. After this time the disk counts as failed. */
const DISK_WITHIN_MS = STORE_PATIENCE_MS / 2

/** Disk that keeps the states of live calls and the values of `once` after the process ends. No method throws. */
export interface StatesOnDisk {
  /**
   * Resolves to true when the changes are written. Resolves to false if too many changes are waiting for the disk, or
   * the disk failed.
   */
  keep(changes: readonly SealedChange[]): Promise<boolean>
  gone(callSid: string): void
  value(value: StoredValue): void
}

/**
 * Store that also writes call states and intents of tools to the disk, because its inner store is lost with the
 * process. So calls continue after a restart, and no tool runs twice.
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
    // The error makes `CallKeeper` write all these calls again.
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
