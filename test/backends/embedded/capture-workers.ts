import { createRequire } from 'node:module'
import type { Worker } from 'node:worker_threads'

/** Records the threads that start from now on. A pool does not expose its threads, and a test has to end them. */
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
