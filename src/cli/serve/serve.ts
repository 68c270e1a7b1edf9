import { randomBytes } from 'node:crypto'
import { exposureOf } from '../../config/exposure.js'
import { opsUrlOf } from '../ops-client.js'
import type { Config } from '../../config/settings.js'
import { assert } from '../../core/assert.js'
import { messageOf } from '../../core/errors.js'
import { terminalText } from '../../core/terminal-text.js'
import { createLog } from '../../telemetry/log.js'
import type { Log } from '../../telemetry/log.js'
import { agentEnvironment } from '../../gateway/agents/agent-environment.js'
import { needsDemoShop, startDemoShop } from '../demo/demo-shop.js'
import { freePorts, processCount, processPlans } from '../../gateway/process-plan.js'
import type { ProcessPlan } from '../../gateway/process-plan.js'
import { environmentOf, planAnew, planned, processEntry, startableConfig } from './serve-plans.js'
import type { PlanRequest } from './serve-plans.js'

/** The options of `mkondo serve`. */
export interface ServeOptions {
  readonly processes?: string
  readonly withShop?: true
  readonly config?: string
  readonly envFile?: string
}

/** `mkondo serve`. Resolves with the exit code when the gateway has stopped. */
export async function serve(options: ServeOptions): Promise<number> {
  const count = processCount(options.processes)
  const inherited = { ...process.env }
  const environment = (): NodeJS.ProcessEnv => environmentOf(inherited, options.envFile ?? null)
  Object.assign(process.env, environment())
  const configFile = options.config ?? null
  let config = startableConfig(process.env, configFile, count)
  const log = createLog(config.logLevel)
  if (config.insecure)
    log.warn({ open: exposureOf(config).open }, 'INSECURE is set: the gateway starts although anybody can use it')
  const shop = needsDemoShop(config, options.withShop === true) ? await startDemoShop() : null
  if (shop !== null) {
    config = { ...config, shopApiUrl: shop.url }
    if (options.withShop !== true)
      log.warn({ url: shop.url }, "SHOP_API_URL is not set: the shipped agents use the demo's orders API")
  }
  try {
    if (count === 1) return await serveAlone(config, log)
    const request: PlanRequest = {
      type: 'plan',
      count,
      configFile,
      shopApiUrl: shop?.url ?? null,
      tokenSecret: randomBytes(32).toString('base64url'),
      supervisorStore: config.redisUrl === null,
    }
    return await serveTogether(config, request, environment, log)
  } finally {
    await shop?.close()
  }
}

async function serveAlone(given: Config, log: Log): Promise<number> {
  const [plan] = processPlans(given, 1)
  assert(plan !== undefined, 'one process has one plan')
  const { config } = plan
  // Imported only here, because the supervisor of several processes does not need the module.
  const { startGateway } = await import('../../gateway/gateway.js')
  const env = agentEnvironment(process.env, config)
  const starting = startGateway({ config, env, log })
  // The signal handlers are installed before the start is complete. Otherwise the first process of a container would
  // ignore the signals.
  const stopped = untilStopped(
    {
      stopped: starting.then((started) => started.stopped),
      stop: async (drainTimeoutMs) => (await starting).stop(drainTimeoutMs),
    },
    config.drainTimeoutMs,
    log,
  )
  stopped.catch(() => undefined) // `starting` reports a failed start
  const gateway = await starting
  // Closing the terminal ends the gateway. A service, which gets SIGHUP to reload, continues.
  if (!process.stdin.isTTY) {
    process.on('SIGHUP', () =>
      log.warn({}, 'SIGHUP has no effect on a single process: it replaces the processes of --processes 2 or more'),
    )
  }
  log.info(
    {
      port: gateway.publicPort,
      ops_port: gateway.opsPort,
      console: `${opsUrlOf({ ...config, opsPort: gateway.opsPort })}/`,
      agents: gateway.agents,
      max_calls: config.maxCalls,
      media_workers: config.mediaWorkers,
      shop: config.shopApiUrl,
    },
    'taking calls',
  )
  await stopped
  return 0
}

/** @param environment returns the current environment */
async function serveTogether(
  config: Config,
  request: PlanRequest,
  environment: () => NodeJS.ProcessEnv,
  log: Log,
): Promise<number> {
  if (config.tokenSecrets.length === 0)
    log.info({}, 'TOKEN_SECRET is not set: tokens are valid in these processes only, until they end')
  const start = planned(config, request)
  const { plans, spare } = start
  await freePorts([...plans, spare])
  const entry = processEntry()
  // Imported only here, because a gateway of one process does not need the supervisor.
  const { Supervisor } = await import('../../fleet/supervisor.js')
  const { MemoryStore } = await import('../../fleet/store/memory-store.js')
  const supervisor = new Supervisor({
    entry,
    start: { ...start, env: process.env },
    store: request.supervisorStore ? new MemoryStore(Date.now) : null,
    log,
  })
  process.on(
    'SIGHUP',
    oneAtATime(async () => {
      log.info({}, 'replacing the processes, with the current settings')
      let why: string | null
      try {
        const env = environment()
        why = await supervisor.roll({ ...(await planAnew(entry, env, request)), env })
      } catch (thrown) {
        why = messageOf(thrown)
      }
      if (why !== null) log.error({ reason: why }, 'the processes are not replaced, nothing has changed')
    }),
  )
  onStopSignals(
    log,
    () => {
      supervisor.stop()
    },
    () => {
      supervisor.stopNow()
    },
  )
  const ready = await supervisor.start()
  if (ready !== null) {
    log.info(
      {
        port: config.port,
        ops_port: ready[0]?.opsPort,
        console: `${opsUrlOf({ ...config, opsPort: ready[0]?.opsPort ?? config.opsPort })}/`,
        ops_ports: ready.map(({ opsPort }) => opsPort),
        audio_ports: plans.map(({ ownPort }) => ownPort),
        processes: plans.length,
        agents: ready[0]?.agents,
        max_calls: sum(plans, 'maxCalls'),
        media_workers: sum(plans, 'mediaWorkers'),
        shop: config.shopApiUrl,
      },
      'taking calls',
    )
  }
  const { code, reason } = await supervisor.ended
  if (reason !== null) console.error(terminalText(`mkondo: ${reason}`))
  return code
}

/** Function that runs `work` at once. If `work` is running, it runs once more afterwards. `work` must not reject. */
function oneAtATime(work: () => Promise<void>): () => void {
  let running = false
  let again = false
  return () => {
    again = true
    if (running) return
    running = true
    void (async () => {
      while (again) {
        again = false
        await work()
      }
      running = false
    })()
  }
}

function sum(plans: readonly ProcessPlan[], name: 'maxCalls' | 'mediaWorkers'): number {
  return plans.reduce((total, { config }) => total + config[name], 0)
}

// --- signals ------------------------------------------------------------------------------------------------

/** Time in ms after the first signal in which another signal counts as a copy of the first. */
const SAME_SIGNAL_MS = 1000

/**
 * Installs handlers of signals that stop a process. The first SIGTERM or SIGINT calls `drain`. The second of them, or
 * any SIGQUIT, calls `atOnce`.
 * @param atOnce may be called more than once
 */
function onStopSignals(log: Log, drain: () => void, atOnce: () => void): void {
  const first = (signal: NodeJS.Signals): void => {
    process.off('SIGTERM', first)
    process.off('SIGINT', first)
    // After Ctrl-C this process gets two signals: from the terminal, and from npm.
    process.on('SIGTERM', () => undefined)
    process.on('SIGINT', () => undefined)
    setTimeout(() => {
      process.once('SIGTERM', atOnce)
      process.once('SIGINT', atOnce)
    }, SAME_SIGNAL_MS).unref()
    log.info({ signal }, 'signal received')
    drain()
  }
  process.once('SIGTERM', first)
  process.once('SIGINT', first)
  process.once('SIGQUIT', atOnce)
}

/** Time in ms in which a process must end after it was ordered to end at once. */
const AT_ONCE_MS = 1000

/**
 * Resolves when a gateway of this process has stopped, by signal or by `POST /api/drain`. A second signal ends the
 * process. Rejects if the gateway must not continue.
 */
export function untilStopped(
  gateway: { readonly stopped: Promise<void>; stop(drainTimeoutMs: number): Promise<void> },
  drainTimeoutMs: number,
  log: Log,
): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    onStopSignals(
      log,
      () => {
        gateway.stop(drainTimeoutMs).then(resolve, reject)
      },
      () => {
        void gateway.stop(0).finally(() => process.exit(1))
        setTimeout(() => process.exit(1), AT_ONCE_MS).unref()
      },
    )
    gateway.stopped.then(resolve, (thrown: unknown) => {
      setTimeout(() => process.exit(), AT_ONCE_MS).unref()
      reject(thrown instanceof Error ? thrown : new Error(messageOf(thrown)))
    })
  })
}
