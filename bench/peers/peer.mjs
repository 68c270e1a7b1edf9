// Interface between all peers and the bench: a peer gets options, and reports "ready" and its memory. The work that is
// measured is in the file of each peer.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')

/** { level, calls, workers, backendUrl } */
export const options = JSON.parse(process.env.BENCH_SERVER ?? '{}')

/** Reports to the bench that calls are accepted at `port`. */
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
