import { createRequire } from 'node:module'
import type { Worker } from 'node:worker_threads'

/** The threads that are started from now on: a pool keeps its own to itself, and a test of their death has to reach them. */
export function captureWorkers(): readonly Worker[] {
  const threads = createRequire(import.meta.url)('node:worker_threads') as { Worker: typeof Worker }
  const started: Worker[] = []
  threads.Worker = class extends threads.Worker {
    constructor(...args: ConstructorParameters<typeof Worker>) {
      super(...args)
      started.push(this)
    }
  }
  return started
}
