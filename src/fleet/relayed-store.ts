import type {
  CallStore,
  FleetView,
  NodeRecord,
  OwnedKey,
  Owner,
  OwnerToken,
  StoredCall,
  StoredChange,
  StoredWrite,
} from './call-store.js'

export type StoreOp = Exclude<keyof CallStore, 'close'>
export type StoreArgs<Op extends StoreOp> = Parameters<CallStore[Op]>
export type StoreResult<Op extends StoreOp> = Awaited<ReturnType<CallStore[Op]>>

/** A store that does the same for every operation: it sends them elsewhere, or watches them. */
export abstract class RelayedStore implements CallStore {
  protected abstract relay<Op extends StoreOp>(op: Op, args: StoreArgs<Op>): Promise<StoreResult<Op>>
  abstract close(): Promise<void>

  claim(key: string, owner: Owner, expectedEpoch: number): Promise<StoredCall> {
    return this.relay('claim', [key, owner, expectedEpoch])
  }

  save(key: string, token: OwnerToken, change: StoredChange): Promise<'ok' | 'lost'> {
    return this.relay('save', [key, token, change])
  }

  saveAll(writes: readonly StoredWrite[]): Promise<readonly ('ok' | 'lost' | 'refused')[]> {
    return this.relay('saveAll', [writes])
  }

  read(key: string): Promise<StoredCall | null> {
    return this.relay('read', [key])
  }

  attach(key: string, token: OwnerToken, nonce: string): Promise<'ok' | 'used' | 'lost'> {
    return this.relay('attach', [key, token, nonce])
  }

  over(key: string, token: OwnerToken): Promise<'ok' | 'lost'> {
    return this.relay('over', [key, token])
  }

  callsOf(node: string): Promise<readonly OwnedKey[]> {
    return this.relay('callsOf', [node])
  }

  once(key: string, value: string, ttlMs: number): Promise<string | null> {
    return this.relay('once', [key, value, ttlMs])
  }

  settle(key: string, value: string, ttlMs: number): Promise<void> {
    return this.relay('settle', [key, value, ttlMs])
  }

  tally(key: string, part: string, amount: number, ttlMs: number): Promise<number> {
    return this.relay('tally', [key, part, amount, ttlMs])
  }

  beat(node: NodeRecord): Promise<FleetView> {
    return this.relay('beat', [node])
  }

  leave(node: string, incarnation: string): Promise<void> {
    return this.relay('leave', [node, incarnation])
  }
}

/** Runs one operation by its name. */
export function runOp<Op extends StoreOp>(store: CallStore, op: Op, args: StoreArgs<Op>): Promise<StoreResult<Op>> {
  // TypeScript does not follow that the operation and its arguments belong together.
  const run = store[op] as (...args: StoreArgs<Op>) => Promise<StoreResult<Op>>
  return run.apply(store, args)
}
