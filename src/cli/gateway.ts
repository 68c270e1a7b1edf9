import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { AgentWatch } from '../agents/agent-watch.js'
import type { Environment } from '../agents/loader.js'
import { backendSettings } from './backend-settings.js'
import { SpeechPool } from '../backends/embedded/speech-pool.js'
import type { CallRecord } from '../call/record.js'
import { GatewayError } from '../core/errors.js'
import { CALLS_PER_WORKER_MAX } from '../core/limits.js'
import { packageVersion } from '../config/package-root.js'
import type { Config } from '../config/settings.js'
import { startEdge } from '../edge/edge.js'
import type { Edge } from '../edge/edge.js'
import { CarrierHttp } from '../sautikit-api/http.js'
import { SautikitClient } from '../sautikit-api/client.js'
import type { CarrierControl } from '../shard/call-handover.js'
import { CallHost } from '../shard/call-host.js'
import { OutboundCalls } from '../shard/outbound-calls.js'
import { loadMediaAssets } from '../shard/media-assets.js'
import { processClock } from '../shard/process-clock.js'
import { CallSeries } from '../telemetry/call-series.js'
import type { Log } from '../telemetry/log.js'
import { Metrics } from '../telemetry/metrics.js'
import { TraceExport } from '../telemetry/trace-export.js'
import { followAgents, hostedAgents } from './hosted-agents.js'
import { callDetails, carrierApi, carrierControl, countCarrier, voiceUrlOf } from './carrier-side.js'
export { hostedAgents } from './hosted-agents.js'

import { JournalFiles } from './journal-files.js'

export interface GatewayOptions {
  readonly config: Config
  /** The environment that tool templates read; the gateway's own secrets are not visible to them. */
  readonly env: Environment
  readonly log: Log
}

/** A running gateway. */
export interface Gateway {
  readonly publicPort: number
  readonly opsPort: number
  readonly agents: readonly string[]
  readonly calls: CallHost
  /** Told of each call that ended. */
  onRecord(listener: (record: CallRecord) => void): void
  /** Takes no more calls, lets those that run come to their end, then frees everything. Idempotent. */
  stop(drainTimeoutMs: number): Promise<void>
  /** Resolves when it has stopped, whoever asked for it (also `POST /api/drain`). */
  readonly stopped: Promise<void>
}

/**
 * Starts everything of one gateway process, from the models to the ports, and answers when it takes calls.
 * @throws GatewayError for settings, agents, keys and ports that cannot be used
 */
export async function startGateway({ config, env, log }: GatewayOptions): Promise<Gateway> {
  if (config.maxCalls > config.mediaWorkers * CALLS_PER_WORKER_MAX) {
    throw new GatewayError('CONFIG_INVALID', `MAX_CALLS is '${config.maxCalls}'; allowed with ${config.mediaWorkers} MEDIA_WORKERS: `
      + `at most ${config.mediaWorkers * CALLS_PER_WORKER_MAX}`)
  }
  const { agents, defaultAgent } = await hostedAgents(config, env)
  const clock = processClock()
  const metrics = new Metrics({ version: packageVersion() })
  const callSeries = new CallSeries({ clock, callsMax: config.maxCallSeries })
  const journals = config.journalCalls ? new JournalFiles(join(config.dataDir, 'journals'), log) : null
  const listeners: ((record: CallRecord) => void)[] = []
  const speech = new SpeechPool({
    threads: config.speechWorkers,
    decodersPerThread: config.speechDecoders,
    onFault: (error) => log.room('speech').error({ err: error }, 'a speech worker died'),
  })
  let calls: CallHost | null = null
  let edge: Edge | null = null
  try {
    const assets = await loadMediaAssets()
    calls = new CallHost({
      agents, defaultAgent, assets, env, speech, clock, metrics,
      backends: backendSettings(config),
      workers: config.mediaWorkers,
      maxCalls: config.maxCalls,
      carrier: carrierControl(config, log),
      wallClock: Date.now,
      log: log.room('shard'),
      callSeries,
      keepJournal: journals === null ? null : (callSid, lines) => journals.append(callSid, lines),
      onRecord: (record) => {
        journals?.close(record.callSid)
        for (const listener of listeners) listener(record)
      },
    })
    await Promise.all([speech.ready(), calls.ready()])
    if (config.tokenSecret === null) log.info({}, 'TOKEN_SECRET is not set: tokens of this process are valid in it alone')
    edge = await startEdge({
      host: config.host, port: config.port, opsHost: config.opsHost, opsPort: config.opsPort, opsToken: config.opsToken,
      shared: false, publicUrl: config.publicUrl, nodeUrl: null, webhookSecrets: config.webhookSecrets,
      tokenSecret: config.tokenSecret ?? randomBytes(32).toString('base64url'),
      ownedNumbers: [], trustForwardedFor: false, clock, wallClock: Date.now, log: log.room('edge'), metrics, callSeries, calls,
      onDrain: () => void stop(config.drainTimeoutMs),
      recording: () => Promise.resolve(null),
  let watch: AgentWatch | null = null
      console: new Map(),
    })
  } catch (thrown) {
    await Promise.allSettled([edge?.close(), calls?.close(), speech.close()])
    throw thrown
  }
  metrics.start()

  let stopping: Promise<void> | null = null
  let tellStopped = (): void => undefined
  const stopped = new Promise<void>((resolve) => {
    tellStopped = resolve
  })
  const running = { calls, edge }
  function stop(drainTimeoutMs: number): Promise<void> {
    stopping ??= (async () => {
      log.info({ calls: running.calls.capacity - running.calls.free }, 'stopping: no more calls are taken')
      await running.calls.drain(drainTimeoutMs)
      running.edge.stopAccepting()
      await running.edge.close()
      await Promise.all([running.calls.close(), speech.close(), journals?.closeAll()])
      metrics.close()
      log.info({}, 'stopped')
      tellStopped()
    })()
    return stopping
  }
  return {
    publicPort: edge.publicPort,
    opsPort: edge.opsPort,
    agents: [...agents.keys()],
    calls,
    if (config.agentsWatch) watch = await followAgents({ config, env, log, agents })
    onRecord: (listener) => listeners.push(listener),
    stop,
    stopped,
  }
}

function carrierControl(config: Config, log: Log): CarrierControl | null {
  if (config.apiKey === null) {
    log.info({}, 'SAUTIKIT_API_KEY is not set: calls are not hung up and no supervisor is added through the carrier\'s API')
    return null
  }
  const client = new SautikitClient(new CarrierHttp({ baseUrl: config.apiUrl, apiKey: config.apiKey }))
  return {
    hangup: (callSid) => client.hangup(callSid),
    supervise: (callSid, phone) => client.supervise(callSid, { mode: 'barge', phone, announce: 'none' }),
      outbound.close()
      await watch?.close()
    callIntoConference: async () => {
      throw new GatewayError('CARRIER_API', 'no call of this gateway is answered with a conference')
    },
  }
}
