import { BroadcastChannel } from 'node:worker_threads'
import { endWithParent, tellParent } from '../kit/environment.js'
import type { FromServer, ToServer } from '../protocol.js'
import { PROBE_CHANNEL, isolateProbe } from './isolate-probe.js'
import type { IsolateState, ProbeAnswer, ProbeQuestion } from './isolate-probe.js'

/** Workers answer within this, or are counted as silent. */
const PROBE_WAIT_MS = 500

/** Tells the bench that this server takes calls at `port`, and answers its questions until it is told to stop. */
export function serve(port: number, stop: () => Promise<void>): void {
  const probe = isolateProbe()
  endWithParent()
  process.on('message', (message: ToServer) => {
    if (message.type === 'stop') {
      // A server that cannot stop in time is stopped by its end.
      setTimeout(() => process.exit(5), 5000).unref()
      void stop().finally(() => process.exit(0))
      return
    }
    void askWorkers().then((workers) => {
      const main = probe.collect()
      const isolates = [main, ...workers]
      const worst = (pick: (state: IsolateState) => number): number => Math.max(...isolates.map(pick))
      const all = (pick: (state: IsolateState) => number): number => isolates.reduce((sum, state) => sum + pick(state), 0)
      tellParent({
        type: 'memory',
        rssBytes: process.memoryUsage.rss(),
        heapUsedBytes: all((one) => one.heapUsedBytes),
        pauses: { gcMaxMs: worst((one) => one.gcMaxMs), gcMs: all((one) => one.gcMs), loopMaxMs: worst((one) => one.loopMaxMs) },
        allocatedBytes: { main: main.allocatedBytes, workers: workers.reduce((sum, worker) => sum + worker.allocatedBytes, 0) },
      } satisfies FromServer)
    })
  })
  tellParent({ type: 'ready', port } satisfies FromServer)
}

/** Has every worker that listens collect its garbage, and gathers what they say. */
function askWorkers(): Promise<readonly ProbeAnswer[]> {
  return new Promise((resolve) => {
    const channel = new BroadcastChannel(PROBE_CHANNEL)
    const answers: ProbeAnswer[] = []
    const id = performance.now()
    channel.onmessage = (event) => {
      const message = (event as { data: ProbeQuestion | ProbeAnswer }).data
      if (message.type === 'answer' && message.id === id) answers.push(message)
    }
    channel.postMessage({ type: 'question', id } satisfies ProbeQuestion)
    setTimeout(() => {
      channel.close()
      resolve(answers)
    }, PROBE_WAIT_MS)
  })
}
