import type { CallStore } from './call-store.js'

export type StoreOp = Exclude<keyof CallStore, 'close'>
export type StoreArgs<Op extends StoreOp> = Parameters<CallStore[Op]>
export type StoreResult<Op extends StoreOp> = Awaited<ReturnType<CallStore[Op]>>

/** Store that handles all operations by one function, for example to forward or to observe them. */
export abstract class RelayedStore implements CallStore {
  claim = this.#by('claim')
  save = this.#by('save')
  saveAll = this.#by('saveAll')
  read = this.#by('read')
  attach = this.#by('attach')
  over = this.#by('over')
  callsOf = this.#by('callsOf')
  once = this.#by('once')
  standing = this.#by('standing')
  settle = this.#by('settle')
  swap = this.#by('swap')
  tally = this.#by('tally')
  beat = this.#by('beat')
  leave = this.#by('leave')

  protected abstract relay<Op extends StoreOp>(op: Op, args: StoreArgs<Op>): Promise<StoreResult<Op>>
  abstract close(): Promise<void>

  #by<Op extends StoreOp>(op: Op): CallStore[Op] {
    return ((...args: StoreArgs<Op>) => this.relay(op, args)) as CallStore[Op]
  }
}

/** Runs one operation by its name. */
export function runOp<Op extends StoreOp>(store: CallStore, op: Op, args: StoreArgs<Op>): Promise<StoreResult<Op>> {
  // TypeScript cannot infer that this operation and these arguments belong together.
  const run = store[op] as (...args: StoreArgs<Op>) => Promise<StoreResult<Op>>
  return run.apply(store, args)
}
