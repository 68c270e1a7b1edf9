import { randomBytes } from 'node:crypto'
import { exposureOf } from '../../config/exposure.js'
import { opsUrlOf } from '../ops-client.js'
import { nodeFault } from '../../config/node-version.js'
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
  // Imported only here: the supervisor of several processes does not need it.
  const { startGateway } = await import('../../gateway/gateway.js')
  const env = agentEnvironment(process.env, config)
  const starting = startGateway({ config, env, log })
  // Before it has started: the first process of a container is not ended by a signal that it does not handle.
  const stopped = untilStopped(
    {
      stopped: starting.then((started) => started.stopped),
      stop: async (drainTimeoutMs) => (await starting).stop(drainTimeoutMs),
    },
    config.drainTimeoutMs,
    log,
  )
  stopped.catch(() => undefined) // a start that fails is said by `starting`
  const gateway = await starting
  // Whoever closes its terminal ends it; a service that is asked to reload goes on.
  if (!process.stdin.isTTY) {
    process.on('SIGHUP', () =>
      log.warn({}, 'SIGHUP has no effect on a single process: it replaces the processes of --processes 2 or more'),
    )
  }
  warnOfNode(log)
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

/** @param environment  as it is now */
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
  // Only here: a gateway of one process needs neither.
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
    warnOfNode(log)
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

/** Once it has started: a start that fails says in one line why. */
function warnOfNode(log: Log): void {
  const fault = nodeFault(process.versions.node)
  if (fault !== null) log.warn({ node: process.versions.node }, fault)
}

/** Runs `work` now, or once more after the run that is under way. It must not reject. */
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

/** A second signal within this time of the first is a copy of it. */
const SAME_SIGNAL_MS = 1000

/**
 * Lets signals stop a process: the first SIGTERM or SIGINT calls `drain` once, a second one, or SIGQUIT, `atOnce`.
 * @param atOnce  may be called more than once
 */
function onStopSignals(log: Log, drain: () => void, atOnce: () => void): void {
  const first = (signal: NodeJS.Signals): void => {
    process.off('SIGTERM', first)
    process.off('SIGINT', first)
    // A terminal sends Ctrl-C to npm and to us, and npm passes it on.
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

/** How long a process that must end at once may still run. */
const AT_ONCE_MS = 1000

/**
 * Resolves when a gateway of this process has stopped, by signal or by `POST /api/drain`; a second signal ends the
 * process itself. So does a gateway that must not go on, after the rejection.
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
