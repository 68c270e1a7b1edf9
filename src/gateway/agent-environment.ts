import type { Environment } from '../agents/template.js'
import { SETTINGS } from '../config/settings.js'
import type { Setting } from '../config/settings.js'

/**
 * Variables of the gateway's own secrets: settings that are secret, and what the trace exporter reads from the
 * environment by itself.
 */
const SECRET_VARIABLES: readonly string[] = [
  ...Object.values(SETTINGS)
    .filter((setting: Setting<unknown>) => setting.secret === true)
    .map(({ env }) => env),
  'OTEL_EXPORTER_OTLP_HEADERS',
  'OTEL_EXPORTER_OTLP_TRACES_HEADERS',
]

/**
 * Values that agent files read as `{{env.NAME}}`: the environment, and the orders API of the settings or of
 * `--with-shop`. The gateway's own secrets are removed, because a mistake in an agent file would send them to an API.
 */
export function agentEnvironment(env: Environment, shopApiUrl: string | null): Environment {
  const withheld = Object.fromEntries(SECRET_VARIABLES.map((name) => [name, undefined]))
  return { ...env, ...(shopApiUrl === null ? {} : { SHOP_API_URL: shopApiUrl }), ...withheld }
}

/**
 * The `process.env` of worker threads, and so of `module:` code: what agent files may read. A media worker gets the
 * keys of its backends with its settings.
 */
export function workerEnvironment(env: Environment, shopApiUrl: string | null): Readonly<Record<string, string>> {
  const readable = Object.entries(agentEnvironment(env, shopApiUrl))
  return Object.fromEntries(readable.filter((entry): entry is [string, string] => entry[1] !== undefined))
}
