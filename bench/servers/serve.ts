import { BroadcastChannel } from 'node:worker_threads'
import { type AgentDefinition, agentSchema } from '../../src/agents/file/definition.js'
import type { Clock } from '../../src/core/clock.js'
import { type Edge, startEdge } from '../../src/edge/edge.js'
import { HumanCalls } from '../../src/escalation/human-calls.js'
import { CallSeries } from '../../src/telemetry/call-series.js'
import { createLog, type Log } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import type { CallDirectory } from '../../src/workers/main/live-call.js'
import { processClock } from '../../src/workers/shared/ticker.js'
import { endWithParent, tellParent } from '../kit/process.js'
import { collectionsBy } from '../protocol.js'
import type { FromServer, ServerOptions, ToServer } from '../protocol.js'
import {
  isolateProbe,
  type IsolateState,
  PROBE_CHANNEL,
  UNWATCHED,
  type ProbeAnswer,
  type ProbeQuestion,
} from './isolate-probe.js'

/**
 * Time in ms in which workers must answer; later answers are ignored. With profiles it is longer, because workers need
 * seconds to write a profile.
 */
const PROBE_WAIT_MS = process.env['BENCH_PROFILE_DIR'] === undefined ? 500 : 5000

/**
 * Reports to the bench that this server accepts calls at `port`. Answers the bench's requests until the bench orders it
 * to stop.
 */
export function serve(port: number, stop: () => Promise<void>): void {
  const probe = isolateProbe()
  endWithParent()
  process.on('message', (message: ToServer) => {
    if (message.type === 'stop') {
      // If the server cannot stop in time, its process exits.
      setTimeout(() => process.exit(5), 5000).unref()
      void stop().finally(() => process.exit(0))
      return
    }
    void askWorkers().then((workers) => {
      const main = probe.collect()
      const isolates = [main, ...workers]
      const worst = (pick: (state: IsolateState) => number): number => Math.max(...isolates.map(pick))
      const all = (pick: (state: IsolateState) => number): number =>
        isolates.reduce((sum, state) => sum + pick(state), 0)
      tellParent({
        type: 'memory',
        rssBytes: process.memoryUsage.rss(),
        heapUsedBytes: all((one) => one.heapUsedBytes),
        pauses: UNWATCHED
          ? null
          : {
              gcMaxMs: worst((one) => one.gcMaxMs),
              gcMs: all((one) => one.gcMs),
              loopMaxMs: worst((one) => one.loopMaxMs),
              collections: collectionsBy((reason) => all((one) => one.collections[reason])),
              stops: isolates.flatMap((one) => one.stops),
            },
        allocatedBytes: UNWATCHED
          ? null
          : {
              main: main.allocatedBytes,
              workers: workers.reduce((sum, worker) => sum + worker.allocatedBytes, 0),
            },
      } satisfies FromServer)
    })
  })
  tellParent({ type: 'ready', port } satisfies FromServer)
}

/** Makes every worker with a probe collect its garbage, and collects the workers' answers. */
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

/** Parts that the bench's servers have in common with the gateway's composition. */
export interface EdgeParts {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly callSeries: CallSeries
  open(calls: CallDirectory): Promise<Edge>
}

export function edgeParts(options: ServerOptions): EdgeParts {
  const clock = processClock()
  const log = createLog({ level: 'warn', components: {} })
  const metrics = new Metrics({ version: 'bench' })
  const callSeries = new CallSeries({ clock, callsMax: 2000 })
  return {
    clock,
    log,
    metrics,
    callSeries,
    open: (calls) =>
      startEdge({
        host: '127.0.0.1',
        port: options.port,
        opsHost: '127.0.0.1',
        opsPort: 0,
        opsToken: null,
        publicUrl: null,
        tls: options.edgeTls === null ? null : { ...options.edgeTls, check: () => undefined },
        shared: options.nodePort !== null,
        nodeUrl: options.nodePort === null ? null : `http://127.0.0.1:${options.nodePort}`,
        ...(options.nodePort === null ? {} : { nodePort: options.nodePort }),
        // Unsigned webhooks are accepted because there is neither a secret nor a public URL, as on a developer's
        // machine.
        webhookSecrets: [],
        bareSignatures: false,
        tokenOnly: 'learn',
        tokenSecrets: ['a-secret-of-the-bench-and-of-nothing-else'],
        ownedNumbers: [],
        noAgent: [{ verb: 'hangup' }],
        // All calls of a bench have the same caller number.
        callerLimits: { calls: 20_000, perMinute: 60_000, withheldPercent: 100, exempt: [] },
        humanCalls: new HumanCalls({ perNumberPerMinute: 0, fallbacksPerMinute: 0 }),
        trustedProxies: [],
        clock,
        wallClock: Date.now,
        log,
        metrics,
        callSeries,
        calls,
        onDrain: () => undefined,
        recording: () => Promise.resolve(null),
        console: new Map(),
      }),
  }
}

/**
 * Agent of all bench calls. It does not make the session act by itself: it has no prompts, no fillers, and no limit
 * that a run could reach. Below L3, the echo is one greeting that cannot be interrupted.
 */
export function benchAgent({
  level,
  track,
  legRateHz,
  coding,
}: Pick<ServerOptions, 'level' | 'track' | 'legRateHz' | 'coding'>): AgentDefinition {
  return agentSchema.parse({
    version: 1,
    name: 'bench',
    backend: 'auto',
    backends: {
      openai: { audio: coding },
      cascade: { stt: 'deepgram', llm: 'chat', tts: 'elevenlabs', languages: ['en'] },
    },
    instructions: 'Say back what you hear.',
    stream: { track, outputSamplingRate: legRateHz, statusCallback: false },
    silence: { afterMs: 60_000, prompts: [] },
    fillers: { phrases: [] },
    bargeIn: { protectGreeting: level !== 'L3' },
    limits: { maxDurationS: 7200 },
  })
}
