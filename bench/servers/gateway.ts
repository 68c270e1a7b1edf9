import { CallHost } from '../../src/shard/call-host.js'
import { loadMediaAssets } from '../../src/shard/media-assets.js'
import { agentFacts } from '../../src/cli/agent-facts.js'
import { backendSettings } from '../../src/cli/backend-settings.js'
import { loadConfig } from '../../src/config/load-config.js'
import { optionsFromEnvironment } from '../kit/environment.js'
import type { ServerOptions } from '../protocol.js'
import { benchAgent } from './bench-agent.js'
import { edgeParts } from './edge-parts.js'
import { serve } from './serve.js'

/**
 * The gateway as it is: edge, calls, media workers, composed as `src/cli/gateway.ts` does. Its own are only the agent
 * and the backend: at L1 an echo in the worker, from L2 on the OpenAI client against the stand-in.
 */
const options = optionsFromEnvironment<ServerOptions>('BENCH_SERVER')
const parts = edgeParts(options)
const backend = options.level === 'L1' ? './echo-backend.js' : './realtime-backend.js'
const definition = benchAgent(options.level)
const calls = new CallHost({
  agents: new Map([['bench', {
    definition, facts: agentFacts(definition), backends: [`module:${new URL(backend, import.meta.url).href}`], shadow: null,
  }]]),
  defaultAgent: 'bench',
  workers: options.workers,
  maxCalls: options.calls,
  assets: await loadMediaAssets(),
  // Read by realtime-backend.js in the workers.
  env: {},
  backends: backendSettings(loadConfig({}, null)),
  speech: null,
  carrier: null,
  clock: parts.clock,
  wallClock: Date.now,
  log: parts.log,
  metrics: parts.metrics,
  callSeries: parts.callSeries,
  keepJournal: null, journal: { build: 'bench', audio: false },
  onRecord: (record) => {
    if (record.outcome === 'failed') process.stderr.write(`call ended: ${record.endReason} ${record.endDetail}\n`)
  },
})
await calls.ready()
parts.metrics.start()
const edge = await parts.open(calls)
serve(edge.publicPort, async () => {
  await calls.drain(0)
  edge.stopAccepting()
  await edge.close()
  await calls.close()
})
