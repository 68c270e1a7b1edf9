import { allCallsOn } from '../../src/backends/split.js'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import { CallRegistry } from '../../src/workers/main/call-registry.js'
import { loadMediaAssets } from '../../src/workers/shared/media-assets.js'
import { MediaPool } from '../../src/workers/main/media-pool.js'
import { agentFacts, backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { loadConfig } from '../../src/config/load-config.js'
import { optionsFromEnvironment } from '../kit/process.js'
import { type ServerOptions, isProduction } from '../protocol.js'
import { benchAgent, edgeParts, serve } from './serve.js'
import { WORKER_MEMORY_BASE_MB, WORKER_MEMORY_CALL_MB } from '../../src/gateway/parts/calls-part.js'
import { HumanCalls } from '../../src/escalation/human-calls.js'

/**
 * The real gateway: edge, calls and media workers, composed in the same way as in `src/gateway/gateway.ts`. Only the
 * agent and the backend belong to the bench. At L1 the backend is an echo in the worker. At L2 and L3 it is only the
 * OpenAI client, connected to the stand-in. At L2-prod the registry makes the backend `openai` from the settings, with
 * its defaults, the failover wrapper and TLS. At L2-cascade it makes the backend `cascade` in the same way.
 */
const options = optionsFromEnvironment<ServerOptions>('BENCH_SERVER')
const parts = edgeParts(options)
const production = isProduction(options.level)
const cascade = options.level === 'L2-cascade'
const backend = production
  ? cascade
    ? 'cascade'
    : 'openai'
  : `module:${new URL(options.level === 'L1' ? './echo-backend.js' : './realtime-backend.js', import.meta.url).href}`
const [key, url] = ['of-the-bench', options.backendUrl ?? '']
const settings: Record<string, string> = cascade
  ? {
      DEEPGRAM_API_KEY: key,
      DEEPGRAM_STT_URL: url,
      LLM_API_KEY: key,
      LLM_URL: `${url.replace('wss:', 'https:')}/v1`,
      ELEVENLABS_API_KEY: key,
      ELEVENLABS_TTS_URL: url,
    }
  : production
    ? {
        OPENAI_API_KEY: key,
        OPENAI_BASE_URL: url,
        BACKEND_STREAM_SILENCE: process.env['BACKEND_STREAM_SILENCE'] ?? '',
      }
    : {}
if (production && !cascade && options.messageMs !== null) settings['BACKEND_MESSAGE_MS'] = String(options.messageMs)
const definition = benchAgent(options)
const assets = await loadMediaAssets()
const calls = new CallRegistry({
  agents: new Map([
    [
      'bench',
      {
        definition,
        facts: agentFacts(definition),
        shares: allCallsOn(backend),
        ...(production
          ? {
              assets: { ...NO_ASSETS, version: 'bench', modules: [new URL('./worker-probe.js', import.meta.url).href] },
            }
          : {}),
      },
    ],
  ]),
  defaultAgent: 'bench',
  openPool: (pooled) =>
    new MediaPool({
      ...pooled,
      workers: options.workers,
      workerData: {
        assets,
        env: {},
        backends: backendSettings(loadConfig(settings, null)),
        phrasesFolder: null,
        memoryMb: WORKER_MEMORY_BASE_MB + options.calls * WORKER_MEMORY_CALL_MB,
      },
    }),
  maxCalls: options.calls,
  env: {},
  speech: null,
  carrier: null,
  humanCalls: new HumanCalls({ perNumberPerMinute: 0, fallbacksPerMinute: 0 }),
  clock: parts.clock,
  wallClock: Date.now,
  log: parts.log,
  metrics: parts.metrics,
  callSeries: parts.callSeries,
  keepJournal: null,
  journal: { build: 'bench', audio: false },
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
