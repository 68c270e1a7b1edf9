import { loadConfig } from '../config/load-config.js'
import { createLog } from '../telemetry/log.js'
import { startGateway } from './gateway.js'
import { startDemoShop } from './demo-shop.js'
import { HELP_OPTION, commandOptions } from './arguments.js'

const HELP = `mkondo serve [--with-shop] [--config FILE]
  Runs the gateway until SIGTERM or SIGINT; calls then finish first (DRAIN_TIMEOUT), a second signal ends at once.
  --with-shop    also run the demo's orders API on loopback, unless SHOP_API_URL is set
  --config FILE  settings file (default mkondo.yaml, if it is there)
Settings: mkondo help settings`

/** A second signal within this time of the first is the same one, come by another way. */
const SAME_SIGNAL_MS = 1000

/** `mkondo serve`. Resolves with the exit code when the gateway has stopped. */
export async function serve(argv: readonly string[]): Promise<number> {
  const values = commandOptions('serve', argv, { 'with-shop': { type: 'boolean', default: false }, config: { type: 'string' }, help: HELP_OPTION })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  let config = loadConfig(process.env, values.config ?? null)
  const log = createLog(config.logLevel)
  const shop = values['with-shop'] && config.shopApiUrl === null ? await startDemoShop() : null
  if (shop !== null) config = { ...config, shopApiUrl: shop.url }
  const env = { ...process.env, ...(config.shopApiUrl === null ? {} : { SHOP_API_URL: config.shopApiUrl }) }
  try {
    const gateway = await startGateway({ config, env, log })
    log.info({
      port: gateway.publicPort, ops_port: gateway.opsPort, agents: gateway.agents, max_calls: config.maxCalls,
      media_workers: config.mediaWorkers, shop: shop?.url ?? config.shopApiUrl,
    }, 'taking calls')
    await new Promise<void>((resolve, reject) => {
      const onSignal = (signal: NodeJS.Signals): void => {
        process.off('SIGTERM', onSignal)
        process.off('SIGINT', onSignal)
        // A terminal gives Ctrl-C to npm and to us, and npm passes it on: the same signal, twice.
        process.on('SIGTERM', () => undefined)
        process.on('SIGINT', () => undefined)
        setTimeout(() => {
          process.once('SIGTERM', atOnce)
          process.once('SIGINT', atOnce)
        }, SAME_SIGNAL_MS).unref()
        log.info({ signal }, 'signal received')
        gateway.stop(config.drainTimeoutMs).then(resolve, reject)
      }
      const atOnce = (): void => {
        void gateway.stop(0).finally(() => process.exit(1))
        setTimeout(() => process.exit(1), 1000).unref()
      }
      process.once('SIGTERM', onSignal)
      process.once('SIGINT', onSignal)
      process.once('SIGQUIT', atOnce)
      gateway.stopped.then(resolve, reject)
    })
  } finally {
    await shop?.close()
  }
  return 0
}
