import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { serveStore } from '../../src/fleet/store/channel-store.js'
import type { StoreRequest } from '../../src/fleet/store/channel-store.js'

/** A process that holds stores in its memory, as the supervisor does; a test steps its clock. */
export type ToStoreProcess =
  | StoreRequest
  /** From now on another store, which is empty. */
  | { readonly type: 'fresh' }
  | { readonly type: 'older'; readonly ms: number }

let offsetMs = 0
const clock = (): number => Date.now() + offsetMs
let store = new MemoryStore(clock)

process.on('message', (message: ToStoreProcess) => {
  if (message.type === 'fresh') store = new MemoryStore(clock)
  else if (message.type === 'older') offsetMs += message.ms
  else void serveStore(store, message).then((reply) => process.send?.(reply))
})
process.on('disconnect', () => process.exit(0))
