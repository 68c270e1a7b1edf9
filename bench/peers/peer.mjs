// Interface of all peers to the bench: options in, "ready" and memory out. The measured work is in each peer's own file.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')

/** { level, calls, workers, backendUrl } */
export const options = JSON.parse(process.env.BENCH_SERVER ?? '{}')

/** Tells the bench that calls are taken at `port`. */
export function ready(port) {
  process.send?.({ type: 'ready', port })
}

process.on('disconnect', () => process.exit(3))
process.on('message', (message) => {
  if (message.type === 'stop') process.exit(0)
  gc()
  process.send?.({
    type: 'memory',
    rssBytes: process.memoryUsage.rss(),
    heapUsedBytes: process.memoryUsage().heapUsed,
    allocatedBytes: null,
    pauses: null,
  })
})
